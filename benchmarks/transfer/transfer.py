"""Time transfer learning, each way beside the usual one, alternating in one session, and write a row per measurement.

start to finish  `paribus run head.toml` in a fresh process with an empty cache and an empty result folder: photos
                 decoded, features, a head with its strength chosen, ten seeds; and with the verdicts and the report
                 that follow; beside `tutorial.py`, 25 epochs, one seed, in a fresh process, with as many loader workers
                 as serve it better, none or two. The clocks run from before Python starts until the tenth seed's
                 result is stored, and until Python has ended. Epochs of the tutorial are alike: of --tutorial-epochs
                 fewer than 25 the rest are counted at their median.
second head      another seed on kept features, in a process that has computed one head before: data mapped, strength
                 chosen, head solved, val and test answered; and the whole command for another strength and one seed
decoding         the three photos of sign-digits that have 3024 x 3024 pixels, from bytes to 128 x 128: by
                 `paribus.data.pixels.decode`, and by Pillow at full size; the median of five times
fine-tuning      an epoch of 256 images of sign-digits on one thread, each way in a process of its own, see
                 `finetune.py`. Outside the clock: the warm-up epoch, in which what is computed once is computed

One round warms up: files and Python's modules are in the system's cache.
Run with: python benchmarks/transfer/transfer.py --rounds 3
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import finetune
import numpy as np
import torch
from PIL import Image

from paribus.data import load_prepared, prepare, search_folders
from paribus.data.pixels import decode
from paribus.engines import ENGINES
from paribus.engines.features_engine import FeaturesEngine
from paribus.experiment import CONTROL, Experiment, RunSpec
from paribus.launch import environment
from paribus.transfer import find_weights

HERE = Path(__file__).parent
SCRATCH = "paribus-transfer-"
EPOCHS, SEEDS = 25, 10
HUGE, SMALL = 3024, 128
REPEATS = 5
LEARNED = 0.9
Row = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """What is compared: how much longer `other` takes than `ours`, None where only seconds count."""

    name: str
    ours: str
    other: str | None
    wanted: str


def main() -> None:
    """Measure, then write the rows, the environment and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tutorial-epochs", type=int, default=5, choices=range(1, EPOCHS + 1), metavar="1..25")
    parser.add_argument("--only", nargs="+", choices=[*MEASURES], default=[*MEASURES], help="for a trial")
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    measures = {name: MEASURES[name](options.tutorial_epochs) for name in options.only}
    for number, (name, measure) in itertools.product(range(options.rounds), measures.items()):
        for way, seconds in measure():
            rows.append({"round": number, "part": name, "way": way, "seconds": round(seconds, 4)})
            print(rows[-1], flush=True)
    with (options.out / "transfer.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    engines = ", ".join(ENGINES[name].identity for name in ("features", "torch"))
    about = environment.describe(engines, os.cpu_count() or 1, 1)
    about |= {"tutorial_epochs_timed": options.tutorial_epochs}
    (options.out / "transfer.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    text = table(rows, options.tutorial_epochs)
    (options.out / "transfer.md").write_text(text, encoding="utf-8")
    print(text)


Measure = Callable[[], Iterator[tuple[str, float]]]
"""One round: yields each way with its seconds."""


def start_to_finish(tutorial_epochs: int) -> Measure:
    """Ten heads by `paribus run`, one by the tutorial; the setting that serves the tutorial better is tried here."""
    with cache() as folder:
        command("run", str(HERE / "head.toml"), "--out", str(folder / "out"))
    workers = min((0, 2), key=lambda each: tutorial(1, each))

    def measure() -> Iterator[tuple[str, float]]:
        with cache() as folder:
            began = time.time()
            seconds = command("run", str(HERE / "head.toml"), "--out", str(folder / "out"))
            require_learned(accuracy_of(folder / "out"))
            stored = [path.stat().st_mtime for path in (folder / "out").glob("runs/*/*/result.json")]
        require_ten(stored)
        yield "ten heads", max(stored) - began
        yield "ten heads and the report", seconds
        yield "tutorial", tutorial(tutorial_epochs, workers)

    return measure


def second_head(_: int) -> Measure:
    """Heads on features that are there."""

    def measure() -> Iterator[tuple[str, float]]:
        with cache() as folder:
            command("run", str(HERE / "head.toml"), "--out", str(folder / "out"), "--set", "experiment.seeds=1")
            heads = fitted_heads()
            next(heads)
            start = time.perf_counter()
            require_learned(next(heads))
            yield "in the same process", time.perf_counter() - start
            other = ["--set", "experiment.seeds=1", "--set", "control.model.strength=0.1"]
            seconds = command("run", str(HERE / "head.toml"), "--out", str(folder / "other"), *other)
            require_learned(accuracy_of(folder / "other"))
            yield "paribus run", seconds

    return measure


def decoding(_: int) -> Measure:
    """The photos that are large, from bytes in memory."""
    photos = [path.read_bytes() for path in sorted(source("sign-digits").rglob("*.[jJ][pP][gG]")) if side(path) == HUGE]
    if len(photos) != 3:
        raise RuntimeError(f"sign-digits must hold 3 photos of {HUGE} pixels, but holds {len(photos)}.")

    def by_pillow(content: bytes) -> Any:
        with Image.open(io.BytesIO(content)) as photo:
            return np.asarray(photo.convert("RGB").resize((SMALL, SMALL), Image.Resampling.BILINEAR))

    def measure() -> Iterator[tuple[str, float]]:
        for way, one in {"paribus": lambda content: decode(content, SMALL), "full size": by_pillow}.items():
            seconds = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                shapes = {one(content).shape for content in photos}
                seconds.append(time.perf_counter() - start)
                assert shapes == {(SMALL, SMALL, 3)}
            yield way, statistics.median(seconds)

    return measure


def fine_tuning(_: int) -> Measure:
    """Epochs after a first one of each way."""
    ways = {way: finetune.start(way) for way in finetune.WAYS}
    first = {way: epochs.next()[0] for way, epochs in ways.items()}

    def measure() -> Iterator[tuple[str, float]]:
        for way, epochs in ways.items():
            loss, seconds = epochs.next()
            yield way, seconds
            require_lower(way, loss, first[way])

    return measure


@contextmanager
def cache() -> Iterator[Path]:
    """Let paribus keep what it computes in an empty folder, for a while."""
    before = os.environ.get("PARIBUS_CACHE")
    with tempfile.TemporaryDirectory(prefix=SCRATCH) as folder:
        os.environ["PARIBUS_CACHE"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop("PARIBUS_CACHE")
            os.environ |= {"PARIBUS_CACHE": before} if before else {}


def command(*arguments: str) -> float:
    """Return the seconds of a `paribus` command."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "paribus", *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def tutorial(epochs: int, workers: int) -> float:
    """Return the seconds of the tutorial's 25 epochs, of which some are made."""
    sidecar = find_weights(finetune.WEIGHTS).file
    assert sidecar is not None
    program = [
        sys.executable,
        str(HERE / "tutorial.py"),
        str(source("dogs-vs-cats")),
        str(sidecar.with_suffix(".json")),
    ]
    start = time.perf_counter()
    said = subprocess.run(
        [*program, "--epochs", str(epochs), "--workers", str(workers)], check=True, capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    found = json.loads(said.stdout.splitlines()[-1])
    require_learned(found["test_accuracy"])
    return whole(seconds, found["epoch_seconds"])


def whole(seconds: float, epoch_seconds: list[float]) -> float:
    """Return what 25 epochs take: those that were made, and the rest at their median."""
    return seconds + (EPOCHS - len(epoch_seconds)) * statistics.median(epoch_seconds)


def fitted_heads() -> Iterator[float]:
    """Yield the test accuracy of seed after seed, each from the prepared images on."""
    recipe = Experiment.load(HERE / "head.toml").control
    prepared = prepare(recipe.data)
    engine = FeaturesEngine()
    for seed in itertools.count():
        spec = RunSpec(CONTROL, seed, recipe, prepared.fingerprint, ENGINES["features"].identity)
        *_, end = engine.fit([spec], load_prepared(prepared.folder), {})
        yield end.result.test_accuracy


def source(name: str) -> Path:
    """Return the folder of a data set."""
    return next(each / name for each in search_folders() if (each / name / "train").is_dir())


def side(path: Path) -> int:
    """Return the width of an image file."""
    with Image.open(path) as image:
        return image.width


def accuracy_of(results: Path) -> float:
    """Return the control's mean test accuracy."""
    verdicts = json.loads((results / "verdicts.json").read_text(encoding="utf-8"))
    accuracy: float = verdicts["arms"][CONTROL]["test_accuracy"]["mean"]
    return accuracy


def require_ten(stored: list[float]) -> None:
    """Raise unless ten seeds have a result, so that nobody is timed for fewer."""
    if len(stored) != SEEDS:
        raise RuntimeError(f"{SEEDS} seeds must have a result, but {len(stored)} have.")


def require_learned(accuracy: float) -> None:
    """Raise unless a head is right on most test photos, so that nobody is timed for doing nothing."""
    if not accuracy > LEARNED:
        raise RuntimeError(f"A head must be right on more than {LEARNED} of the test photos, but is on {accuracy}.")


def require_lower(way: str, loss: float, first: float) -> None:
    """Raise unless a later epoch's training loss is below the first one's."""
    if not loss < first:
        raise RuntimeError(
            f"`{way}` must lower the training loss from epoch to epoch, but went from {first} to {loss}."
        )


def table(rows: list[Row], tutorial_epochs: int) -> str:
    """Return medians with their spread, and ratios round by round."""
    rounds = 1 + max(row["round"] for row in rows)
    counted = "" if tutorial_epochs == EPOCHS else f", {EPOCHS - tutorial_epochs} of them counted at the others' median"
    lines = [
        f"Seconds, median of n = {rounds}, least to greatest, alternating. Made by `transfer.py`, which says what is",
        f"inside the clocks. The tutorial's time is that of {EPOCHS} epochs{counted}. Times: the ratio to the",
        "row above, median over rounds.",
        "",
        "| part | way | seconds | spread | times | wanted |",
        "|---|---|---|---|---|---|",
    ]
    for part in PARTS:
        ours, others = seconds_of(rows, part.name, part.ours), seconds_of(rows, part.name, part.other)
        if not ours:
            continue
        lines.append(line(part.name, part.ours, ours, "", "" if part.other else part.wanted))
        if part.other:
            ratios = statistics.median(one / other for one, other in zip(others, ours, strict=True))
            lines.append(line(part.name, part.other, others, f"{ratios:.2f}", part.wanted))
    return "\n".join(lines) + "\n"


def seconds_of(rows: list[Row], part: str, way: str | None) -> list[float]:
    """Return the seconds of a way by round."""
    return [row["seconds"] for row in rows if (row["part"], row["way"]) == (part, way)]


def line(part: str, way: str, seconds: list[float], times: str, wanted: str) -> str:
    """Return a row of the table."""
    middle, least, greatest = statistics.median(seconds), min(seconds), max(seconds)
    return f"| {part} | {way} | {middle:.2f} | {least:.2f} to {greatest:.2f} | {times} | {wanted} |"


MEASURES: dict[str, Callable[[int], Measure]] = {
    "start to finish": start_to_finish,
    "second head": second_head,
    "decoding": decoding,
    "fine-tuning": fine_tuning,
}
PARTS = (
    Part("start to finish", "ten heads", "tutorial", "at least 25 times, aiming at 40"),
    Part("start to finish", "ten heads and the report", "tutorial", ""),
    Part("second head", "in the same process", None, "under 2 s"),
    Part("second head", "paribus run", None, ""),
    Part("decoding", "paribus", "full size", "at least 3 times"),
    Part("fine-tuning", "torch engine", "tuned loop", "at least 1 time"),
    Part("fine-tuning", "torch engine", "tuned loop, a worker's allocator", ""),
    Part("fine-tuning", "torch engine, last two stages", "torch engine", "at least 1.5 times"),
)
"""The rows of the table: `wanted` is what the project set out to reach."""

if __name__ == "__main__":
    main()
