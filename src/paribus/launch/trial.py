"""A short trial of a recipe on this machine, to say how long its runs will take."""

from __future__ import annotations

import statistics
import time

import torch
from torch.nn import functional

from paribus.batches import Batches, Normalisation
from paribus.config import Recipe
from paribus.data import Dataset, draw
from paribus.models import build_model
from paribus.optim import build_optimizer, update

TRIAL_S = 0.5


def seconds_per_epoch(recipe: Recipe, dataset: Dataset, measured: dict[str, float]) -> float:
    """Return the expected seconds of one epoch on one thread, from about half a second of training steps.

    Args:
        recipe: What would be trained.
        dataset: Its prepared images.
        measured: Trials made so far, seconds per training example by kind of run; a new one is added.
    """
    kind = f"{recipe.model.model_dump_json()} {recipe.train.batch_size} {recipe.data.size} {recipe.data.pad}"
    if kind not in measured:
        measured[kind] = _seconds_per_example(recipe, dataset)
    return measured[kind] * len(draw(dataset, recipe.data, seed=0).train_indices)


def _seconds_per_example(recipe: Recipe, dataset: Dataset) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _time_steps(recipe, dataset)
    finally:
        torch.set_num_threads(threads)


def _time_steps(recipe: Recipe, dataset: Dataset) -> float:
    size = min(recipe.train.batch_size, len(dataset.train))
    model = build_model(recipe.model, dataset.image_shape, dataset.num_classes, seed=0)
    model.to(memory_format=torch.channels_last)
    optimizer = build_optimizer(recipe.optim, list(model.parameters()))
    batches, indices = Batches(dataset.train), torch.arange(size)
    normalisation = Normalisation.of(batches.images, indices)
    seconds: list[float] = []
    start = time.perf_counter()
    while time.perf_counter() - start < TRIAL_S or len(seconds) < 3:
        step = time.perf_counter()
        loss = functional.cross_entropy(model(normalisation.apply(batches.gather(indices))), batches.labels[indices])
        optimizer.zero_grad()
        loss.backward()
        update(optimizer)
        seconds.append(time.perf_counter() - step)
    return statistics.median(seconds) / size
