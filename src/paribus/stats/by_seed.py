"""Would other seeds agree on these test images: two arms paired by seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from paribus.stats.intervals import Floats, Interval, same_shape, t_interval

_MOST_ENUMERATED = 16  # Seeds; 65,536 sign patterns.


@dataclass(frozen=True)
class SeedComparison:
    """Arm against control over seeds, on one fixed test set.

    `ci95` is None where the differences do not vary or there is one seed: then their spread is unknown, not zero.
    `p` is that of the exact sign-flip test, above 16 seeds that of the paired t test (`test` says which), None with
    one seed. `correlation` is that of the arm with the control over seeds, None below three seeds or without variation.
    """

    seeds: int
    difference: float
    ci95: Interval | None
    p: float | None
    test: Literal["sign flip", "t"] | None
    correlation: float | None


def paired_by_seed(arm: npt.ArrayLike, control: npt.ArrayLike) -> SeedComparison:
    """Compare two arms over seeds, paired by seed.

    Args:
        arm: One figure per seed (n,), finite. A diverged run is a run: give it the figure that it reached.
        control: The control's, for the same seeds in the same order.

    Raises:
        DataError: If the shapes differ, are empty, or a figure is not finite.
    """
    first, second = same_shape(arm, control, 1)
    differences = first - second
    n, mean = len(differences), float(differences.mean())
    correlation = float(np.corrcoef(first, second)[0, 1]) if n > 2 and np.ptp(first) and np.ptp(second) else None
    if n == 1:
        return SeedComparison(1, mean, None, None, None, None)
    ci95 = t_interval(differences)
    if n <= _MOST_ENUMERATED:
        return SeedComparison(n, mean, ci95, _sign_flip_p(differences), "sign flip", correlation)
    return SeedComparison(n, mean, ci95, _t_test_p(differences) if ci95 else None, "t", correlation)


def _t_test_p(differences: Floats) -> float:
    """Two-sided p of the paired t test."""
    from scipy.special import stdtr

    n = len(differences)
    se = float(differences.std(ddof=1)) / math.sqrt(n)
    return float(2 * stdtr(n - 1, -abs(float(differences.mean())) / se))


def _sign_flip_p(differences: Floats) -> float:
    """Share of all 2^n sign patterns whose mean is at least as far from zero (Fisher's randomisation test)."""
    n = len(differences)
    signs = 1 - 2 * ((np.arange(2**n)[:, np.newaxis] >> np.arange(n)) & 1)
    sums = np.abs(signs @ differences)
    tolerance = 1e-12 * float(np.abs(differences).sum())
    return float(np.mean(sums >= abs(differences.sum()) - tolerance))
