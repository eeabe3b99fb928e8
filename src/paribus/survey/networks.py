"""How one network of an experiment behaves on its own training images."""

from __future__ import annotations

import torch
from torch import nn

from paribus.batches import Batches, Normalisation
from paribus.data import Dataset
from paribus.errors import ModelError
from paribus.experiment import Arm
from paribus.facts import ModelFacts
from paribus.models import build_model
from paribus.survey.behaviour import observe

IMAGES = 32
"""Images that a network is tried on, evenly spaced over train."""


def build(dataset: Dataset, arm: Arm, seed: int) -> nn.Module:
    """Return the network of an arm, with the initial weights that a seed gives it.

    Raises:
        ModelError: If it cannot be built, or does not give logits for such images.
    """
    return build_model(arm.recipe.model, dataset.image_shape, dataset.num_classes, seed)


def model_facts(model: nn.Module, dataset: Dataset, arms: list[Arm]) -> ModelFacts:
    """Watch the network that some arms share.

    Raises:
        ModelError: If it does not take a batch of the images in both modes.
    """
    config = arms[0].recipe.model
    batches = Batches(dataset.train)
    chosen = torch.linspace(0, len(dataset.train) - 1, IMAGES).long()
    images = Normalisation.of(batches.images, chosen).apply(batches.gather(chosen))
    try:
        seen = observe(model, images)
    except (Exception, SystemExit) as error:  # A user's network may fail in any way; a run of it then says so in full.
        raise ModelError(
            f"`{config.name}` must take a batch of images in training and in evaluation, but raised "
            f"{type(error).__name__}: {error}"
        ) from error
    return ModelFacts(tuple(arm.name for arm in arms), config.name, dataset.num_classes, seen)
