from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from paribus.errors import DataError
from paribus.metrics import calibration_error, confusion, cross_entropy, worst_errors
from paribus.store import Predictions


def test_cross_entropy_is_that_of_scipy_and_exact_for_large_logits() -> None:
    logits = np.random.default_rng(0).normal(0, 300, (40, 7)).astype(np.float32)
    labels = np.arange(40) % 7
    expected = special.logsumexp(logits.astype(np.float64), axis=1) - logits[np.arange(40), labels]
    losses = cross_entropy(logits, labels)
    assert losses.dtype == np.float64
    np.testing.assert_allclose(losses, expected, atol=1e-9)


def test_cross_entropy_is_infinite_where_a_logit_is_not_finite() -> None:
    logits = np.array([[0.0, 0.0], [np.nan, 0.0], [np.inf, 0.0]], dtype=np.float32)
    assert cross_entropy(logits, np.array([0, 0, 0])).tolist() == [math.log(2), math.inf, math.inf]


def test_cross_entropy_refuses_shapes_that_do_not_go_together() -> None:
    with pytest.raises(DataError, match=r"labels \(N,\), but got \(3, 2\) and \(2,\)"):
        cross_entropy(np.zeros((3, 2)), np.zeros(2, np.int64))


def test_calibration_error_is_that_of_a_hand_computation() -> None:
    # Bins of a fifth: (0.6, 0.8] holds two of which one is right, (0.8, 1] two that are right.
    confidence, correct = np.array([0.8, 0.7, 0.9, 1.0]), np.array([True, False, True, True])
    assert calibration_error(confidence, correct, bins=5) == pytest.approx(0.5 * 0.25 + 0.5 * 0.05)
    assert calibration_error(np.ones(4), np.array([True, True, True, False])) == 0.25


@given(st.lists(st.tuples(st.floats(0.01, 1), st.booleans()), min_size=1, max_size=40), st.integers(1, 20))
def test_calibration_error_lies_between_the_overall_gap_and_one(pairs: list[tuple[float, bool]], bins: int) -> None:
    confidence, correct = (np.array(each) for each in zip(*pairs, strict=True))
    found = calibration_error(confidence, correct, bins)
    assert abs(confidence.mean() - correct.mean()) - 1e-12 <= found <= 1
    assert calibration_error(confidence, correct, bins=1) == pytest.approx(abs(confidence.mean() - correct.mean()))


@pytest.mark.parametrize(("images", "low", "high"), [(200, 0.03, 0.05), (1000, 0.01, 0.02)])
def test_a_perfectly_calibrated_network_shows_an_error_on_few_images(images: int, low: float, high: float) -> None:
    """docs/decisions/probes.md: three to five points on 200 images at nine right in ten, one to two on 1,000."""
    generator = np.random.default_rng(0)
    errors = []
    for _ in range(200):
        confidence = generator.beta(10, 1, images).clip(0.1, 1)
        errors.append(calibration_error(confidence, generator.random(images) < confidence))
    assert confidence.mean() == pytest.approx(0.9, abs=0.02)
    assert low < np.mean(errors) < high


@pytest.mark.parametrize(
    ("confidence", "correct", "message"),
    [
        (np.ones((2, 2)), np.ones(2, bool), r"must both be \(N,\) with N at least 1, but got \(2, 2\) and \(2,\)"),
        (np.ones(3), np.ones(2, bool), r"but got \(3,\) and \(2,\)"),
        (np.ones(0), np.ones(0, bool), r"but got \(0,\)"),
        (np.array([0.5, 1.5]), np.ones(2, bool), "above 0 and at most 1, but span 0.5 to 1.5"),
        (np.array([0.0]), np.ones(1, bool), "but span 0.0 to 0.0"),
        (np.array([np.nan]), np.ones(1, bool), "but span nan"),
    ],
)
def test_calibration_error_refuses_what_is_no_confidence(
    confidence: np.ndarray, correct: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        calibration_error(confidence, correct)


def test_confusion_counts_examples_without_an_answer_in_the_last_column() -> None:
    labels, classes = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, -1, 1])
    assert confusion(labels, classes, 3).tolist() == [[1, 1, 0, 0], [0, 2, 0, 1], [0, 0, 0, 0]]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 4)), max_size=60))
def test_confusion_loses_no_example(pairs: list[tuple[int, int]]) -> None:
    labels = np.array([label for label, _ in pairs], dtype=np.int64)
    classes = np.array([answer for _, answer in pairs], dtype=np.int64)
    counts = confusion(labels, classes, 5)
    assert counts.sum(axis=1).tolist() == np.bincount(labels, minlength=5).tolist()
    assert np.trace(counts[:, :5]) == (labels == classes).sum()


@pytest.mark.parametrize(
    "labels, classes, text", [([3], [0], "labels must lie in 0 to 2"), ([0], [-2], "classes must lie in -1 to 2")]
)
def test_confusion_refuses_classes_out_of_range(labels: list[int], classes: list[int], text: str) -> None:
    with pytest.raises(DataError, match=text):
        confusion(np.array(labels), np.array(classes), 3)


def _predictions(rows: list[list[float]]) -> Predictions:
    return Predictions(np.array(rows, dtype=np.float32), np.zeros(len(rows), dtype=np.int64))


def test_worst_errors_are_ordered_by_mean_loss_and_leave_out_what_every_seed_got_right() -> None:
    right, near, far, lost = [2.0, 0.0], [0.0, 1.0], [0.0, 9.0], [math.nan, 0.0]
    first = _predictions([right, near, far, right, lost])
    second = _predictions([right, right, far, near, right])
    assert worst_errors([first, second], 10).tolist() == [4, 2, 1, 3]
    assert worst_errors([first, second], 2).tolist() == [4, 2]
    assert worst_errors([_predictions([right])], 5).tolist() == []


def test_worst_errors_need_a_run() -> None:
    with pytest.raises(DataError, match="predictions of at least one run, but got none"):
        worst_errors([], 5)
