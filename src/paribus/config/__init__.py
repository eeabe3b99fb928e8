"""Recipes: everything that decides how one network is trained, frozen and validated."""

from __future__ import annotations

from paribus.config.model import Activation, ModelConfig, Pooling, PretrainedOptions
from paribus.config.recipe import (
    EPOCHS,
    FINDABLE,
    LATER_KEYS,
    NUMBERING,
    RATE,
    AugmentConfig,
    DataConfig,
    Fit,
    OptimConfig,
    Recipe,
    ScheduleConfig,
    TrainConfig,
    Val,
    Value,
)

__all__ = [
    "EPOCHS",
    "FINDABLE",
    "LATER_KEYS",
    "NUMBERING",
    "RATE",
    "Activation",
    "AugmentConfig",
    "DataConfig",
    "Fit",
    "ModelConfig",
    "OptimConfig",
    "Pooling",
    "PretrainedOptions",
    "Recipe",
    "ScheduleConfig",
    "TrainConfig",
    "Val",
    "Value",
]
