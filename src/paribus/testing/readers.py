"""What every data reader and every data set must fulfil; call these from the tests of a reader of your own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from paribus.data.dataset import Dataset, Split


def check_dataset(dataset: Dataset) -> None:
    """Check that a data set can be trained on.

    Args:
        dataset: As a reader or `load_prepared` returned it.

    Raises:
        AssertionError: With what must hold and what was found.
    """
    names = dataset.class_names
    assert dataset.name, "a data set must have a name"
    assert dataset.fingerprint and set(dataset.fingerprint) <= set("0123456789abcdef"), (
        f"the fingerprint must be hexadecimal, but is {dataset.fingerprint!r}"
    )
    assert len(set(names)) == len(names) >= 2, f"there must be two classes or more with names of their own: {names}"
    for name, split in _splits(dataset).items():
        _check_split(name, split, dataset)
    absent = sorted(set(range(dataset.num_classes)) - set(dataset.train.labels.tolist()))
    assert not absent, f"every class must have train images, but these have none: {[names[label] for label in absent]}"


def check_reader(read: Callable[[], Dataset]) -> Dataset:
    """Check what a reader returns, and that reading again returns the same.

    Args:
        read: Reads the whole data set, each time anew.

    Returns:
        What was read.

    Raises:
        AssertionError: With what must hold and what was found.
    """
    first, second = read(), read()
    check_dataset(first)
    for key in ("name", "fingerprint", "class_names"):
        one, other = getattr(first, key), getattr(second, key)
        assert one == other, f"reading twice must give one {key}, but gave {one!r} and {other!r}"
    again = _splits(second)
    for name, split in _splits(first).items():
        assert name in again, f"reading twice must give the same splits, but {name} came only once"
        same = np.array_equal(split.images, again[name].images) and np.array_equal(split.labels, again[name].labels)
        assert same, f"reading twice must give the same {name} images and labels in the same order"
    assert len(again) == len(_splits(first)), "reading twice must give the same splits, but val came only once"
    return first


def _splits(dataset: Dataset) -> dict[str, Split]:
    splits = {"train": dataset.train, "test": dataset.test}
    return splits if dataset.val is None else {**splits, "val": dataset.val}


def _check_split(name: str, split: Split, dataset: Dataset) -> None:
    images, labels = split.images, split.labels
    assert images.dtype == np.uint8, f"{name} images must be uint8, but are {images.dtype}"
    assert images.ndim == 4 and images.shape[1] in (1, 3), f"{name} images must be (N, 1 or 3, H, W): {images.shape}"
    assert images.shape[1:] == dataset.image_shape, f"{name} images must be {dataset.image_shape}: {images.shape[1:]}"
    assert images.flags.c_contiguous, f"{name} images must be contiguous in memory"
    assert labels.dtype == np.int64, f"{name} labels must be int64, but are {labels.dtype}"
    assert labels.shape == images.shape[:1], f"{name} must have one label per image: {labels.shape}, {images.shape}"
    assert len(labels) > 0, f"{name} must not be empty"
    low, high = int(labels.min()), int(labels.max())
    assert low >= 0 and high < dataset.num_classes, (
        f"{name} labels must be below {dataset.num_classes}: {low} to {high}"
    )
