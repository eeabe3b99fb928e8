from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paribus import stats, wording
from paribus.experiment import METRICS, Metric


def as_number(text: str) -> float:
    return float(text.replace("\u2212", "-").replace(",", ""))


def test_accuracies_are_percent_with_two_decimals() -> None:
    assert [wording.percent(x) for x in (0.98951, 1.0, 0.0, -0.01, None)] == [
        "98.95",
        "100.00",
        "0.00",
        "\u22121.00",
        wording.NOTHING,
    ]


def test_losses_have_four_decimals_and_small_ones_two_digits() -> None:
    assert [wording.loss(x) for x in (2.3026, 0.034, 0.00031, 1e-9, 0.0, -0.5, 1523.5, None)] == [
        "2.3026",
        "0.0340",
        "0.00031",
        "0.000000",
        "0.0000",
        "\u22120.5000",
        "1,523.5000",
        wording.NOTHING,
    ]


def test_magnitudes_have_two_digits_at_every_size() -> None:
    assert [wording.magnitude(x) for x in (0.00312, 0.4149, 1.0, 2.34, 41.9, 1234.0, 0.0, -0.5, 3.14e-7, 2e6)] == [
        "0.0031",
        "0.41",
        "1.0",
        "2.3",
        "42",
        "1,200",
        "0",
        "\u22120.50",
        "3.1e\u221207",
        "2.0e+06",
    ]


def test_levels_margins_and_units_are_those_of_the_metric() -> None:
    assert [wording.level(0.034, metric) for metric in METRICS] == ["3.40 %", "0.0340"]
    assert [wording.unit(metric) for metric in METRICS] == ["points", "nats"]
    assert [wording.margin(x, "test_accuracy") for x in (0.001, 0.01, 0.07)] == ["0.1 points", "1 point", "7 points"]
    assert wording.margin(0.005, "test_loss") == "0.005 nats"


@given(st.floats(-1, 1), st.sampled_from(METRICS))
def test_a_difference_says_its_sign_and_its_number(value: float, metric: Metric) -> None:
    text = wording.difference(value, metric)
    scale, slack = (100, 0.005) if metric == "test_accuracy" else (1, 0.00005)
    assert math.isclose(as_number(text), scale * value, abs_tol=1.001 * slack)
    assert text[0] in "+\u2212" or as_number(text) == 0
    assert "-" not in text


def test_a_difference_of_nothing_has_no_sign() -> None:
    assert [wording.difference(x, "test_accuracy") for x in (0.0, -0.00001, None)] == ["0.00", "0.00", wording.NOTHING]
    assert wording.difference(-0.00001, "test_loss") == "0.0000"


def test_an_interval_is_written_like_its_estimate() -> None:
    assert wording.interval((0.98, 1.02), wording.percent) == "98.00 to 102.00"
    assert wording.interval((-0.1, 0.2), lambda end: wording.difference(end, "test_loss")) == "\u22120.1000 to +0.2000"
    assert wording.interval(None, wording.percent) == ""


def test_p_values() -> None:
    assert [wording.p_value(p) for p in (0.0004, 0.0213, 0.3, 1.0, None)] == [
        "below 0.001",
        "0.021",
        "0.30",
        "1.00",
        wording.NOTHING,
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (0.42, "0.42 s"),
        (9.99, "10 s"),
        (41.2, "41 s"),
        (99.6, "1 min 40 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
    ],
)
def test_a_duration_comes_in_the_unit_that_suits_it(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


def test_numbers_agree_with_their_nouns() -> None:
    assert [wording.count(n, "run") for n in (0, 1, 2, 1200)] == ["0 runs", "1 run", "2 runs", "1,200 runs"]
    assert [wording.plain(x) for x in (4.0, 4.25, 1200.0, 1200.6)] == ["4", "4.2", "1,200", "1,201"]
    assert [wording.ratio(x) for x in (0.0123, 1.0, 12.3, 99.4, 99.6, 12345.6)] == [
        "0.012",
        "1",
        "12",
        "99",
        "100",
        "12,346",
    ]
    assert [wording.noun(x, "epoch") for x in (1, 1.0, 0, 1.5)] == ["epoch", "epoch", "epochs", "epochs"]


def test_names_in_a_row() -> None:
    assert [wording.listed(["a", "b", "c"][:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert wording.named(["a", "b", "c"]) == "`a`, `b` and `c`"


def test_settings_are_written_as_in_the_file() -> None:
    assert [wording.setting(x) for x in (0.001, 3, "relu", True, None, [0.9, 0.99])] == [
        "0.001",
        "3",
        "relu",
        "true",
        "off",
        "[0.9, 0.99]",
    ]


def test_what_would_decide() -> None:
    assert wording.would_decide(12, 3000) == "about 12 seeds or 3,000 test images would decide"
    assert wording.would_decide(None, 3000) == "about 3,000 test images would decide"
    assert wording.would_decide(763, 32_677) == "about 770 seeds or 33,000 test images would decide"
    assert wording.would_decide(990, 9_901) == "about 990 seeds or 10,000 test images would decide"
    assert wording.would_decide(None, None) == f"{wording.NONE_WOULD} would decide"
    most = f"neither {stats.MOST_SEEDS:,} seeds nor {stats.MOST_IMAGES / 1e6:.0f} million test images alone"
    assert most == wording.NONE_WOULD


def test_a_verdict_is_told_with_what_would_settle_it_or_why_there_is_none() -> None:
    nothing = {"reason": None, "seeds_needed": None, "test_images_needed": None}
    found = {"verdict": "better", "p_equivalence": 0.4, **nothing}
    assert wording.verdict(found) == "better"
    assert wording.verdict_note(found) == ""
    open_ = found | {"verdict": "undecided", "reason": "Neither is shown.", "seeds_needed": 22}
    assert wording.verdict(open_) == "undecided (about 22 seeds would decide)"
    both = open_ | {"test_images_needed": 650}
    assert wording.verdict(both) == "undecided (about 22 seeds or 650 test images would decide)"
    neither = open_ | {"seeds_needed": None}
    assert wording.verdict(neither) == f"undecided ({wording.NONE_WOULD} would decide)"
    alone = neither | {"p_equivalence": None, "reason": "One seed cannot tell the change from luck. Run 3."}
    assert wording.verdict(alone) == "undecided (one seed cannot tell the change from luck)"
    assert wording.verdict_note(alone) == alone["reason"]
    assert wording.verdict(found | {"verdict": "invalid", "reason": "P012: Copies."}) == "invalid (see P012)"


def test_a_title_continues_a_sentence() -> None:
    assert wording.lower("Too few seeds") == "too few seeds"
