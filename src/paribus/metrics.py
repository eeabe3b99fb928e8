"""Figures of stored predictions: loss per example, calibration, confusion, worst errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from paribus.errors import DataError
from paribus.store import Predictions

NO_ANSWER = -1


def cross_entropy(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the loss of each example in nats, float64 (N,).

    An example with a logit that is not finite has an infinite loss.

    Args:
        logits: (N, num_classes).
        labels: (N,), from 0.

    Raises:
        DataError: If the shapes do not go together.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise DataError(
            f"Logits must be (N, num_classes) with labels (N,), but got {logits.shape} and {labels.shape}. "
            "Give both for the same examples."
        )
    exact = logits.astype(np.float64)
    finite = np.isfinite(exact).all(axis=1)
    exact[~finite] = 0
    shifted = exact - exact.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return np.where(finite, losses, np.inf)


def calibration_error(confidence: npt.NDArray[np.floating], correct: npt.NDArray[np.bool_], bins: int = 15) -> float:
    """Return the expected calibration error: how far confidence is from accuracy, a fraction.

    Within bins of equal width over the confidence, the distance of mean confidence and accuracy; the mean over bins,
    weighted by their examples (Guo et al. 2017, arXiv 1706.04599, equation 3).

    Args:
        confidence: The highest probability of each example (N,), above 0 and at most 1.
        correct: Whether the class that has it is the right one (N,).
        bins: How many; a bin holds its upper end, not its lower.

    Raises:
        DataError: If the shapes do not go together, there are no examples, or a confidence is out of range.
    """
    if confidence.ndim != 1 or confidence.shape != correct.shape or not len(confidence):
        raise DataError(
            f"Confidence and correctness must both be (N,) with N at least 1, but got {confidence.shape} and "
            f"{correct.shape}. Give both for the same examples."
        )
    exact = confidence.astype(np.float64)
    if not ((exact > 0) & (exact <= 1)).all():
        raise DataError(
            f"Confidences must be above 0 and at most 1, but span {exact.min()} to {exact.max()}. Give probabilities."
        )
    places = np.ceil(exact * bins).astype(np.int64) - 1
    surplus = np.bincount(places, weights=exact - correct, minlength=bins)
    return float(np.abs(surplus).sum() / len(exact))


def confusion(labels: npt.NDArray[np.int64], classes: npt.NDArray[np.int64], num_classes: int) -> npt.NDArray[np.int64]:
    """Count examples by true class (row) and predicted class (column).

    Args:
        labels: True classes (N,), from 0.
        classes: Predicted classes (N,), -1 where the network gave no answer because a logit was not finite.
        num_classes: How many classes there are.

    Returns:
        (num_classes, num_classes + 1); the last column counts the examples without an answer, so that every row sums
        to the class's number of examples.

    Raises:
        DataError: If a class lies outside the range.
    """
    for name, values, lowest in (("labels", labels, 0), ("predicted classes", classes, NO_ANSWER)):
        if len(values) and not lowest <= values.min() <= values.max() < num_classes:
            raise DataError(
                f"The {name} must lie in {lowest} to {num_classes - 1}, but span {values.min()} to {values.max()}. "
                "Check `num_classes`."
            )
    columns = np.where(classes == NO_ANSWER, num_classes, classes)
    counts = np.bincount(labels * (num_classes + 1) + columns, minlength=num_classes * (num_classes + 1))
    return counts.reshape(num_classes, num_classes + 1).astype(np.int64)


def worst_errors(predictions: Sequence[Predictions], count: int) -> npt.NDArray[np.int64]:
    """Return the indices of the examples that a network gets most wrong, worst first.

    Args:
        predictions: Those of each seed, for the same examples.
        count: How many indices at most; fewer come back where fewer examples were misclassified by any seed.

    Returns:
        Indices of misclassified examples by falling mean loss over the seeds; ties in the test set's order.

    Raises:
        DataError: If there are no predictions.
    """
    if not predictions:
        raise DataError("The worst errors need the predictions of at least one run, but got none. Finish a run first.")
    wrong = ~np.logical_and.reduce([each.correct for each in predictions])
    loss = np.mean([cross_entropy(each.logits, each.labels) for each in predictions], axis=0)
    order = np.argsort(-loss, kind="stable")
    return np.asarray(order[wrong[order]][:count], dtype=np.int64)
