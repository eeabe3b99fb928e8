"""How numbers are written, the same in prose, tables and the terminal, with their nouns and units.

Accuracies are percent and their differences percentage points, with two decimals; losses are nats, with four. None,
where there is nothing to write, becomes a dash.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paribus.experiment import Metric

NOTHING = "\u2013"  # An en dash.
NONE_WOULD = "neither 1,000 seeds nor 10 million test images alone"
"""Where `paribus.stats` ends looking for what would decide."""
_MINUS = "\u2212"
_MOST_DECIMALS = 6


def percent(fraction: float | None) -> str:
    """Return a fraction as percent without the sign, such as ``"98.95"``."""
    if fraction is None:
        return NOTHING
    return _typeset(f"{round(100 * fraction, 9):.2f}")  # The same whichever way a percentage came to be a fraction.


def loss(nats: float | None) -> str:
    """Return a loss with four decimals; one so small that these show nothing has two digits."""
    if nats is None:
        return NOTHING
    digits = 1 - math.floor(math.log10(abs(nats))) if nats else 0
    return _typeset(f"{nats:,.{min(_MOST_DECIMALS, max(4, digits))}f}")


def level(value: float, metric: Metric) -> str:
    """Return a value of a metric with its unit where it has one: ``"98.95 %"``, ``"0.0340"``."""
    return f"{percent(value)} %" if metric == "test_accuracy" else loss(value)


def difference(value: float | None, metric: Metric) -> str:
    """Return a difference of a metric with its sign, without its `unit`: ``"+0.11"``; one that is 0 has no sign."""
    if value is None:
        return NOTHING
    text = f"{100 * value:+.2f}" if metric == "test_accuracy" else f"{value:+,.4f}"
    return _typeset(text) if text.strip("+-0.,") else text[1:]


def unit(metric: Metric) -> str:
    """Return the unit of a metric's differences: percentage points of accuracy, nats of loss."""
    return "points" if metric == "test_accuracy" else "nats"


def interval(ends: Sequence[float] | None, write: Callable[[float], str]) -> str:
    """Return ``"98.89 to 99.01"``, each end as `write` writes it, or nothing for None."""
    return "" if ends is None else f"{write(ends[0])} to {write(ends[1])}"


def margin(value: float, metric: Metric) -> str:
    """Return a margin as it was set, with its unit: ``"0.1 points"``, ``"1 point"``, ``"0.005 nats"``."""
    text = f"{100 * value if metric == 'test_accuracy' else value:g}"
    return f"{text} {unit(metric).removesuffix('s') if text == '1' else unit(metric)}"


def p_value(p: float | None) -> str:
    """Return a p value with two or three decimals, or that it is below 0.001."""
    if p is None:
        return NOTHING
    return "below 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it: ``"0.42 s"``, ``"41 s"``, ``"3 min 20 s"``, ``"2 h 5 min"``."""
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def plain(value: float) -> str:
    """Return a mean of whole numbers whole where it is or where it is at least 100, else with one decimal."""
    return f"{value:,.0f}" if value == round(value) or value >= 100 else f"{value:,.1f}"


def ratio(value: float) -> str:
    """Return a ratio with two significant digits, whole from 100 on."""
    return f"{value:.2g}" if value < 99.5 else f"{value:,.0f}"


def noun(number: float, singular: str) -> str:
    """Return a noun in the singular for exactly 1, else in the plural."""
    return singular if number == 1 else f"{singular}s"


def be(number: float) -> str:
    """Return ``"is"`` for exactly 1, else ``"are"``."""
    return "is" if number == 1 else "are"


def magnitude(value: float) -> str:
    """Return a size whose digits matter little, with two: ``"0.0031"``, ``"0.41"``, ``"2.3"``, ``"1,200"``."""
    if not 1e-4 <= abs(value) < 1e6 and value:
        return _typeset(f"{value:.1e}")
    digits = 1 - math.floor(math.log10(abs(value))) if value else 0
    return _typeset(f"{round(value, digits):,.{max(0, digits)}f}")


def setting(value: Any) -> str:
    """Return a factor's value as an experiment file would write it, without quotes."""
    if value is None:
        return "off"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def would_decide(seeds: int | None, test_images: int | None) -> str:
    """Return what would decide an open comparison, rounded up to two digits; None where no number of them would."""
    needed = ((seeds, "seed"), (test_images, "test image"))
    ways = [count(rounded_up(number), noun) for number, noun in needed if number]
    if not ways:
        return f"{NONE_WOULD} would decide"
    return f"about {' or '.join(ways)} would decide"


def rounded_up(number: int) -> int:
    """Return an estimated number with two digits, as `would_decide` tells it: 410 for 406."""
    step: int = 10 ** max(0, len(str(number)) - 2)
    return -(-number // step) * step


def verdict_note(comparison: Mapping[str, Any]) -> str:
    """Return what belongs beside a comparison's verdict: what would decide, or why there is no better answer."""
    reason = str(comparison["reason"] or "")
    if comparison["verdict"] == "invalid":
        return f"see {reason.partition(':')[0]}"
    if comparison["verdict"] == "undecided" and comparison["p_equivalence"] is not None:
        return would_decide(comparison["seeds_needed"], comparison["test_images_needed"])
    return reason


def verdict(comparison: Mapping[str, Any]) -> str:
    """Return a comparison's verdict in one line: ``"better"``, ``"undecided (about 12 seeds would decide)"``."""
    note = verdict_note(comparison).partition(". ")[0].removesuffix(".")
    return f"{comparison['verdict']} ({lower(note)})" if note else str(comparison["verdict"])


def count(number: int, noun: str) -> str:
    """Return a number with its noun in singular or plural, such as ``"1 run"`` or ``"1,200 test images"``."""
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(items: Sequence[str]) -> str:
    """Return ``"a"``, ``"a and b"``, or ``"a, b and c"``."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def named(names: Sequence[str]) -> str:
    """Return names in a row, such as ``"`a`, `b` and `c`"``."""
    return listed([f"`{name}`" for name in names])


def lower(title: str) -> str:
    """Return a title as it continues a sentence."""
    return title[0].lower() + title[1:]


def _typeset(number: str) -> str:
    return number.replace("-", _MINUS)
