"""The words and figures of sentences: numbers with their nouns, and as many digits as they deserve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

_MOST_DECIMALS = 6


def count(number: int, noun: str) -> str:
    """Return a number with its noun in singular or plural, such as ``"1 run"`` or ``"1,200 test images"``."""
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"


def named(names: Sequence[str]) -> str:
    """Return names in a row, such as ``"`a`, `b` and `c`"``."""
    quoted = [f"`{name}`" for name in names]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def points(fraction: float) -> str:
    """Return a fraction as percentage points, such as ``"0.1 points"``."""
    return "1 point" if f"{100 * fraction:g}" == "1" else f"{100 * fraction:g} points"


def decimals_for(value: float, digits: int) -> int:
    """Return how many decimals show that many leading digits of a value."""
    return min(_MOST_DECIMALS, max(0, digits - 1 - math.floor(math.log10(abs(value))))) if value else 0


def alike(first: float, second: float, unit: str = "") -> tuple[str, str]:
    """Return two figures with the same decimals: three digits of the smaller one, four where the unit is percent."""
    smaller = min(abs(first), abs(second)) or max(abs(first), abs(second))
    decimals = decimals_for(smaller, 4 if unit == " %" else 3)
    return f"{first:,.{decimals}f}{unit}", f"{second:,.{decimals}f}{unit}"


def digits(value: float) -> str:
    """Return a figure with three digits."""
    return f"{value:,.{decimals_for(value, 3)}f}"


def plain(value: float) -> str:
    """Return a number whole where it is, else with one decimal."""
    return f"{value:.0f}" if value == round(value) else f"{value:.1f}"


def setting(value: Any) -> str:
    """Return the value of a factor: a number as it is, a word in quotes."""
    return f"{value:g}" if type(value) in (int, float) else f"`{value}`"


def p_value(p: float) -> str:
    """Return a p value with two digits, or that it is below 0.001."""
    return "below 0.001" if p < 0.001 else f"{p:.{decimals_for(p, 2)}f}"


def lower(title: str) -> str:
    """Return a title as it continues a sentence."""
    return title[0].lower() + title[1:]
