"""Would a difference hold on new images: seeds and test examples both taken as samples. This decides verdicts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from paribus.errors import DataError
from paribus.stats.intervals import LEVEL, Floats, Interval, same_shape

_LEAST_CHANCE = 0.05
_SMALLEST = 1e-290  # Of a tail; below, quantiles are not to be had.


@dataclass(frozen=True)
class StandardError:
    """That of a mean which varies over seeds and over examples, each with the degrees of freedom of its own estimate.

    `seeds` and `examples` are variances of the mean, above 0 together. A quantile is the mean of Student's quantiles of
    both, weighted by their variances (Cochran 1964, Biometrics 20:191-195): Student's of the seeds where these decide,
    the normal one where the many examples do, and never below what the variances ask for at any level, as
    Satterthwaite's is in the far tails that Holm's correction uses.
    """

    seeds: float
    seeds_df: float
    examples: float
    examples_df: float

    @property
    def value(self) -> float:
        """The standard error, in the unit of the mean."""
        return math.sqrt(self.seeds + self.examples)

    def quantile(self, upper: float) -> float:
        """Return what a mean of zero exceeds with the probability `upper`, in standard errors."""
        from scipy.special import stdtrit  # A hundred times faster than scipy.stats.t, and as exact.

        by_seeds = -self.seeds * float(stdtrit(self.seeds_df, upper)) if self.seeds else 0.0
        by_examples = -self.examples * float(stdtrit(self.examples_df, upper)) if self.examples else 0.0
        return (by_seeds + by_examples) / (self.seeds + self.examples)

    def upper_tail(self, distance: float) -> float:
        """Return the probability with which a mean of zero exceeds a distance given in standard errors."""
        from scipy.optimize import brentq
        from scipy.special import stdtr

        if distance < 0:
            return 1 - self.upper_tail(-distance)
        parts = ((self.seeds, self.seeds_df), (self.examples, self.examples_df))
        tails = [max(float(stdtr(df, -distance)), _SMALLEST) for variance, df in parts if variance]

        def beyond(log: float) -> float:
            return self.quantile(math.exp(log)) - distance

        # The tail lies between those of the parts, as the quantile does between theirs; equal ones differ by rounding.
        low, high = math.log(min(tails)), math.log(max(tails))
        if beyond(low) <= 0:
            return math.exp(low)
        if beyond(high) >= 0:
            return math.exp(high)
        return math.exp(brentq(beyond, low, high, xtol=1e-9))

    def two_sided(self, difference: float) -> float:
        """Return the p value of a difference, against none."""
        return min(1.0, 2 * self.upper_tail(abs(difference) / self.value))

    def ci95(self, mean: float) -> Interval:
        """Return the 95 % interval around a mean."""
        half = self.quantile(LEVEL / 2) * self.value
        return mean - half, mean + half

    def reaching(self, least: float) -> StandardError:
        """Return this standard error, or one as much larger as makes the 95 % interval reach so far to either side."""
        factor = max(1.0, least / (self.quantile(LEVEL / 2) * self.value)) ** 2
        return replace(self, seeds=factor * self.seeds, examples=factor * self.examples)


@dataclass(frozen=True)
class Variances:
    """Variances of one difference: of a seed and of an example (each over the other's mean), and of what is left.

    `of_shares` says whether the difference is one of correctness, and so of shares of examples.
    """

    seed: float
    example: float
    residual: float
    of_shares: bool


@dataclass(frozen=True)
class CrossedComparison:
    """Arm against control over seeds and test examples, both taken as samples.

    `error`, `ci95` and `p` are None where nothing varies. Where several seeds answer every example alike in both arms,
    `error` alone is: `test` is "none apart", and `ci95` is `unseen_share` to either side. Of correctness, no other
    interval is narrower. With one seed they are those over examples alone, the `variances` are unknown (None), and
    `p` is McNemar's for correctness. An estimated variance below zero is given as 0.
    """

    seeds: int
    examples: int
    difference: float
    error: StandardError | None
    ci95: Interval | None
    p: float | None
    test: Literal["crossed", "none apart", "mcnemar", "t over examples"]
    variances: Variances | None = None


def unseen_share(examples: int) -> float:
    """Return the largest share of all examples of which, with a probability of 2.5 %, none is among so many.

    The exact binomial bound (Clopper and Pearson 1934). A kind of example that rare, which one arm alone gets wrong,
    may have no part in the variance that was measured.
    """
    return 1.0 - math.pow(LEVEL / 2, 1 / examples)


def crossed(arm: npt.ArrayLike, control: npt.ArrayLike) -> CrossedComparison:
    """Compare two arms over seeds and test examples, both random, paired by example.

    With D = arm - control, D[s, i] = mean + seed s + example i + residual, and the variance of the mean comes from the
    mean squares of the two-way layout (Searle, Casella, McCulloch 1992, chapter 4), as `error_of_mean` says. The
    interval of a difference of correctness reaches `unseen_share` at least, and p values are those of that interval:
    docs/decisions/new-data.md.

    Args:
        arm: Correctness or loss (n, m) of n seeds on m examples, finite.
        control: The control's, for the same seeds and examples in the same order.

    Raises:
        DataError: If the shapes differ, there are fewer than two examples, or a figure is not finite.
    """
    first, second = same_shape(arm, control, 2)
    d, of_shares = first - second, _is_binary(first) and _is_binary(second)
    n, m = d.shape
    if m < 2:
        raise DataError(f"A comparison on new data needs at least 2 test examples, but got {m}. Use a bigger test set.")
    if n == 1:
        return _over_examples(d[0], of_shares)
    mean = float(d.mean())
    rows, columns = d.mean(axis=1, keepdims=True), d.mean(axis=0, keepdims=True)
    seed = m * float(((rows - mean) ** 2).sum()) / (n - 1)
    example = n * float(((columns - mean) ** 2).sum()) / (m - 1)
    residual = float(((d - rows - columns + mean) ** 2).sum()) / ((n - 1) * (m - 1))
    variances = Variances(max(0.0, seed - residual) / m, max(0.0, example - residual) / n, residual, of_shares)
    if not d.any() and of_shares:
        bound = unseen_share(m)
        return CrossedComparison(n, m, 0.0, None, (-bound, bound), 1.0, "none apart", variances)
    if np.ptp(d) == 0:
        return CrossedComparison(n, m, mean, None, None, None, "crossed", variances)
    error = error_of_mean(MeanSquares(seed, example, residual), n, m)
    if of_shares:
        error = error.reaching(unseen_share(m))
    return CrossedComparison(n, m, mean, error, error.ci95(mean), error.two_sided(mean), "crossed", variances)


@dataclass(frozen=True)
class MeanSquares:
    """Mean squares of the two-way layout of seeds and examples."""

    seed: float
    example: float
    residual: float


def error_of_mean(squares: MeanSquares, n: int, m: int) -> StandardError:
    """Return the standard error of the mean of an (n, m) layout.

    The variance is (seed + example - residual) / (n m). Two things can be known of it beyond its estimates. Examples
    have no variance below zero, so example - residual counts as zero where it is less. And seeds that do not differ
    still leave a seed mean square of the residual's size: one so small that it would come about by chance once in
    twenty times is taken as that, else a few seeds that happen to agree would make an interval of almost no width.
    """
    from scipy.special import chdtri

    least = squares.residual * float(chdtri(n - 1, 1 - _LEAST_CHANCE)) / (n - 1)
    beyond = max(0.0, squares.example - squares.residual)
    return StandardError(max(squares.seed, least) / (n * m), n - 1, beyond / (n * m), m - 1)


def _over_examples(d: Floats, of_shares: bool) -> CrossedComparison:
    m, mean = len(d), float(d.mean())
    test: Literal["mcnemar", "t over examples"] = "mcnemar" if of_shares else "t over examples"
    if np.ptp(d) == 0:
        return CrossedComparison(1, m, mean, None, None, None, test)
    error = StandardError(0.0, 0.0, float(d.var(ddof=1)) / m, m - 1)
    p = error.two_sided(mean)
    if of_shares:
        error = error.reaching(unseen_share(m))
        from scipy import stats

        gained, lost = int((d > 0).sum()), int((d < 0).sum())
        p = float(stats.binomtest(gained, gained + lost).pvalue)
    return CrossedComparison(1, m, mean, error, error.ci95(mean), p, test)


def equivalence(comparison: CrossedComparison, margin: float) -> float:
    """Return the p value that the true difference lies within +-margin: at most 0.05 where the 95 % interval does.

    It is twice the larger p of two one-sided tests (Schuirmann 1987, who does not double). So the verdict can be read
    off the interval, and skewed differences, which make the one-sided tests too ready, do not wrong it:
    docs/decisions/new-data.md.

    Raises:
        DataError: If nothing varies in the comparison, or the margin is not above 0.
    """
    error, difference = comparison.error, comparison.difference
    if comparison.test == "none apart" and margin > 0:
        return min(1.0, 2 * max(0.0, 1 - margin) ** comparison.examples)
    if error is None or not margin > 0:
        raise DataError(
            "Equivalence needs a comparison with a standard error and a margin above 0, but got "
            f"{error} and {margin}. Where nothing varies there is no test."
        )
    sides = (error.upper_tail((margin + sign * difference) / error.value) for sign in (1, -1))
    return min(1.0, 2 * max(sides))


def _is_binary(values: Floats) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())
