from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from paribus import stats
from paribus.errors import DataError
from paribus.stats import CrossedComparison, Needed, crossed, equivalence, holm, paired_by_seed, seeds_needed, wilson

Array = npt.NDArray[Any]


def _normal(n: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.normal(0.97, 0.01, n), rng.normal(0.96, 0.01, n)


def _mean(values: Array, axis: int) -> Array:
    return np.asarray(values.mean(axis=axis))


def test_seed_level_is_the_paired_t_test_and_the_exact_permutation_test() -> None:
    arm, control = _normal(7)
    found = paired_by_seed(arm, control)
    t_test = scipy_stats.ttest_rel(arm, control)
    exact = scipy_stats.permutation_test(
        [arm - control], _mean, permutation_type="samples", n_resamples=1_000_000, vectorized=True
    )
    assert found.ci95 == pytest.approx(tuple(t_test.confidence_interval(0.95)))
    assert found.p == pytest.approx(exact.pvalue)
    assert found.test == "sign flip"
    assert found.correlation == pytest.approx(np.corrcoef(arm, control)[0, 1])
    assert found.difference == pytest.approx(arm.mean() - control.mean())


def test_seed_level_takes_the_t_test_above_16_seeds() -> None:
    arm, control = _normal(17)
    found = paired_by_seed(arm, control)
    assert found.p == pytest.approx(scipy_stats.ttest_rel(arm, control).pvalue)
    assert found.test == "t"


@pytest.mark.parametrize("n", range(2, 17))
def test_the_smallest_exact_p_is_two_over_two_to_the_n(n: int) -> None:
    found = paired_by_seed(1 + np.arange(n) / 10, np.zeros(n))
    assert found.p == 2 / 2**n


def test_one_seed_has_a_difference_and_nothing_else() -> None:
    found = paired_by_seed([0.9], [0.8])
    assert found.difference == pytest.approx(0.1)
    assert (found.ci95, found.p, found.test, found.correlation) == (None, None, None, None)


def test_two_seeds_have_no_correlation_and_three_have() -> None:
    assert paired_by_seed([0.9, 0.8], [0.7, 0.8]).correlation is None
    assert paired_by_seed([0.9, 0.8, 0.7], [0.7, 0.6, 0.5]).correlation == pytest.approx(1)


def test_differences_that_do_not_vary_have_no_interval_but_an_exact_p() -> None:
    found = paired_by_seed([0.75, 0.5, 0.25], [0.5, 0.25, 0.0])
    assert (found.ci95, found.p) == (None, 0.25)
    assert paired_by_seed([0.5] * 3, [0.5] * 3).p == 1
    assert paired_by_seed([0.5] * 3, [0.5, 0.6, 0.7]).correlation is None
    assert paired_by_seed([0.5] * 20, [0.25] * 20).p is None


@pytest.mark.parametrize(
    "arm, control, text",
    [
        ([1.0, 2.0], [1.0], r"both be \(seeds,\), not empty and alike, but got \(2,\) and \(1,\)"),
        ([], [], "not empty"),
        ([math.nan], [1.0], "must be finite"),
        ([1.0], [math.inf], "must be finite"),
    ],
)
def test_seed_level_refuses(arm: list[float], control: list[float], text: str) -> None:
    with pytest.raises(DataError, match=text):
        paired_by_seed(arm, control)


def _by_loops(d: Array) -> tuple[float, float, float]:
    """Mean squares of the two-way layout, sum by sum."""
    n, m = d.shape
    mean = d.mean()
    seed = sum(m * (d[s].mean() - mean) ** 2 for s in range(n)) / (n - 1)
    example = sum(n * (d[:, i].mean() - mean) ** 2 for i in range(m)) / (m - 1)
    rest = sum((d[s, i] - d[s].mean() - d[:, i].mean() + mean) ** 2 for s in range(n) for i in range(m))
    return float(seed), float(example), float(rest / ((n - 1) * (m - 1)))


def test_crossed_is_the_method_of_moments() -> None:
    rng = np.random.default_rng(1)
    n, m = 4, 30
    d = 0.5 + rng.normal(0, 1, (n, 1)) + rng.normal(0, 1, (1, m)) + rng.normal(0, 1, (n, m))
    control = rng.normal(size=(n, m))
    found = crossed(control + d, control)
    seed, example, rest = _by_loops(d)
    assert min(seed, example) > rest
    variance = (seed + example - rest) / (n * m)
    weights = np.array([seed, example - rest]) / (seed + example - rest)
    quantile = weights @ scipy_stats.t.isf(0.025, [n - 1, m - 1])  # Cochran 1964.
    half = quantile * math.sqrt(variance)
    assert found.error is not None
    assert found.error.value == pytest.approx(math.sqrt(variance))
    assert found.ci95 == pytest.approx((d.mean() - half, d.mean() + half))
    assert found.p is not None
    tails = weights @ scipy_stats.t.isf(found.p / 2, [n - 1, m - 1])
    assert tails == pytest.approx(abs(d.mean()) / math.sqrt(variance))
    assert found.variances is not None
    assert found.variances.seed == pytest.approx((seed - rest) / m)
    assert found.variances.example == pytest.approx((example - rest) / n)
    assert found.variances.residual == pytest.approx(rest)


def test_crossed_without_seed_variance_is_the_t_test_over_examples() -> None:
    row = np.random.default_rng(2).normal(0.2, 1, 200)
    found = crossed(np.tile(row, (5, 1)), np.zeros((5, 200)))
    assert found.variances is not None and found.variances.seed == 0
    assert found.ci95 == pytest.approx(tuple(scipy_stats.ttest_1samp(row, 0).confidence_interval(0.95)))
    assert found.p == pytest.approx(scipy_stats.ttest_1samp(row, 0).pvalue)


def test_crossed_without_example_variance_is_the_t_test_over_seeds() -> None:
    column = np.random.default_rng(3).normal(0.2, 1, (6, 1))
    found = crossed(np.tile(column, (1, 50)), np.zeros((6, 50)))
    assert found.ci95 == pytest.approx(paired_by_seed(column[:, 0], np.zeros(6)).ci95)
    assert found.p == pytest.approx(scipy_stats.ttest_1samp(column[:, 0], 0).pvalue)


@given(st.integers(2, 5), st.integers(2, 12), st.integers(0, 10_000))
def test_interval_and_p_of_crossed_say_the_same(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arm, control = rng.integers(0, 2, (2, n, m)).astype(float)
    found = crossed(arm, control)
    if found.ci95 is None:
        assert np.ptp(arm - control) == 0
        return
    low, high = found.ci95
    assert low < found.difference < high
    assert found.p is not None
    assert (found.p <= 0.05) == (low >= 0 or high <= 0) or math.isclose(min(abs(low), abs(high)), 0, abs_tol=1e-9)
    mirrored = crossed(control, arm)
    assert mirrored.difference == pytest.approx(-found.difference)
    assert mirrored.p == pytest.approx(found.p)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_seeds_that_happen_to_agree_do_not_make_an_interval_of_no_width(n: int) -> None:
    """Every seed gains two examples and loses one, others each time: the seeds' means are the same."""
    d = np.zeros((n, 600))
    for row in range(n):
        d[row, 3 * row : 3 * row + 3] = 1, 1, -1
    found = crossed(d, np.zeros_like(d))
    least = scipy_stats.chi2.ppf(0.05, n - 1) / (n - 1) * _by_loops(d)[2] / (n * 600)
    assert found.error is not None
    assert found.error.seeds == pytest.approx(least)
    assert found.error.seeds > 0


@given(st.floats(0, 10), st.floats(0, 10), st.integers(1, 30), st.floats(1e-9, 0.4))
def test_quantile_and_tail_of_a_standard_error_undo_each_other(
    seeds: float, examples: float, seeds_df: int, upper: float
) -> None:
    error = stats.StandardError(seeds + 1e-3, seeds_df, examples, 99)
    quantile = error.quantile(upper)
    ends = sorted(float(scipy_stats.t.isf(upper, df)) for df in (seeds_df, 99))
    assert ends[0] - 1e-9 <= quantile <= ends[1] + 1e-9
    assert error.upper_tail(quantile) == pytest.approx(upper, rel=1e-6)
    assert error.upper_tail(-quantile) == pytest.approx(1 - upper)


def test_a_tail_is_found_where_one_part_of_the_error_is_nothing_but_rounding() -> None:
    error = stats.StandardError(0.0001, 1, 1.734723475976807e-20, 49)
    assert error.upper_tail(3.0) == pytest.approx(float(scipy_stats.t.sf(3.0, 1)))
    assert error.upper_tail(-3.0) == pytest.approx(float(scipy_stats.t.cdf(3.0, 1)))


def test_crossed_without_any_variation_gives_no_interval() -> None:
    found = crossed(np.full((3, 8), 0.5), np.full((3, 8), 0.25))
    assert (found.difference, found.error, found.ci95, found.p) == (0.25, None, None, None)


def test_examples_that_are_all_answered_alike_bound_how_many_could_not_be() -> None:
    found = crossed(np.ones((3, 1000)), np.ones((3, 1000)))
    upper = scipy_stats.binomtest(0, 1000).proportion_ci(0.95, "exact").high
    assert (found.difference, found.error, found.p, found.test) == (0, None, 1, "none apart")
    assert found.ci95 == pytest.approx((-upper, upper))
    assert equivalence(found, upper) == pytest.approx(0.05)
    few = crossed(np.ones((3, 20)), np.ones((3, 20)))
    needed = seeds_needed(few, 1.0001 * upper)
    assert (needed.seeds, needed.test_images) == (None, 1000)
    assert seeds_needed(found, 0.1) == Needed(None, None)


def test_one_answer_apart_says_no_more_than_none(spot: tuple[int, int] = (3, 7)) -> None:
    """What a few answers vary by says nothing of a kind of example that is not among them."""
    arm, control = np.ones((10, 100)), np.ones((10, 100))
    none_apart = crossed(arm, control)
    arm[spot] = 0
    found = crossed(arm, control)
    least = scipy_stats.binomtest(0, 100).proportion_ci(0.95, "exact").high
    assert none_apart.ci95 == pytest.approx((-least, least))
    assert found.ci95 == pytest.approx((-0.001 - least, -0.001 + least))
    assert found.p == pytest.approx(2 * scipy_stats.norm.sf(0.001 / least * scipy_stats.norm.isf(0.025)), abs=0.02)
    assert equivalence(found, least) > 0.05
    assert equivalence(found, least + 0.001) == pytest.approx(0.05)
    # Of a loss, whose values are no shares, the spread alone decides.
    assert crossed(arm - 0.5, control - 0.5).ci95 == pytest.approx((-0.001, -0.001), abs=0.003)


def test_a_rare_kind_of_example_is_seldom_called_equivalent() -> None:
    """One example in 50 is always wrong in the arm alone: of 400 experiments, more than 31 once in 1,000 times."""
    rng, equivalent = np.random.default_rng(5), 0
    for _ in range(400):
        common = rng.random((2, 10, 100)) > 0.01 + 0.4 * (rng.random(100) < 0.1)
        arm = common[0] & (rng.random(100) >= 0.02)
        equivalent += equivalence(crossed(arm, common[1]), 0.02 * float(common[0].mean())) <= 0.05
    assert equivalent <= 31


def test_no_number_of_seeds_narrows_an_interval_below_what_examples_leave_unseen() -> None:
    arm, control = np.ones((5, 100)), np.ones((5, 100))
    arm[3, 7] = 0
    needed = seeds_needed(crossed(arm, control), 0.02)
    assert needed.seeds is None
    assert needed.test_images is not None
    assert 100 < needed.test_images < 1000


def test_one_seed_is_mcnemar_over_examples_for_correctness_and_t_for_loss() -> None:
    arm, control = np.zeros((1, 40)), np.zeros((1, 40))
    arm[0, :9] = control[0, 8:11] = 1
    found = crossed(arm, control)
    assert found.test == "mcnemar"
    assert found.p == pytest.approx(scipy_stats.binomtest(8, 10).pvalue)
    expected = scipy_stats.ttest_rel(arm[0], control[0]).confidence_interval(0.95)
    assert found.ci95 == pytest.approx(tuple(expected))
    assert found.variances is None
    loss = np.random.default_rng(4).normal(0, 1, (2, 1, 40))
    found = crossed(loss[0], loss[1])
    assert found.test == "t over examples"
    assert found.p == pytest.approx(scipy_stats.ttest_rel(loss[0, 0], loss[1, 0]).pvalue)
    assert crossed(np.ones((1, 5)), np.ones((1, 5))).p is None


@pytest.mark.parametrize(
    "shape, other, text",
    [((2, 3), (2, 4), r"both be \(seeds, examples\)"), ((3,), (3,), "both be"), ((2, 1), (2, 1), "at least 2 test")],
)
def test_crossed_refuses(shape: tuple[int, ...], other: tuple[int, ...], text: str) -> None:
    with pytest.raises(DataError, match=text):
        crossed(np.zeros(shape), np.zeros(other))


def _arms(rng: np.random.Generator, shape: tuple[int, int, int], spread: float) -> Array:
    """Correctness (arms, n, m), all of the same true accuracy; hard examples are shared, in part by one arm's seeds."""
    arms, n, m = shape
    difficulty = rng.normal(0, 2, m)
    own = rng.normal(0, 0.5, (arms, 1, m)) + rng.normal(0, spread, (arms, n, 1)) + rng.normal(size=shape)
    return np.asarray(own + difficulty < 4.4, dtype=float)


REPEATS = 1500


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("spread", [0.05, 0.2])
def test_crossed_intervals_cover_the_truth(n: int, spread: float) -> None:
    """Coverage is promised to lie between 93 and 97 %; a procedure just inside lands outside once in 2,000 times.

    benchmarks/statistics has many more cases, and names those where the promise is missed by a little.
    """
    rng = np.random.default_rng([n, int(100 * spread)])
    hits = 0
    for _ in range(REPEATS):
        found = crossed(*_arms(rng, (2, n, 500), spread))
        hits += found.ci95 is None or found.ci95[0] <= 0 <= found.ci95[1]
    assert (
        0.93 - 3.3 * math.sqrt(0.93 * 0.07 / REPEATS) <= hits / REPEATS <= 0.97 + 3.3 * math.sqrt(0.97 * 0.03 / REPEATS)
    )


@pytest.mark.parametrize("n, spread", [(3, 0.05), (3, 0.2), (5, 0.1)])
def test_seven_comparisons_without_a_difference_seldom_show_one(n: int, spread: float) -> None:
    """At the promised 5 % of experiments, more than 21 of 200 show a difference once in 1,000 times."""
    rng = np.random.default_rng([7, n, int(100 * spread)])
    false = 0
    for _ in range(200):
        control, *arms = _arms(rng, (8, n, 400), spread)
        p = [crossed(arm, control).p for arm in arms]
        false += min(holm([1.0 if value is None else value for value in p])) <= 0.05
    assert scipy_stats.binom.sf(21, 200, 0.05) < 0.001
    assert false <= 21


def test_crossed_finds_a_true_difference() -> None:
    rng = np.random.default_rng(5)
    found = 0
    for _ in range(100):
        arm, control = _arms(rng, (2, 5, 500), 0.05)
        control[:, rng.random(500) < 0.04] = 0  # About 4 points, four standard errors.
        p = crossed(arm, control).p
        found += p is not None and p <= 0.05
    assert found >= 80


@pytest.mark.parametrize(
    "p, expected",
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5], [0.5]),
        ([], []),
        ([0.9, 0.8], [1.0, 1.0]),
        ([0.02, 0.02], [0.04, 0.04]),
    ],
)
def test_holm_by_hand(p: list[float], expected: list[float]) -> None:
    assert holm(p) == pytest.approx(expected)


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_that_of_statsmodels(p: list[float]) -> None:
    multitest = importlib.import_module("statsmodels.stats.multitest")
    assert holm(p) == pytest.approx(list(multitest.multipletests(p, method="holm")[1]))


def test_holm_refuses_what_is_no_p() -> None:
    with pytest.raises(DataError, match="between 0 and 1, but got"):
        holm([0.1, math.nan])


def test_equivalence_is_two_one_sided_t_tests_doubled() -> None:
    sample = np.random.default_rng(6).normal(0.1, 1, (1, 30))
    lower = scipy_stats.ttest_1samp(sample[0], -0.6, alternative="greater").pvalue
    upper = scipy_stats.ttest_1samp(sample[0], 0.6, alternative="less").pvalue
    assert equivalence(crossed(sample, np.zeros((1, 30))), 0.6) == pytest.approx(2 * max(lower, upper))


def test_equivalence_is_certain_not_to_be_shown_at_the_margin() -> None:
    assert equivalence(_measured(0.001, 0.1, 0.2, 1.0), 0.001) == pytest.approx(1)


@given(st.integers(2, 6), st.floats(0.001, 0.5), st.integers(0, 10_000))
def test_arms_are_equivalent_where_the_interval_lies_within_the_margin(n: int, margin: float, seed: int) -> None:
    d = np.random.default_rng(seed).normal(0.02, 0.3, (n, 40))
    found = crossed(d, np.zeros_like(d))
    assert found.ci95 is not None
    ends = max(abs(found.ci95[0]), abs(found.ci95[1]))
    if not math.isclose(ends, margin, rel_tol=1e-6):
        assert (equivalence(found, margin) <= 0.05) == (ends < margin)


def test_equivalence_refuses_a_margin_of_zero_and_what_does_not_vary() -> None:
    with pytest.raises(DataError, match="a margin above 0, but got"):
        equivalence(_measured(0.0, 0.1, 0.2, 1.0), 0)
    with pytest.raises(DataError, match="Where nothing varies there is no test"):
        equivalence(crossed(np.full((3, 8), 0.5), np.full((3, 8), 0.25)), 0.1)


def _measured(difference: float, seed: float, example: float, rest: float) -> CrossedComparison:
    return CrossedComparison(
        4,
        1000,
        difference,
        stats.StandardError(1e-8, 3, 1e-8, 999),
        (0, 1),
        0.5,
        "crossed",
        variances=stats.Variances(seed, example, rest, of_shares=False),
    )


def _decided(make: Callable[[np.random.Generator], Array], margin: float, repeats: int) -> float:
    rng = np.random.default_rng(7)
    decided = 0
    for _ in range(repeats):
        arm = make(rng)
        found = crossed(arm, np.zeros_like(arm))
        assert found.p is not None
        decided += found.p <= 0.05 or equivalence(found, margin) <= 0.05
    return decided / repeats


def test_the_seeds_needed_decide_in_four_of_five_experiments() -> None:
    """Of 300 experiments at 80 % or a little more, at least 73 % are decided, but for once in 1,000 times."""
    needed = seeds_needed(_measured(0.3, 0.1, 0.2, 1.0), margin=0.05).seeds
    assert needed is not None

    def make(rng: np.random.Generator) -> Array:
        rows, columns = rng.normal(0, 0.1**0.5, (needed, 1)), rng.normal(0, 0.2**0.5, (1, 1000))
        return np.asarray(0.3 + rows + columns + rng.normal(size=(needed, 1000)))

    assert 0.73 <= _decided(make, 0.05, 300) <= 0.95


def test_seeds_needed_is_the_least_number() -> None:
    measured = _measured(0.3, 0.1, 0.2, 1.0)
    needed = seeds_needed(measured, 0.05).seeds
    assert needed is not None
    variances = stats.Variances(0.1, 0.2, 1.0, of_shares=False)
    assert stats.power_to_find(0.3, variances, (needed, 1000), 0.05) >= stats.POWER
    assert stats.power_to_find(0.3, variances, (needed - 1, 1000), 0.05) < stats.POWER
    stricter = seeds_needed(measured, 0.05, alpha=0.05 / 7).seeds
    assert stricter is not None
    assert stricter > needed


def test_no_number_of_seeds_helps_where_the_examples_alone_are_too_wide() -> None:
    found = seeds_needed(_measured(0.001, 0.0, 1.0, 0.1), margin=0.01)
    assert found.seeds is None
    assert found.test_images is not None
    assert found.test_images > 10_000


def test_no_number_of_images_helps_where_the_seeds_alone_are_too_wide() -> None:
    found = seeds_needed(_measured(0.01, 0.01, 0.0, 0.1), margin=0.001)
    assert found.test_images is None
    assert found.seeds is not None


def test_nothing_is_known_from_one_seed_or_without_variation() -> None:
    one = crossed(np.eye(1, 20), np.zeros((1, 20)))
    same = crossed(np.full((3, 20), 0.5), np.full((3, 20), 0.25))
    assert seeds_needed(one, 0.1) == seeds_needed(same, 0.1) == Needed(None, None)


def test_t_interval_is_that_of_scipy() -> None:
    values = [0.97, 0.98, 0.985]
    expected = scipy_stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert stats.t_interval(values) == pytest.approx(tuple(expected))
    assert stats.t_interval([0.5]) is None
    assert stats.t_interval([0.5, 0.5]) is None


@given(st.integers(1, 20_000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_wilson_is_that_of_scipy(counts: tuple[int, int]) -> None:
    expected = scipy_stats.binomtest(*counts).proportion_ci(0.95, "wilson")
    assert wilson(*counts) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("correct, total", [(0, 50), (49, 50), (50, 50), (9905, 10_000)])
def test_wilson_is_that_of_statsmodels(correct: int, total: int) -> None:
    proportion = importlib.import_module("statsmodels.stats.proportion")
    expected = proportion.proportion_confint(correct, total, method="wilson")
    assert wilson(correct, total) == pytest.approx(expected, abs=1e-12)


def test_wilson_gives_the_resolution_of_known_test_sets() -> None:
    low, high = wilson(9905, 10_000)
    assert (high - low) / 2 == pytest.approx(0.0019, abs=0.0001)
    assert wilson(49, 50) == pytest.approx((0.895, 0.996), abs=0.001)


@pytest.mark.parametrize("correct, total", [(-1, 5), (6, 5), (0, 0)])
def test_wilson_refuses_impossible_counts(correct: int, total: int) -> None:
    with pytest.raises(DataError, match=f"0 <= correct <= total .* but got {correct} of {total}"):
        wilson(correct, total)
