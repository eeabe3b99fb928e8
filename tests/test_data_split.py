from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paribus.config import DataConfig
from paribus.data import Dataset, Drawn, Split, draw
from paribus.data.split import draw_stratified
from paribus.errors import DataError


def _split(labels: npt.NDArray[Any]) -> Split:
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    return Split(images, labels.astype(np.int64))


def _dataset(train: int = 200, val: int = 0) -> Dataset:
    labels = np.random.default_rng(0).permutation(np.arange(train) % 4)
    source_val = _split(np.arange(val) % 4) if val else None
    return Dataset("mine", "0f", ("a", "b", "c", "d"), _split(labels), source_val, _split(np.arange(8) % 4))


def _drawn(seed: int = 0, dataset: Dataset | None = None, **keys: Any) -> Drawn:
    return draw(dataset or _dataset(), DataConfig(name="mine", **keys), seed)


def _images(drawn: Drawn) -> set[int]:
    return set(drawn.val.images.ravel().tolist())


@given(
    counts=st.lists(st.integers(1, 60), min_size=2, max_size=8),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
def test_stratified_draws_are_exact_and_proportional(counts: list[int], share: float, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    count = round(share * len(labels))
    chosen = draw_stratified(labels, count, seed, "split")
    assert len(chosen) == count and len(set(chosen.tolist())) == count
    assert chosen.dtype == np.int64 and np.array_equal(chosen, np.sort(chosen))
    exact = np.array(counts) * count / len(labels)
    assert (np.abs(np.bincount(labels[chosen], minlength=len(counts)) - exact) < 1).all()


def test_the_largest_remainder_gets_the_rest() -> None:
    labels = np.repeat([0, 1, 2], [5, 3, 2])  # 4 of 10: quotas 2.0, 1.2, 0.8.
    assert np.bincount(labels[draw_stratified(labels, 4, 0, "split")]).tolist() == [2, 1, 1]


@pytest.mark.parametrize(("val", "count"), [(40, 40), (0.2, 40), (None, 20)])
def test_val_is_drawn_from_train(val: int | float | None, count: int) -> None:
    dataset, drawn = _dataset(), _drawn(val=val)
    assert len(drawn.val) == count and len(drawn.train_indices) == 200 - count and not drawn.val_is_test
    assert _images(drawn).isdisjoint(drawn.train_indices.tolist())
    assert np.bincount(drawn.val.labels).tolist() == [count // 4] * 4
    assert np.array_equal(dataset.train.labels[drawn.val.images.ravel()], drawn.val.labels)
    assert drawn.train_indices.dtype == np.int64 and (np.diff(drawn.train_indices) > 0).all()


def test_the_sources_own_val_is_used_where_none_is_asked_for() -> None:
    dataset = _dataset(val=12)
    drawn = _drawn(dataset=dataset)
    assert drawn.val is dataset.val and len(drawn.train_indices) == 200


def test_a_number_draws_from_train_even_beside_the_sources_val() -> None:
    assert len(_drawn(dataset=_dataset(val=12), val=40).val) == 40


def test_test_may_validate_and_is_marked() -> None:
    dataset = _dataset()
    drawn = _drawn(dataset=dataset, val="test")
    assert drawn.val is dataset.test and drawn.val_is_test and len(drawn.train_indices) == 200


def test_train_size_keeps_some_of_what_is_left() -> None:
    drawn, whole = _drawn(val=40, train_size=60), _drawn(val=40)
    assert _images(drawn) == _images(whole)
    assert set(drawn.train_indices.tolist()) <= set(whole.train_indices.tolist())
    assert np.bincount(_dataset().train.labels[drawn.train_indices]).tolist() == [15] * 4
    assert (np.diff(drawn.train_indices) > 0).all()


def test_train_size_may_be_all_that_is_left() -> None:
    assert np.array_equal(_drawn(val=40, train_size=160).train_indices, _drawn(val=40).train_indices)


def test_a_larger_train_size_extends_a_smaller_one() -> None:
    small, large = _drawn(train_size=40), _drawn(train_size=80)
    assert set(small.train_indices.tolist()) < set(large.train_indices.tolist())


def test_one_seed_draws_the_same_whatever_the_global_stream() -> None:
    first = _drawn(seed=5, train_size=60)
    np.random.seed(99)  # The global stream is disturbed on purpose.
    second = _drawn(seed=5, train_size=60)
    assert _images(first) == _images(second) and np.array_equal(first.train_indices, second.train_indices)


def test_another_seed_draws_otherwise() -> None:
    first, second = _drawn(seed=5, train_size=60), _drawn(seed=6, train_size=60)
    assert _images(first) != _images(second) and not np.array_equal(first.train_indices, second.train_indices)


def test_val_is_a_copy_that_leaves_the_dataset_alone() -> None:
    dataset = _dataset()
    before = dataset.train.images.copy()
    _drawn(dataset=dataset).val.images[:] = 255
    assert np.array_equal(dataset.train.images, before)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"val": 200}, "`data.val = 200` must leave images.*has only 200 training images"),
        ({"val": 0.999}, "`data.val = 0.999` must leave images"),
        ({"val": 3}, "data.val = 3 makes 3 validation images, which hold none of class `d`. Set the number higher"),
        ({"val": 198}, "data.val = 198 leaves train images that hold none of class .*lower"),
        ({"val": 40, "train_size": 161}, "`data.train_size = 161` must be at most the 160 training images"),
        ({"train_size": 3}, "data.train_size = 3 keeps images that hold none of class `d`. Set the number higher"),
    ],
)
def test_a_split_that_cannot_be(keys: dict[str, Any], text: str) -> None:
    with pytest.raises(DataError, match=text):
        _drawn(**keys)


def test_a_tenth_of_a_tiny_set_is_no_validation() -> None:
    with pytest.raises(DataError, match=r"data.val = 0.1 \(a tenth of train, where nothing is set\) makes 2"):
        _drawn(dataset=_dataset(train=20))


def test_an_unbalanced_class_keeps_its_share() -> None:
    labels = np.repeat([0, 1, 2, 3], [100, 60, 30, 10])
    dataset = dataclasses.replace(_dataset(), train=_split(labels))
    assert np.bincount(_drawn(dataset=dataset, val=20).val.labels).tolist() == [10, 6, 3, 1]
