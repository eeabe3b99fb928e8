"""Time every kernel of the native engine on LeNet-5 beside the peak of one core, and the whole step, and write tables.

Compiles roofline.cpp with the kernels' sources, once for every set of instructions that the processor has, and runs
them on one processor. The peak is that of multiply-adds on independent registers, the best of many in each round. A
layer is timed on groups of 16 images as the network runs it, forward and back, with the clock read around each call;
the seconds are the median over the groups of a round. An input gradient is the difference between a call that gives
both gradients and one that gives the weights' alone. The multiply-adds that the layers are defined by count as work;
the second convolution needs fewer, by minimal filtering (kernels/winograd.h), so that it may pass the peak. The last
column of the first table counts the multiply-adds that are made, transforms and activations excepted.
Run with: python benchmarks/engine/roofline.py --rounds 5
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from lenet import NETS, network
from rows import write_rows

from paribus.engines.native import build, library
from paribus.engines.native.chain import Chain, chain_of
from paribus.launch import environment

HERE = Path(__file__).parent
LANES = 16
FILTERED = {"conv2": 6 / 10}
"""The layers that minimal filtering serves, and what share of their multiply-adds it makes: six for two times five."""
BATCH_SIZES = (128, 512)
Row = dict[str, Any]


def main() -> None:
    """Measure, then write the rows, the environment and the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--groups", type=int, default=512, help="of 16 images, in a round")
    parser.add_argument("--instructions", nargs="+", choices=served(), default=served())
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for instructions in options.instructions:
            program = compiled(instructions, Path(folder))
            rows += measured(program, instructions, options.rounds, options.groups)
    write_rows(options.out / "roofline.csv", rows)
    about = environment.describe("native", 1, 1) | {"compiler": version(), "groups": options.groups}
    (options.out / "roofline.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    text = table(rows)
    (options.out / "roofline.md").write_text(text, encoding="utf-8")
    print(text)


def served() -> list[str]:
    """Return the sets of instructions that this processor has, the best first."""
    names = list(reversed(build.INSTRUCTIONS))
    return names[names.index(library.best()) :]


def compiled(instructions: str, folder: Path) -> Path:
    """Compile the program as the package's build compiles the kernels, less what makes a library of them."""
    kernels = build.HERE / "kernels"
    program = folder / f"roofline_{instructions}"
    flags = [flag for flag in build.FLAGS if flag not in ("-shared", "-fPIC")]
    sources = [str(HERE / "roofline.cpp"), *(str(kernels / name) for name in build.SOURCES if name != "api.cpp")]
    command = [*compiler(), *flags, *build.INSTRUCTIONS[instructions], f"-I{kernels}", *sources, "-o", str(program)]
    subprocess.run(command, check=True)
    return program


def compiler() -> list[str]:
    """Return the compiler that the package's build takes."""
    return build._compiler()


def version() -> str:
    """Return what the compiler says of itself in its first line."""
    said = subprocess.run([*compiler(), "--version"], check=True, capture_output=True, text=True).stdout
    return said.splitlines()[0]


def measured(program: Path, instructions: str, rounds: int, groups: int) -> list[Row]:
    """Run the program on one processor, and return a row per part and round; the warm-up is left out."""
    processor = max(os.sched_getaffinity(0))
    command = ["taskset", "--cpu-list", str(processor), str(program), str(rounds), str(groups)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = []
    for number, net, part, seconds in csv.reader(said.splitlines()):
        if int(number) >= 0:
            rows.append(
                {
                    "instructions": instructions,
                    "round": int(number),
                    "net": net,
                    "part": part,
                    "seconds": float(seconds),
                }
            )
    return rows


def multiply_adds(chain: Chain) -> dict[str, int]:
    """Return how many multiply-adds each part of a step needs for one image, by the names of roofline.cpp.

    A layer's forward, weight gradient and input gradient need the same number; nobody asks for the first layer's input
    gradient. Activations, poolings and the loss multiply and add too, but count as none.
    """
    found: dict[str, int] = {}
    before = chain.input_shape
    numbers = {"convolution": 0, "linear": 0}
    for layer in chain.layers:
        if layer.kind in numbers:
            numbers[layer.kind] += 1
            name = f"{'conv' if layer.kind == 'convolution' else 'fc'}{numbers[layer.kind]}"
            work = _convolution(before, layer.shape, layer.window) if layer.kind == "convolution" else 0
            work = work or _size(before) * layer.shape[0]
            found |= {f"{name} forward": work, f"{name} weight gradient": work}
            if len(found) > 2:
                found[f"{name} input gradient"] = work
        before = layer.shape
    return found


def _convolution(before: tuple[int, ...], after: tuple[int, ...], window: tuple[int, ...]) -> int:
    return _size(after) * before[0] * window[0] * window[1]


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for each in shape:
        size *= each
    return size


def table(rows: list[Row]) -> str:
    """Return a table of whole steps, and one of parts for each net and set of instructions."""
    rounds = len({row["round"] for row in rows})
    lines = [f"The native engine on LeNet-5 against the peak of one core, one thread, n = {rounds}, alternating."]
    work = multiply_adds(chain_of(network("tanh-avg"), (1, 32, 32)))
    total = 2 * sum(work.values())
    lines += [f"Made by `roofline.py`. A step needs {total / 1e6:.3f} MFLOP per image: two per multiply-add.", ""]
    instruction_sets = list(dict.fromkeys(row["instructions"] for row in rows))
    made = sum(count * FILTERED.get(part.partition(" ")[0], 1) for part, count in work.items()) / sum(work.values())
    head = "| instructions | net | batch | microseconds per image | GFLOP/s | peak GFLOP/s | share of peak | made |"
    lines += [head, "|---|---|---|---|---|---|---|---|"]
    for instructions in instruction_sets:
        for net in NETS:
            for batch_size in BATCH_SIZES:
                found = Found(rows, instructions, net)
                seconds = [each / batch_size for each in found.seconds(f"step of {batch_size}")]
                rate, peak, share = found.rates(seconds, total / 2)
                us = f"{statistics.median(seconds) * 1e6:.2f}"
                lines.append(
                    f"| {instructions} | {net} | {batch_size} | {us} | {rate:.1f} | {peak:.1f} | {share:.0%} "
                    f"| {share * made:.0%} |"
                )
    for instructions in instruction_sets:
        for net in NETS:
            lines += ["", f"## {net}, {instructions}: 16 images in a step of 128", ""]
            lines += parts_table(Found(rows, instructions, net), work)
    return "\n".join(lines) + "\n"


def parts_table(found: Found, work: dict[str, int]) -> list[str]:
    """Return microseconds of every part for 16 images, its share of the step, GFLOP/s and share of the peak."""
    step = [each * LANES / 128 for each in found.seconds("step of 128")]
    parts = found.parts()
    parts["weights: packing, adding up, update; by difference"] = [
        whole - sum(each[i] for each in parts.values()) for i, whole in enumerate(step)
    ]
    lines = ["| part | microseconds | share of the step | GFLOP/s | share of peak |", "|---|---|---|---|---|"]
    for part, seconds in parts.items():
        share = statistics.median(one / whole for one, whole in zip(seconds, step, strict=True))
        rates = "| |"
        if part in work:
            rate, _, of_peak = found.rates(seconds, work[part] * LANES)
            rates = f"{rate:.1f} | {of_peak:.0%} |"
        lines.append(f"| {part} | {statistics.median(seconds) * 1e6:.1f} | {share:.1%} | {rates}")
    lines.append(f"| the step | {statistics.median(step) * 1e6:.1f} | 100 % | | |")
    return lines


class Found:
    """The rows of one net and one set of instructions, by part, one value per round."""

    def __init__(self, rows: list[Row], instructions: str, net: str) -> None:
        chosen = [row for row in rows if row["instructions"] == instructions and row["net"] in ("", net)]
        self._seconds: dict[str, list[float]] = {}
        for row in chosen:
            self._seconds.setdefault(row["part"], []).append(row["seconds"])

    def seconds(self, part: str) -> list[float]:
        """Return the seconds of a part as measured."""
        return self._seconds[part]

    def rates(self, seconds: list[float], multiply_adds: float) -> tuple[float, float, float]:
        """Return GFLOP/s, the peak's, and the share of it: medians over rounds, the share round by round."""
        rates = [2e-9 * multiply_adds / each for each in seconds]
        peaks = [2e-9 / each for each in self.seconds("peak")]
        share = statistics.median(rate / peak for rate, peak in zip(rates, peaks, strict=True))
        return statistics.median(rates), statistics.median(peaks), share

    def parts(self) -> dict[str, list[float]]:
        """Return what a step of one group is made of, in its order; differences are taken round by round."""
        layers = list(dict.fromkeys(part.rpartition(" forward")[0] for part in self._seconds if "forward" in part))
        order = sorted(layers, key=LAYERS.index)
        parts = {"gather": self.seconds("gather")} | {
            f"{name} forward": self.seconds(f"{name} forward") for name in order
        }
        parts["loss"] = self._difference("loss with its logits", "logits alone")
        for name in reversed(order):
            weights, whole = f"{name} weight gradient", f"{name} backward"
            if weights in self._seconds:
                parts[weights] = self.seconds(weights)
                if whole in self._seconds:
                    parts[f"{name} input gradient"] = self._difference(whole, weights)
            else:
                parts[whole] = self.seconds(whole)
        return parts

    def _difference(self, one: str, other: str) -> list[float]:
        return [a - b for a, b in zip(self.seconds(one), self.seconds(other), strict=True)]


LAYERS = (
    *("conv1", "activation1", "pooling1", "conv2", "activation2", "pooling2"),
    *("fc1", "activation3", "fc2", "activation4", "fc3"),
)

if __name__ == "__main__":
    main()
