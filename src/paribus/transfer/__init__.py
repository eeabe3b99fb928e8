"""Transfer learning: pretrained weights and backbones, frozen features kept on disk, heads that are solved for."""

from paribus.transfer.backbone import Backbone, Classifier, Preprocessing, build_backbone, frozen, stages
from paribus.transfer.early import EarlyStages
from paribus.transfer.features import Extractor, Features, View
from paribus.transfer.heads import (
    LogisticHead,
    Strength,
    choose_strength,
    fit_logistic,
    imagenet_classes,
    in_rows,
    majority,
    nearest_neighbour,
    out_of_fold,
)
from paribus.transfer.weights import Weights, find_weights, named_weights

__all__ = [
    "Backbone",
    "Classifier",
    "EarlyStages",
    "Extractor",
    "Features",
    "LogisticHead",
    "Preprocessing",
    "Strength",
    "View",
    "Weights",
    "build_backbone",
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
