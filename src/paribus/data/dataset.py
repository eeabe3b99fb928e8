"""What every reader returns and every engine trains on: images held whole, as uint8."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from paribus.errors import DataError


@dataclass(frozen=True)
class Split:
    """Images and their classes.

    `images` is uint8 (N, C, H, W) with C = 1 (grey) or 3 (RGB); `labels` is int64 (N,), from 0. `groups` is int64 (N,)
    or None: images of one number show the same person, place or burst, over all splits of the data set.
    `suggested_groups` are the same where only the names of the files tell: nothing is drawn by them.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64] | None = None
    suggested_groups: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """One data set, prepared: every image at one size.

    `val` is the source's own validation split or None. `fingerprint` is a hexadecimal digest of the source's contents
    and of how they were prepared. The order of examples is the source's and never changes. `skipped` tells of each file
    that was left out why it cannot be read, by its path.
    """

    name: str
    fingerprint: str
    class_names: tuple[str, ...]
    train: Split
    val: Split | None
    test: Split
    skipped: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, split in (("train", self.train), ("val", self.val), ("test", self.test)):
            if split is not None:
                _require_whole(f"{self.name} {name}", split, len(self.class_names))

    def without_test(self) -> Dataset:
        """Return the data set for runs that choose something: whoever looks at its test images fails."""
        blind = copy.copy(self)
        object.__setattr__(blind, "test", _Unseen())
        return blind

    @property
    def num_classes(self) -> int:
        """How many classes there are, over all splits."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


class _Unseen:
    """Stands where the test images would be."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError("A run that chooses something must not look at the test images.")

    def __len__(self) -> NoReturn:
        raise AssertionError("A run that chooses something must not count the test images.")


def _require_whole(name: str, split: Split, num_classes: int) -> None:
    images, labels = split.images, split.labels
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DataError(
            f"The images of {name} must be uint8 (N, 1 or 3, H, W), but got {images.dtype} {images.shape}. Scale them "
            "to 0 to 255, and put the channels second."
        )
    if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
        raise DataError(
            f"The labels of {name} must be int64 with one label per image, but got {labels.dtype} {labels.shape} for "
            f"{len(images)} images. Give every image one whole number."
        )
    if split.groups is not None and split.groups.shape != labels.shape:
        raise DataError(
            f"The groups of {name} must be one per image, but got {split.groups.shape} for {len(images)}. Give every "
            "image one, or leave them out."
        )
    if len(labels) == 0:
        raise DataError(f"{name} must hold at least one image, but it is empty. Add some.")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise DataError(
            f"The labels of {name} must lie in 0 to {num_classes - 1}, but they span {labels.min()} to {labels.max()}. "
            "Number the classes from 0 without gaps."
        )
