"""A folder of results whose networks are tried in tests: LeNet-5 on digits, with a class whose name is a script."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from paribus.data import load_data
from paribus.experiment import RunSpec
from paribus.store import Results
from trained_models import LENET, trained

SCRIPT = "<img src=x onerror=alert(1)>"
"""The name of class 0."""
MNIST = {
    "data": {"name": "mnist", "pad": 2, "val": 1000, "train_size": 20_000},
    "model": {"name": "lenet5", "activation": "relu", "pooling": "max"},
    "optim": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
    "train": {"epochs": 2, "batch_size": 64},
}


def write_tried(folder: Path) -> Path:
    """Train the control into `folder`/small, and give its network to the arm `sorted` too; return `folder`."""
    dataset = load_data("digits", size=28, pad=2)
    named = dataclasses.replace(dataset, class_names=(SCRIPT, *dataset.class_names[1:]))
    run = trained(folder / "small", LENET | {"train": {"epochs": 8, "batch_size": 16}}, "native", named)
    results = Results.open(folder / "small")
    recipe = results.experiment.arms["sorted"].recipe
    other = results.begin(RunSpec("sorted", 0, recipe, dataset.fingerprint, "native-1", None)).folder
    for name in ("result.json", "model.safetensors"):
        (other / name).write_bytes((run / name).read_bytes())
    return folder
