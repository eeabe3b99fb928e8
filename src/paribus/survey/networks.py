"""How one network of an experiment behaves on its own training images."""

from __future__ import annotations

import torch

from paribus.batches import Batches, Normalisation
from paribus.data import Dataset
from paribus.errors import ModelError
from paribus.experiment import Arm
from paribus.facts import ModelFacts
from paribus.models import build_model
from paribus.survey.behaviour import observe

IMAGES = 32
"""Images that a network is tried on, evenly spaced over train."""


def model_facts(dataset: Dataset, arms: list[Arm], seed: int) -> ModelFacts:
    """Watch the network that some arms share, with the initial weights that a seed gives it.

    Raises:
        ModelError: If it cannot be built, or does not take the images.
    """
    config = arms[0].recipe.model
    model = build_model(config, dataset.image_shape, dataset.num_classes, seed)
    batches = Batches(dataset.train)
    chosen = torch.linspace(0, len(dataset.train) - 1, IMAGES).long()
    images = Normalisation.of(batches.images, chosen).apply(batches.gather(chosen))
    try:
        seen = observe(model, images)
    except Exception as error:  # A user's network may fail in any way; a run of it then says so in full.
        raise ModelError(
            f"`{config.name}` must take a batch of images in training and in evaluation, but raised "
            f"{type(error).__name__}: {error}"
        ) from error
    return ModelFacts(tuple(arm.name for arm in arms), config.name, dataset.num_classes, seen)
