"""Which training images a run fits on and which validate it: drawn by the seed, stratified, exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paribus.config import DataConfig
from paribus.data.dataset import Dataset, Split
from paribus.data.groups import draw_groups, shares
from paribus.errors import DataError
from paribus.seeding import Purpose, numpy_generator

Indices = npt.NDArray[np.int64]

_DEFAULT_VAL = 0.1


@dataclass(frozen=True)
class Drawn:
    """One run's split: `train_indices` int64 (N,), ascending, index `dataset.train`; `val` validates.

    `val_indices` are those of `val` in `dataset.train`, None where it was not drawn from there. `val_is_test` says that
    `val` is the test split, which marks the result.
    """

    train_indices: Indices
    val: Split
    val_indices: Indices | None
    val_is_test: bool


def draw(dataset: Dataset, config: DataConfig, seed: int) -> Drawn:
    """Draw the split of one run as `DataConfig` describes it.

    A larger `val` or `train_size` of the same seed extends the smaller one, up to the rounding of the class shares.
    Where images are in groups, whole groups validate, so that there may be some more images than asked for.

    Args:
        dataset: The prepared images.
        config: `val` and `train_size` are used.
        seed: The run's seed.

    Raises:
        DataError: If a part would have more images than there are, or fewer than one of each class.
    """
    rest: Indices = np.arange(len(dataset.train), dtype=np.int64)
    val_indices: Indices | None = None
    if config.val == "test":
        val = dataset.test
    elif config.val is None and dataset.val is not None:
        val = dataset.val
    else:
        val_indices = _val_indices(dataset, config.val, seed)
        rest = np.setdiff1d(rest, val_indices)
        train = dataset.train
        groups = None if train.groups is None else train.groups[val_indices]
        val = Split(train.images[val_indices], train.labels[val_indices], groups)
    if config.train_size is not None:
        rest = rest[_subset(dataset, rest, config.train_size, seed)]
    return Drawn(rest, val, val_indices, val_is_test=config.val == "test")


def draw_stratified(
    labels: npt.NDArray[np.int64], count: int, seed: int, purpose: Purpose, stream: str = "class"
) -> Indices:
    """Draw `count` examples, of each class in proportion, rounded by the largest remainder.

    Args:
        labels: (N,), from 0.
        count: At most N.
        seed: With `purpose` and `stream`, decides the draw; each class has a generator of its own.
        purpose: What the draw is for.
        stream: Keeps draws of one seed and purpose apart.

    Returns:
        Ascending indices (count,).
    """
    chosen = []
    for label, share in enumerate(shares(np.bincount(labels), count)):
        members = np.flatnonzero(labels == label)
        generator = numpy_generator(seed, purpose, index=f"{stream}-{label}")
        chosen.append(generator.permutation(members)[:share])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def _val_indices(dataset: Dataset, val: int | float | None, seed: int) -> Indices:
    labels, groups = dataset.train.labels, dataset.train.groups
    wish = _DEFAULT_VAL if val is None else val
    count = wish if isinstance(wish, int) else round(wish * len(labels))
    asked = f"data.val = {wish:g}" + (" (a tenth of train, where nothing is set)" if val is None else "")
    if count >= len(labels):
        raise DataError(
            f"`{asked}` must leave images to train on, but {dataset.name} has only {len(labels)} training images. "
            "Set `data.val` lower."
        )
    if groups is None:
        indices = draw_stratified(labels, count, seed, "split")
    else:
        indices = draw_groups(
            labels, groups, count, lambda ids, stream: numpy_generator(seed, "split", index=stream).permutation(ids)
        )
    _require_every_class(dataset, indices, f"{asked} makes {count} validation images, which", "higher")
    _require_every_class(
        dataset, np.setdiff1d(np.arange(len(labels)), indices), f"{asked} leaves train images that", "lower"
    )
    return indices


def _subset(dataset: Dataset, rest: Indices, size: int, seed: int) -> Indices:
    if size > len(rest):
        raise DataError(
            f"`data.train_size = {size}` must be at most the {len(rest)} training images that {dataset.name} has after "
            "validation images are set aside. Set it lower, or take it out."
        )
    chosen = draw_stratified(dataset.train.labels[rest], size, seed, "subset")
    _require_every_class(dataset, rest[chosen], f"data.train_size = {size} keeps images that", "higher")
    return chosen


def _require_every_class(dataset: Dataset, indices: Indices, subject: str, direction: str) -> None:
    counts = np.bincount(dataset.train.labels[indices], minlength=dataset.num_classes)
    if not counts.all():
        raise DataError(
            f"Every part of {dataset.name} must hold each of its {dataset.num_classes} classes, but {subject} hold "
            f"none of class `{dataset.class_names[int(counts.argmin())]}`. Set the number {direction}."
        )
