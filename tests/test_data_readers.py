"""The conformance suite for readers passes what is whole and finds what is not."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from paribus.data import Dataset, Split
from paribus.testing.readers import check_dataset, check_reader


def _dataset(**changes: Any) -> Dataset:
    labels = np.arange(6, dtype=np.int64) % 3
    split = Split(np.arange(6 * 4, dtype=np.uint8).reshape(6, 1, 2, 2), labels)
    return dataclasses.replace(Dataset("mine", "0f", ("a", "b", "c"), split, None, split), **changes)


def _unchecked(split: str, images: Any = None, labels: Any = None) -> Dataset:
    """Return a data set with a fault that its own checks would refuse."""
    dataset = _dataset()
    whole = dataset.train
    broken = Split(whole.images if images is None else images, whole.labels if labels is None else labels)
    object.__setattr__(dataset, split, broken)
    return dataset


def test_a_whole_data_set_passes() -> None:
    check_dataset(_dataset())
    check_dataset(_dataset(val=_dataset().test))
    assert check_reader(_dataset).name == "mine"


LABELS = np.arange(6, dtype=np.int64) % 3
FAULTS = {
    "must have a name": _dataset(name=""),
    "must be hexadecimal": _dataset(fingerprint="xyz"),
    "names of their own": _dataset(class_names=("a", "b", "b")),
    "these have none: .'d'.": _dataset(class_names=("a", "b", "c", "d")),
    "train images must be uint8": _unchecked("train", images=np.zeros((6, 1, 2, 2))),
    "test images must be .N, 1 or 3, H, W.": _unchecked("test", images=np.zeros((6, 2, 2, 2), np.uint8)),
    "test images must be .1, 2, 2.": _unchecked("test", images=np.zeros((6, 1, 3, 3), np.uint8)),
    "val images must be contiguous": _unchecked("val", images=np.zeros((6, 1, 2, 4), np.uint8)[..., ::2]),
    "train labels must be int64": _unchecked("train", labels=LABELS.astype(np.int32)),
    "one label per image": _unchecked("train", labels=LABELS[:5]),
    "must not be empty": _unchecked("test", np.zeros((0, 1, 2, 2), np.uint8), LABELS[:0]),
    "labels must be below 3: 0 to 7": _unchecked("val", labels=np.where(LABELS == 2, 7, LABELS)),
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_is_found(text: str) -> None:
    with pytest.raises(AssertionError, match=text):
        check_dataset(FAULTS[text])


OTHER = Split(_dataset().train.images[::-1].copy(), LABELS)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"fingerprint": "aa"}, "one fingerprint"),
        ({"class_names": ("c", "b", "a")}, "one class_names"),
        ({"train": OTHER}, "the same train images"),
        ({"val": OTHER}, "val came only once"),
    ],
)
def test_a_reader_that_changes_its_mind_is_found(changes: dict[str, Any], text: str) -> None:
    readings = [_dataset(), _dataset(**changes)]
    with pytest.raises(AssertionError, match=text):
        check_reader(lambda: readings.pop(0))
    readings = [_dataset(**changes), _dataset()]
    with pytest.raises(AssertionError, match=text):
        check_reader(lambda: readings.pop(0))
