"""Is a difference real: over other seeds on these test images, and on new images of the same source; intervals.

Arrays hold one metric of two arms, `(n,)` one figure per seed or `(n, m)` one figure per seed and test example, and a
difference is always arm minus control. Two questions are kept apart. `paired_by_seed` asks whether other seeds would
agree on these test images; `crossed` asks whether the difference would hold on new images, and decides verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from paribus.errors import DataError

LEVEL = 0.05
POWER = 0.8
MOST_SEEDS = 1000
MOST_IMAGES = 10_000_000
_MOST_ENUMERATED = 16  # Seeds; 65,536 sign patterns.
Interval = tuple[float, float]
Floats = npt.NDArray[np.float64]


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


@dataclass(frozen=True)
class CrossedComparison:
    """Arm against control over seeds and test examples, both taken as samples.

    `se`, `df`, `ci95` and `p` are None where nothing varies. With one seed they are those over examples alone, the
    variance of the seeds is unknown (None), and `p` is McNemar's for correctness. Variances are of one seed, of one
    example (both over the other's mean) and of what is left; an estimate below zero is given as 0.
    """

    seeds: int
    examples: int
    difference: float
    se: float | None
    df: float | None
    ci95: Interval | None
    p: float | None
    test: Literal["crossed", "mcnemar", "t over examples"]
    seed_variance: float | None = None
    example_variance: float | None = None
    residual_variance: float | None = None


@dataclass(frozen=True)
class Needed:
    """What would decide: that many seeds with these test images, or that many test images with these seeds.

    None where no number (up to 1,000 seeds, 10 million images) would.
    """

    seeds: int | None
    test_images: int | None


def paired_by_seed(arm: npt.ArrayLike, control: npt.ArrayLike) -> SeedComparison:
    """Compare two arms over seeds, paired by seed.

    Args:
        arm: One figure per seed (n,), finite. A diverged run is a run: give it the figure that it reached.
        control: The control's, for the same seeds in the same order.

    Raises:
        DataError: If the shapes differ, are empty, or a figure is not finite.
    """
    from scipy import stats

    first, second = _same_shape(arm, control, 1)
    differences = first - second
    n, mean = len(differences), float(differences.mean())
    correlation = float(np.corrcoef(first, second)[0, 1]) if n > 2 and np.ptp(first) and np.ptp(second) else None
    if n == 1:
        return SeedComparison(1, mean, None, None, None, None)
    se = 0.0 if np.ptp(differences) == 0 else float(differences.std(ddof=1)) / math.sqrt(n)
    ci95 = _interval(mean, se, n - 1) if se else None
    if n <= _MOST_ENUMERATED:
        return SeedComparison(n, mean, ci95, _sign_flip_p(differences), "sign flip", correlation)
    p = float(2 * stats.t.sf(abs(mean) / se, n - 1)) if se else None
    return SeedComparison(n, mean, ci95, p, "t", correlation)


def _sign_flip_p(differences: Floats) -> float:
    """Share of all 2^n sign patterns whose mean is at least as far from zero (Fisher's randomisation test)."""
    n = len(differences)
    signs = 1 - 2 * ((np.arange(2**n)[:, np.newaxis] >> np.arange(n)) & 1)
    sums = np.abs(signs @ differences)
    tolerance = 1e-12 * float(np.abs(differences).sum())
    return float(np.mean(sums >= abs(differences.sum()) - tolerance))


def crossed(arm: npt.ArrayLike, control: npt.ArrayLike) -> CrossedComparison:
    """Compare two arms over seeds and test examples, both random, paired by example.

    With D = arm - control, D[s, i] = mean + seed s + example i + residual. The variance of the mean comes from the
    mean squares of the two-way layout (Searle, Casella, McCulloch 1992, chapter 4), its degrees of freedom from
    Satterthwaite 1946, as `_mean_variance` says.

    Args:
        arm: Correctness or loss (n, m) of n seeds on m examples, finite.
        control: The control's, for the same seeds and examples in the same order.

    Raises:
        DataError: If the shapes differ, there are fewer than two examples, or a figure is not finite.
    """
    first, second = _same_shape(arm, control, 2)
    d = first - second
    n, m = d.shape
    if m < 2:
        raise DataError(f"A comparison on new data needs at least 2 test examples, but got {m}. Use a bigger test set.")
    if n == 1:
        return _over_examples(d[0], _is_binary(first) and _is_binary(second))
    mean = float(d.mean())
    rows, columns = d.mean(axis=1, keepdims=True), d.mean(axis=0, keepdims=True)
    seed = m * float(((rows - mean) ** 2).sum()) / (n - 1)
    example = n * float(((columns - mean) ** 2).sum()) / (m - 1)
    residual = float(((d - rows - columns + mean) ** 2).sum()) / ((n - 1) * (m - 1))
    variances = (max(0.0, seed - residual) / m, max(0.0, example - residual) / n, residual)
    if np.ptp(d) == 0:
        return CrossedComparison(n, m, mean, None, None, None, None, "crossed", *variances)
    variance, df = _mean_variance(_Squares(seed, example, residual), n, m)
    se = math.sqrt(variance)
    return CrossedComparison(
        n, m, mean, se, df, _interval(mean, se, df), _two_sided(mean, se, df), "crossed", *variances
    )


@dataclass(frozen=True)
class _Squares:
    """Mean squares of the two-way layout."""

    seed: float
    example: float
    residual: float


def _mean_variance(squares: _Squares, n: int, m: int) -> tuple[float, float]:
    """Return the variance of the mean of an (n, m) layout, and its degrees of freedom.

    The variance is (seed + example - residual) / (n m). A mean square below the residual's says that its source has a
    variance below zero; it is taken as zero, which errs to wide intervals.

    The degrees of freedom are Satterthwaite's, with the spread of all three mean squares added up, and a seed mean
    square that is raised to its median-unbiased value. A few seeds usually show less variance than there is; the plain
    formula then counts on many degrees of freedom where there are n - 1, and errs most in the far tails that Holm uses.
    """
    from scipy import stats

    residual, beyond = squares.residual, max(0.0, squares.example - squares.residual)
    variance = (max(squares.seed, residual) + beyond) / (n * m)
    seed = max(squares.seed * (n - 1) / float(stats.chi2.ppf(0.5, n - 1)), residual)
    parts = ((seed, n - 1), (squares.example, m - 1), (residual, (n - 1) * (m - 1)))
    df = (seed + beyond) ** 2 / sum(square**2 / freedom for square, freedom in parts)
    return variance, min(max(df, n - 1.0), float((n - 1) * (m - 1)))


def _over_examples(d: Floats, binary: bool) -> CrossedComparison:
    from scipy import stats

    m, mean = len(d), float(d.mean())
    test: Literal["mcnemar", "t over examples"] = "mcnemar" if binary else "t over examples"
    if np.ptp(d) == 0:
        return CrossedComparison(1, m, mean, None, None, None, None, test)
    se, df = float(d.std(ddof=1)) / math.sqrt(m), m - 1.0
    p = _two_sided(mean, se, df)
    if binary:
        gained, lost = int((d > 0).sum()), int((d < 0).sum())
        p = float(stats.binomtest(gained, gained + lost).pvalue)
    return CrossedComparison(1, m, mean, se, df, _interval(mean, se, df), p, test)


def holm(p: Sequence[float]) -> list[float]:
    """Return p values adjusted for being several (Holm 1979), in the given order.

    Raises:
        DataError: If a value is not between 0 and 1.
    """
    if not all(0 <= value <= 1 for value in p):
        raise DataError(f"p values must lie between 0 and 1, but got {list(p)}. Leave out what was not tested.")
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda each: p[each])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = highest
    return adjusted


def equivalence(difference: float, se: float, df: float, margin: float) -> float:
    """Return the p value of two one-sided t tests that the true difference lies within +-margin (Schuirmann 1987).

    Raises:
        DataError: If the standard error, the degrees of freedom or the margin is not above 0.
    """
    from scipy import stats

    if not (se > 0 and df > 0 and margin > 0):
        raise DataError(
            "Equivalence needs a standard error, degrees of freedom and a margin above 0, but got "
            f"{se}, {df}, {margin}. Where nothing varies there is no test."
        )
    return float(max(stats.t.sf((margin + difference) / se, df), stats.t.sf((margin - difference) / se, df)))


def seeds_needed(comparison: CrossedComparison, margin: float, alpha: float = LEVEL) -> Needed:
    """Say what would decide a comparison, if its difference and its variances are what they were measured to be.

    Decided means: with a probability of 80 % either the difference is significant at `alpha`, or the arms are
    equivalent within the margin.

    Args:
        comparison: An analysis of at least two seeds; one seed gives no answer, as nothing is known of the seeds.
        margin: The smallest difference worth knowing, above 0.
        alpha: Level of the test, already divided by the number of comparisons.
    """
    if comparison.se is None or comparison.seed_variance is None:
        return Needed(None, None)
    n, m = comparison.seeds, comparison.examples

    def decides(seeds: int, examples: int) -> bool:
        return _power(comparison, (seeds, examples), margin, alpha) >= POWER

    return Needed(
        _first(lambda seeds: decides(seeds, m), n + 1, MOST_SEEDS),
        _first(lambda examples: decides(n, examples), m + 1, MOST_IMAGES),
    )


def _power(comparison: CrossedComparison, size: tuple[int, int], margin: float, alpha: float) -> float:
    """Chance that an experiment of `size` (seeds, examples) would be decided."""
    from scipy import stats

    assert comparison.seed_variance is not None
    assert comparison.example_variance is not None
    assert comparison.residual_variance is not None
    n, m = size
    rest = comparison.residual_variance
    squares = _Squares(rest + m * comparison.seed_variance, rest + n * comparison.example_variance, rest)
    variance, df = _mean_variance(squares, n, m)
    se, size_of = math.sqrt(variance), abs(comparison.difference)
    significant = stats.t.cdf(size_of / se - stats.t.isf(alpha / 2, df), df)
    bar = stats.t.isf(LEVEL, df)
    equivalent = stats.t.cdf((margin - size_of) / se - bar, df) - stats.t.cdf(bar - (margin + size_of) / se, df)
    return float(max(significant, equivalent))


def _first(holds: Callable[[int], bool], lowest: int, highest: int) -> int | None:
    """Return the least number from `lowest` to `highest` for which a rule holds that stays true once it is."""
    if not holds(highest):
        return None
    while lowest < highest:
        middle = (lowest + highest) // 2
        if holds(middle):
            highest = middle
        else:
            lowest = middle + 1
    return highest


def t_interval(values: npt.ArrayLike) -> Interval | None:
    """Return the 95 % t interval of a mean, values (n,), or None where fewer than two or all the same."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2 or np.ptp(array) == 0:
        return None
    return _interval(float(array.mean()), float(array.std(ddof=1)) / math.sqrt(len(array)), len(array) - 1)


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


def _interval(mean: float, se: float, df: float) -> Interval:
    from scipy import stats

    half = float(stats.t.isf(LEVEL / 2, df)) * se
    return mean - half, mean + half


def _two_sided(mean: float, se: float, df: float) -> float:
    from scipy import stats

    return float(2 * stats.t.sf(abs(mean) / se, df))


def _is_binary(values: Floats) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def _same_shape(arm: npt.ArrayLike, control: npt.ArrayLike, ndim: int) -> tuple[Floats, Floats]:
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
