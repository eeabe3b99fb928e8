from __future__ import annotations

import pytest

from paribus import wording


def test_numbers_agree_with_their_nouns() -> None:
    assert [wording.count(n, "run") for n in (0, 1, 2, 1200)] == ["0 runs", "1 run", "2 runs", "1,200 runs"]
    assert [wording.points(x) for x in (0.001, 0.01, 0.05)] == ["0.1 points", "1 point", "5 points"]


@pytest.mark.parametrize(
    "names, text", [(["a"], "`a`"), (["a", "b"], "`a` and `b`"), (["a", "b", "c"], "`a`, `b` and `c`")]
)
def test_names_in_a_row(names: list[str], text: str) -> None:
    assert wording.named(names) == text


@pytest.mark.parametrize(
    "value, digits, decimals", [(0.0123, 2, 3), (12.3, 2, 0), (1.23, 2, 1), (0, 2, 0), (1e-12, 2, 6), (-0.5, 1, 1)]
)
def test_decimals_show_the_leading_digits(value: float, digits: int, decimals: int) -> None:
    assert wording.decimals_for(value, digits) == decimals


def test_two_figures_have_the_same_decimals() -> None:
    assert wording.alike(0.0341, 0.25) == ("0.0341", "0.2500")
    assert wording.alike(98.954, 7.1, " %") == ("98.954 %", "7.100 %")
    assert wording.alike(0.0, 0.25) == ("0.000", "0.250")
    assert wording.alike(0.0, 0.0) == ("0", "0")


def test_single_figures() -> None:
    assert [wording.plain(x) for x in (4.0, 4.25)] == ["4", "4.2"]
    assert [wording.setting(x) for x in (0.001, 3, "relu", True)] == ["0.001", "3", "`relu`", "`True`"]
    assert [wording.p_value(p) for p in (0.0004, 0.0213, 0.3, 1.0)] == ["below 0.001", "0.021", "0.30", "1.0"]
    assert wording.digits(1234.5) == "1,234"
    assert wording.lower("Too few seeds") == "too few seeds"
