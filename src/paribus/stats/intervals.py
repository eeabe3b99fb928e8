"""Intervals of a mean and of a proportion, and the arrays that comparisons take."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus.errors import DataError

LEVEL = 0.05
Interval = tuple[float, float]
Floats = npt.NDArray[np.float64]


def t_interval(values: npt.ArrayLike) -> Interval | None:
    """Return the 95 % t interval of a mean, values (n,), or None where fewer than two or all the same."""
    from scipy.special import stdtrit  # `scipy.stats` takes a second to import.

    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2 or np.ptp(array) == 0:
        return None
    mean, se = float(array.mean()), float(array.std(ddof=1)) / math.sqrt(len(array))
    half = -float(stdtrit(len(array) - 1, LEVEL / 2)) * se
    return mean - half, mean + half


def wilson(correct: int, total: int) -> Interval:
    """Return the 95 % interval of a proportion (Wilson 1927), which stays within 0 and 1.

    Args:
        correct: How many examples were right.
        total: How many there are, at least 1.

    Raises:
        DataError: If the counts are impossible.
    """
    if not 0 <= correct <= total or total < 1:
        raise DataError(
            f"A proportion needs 0 <= correct <= total and a total of at least 1, but got {correct} of {total}. "
            "Check the counts."
        )
    z = NormalDist().inv_cdf(0.975)
    share, scale = correct / total, 1 + z * z / total
    middle = (share + z * z / (2 * total)) / scale
    half = z / scale * (share * (1 - share) / total + z * z / (4 * total * total)) ** 0.5
    low = 0.0 if correct == 0 else middle - half
    high = 1.0 if correct == total else middle + half
    return low, high


def same_shape(arm: npt.ArrayLike, control: npt.ArrayLike, ndim: int) -> tuple[Floats, Floats]:
    """Return arm and control as float arrays of one shape, `ndim` axes: (seeds,) or (seeds, examples).

    Raises:
        DataError: If the shapes differ, are empty, or a figure is not finite.
    """
    first: Any = np.asarray(arm, dtype=np.float64)
    second: Any = np.asarray(control, dtype=np.float64)
    if first.shape != second.shape or first.ndim != ndim or not first.size:
        axes = "(seeds,)" if ndim == 1 else "(seeds, examples)"
        raise DataError(
            f"Arm and control must both be {axes}, not empty and alike, but got {first.shape} and {second.shape}. "
            "Give the seeds and examples that both have."
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise DataError("Arm and control must be finite, but a figure is not. Compare accuracy instead of loss.")
    return first, second
