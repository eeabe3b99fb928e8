"""Time what the probes of a run cost beside all else that the run does, in one session, and write a row per round.

run      seconds of a run without probes: building it, and 20 times an epoch with its validation; on MNIST and on the
         digits, with recipes of the shipped experiments
probes   seconds of `probes` at the end of the run, and of the 20 times that an epoch's last gradients are measured

Each round times them one after the other, so that a busy machine slows both; the share of a round is probes over run
and probes together. On MNIST a round trains one epoch, on the digits five, and a run counts as 20 of their mean, since
the epochs of a recipe do the same work. Left out of the run are the test images and the writing to the store, which
makes the share larger than it is. One round of each warms up. Run with: python benchmarks/probes/probes.py --rounds 7
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from paribus import data, experiments
from paribus.config import Recipe
from paribus.engines.torch_engine import TorchRun
from paribus.experiment import Experiment, RunSpec
from paribus.launch import environment
from paribus.probes import layer_gradient_norms

T = TypeVar("T")
HERE = Path(__file__).parent
EPOCHS_TIMED = {"lenet-digits": 5, "lenet-mnist": 1}
ARMS = ("control", "relu")
EPOCHS = 20


def recipe_of(name: str, arm: str) -> Recipe:
    """The shipped experiment's recipe of an arm, which has 20 epochs."""
    recipe = Experiment.load(experiments.find(name)).arms[arm].recipe
    assert recipe.train.epochs == EPOCHS
    return recipe


def one_round(recipe: Recipe, dataset: data.Dataset, epochs: int) -> tuple[float, float]:
    """Return the seconds of a run of 20 epochs without probes, and those of its probes."""
    building, run = timed(lambda: TorchRun(RunSpec("arm", 0, recipe, dataset.fingerprint, "torch"), dataset))
    training = 0.0
    for epoch in range(1, epochs + 1):
        seconds, _ = timed(partial(run.epoch, epoch))
        training += seconds
    norms, _ = timed(lambda: layer_gradient_norms(run.model))
    probing, _ = timed(run.probes)
    return building + EPOCHS * (training / epochs - norms), probing + EPOCHS * norms


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Return the seconds of some work, and what it gave."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data-dir", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows: list[dict[str, object]] = []
    for number in range(-1, options.rounds):
        for name, epochs in EPOCHS_TIMED.items():
            for arm in ARMS:
                recipe = recipe_of(name, arm)
                dataset = data.load_prepared(data.prepare(recipe.data, options.data_dir).folder)
                run, probes = one_round(recipe, dataset, epochs)
                row = {
                    "experiment": name,
                    "arm": arm,
                    "round": number,
                    "run": round(run, 3),
                    "probes": round(probes, 4),
                }
                print(row, flush=True)
                rows += [row] if number >= 0 else []
    with (HERE / "probes.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    about = environment.describe("torch-1", 1, options.threads)
    (HERE / "probes.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    (HERE / "probes.md").write_text(table(rows, options.rounds), encoding="utf-8")
    print(table(rows, options.rounds))


def table(rows: list[dict[str, object]], rounds: int) -> str:
    """Return medians over rounds, and the share of probes round by round."""
    lines = [
        f"What the probes of a run of {EPOCHS} epochs of LeNet-5 cost, seconds, n = {rounds}, alternating. The share "
        "is that of the probes in both together, median and spread over rounds. Made by `probes.py`.",
        "",
        "| experiment | arm | run | probes | share (%) | min to max |",
        "|---|---|---|---|---|---|",
    ]
    for name in EPOCHS_TIMED:
        for arm in ARMS:
            some = [row for row in rows if (row["experiment"], row["arm"]) == (name, arm)]
            runs, probes = ([float(str(row[key])) for row in some] for key in ("run", "probes"))
            shares = [100 * cost / (run + cost) for run, cost in zip(runs, probes, strict=True)]
            lines.append(
                f"| {name} | {arm} | {statistics.median(runs):.2f} | {statistics.median(probes):.3f} | "
                f"{statistics.median(shares):.2f} | {min(shares):.2f} to {max(shares):.2f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
