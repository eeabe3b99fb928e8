"""An experiment whose rates are found, written without training: for tests of range tests and of what is told."""

from __future__ import annotations

from pathlib import Path

from paribus import tuning
from paribus.experiment import CONTROL_RETUNED, Experiment
from paribus.launch.packs import Supplies
from paribus.store import MadeFor, RateChoice, Results, TriedRate, Tuning

TOML = """
[experiment]
name = "rates"
title = "Rates"
seeds = 2
margin = 0.05
[control]
data = { name = "digits", size = 28, val = 150, train_size = 150 }
model = { name = "lenet5" }
optim = { lr = 0.1, momentum = 0.9 }
train = { epochs = 2, batch_size = 32 }
[[question]]
id = "relu"
asks = "ReLU?"
arms.relu = { "model.activation" = "relu", "optim.lr" = "retune" }
together = [["model.activation", "optim.lr"]]
[[question]]
id = "rate"
asks = "Which rate?"
factor = "optim.lr"
values = [0.03, 0.1, 1.0]
"""
FOUND = {CONTROL_RETUNED: (0.3, (0.05, 0.88, 0.9, 0.97, 0.5)), "relu": (0.03, (0.3, 0.9, 0.7, 0.5, 0.1))}


def folder(path: Path, text: str = TOML) -> Results:
    """A result in which the rates are found, with no runs and no range tests."""
    results = Results.create(path, Experiment.parse(text), {})
    written = results.experiment.resolve({})
    for name, (lr, accuracies) in FOUND.items():
        made_for = MadeFor(written.arms[name].recipe.identity(), written.control.identity(), "f00d", None)
        grid = tuple(tuning.rate(0.1, step) for step in tuning.GRID)
        tried = tuple(
            TriedRate(rate, accuracy, 1.0, 0, (accuracy - 0.02, accuracy, accuracy + 0.02))
            for rate, accuracy in zip(grid, accuracies, strict=True)
        )
        choice = RateChoice(lr, False, (10_000, 10_001, 10_002), "torch-1", grid, tried)
        results.write_tuning(Tuning(name, made_for, rate=choice))
    return results


def copy_of(results: Results, path: Path) -> Results:
    copy = folder(path)
    for test in results.ranges().values():
        copy.write_range(test)
    return copy


def supplies_of(results: Results) -> Supplies:
    return Supplies.gather(results.experiment, None, "auto")
