"""Small made-up data sets on which a working trainer learns within seconds."""

from __future__ import annotations

import numpy as np

from paribus.data.dataset import Dataset, Split


def easy_dataset(num_classes: int = 4, per_class: int = 60, size: int = 28, seed: int = 0) -> Dataset:
    """Return grey images in which each class is a bright bar at its own height, under noise.

    Args:
        num_classes: Classes, at most `size` // 4.
        per_class: Training images of each class; the test set has half as many.
        size: Height and width in pixels.
        seed: Decides the noise; another seed, other images.
    """
    assert num_classes <= size // 4, "a bar needs four rows"
    generator = np.random.default_rng(seed)

    def split(count: int) -> Split:
        labels = np.tile(np.arange(num_classes, dtype=np.int64), count)
        images = generator.integers(0, 120, size=(len(labels), 1, size, size), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            row = 4 * int(label)
            image[0, row : row + 4] += 120
        return Split(images, labels)

    names = tuple(f"bar-{index}" for index in range(num_classes))
    return Dataset(
        "easy", f"easy-{num_classes}-{per_class}-{size}-{seed}", names, split(per_class), None, split(per_class // 2)
    )
