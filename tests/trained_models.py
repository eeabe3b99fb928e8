"""Trained models for tests: runs on small data, written to a store as `paribus run` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from paribus.config import DataConfig
from paribus.data import Dataset, load_prepared, prepare
from paribus.engines import load as load_engine
from paribus.engines.engine import RunEnd
from paribus.experiment import Experiment, RunSpec
from paribus.models.user import model_code_digest
from paribus.store import Results, TestSet

LENET: dict[str, Any] = {
    "data": {"name": "digits", "size": 28, "pad": 2, "val": 200},
    "model": {"name": "lenet5", "activation": "relu"},
    "optim": {"name": "sgd", "lr": 0.1},
    "train": {"epochs": 2, "batch_size": 16},
}


def experiment_of(recipe: dict[str, Any]) -> Experiment:
    question = {"id": "order", "asks": "Without shuffling?", "arms": {"sorted": {"train.shuffle": False}}}
    if recipe["optim"]["name"] == "lbfgs":
        question = {"id": "strength", "asks": "Stronger?", "arms": {"strong": {"model.strength": 10.0}}}
    settings = {"name": "small", "title": "Small: a try", "seeds": 1, "margin": 0.01}
    return Experiment.parse(tomli_w.dumps({"experiment": settings, "control": recipe, "question": [question]}))


def trained(folder: Path, recipe: dict[str, Any], engine: str = "torch", dataset: Dataset | None = None) -> Path:
    """Train the control and return the run's folder; its result folder holds the test set."""
    results = Results.create(folder, experiment_of(recipe), {"python": "3"})
    arm = results.experiment.arms["control"].recipe
    if dataset is None:
        dataset = load_prepared(prepare(DataConfig.parse(recipe["data"])).folder)
    spec = RunSpec("control", 0, arm, dataset.fingerprint, f"{engine}-1", model_code_digest(arm.model))
    results.write_test_set(
        dataset.fingerprint, TestSet(dataset.test.images, dataset.test.labels, dataset.class_names, dataset.name)
    )
    writer = results.begin(spec)
    for event in load_engine(engine).fit([spec], dataset, {}):
        if isinstance(event, RunEnd):
            writer.finish(event.result, event.predictions, event.weights, event.probes, event.usage)
        else:
            writer.epoch(event.record, event.seconds, {"none": np.zeros(1)})  # type: ignore[union-attr]
    return writer.folder
