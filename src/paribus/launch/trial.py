"""A short trial of a recipe on this machine, to say how long its runs will take."""

from __future__ import annotations

import torch

from paribus import engines
from paribus.config import Recipe
from paribus.data import Dataset, draw
from paribus.experiment import RunSpec


def seconds_per_epoch(recipe: Recipe, engine: str, dataset: Dataset, measured: dict[str, float]) -> float:
    """Return the expected seconds of one epoch on one thread, from about half a second of training steps.

    Args:
        recipe: What would be trained; values still to be found stand at the control's.
        engine: By which of `engines.ENGINES`.
        dataset: Its prepared images.
        measured: Trials made so far, seconds per training example by kind of run; a new one is added.
    """
    step = f"{recipe.model.model_dump_json()} {recipe.train.batch_size} {recipe.train.precision}"
    kind = f"{engine} {step} {recipe.data.images_key}"
    if kind not in measured:
        spec = RunSpec("trial", 0, Recipe.parse(recipe.model_dump()), dataset.fingerprint, engine)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            measured[kind] = engines.load(engine).seconds_per_example(spec, dataset)
        finally:
            torch.set_num_threads(threads)
    return measured[kind] * len(draw(dataset, recipe.data, seed=0).train_indices)
