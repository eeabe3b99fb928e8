"""This package's engines, by their own passes over the training images, with all their records."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from lenet import LR, NETS

from paribus.config import Recipe
from paribus.data import Dataset, Split
from paribus.engines.native.engine import NativeRun
from paribus.engines.run import Run
from paribus.engines.torch_engine import TorchRun
from paribus.experiment import RunSpec

Epoch = Callable[[], float]
Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def native(net: str, batch_size: int, images: Bytes, labels: Labels) -> Epoch:
    """The compiled kernels."""
    return _passes(NativeRun, net, batch_size, Split(images, labels))


def torch_engine(net: str, batch_size: int, images: Bytes, labels: Labels) -> Epoch:
    """The reference engine."""
    return _passes(TorchRun, net, batch_size, Split(images, labels))


def _passes(kind: type[Run], net: str, batch_size: int, train: Split) -> Epoch:
    activation, pooling = NETS[net]
    recipe = Recipe.parse(
        {
            "data": {"name": "mnist", "pad": 2},
            "model": {"name": "lenet5", "activation": activation, "pooling": pooling},
            "optim": {"lr": LR},
            "train": {"epochs": 1, "batch_size": batch_size},
        }
    )
    few = Split(train.images[:10], train.labels[:10])  # No pass over train looks at val or test.
    dataset = Dataset("mnist", "0", tuple("0123456789"), train, few, few)
    run = kind(RunSpec("arm", 0, recipe, dataset.fingerprint, "either"), dataset)
    number = itertools.count(1)

    def epoch() -> float:
        sums = run.pass_over_train(next(number))
        return sums.loss / sums.examples

    return epoch
