"""Small made-up data sets on which a working trainer learns within seconds."""

from __future__ import annotations

import numpy as np

from paribus.data.dataset import Dataset, Split

_CLASSES, _PER_CLASS = 4, 60


def easy_dataset(size: int = 28) -> Dataset:
    """Return grey images in which each of four classes is a bright bar at its own height, under noise.

    There are 60 training images of each class and half as many for test, the same ones at every call.

    Args:
        size: Height and width in pixels, at least 16.
    """
    generator = np.random.default_rng(0)

    def split(count: int) -> Split:
        labels = np.tile(np.arange(_CLASSES, dtype=np.int64), count)
        images = generator.integers(0, 120, size=(len(labels), 1, size, size), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            row = 4 * int(label)
            image[0, row : row + 4] += 120
        return Split(images, labels)

    names = tuple(f"bar-{index}" for index in range(_CLASSES))
    fingerprint = f"easy-{_CLASSES}-{_PER_CLASS}-{size}-0"
    return Dataset("easy", fingerprint, names, split(_PER_CLASS), None, split(_PER_CLASS // 2))
