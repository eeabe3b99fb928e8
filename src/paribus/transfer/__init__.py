"""Transfer learning: pretrained weights and backbones, frozen features kept on disk, heads that are solved for.

The names below are imported when they are first used: which weights a run has is told without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paribus.transfer.backbone import Backbone as Backbone
    from paribus.transfer.backbone import Classifier as Classifier
    from paribus.transfer.backbone import Preprocessing as Preprocessing
    from paribus.transfer.backbone import build_backbone as build_backbone
    from paribus.transfer.backbone import frozen as frozen
    from paribus.transfer.backbone import stages as stages
    from paribus.transfer.early import EarlyStages as EarlyStages
    from paribus.transfer.early import Kept as Kept
    from paribus.transfer.feature_cache import Features as Features
    from paribus.transfer.feature_cache import Wanted as Wanted
    from paribus.transfer.feature_cache import cached as cached
    from paribus.transfer.features import Extractor as Extractor
    from paribus.transfer.features import View as View
    from paribus.transfer.heads import LogisticHead as LogisticHead
    from paribus.transfer.heads import Strength as Strength
    from paribus.transfer.heads import choose_strength as choose_strength
    from paribus.transfer.heads import fit_logistic as fit_logistic
    from paribus.transfer.heads import imagenet_classes as imagenet_classes
    from paribus.transfer.heads import in_rows as in_rows
    from paribus.transfer.heads import majority as majority
    from paribus.transfer.heads import nearest_neighbour as nearest_neighbour
    from paribus.transfer.heads import out_of_fold as out_of_fold
    from paribus.transfer.weights import Weights as Weights
    from paribus.transfer.weights import backbone_digest as backbone_digest
    from paribus.transfer.weights import find_weights as find_weights
    from paribus.transfer.weights import named_weights as named_weights

__all__ = [
    "Backbone",
    "Classifier",
    "EarlyStages",
    "Extractor",
    "Features",
    "Kept",
    "LogisticHead",
    "Preprocessing",
    "Strength",
    "View",
    "Wanted",
    "Weights",
    "backbone_digest",
    "build_backbone",
    "cached",
    "choose_strength",
    "find_weights",
    "fit_logistic",
    "frozen",
    "imagenet_classes",
    "in_rows",
    "majority",
    "named_weights",
    "nearest_neighbour",
    "out_of_fold",
    "stages",
]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module `paribus.transfer` has no attribute `{name}`. It has {', '.join(__all__)}.")
    return getattr(importlib.import_module(f"paribus.transfer.{_NAMES[name]}"), name)


_HOMES = {
    "backbone": ("Backbone", "Classifier", "Preprocessing", "build_backbone", "frozen", "stages"),
    "early": ("EarlyStages", "Kept"),
    "feature_cache": ("Features", "Wanted", "cached"),
    "features": ("Extractor", "View"),
    "heads": (
        "LogisticHead",
        "Strength",
        "choose_strength",
        "fit_logistic",
        "imagenet_classes",
        "in_rows",
        "majority",
        "nearest_neighbour",
        "out_of_fold",
    ),
    "weights": ("Weights", "backbone_digest", "find_weights", "named_weights"),
}
_NAMES = {name: home for home, names in _HOMES.items() for name in names}
