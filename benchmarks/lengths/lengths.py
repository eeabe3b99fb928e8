"""Choose how long an arm trains, on validation images only.

The rule, fixed beforehand: the shortest length wins whose validation accuracy, mean over seeds, is within the
experiment's margin of the longest's. Every length is a run of its own, as a schedule depends on it; its seeds train
nothing else. A run is left before its end, where an engine would look at the test images.

Run with: python benchmarks/lengths/lengths.py EXPERIMENT ARM EPOCHS [EPOCHS ...] --seeds N
Rows are added to lengths.csv.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import torch

from paribus import data, engines, experiments
from paribus.experiment import Experiment, RunSpec

HERE = Path(__file__).parent
FIRST_SEED = 1000


def validation_figures(experiment: Experiment, arm: str, epochs: int, seed: int) -> dict[str, Any]:
    """Train one run up to its last epoch; return that epoch's validation figures as a row."""
    recipe = experiment.arms[arm].recipe.with_factors({"train.epochs": epochs})
    prepared = data.prepare(recipe.data)
    spec = RunSpec(arm, seed, recipe, prepared.fingerprint, engines.choose(recipe, "torch").identity)
    events = engines.load("torch").fit((spec,), data.load_prepared(prepared.folder), {})
    ends = (event.record for event in events if isinstance(event, engines.EpochEnd))
    record = next(record for record in ends if record.epoch == epochs)
    del events, ends  # Closes the run here, before its end.
    row = {"experiment": experiment.name, "arm": arm, "epochs": epochs, "seed": seed}
    return row | {"val_accuracy": f"{record.val_accuracy:.6f}", "val_loss": f"{record.val_loss:.6f}"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("experiment")
    parser.add_argument("arm")
    parser.add_argument("epochs", type=int, nargs="+")
    parser.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    experiment = Experiment.load(experiments.find(asked.experiment))
    path = HERE / "lengths.csv"
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        columns = ["experiment", "arm", "epochs", "seed", "val_accuracy", "val_loss"]
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if is_new:
            writer.writeheader()
        for epochs in asked.epochs:
            for seed in range(FIRST_SEED, FIRST_SEED + asked.seeds):
                writer.writerow(validation_figures(experiment, asked.arm, epochs, seed))
                file.flush()


if __name__ == "__main__":
    main()
