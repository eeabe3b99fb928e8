"""The torch engine: conformance, divergence, weights kept, and equality with a loop written out by hand."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from paribus.augment import Augmenter
from paribus.batches import Batches
from paribus.config import Recipe
from paribus.data import draw
from paribus.engines import run
from paribus.engines.torch_engine import TorchEngine
from paribus.models import build_model
from paribus.seeding import torch_generator
from paribus.testing.engines import DATASET, check_engine, fit_one, spec_for


def recipe(**tables: dict[str, Any]) -> Recipe:
    base: dict[str, dict[str, Any]] = {
        "data": {"name": "easy", "val": 40},
        "model": {"name": "lenet5"},
        "optim": {"lr": 0.05, "momentum": 0.9},
        "train": {"epochs": 3, "batch_size": 32},
    }
    return Recipe.parse(base | tables)


VARIANTS = {
    "plain": recipe(),
    "adam": recipe(optim={"name": "adam", "lr": 0.001}),
    "nesterov": recipe(optim={"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}),
    "dropout": recipe(model={"name": "lenet5", "dropout": 0.3}),
    "batch-norm": recipe(model={"name": "charcnn", "width": 4}, optim={"lr": 0.01, "momentum": 0.9}),
    "augmented": recipe(augment={"shift": 0.5, "elastic": 0.5}),
    "best": recipe(train={"epochs": 3, "batch_size": 32, "keep": "best", "patience": 3}),
    "unshuffled": recipe(train={"epochs": 3, "batch_size": 32, "shuffle": False}),
    "smooth-mixup": recipe(augment={"mixup": 0.2}, train={"epochs": 3, "batch_size": 32, "label_smoothing": 0.1}),
    "average": recipe(train={"epochs": 3, "batch_size": 32, "average": 0.9, "keep": "best"}),
    "batch-norm-average": recipe(
        model={"name": "charcnn", "width": 4}, train={"epochs": 3, "batch_size": 32, "average": 0.8}
    ),
    "cosine": recipe(schedule={"name": "cosine", "warmup_epochs": 1.0}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_conforms(name: str) -> None:
    check_engine(TorchEngine(), VARIANTS[name])


def test_without_shuffling_the_order_is_the_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every epoch takes the same ascending indices; shuffled epochs take others, each its own."""
    taken: list[list[int]] = []
    gather = Batches.gather

    def note(batches: Batches, indices: torch.Tensor, augmenter: Augmenter | None = None) -> torch.Tensor:
        taken.append(indices.tolist())
        return gather(batches, indices, augmenter)

    monkeypatch.setattr(Batches, "gather", note)
    expected = draw(DATASET, VARIANTS["plain"].data, 0).train_indices
    orders: dict[str, list[list[int]]] = {}
    for name in ("unshuffled", "plain"):
        taken.clear()
        events = TorchEngine().fit([spec_for(VARIANTS[name])], DATASET, {})
        orders[name] = []
        for _ in range(2):
            next(events)
            batches = taken[: math.ceil(len(expected) / 32)]
            orders[name].append([index for batch in batches for index in batch])
            taken.clear()
    assert orders["unshuffled"] == [expected.tolist()] * 2
    assert [sorted(order) for order in orders["plain"]] == [expected.tolist()] * 2
    assert expected.tolist() != orders["plain"][0] != orders["plain"][1]


def test_a_trial_draws_once_for_all_images_as_an_epoch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it takes belongs to the epoch, not to each of its steps."""
    drawn, clock = list[int](), time.perf_counter

    class Slow(Augmenter):
        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **options)
            drawn.append(self.num_examples)

    monkeypatch.setattr(run, "Augmenter", Slow)
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + 1000 * len(drawn))
    spec = spec_for(VARIANTS["augmented"])
    images = len(draw(DATASET, spec.recipe.data, 0).train_indices)
    assert 1000 <= images * TorchEngine().seconds_per_example(spec, DATASET) < 1900
    assert drawn == [len(DATASET.train)]


def test_equals_a_loop_written_out() -> None:
    """Two epochs of SGD as a textbook has them, on the same order and initial weights, give the same losses."""
    chosen = recipe(train={"epochs": 2, "batch_size": 32}, optim={"lr": 0.05})
    epochs, _ = fit_one(TorchEngine(), spec_for(chosen))
    drawn = draw(DATASET, chosen.data, seed=0)
    images = torch.from_numpy(DATASET.train.images).double()
    indices = torch.from_numpy(drawn.train_indices)
    mean, std = images[indices].mean(), images[indices].std(correction=0)
    images = ((images - mean) / std).float()
    labels = torch.from_numpy(DATASET.train.labels)
    model = build_model(chosen.model, DATASET.image_shape, DATASET.num_classes, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for event in epochs:
        generator = torch_generator(0, "order", event.record.epoch)
        order = indices[torch.randperm(len(indices), generator=generator)]
        losses = 0.0
        for batch in order.split(32):
            loss = functional.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += loss.item() * len(batch)
        assert event.record.train_loss == pytest.approx(losses / len(order), rel=1e-4)
    assert [event.record.steps for event in epochs] == [7, 14]


def test_val_figures_are_those_of_the_whole_val_split() -> None:
    chosen = recipe(train={"epochs": 1, "batch_size": 32})
    epochs, end = fit_one(TorchEngine(), spec_for(chosen))
    drawn = draw(DATASET, chosen.data, seed=0)
    model = build_model(chosen.model, DATASET.image_shape, DATASET.num_classes, seed=0)
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in end.weights.items()})
    pixels = torch.from_numpy(DATASET.train.images[drawn.train_indices]).double()
    val = (torch.from_numpy(drawn.val.images).double() - pixels.mean()) / pixels.std(correction=0)
    with torch.no_grad():
        logits = model(val.float())
    loss = functional.cross_entropy(logits, torch.from_numpy(drawn.val.labels)).item()
    assert epochs[0].record.val_loss == pytest.approx(loss, rel=1e-4)
    assert end.result.val_examples == 40 and end.result.train_examples == 200


def test_a_diverged_run_ends_and_says_so() -> None:
    epochs, end = fit_one(
        TorchEngine(), spec_for(recipe(optim={"lr": 1e9}, model={"name": "lenet5", "activation": "relu"}))
    )
    assert len(epochs) < 3
    assert epochs[-1].record.train_loss is None
    assert end.result.status == "diverged"
    assert end.result.test_loss is None
    assert end.result.test_accuracy == 0.0
    assert (end.predictions.classes == -1).all()


def test_best_keeps_the_epoch_of_the_lowest_val_loss() -> None:
    chosen = recipe(train={"epochs": 8, "batch_size": 32, "keep": "best"}, optim={"lr": 0.3, "momentum": 0.9})
    epochs, end = fit_one(TorchEngine(), spec_for(chosen))
    losses = [math.inf if e.record.val_loss is None else e.record.val_loss for e in epochs]
    assert end.result.epoch_kept == losses.index(min(losses)) + 1
    kept = epochs[end.result.epoch_kept - 1]
    for name, array in end.weights.items():
        assert np.array_equal(array, kept.state[f"model/{name}"])


def test_patience_stops_early() -> None:
    chosen = recipe(train={"epochs": 50, "batch_size": 32, "patience": 2}, optim={"name": "rmsprop", "lr": 0.03})
    epochs, end = fit_one(TorchEngine(), spec_for(chosen))
    losses = [math.inf if e.record.val_loss is None else e.record.val_loss for e in epochs]
    assert end.result.epochs == len(epochs) == losses.index(min(losses)) + 3 < 50


def test_label_smoothing_and_weight_decay_reach_the_loss() -> None:
    plain = fit_one(TorchEngine(), spec_for(VARIANTS["plain"]))[0][-1].record.train_loss
    smooth = recipe(train={"epochs": 3, "batch_size": 32, "label_smoothing": 0.2})
    smoothed = fit_one(TorchEngine(), spec_for(smooth))[0][-1].record.train_loss
    assert plain is not None and smoothed is not None
    assert smoothed > plain + 0.1
