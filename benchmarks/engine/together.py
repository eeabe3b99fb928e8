"""Two runs of the native engine at once on two processors, against one alone, alternating; a row per measurement.

LeNet-5 tanh/avg on MNIST at batch 128, one thread per run, each bound to a processor of its own. One measurement is
some epochs of one run alone on each processor in turn, then of both at once; how many epochs per hour both make
together is compared with one alone. Run with: python benchmarks/engine/together.py --rounds 5
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

from rows import median_of_ratios, spread, write_rows
from worker import Worker, crew, processors

from paribus import data
from paribus.config import DataConfig

HERE = Path(__file__).parent


def main() -> None:
    """Measure, then write the rows and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5, help="of one measurement")
    parser.add_argument("--images", type=int, default=60_000, help="fewer, for a trial of this script")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    if len(processors()) < 2:
        parser.error("two processors are needed, but there is one.")
    prepared = data.prepare(DataConfig(name="mnist", pad=2), options.data_dir)
    ways = {name: ("native", [processor]) for name, processor in zip("ab", processors(), strict=False)}
    rows: list[dict[str, Any]] = []
    with crew(ways, prepared.folder, options.images) as workers:
        for worker in workers.values():
            worker.build("tanh-avg", 128)
        first, second = workers.values()
        for number in range(options.rounds):
            for how, crowd in (("alone, a", [first]), ("alone, b", [second]), ("together", [first, second])):
                seconds = epochs_of(crowd, options.epochs)
                rows.append({"round": number, "how": how, "epochs": options.epochs, "seconds": round(seconds, 4)})
                print(rows[-1], flush=True)
    write_rows(options.out / "together.csv", rows)
    (options.out / "together.md").write_text(table(rows), encoding="utf-8")
    print(table(rows))


def epochs_of(workers: list[Worker], epochs: int) -> float:
    """Return the wall seconds until each of the workers has trained for so many epochs, all side by side."""
    start = time.perf_counter()
    for worker in workers:
        for _ in range(epochs):
            worker.ask({})
    for worker in workers:
        for _ in range(epochs):
            worker.answer()
    return time.perf_counter() - start


def table(rows: list[dict[str, Any]]) -> str:
    """Return epochs per hour alone and together, and their ratio."""

    def rates(how: str, runs: int) -> list[float]:
        return [runs * row["epochs"] * 3600 / row["seconds"] for row in rows if row["how"] == how]

    both = rates("together", 2)
    alone = [(a + b) / 2 for a, b in zip(rates("alone, a", 1), rates("alone, b", 1), strict=True)]
    lines = [
        f"Epochs per hour of the native engine, one run and two at once, n = {len(both)}, alternating. "
        "Made by `together.py`.",
        "",
        "| runs at once | median | min to max |",
        "|---|---|---|",
        *(
            f"| {runs} | {statistics.median(found):.0f} | {min(found):.0f} to {max(found):.0f} |"
            for runs, found in ((1, alone), (2, both))
        ),
        "",
        f"Two at once: {median_of_ratios(both, alone):.2f} times one (median of rounds; "
        f"{spread([two / one for two, one in zip(both, alone, strict=True)])}).",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
