"""How many seeds or test images would decide a comparison."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from paribus.stats.crossed import CrossedComparison, MeanSquares, Variances, error_of_mean, unseen_share
from paribus.stats.intervals import LEVEL

POWER = 0.8
MOST_SEEDS = 1000
MOST_IMAGES = 10_000_000


@dataclass(frozen=True)
class Needed:
    """What would decide: that many seeds with these test images, or that many test images with these seeds.

    None where no number (up to 1,000 seeds, 10 million images) would.
    """

    seeds: int | None
    test_images: int | None


def seeds_needed(comparison: CrossedComparison, margin: float, alpha: float = LEVEL) -> Needed:
    """Say what would decide a comparison, if its difference and its variances are what they were measured to be.

    Decided means: with a probability of 80 % either the difference is significant at `alpha`, or the arms are
    equivalent within the margin.

    Args:
        comparison: An analysis of at least two seeds; one seed gives no answer, as nothing is known of the seeds. Where
            no example is answered differently, more examples would bound how many could be.
        margin: The smallest difference worth knowing, above 0.
        alpha: Level of the test, already divided by the number of comparisons.
    """
    variances = comparison.variances
    if comparison.test == "none apart":
        images = math.ceil(math.log(LEVEL / 2) / math.log1p(-margin))
        return Needed(None, images if comparison.examples < images <= MOST_IMAGES else None)
    if comparison.error is None or variances is None:
        return Needed(None, None)
    n, m, size = comparison.seeds, comparison.examples, abs(comparison.difference)

    def decides(seeds: int, examples: int) -> bool:
        found = power_to_find(size, variances, (seeds, examples), alpha)
        return max(found, _power_of_equivalence(size, margin, variances, (seeds, examples))) >= POWER

    return Needed(
        _first(lambda seeds: decides(seeds, m), n + 1, MOST_SEEDS),
        _first(lambda examples: decides(n, examples), m + 1, MOST_IMAGES),
    )


def power_to_find(difference: float, variances: Variances, size: tuple[int, int], alpha: float) -> float:
    """Return the chance that an experiment of `size` (seeds, examples) finds a true difference significant.

    Args:
        difference: Its absolute value, in the metric's unit.
        variances: Those of one difference between arm and control.
        size: At least 2 seeds and 2 examples.
        alpha: Level of the two-sided test, already divided by the number of comparisons.
    """
    from scipy.special import stdtr

    se, df, bar = _expected(variances, size, alpha / 2)
    return float(stdtr(df, (difference - bar) / se))


def smallest_difference(variances: Variances, size: tuple[int, int], alpha: float) -> float:
    """Return the true difference that `power_to_find` gives 80 %, in the metric's unit; arguments as there."""
    from scipy.special import stdtrit

    se, df, bar = _expected(variances, size, alpha / 2)
    return float(bar + se * stdtrit(df, POWER))


def _power_of_equivalence(difference: float, margin: float, variances: Variances, size: tuple[int, int]) -> float:
    from scipy.special import stdtr

    se, df, bar = _expected(variances, size, LEVEL / 2)
    within = stdtr(df, (margin - difference - bar) / se) - stdtr(df, (bar - margin - difference) / se)
    return float(within)


def _expected(variances: Variances, size: tuple[int, int], upper: float) -> tuple[float, float, float]:
    """Return the standard error, its effective degrees of freedom (Satterthwaite 1946) and the difference that is
    significant, to expect.
    """
    n, m = size
    rest = variances.residual
    error = error_of_mean(MeanSquares(rest + m * variances.seed, rest + n * variances.example, rest), n, m)
    parts = ((error.seeds, error.seeds_df), (error.examples, error.examples_df))
    df = (error.seeds + error.examples) ** 2 / sum(part**2 / freedom for part, freedom in parts)
    judged = error.reaching(unseen_share(m)) if variances.of_shares else error
    return error.value, df, judged.quantile(upper) * judged.value


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
