"""Numbers as a reader wants them: percent, sensible digits, an interval beside every estimate."""

from __future__ import annotations

from collections.abc import Sequence

from paribus.config import Value
from paribus.experiment import Arm, Experiment

NOTHING = "\u2013"  # An en dash.
TIMES = "\u00d7"
_MINUS = "\u2212"


def percent(fraction: float | None, digits: int = 2) -> str:
    """Return a fraction as percent without the sign, `98.95`, or a dash for None."""
    return NOTHING if fraction is None else f"{100 * fraction:.{digits}f}".replace("-", _MINUS)


def span(interval: Sequence[float] | None, digits: int = 2) -> str:
    """Return an interval of fractions as percent, `98.89 to 99.01`, or nothing for None."""
    return "" if interval is None else f"{percent(interval[0], digits)} to {percent(interval[1], digits)}"


def points(fraction: float | None, digits: int = 2) -> str:
    """Return a difference of fractions in percentage points with its sign, `+0.11`."""
    return NOTHING if fraction is None else _signed(100 * fraction, digits)


def points_span(interval: Sequence[float] | None, digits: int = 2) -> str:
    """Return an interval of differences in percentage points, `-0.02 to +0.20` with a true minus sign."""
    return "" if interval is None else f"{points(interval[0], digits)} to {points(interval[1], digits)}"


def loss(value: float | None) -> str:
    """Return a loss in nats with three significant digits."""
    return NOTHING if value is None else _significant(value)


def loss_span(interval: Sequence[float] | None) -> str:
    """Return an interval of losses."""
    return "" if interval is None else f"{_significant(interval[0])} to {_significant(interval[1])}"


def difference(value: float | None, metric: str, digits: int) -> str:
    """Return a difference in the metric's unit: percentage points of accuracy, nats of loss."""
    if metric == "test_loss":
        return NOTHING if value is None else _signed(value, 3)
    return points(value, digits)


def difference_span(interval: Sequence[float] | None, metric: str, digits: int) -> str:
    """Return an interval of differences in the metric's unit."""
    if interval is None:
        return ""
    return f"{difference(interval[0], metric, digits)} to {difference(interval[1], metric, digits)}"


def unit(metric: str) -> str:
    """Return the unit of the metric's differences: percentage points of accuracy, nats of loss."""
    return "nats of loss" if metric == "test_loss" else "points"


def probability(p: float | None) -> str:
    """Return a p value: two significant digits, and never zero."""
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def seconds(value: float | None) -> str:
    """Return a time in the unit that suits it: `0.42 s`, `41 s`, `3 min 20 s`, `2 h 5 min`."""
    if value is None:
        return NOTHING
    if value < 10:
        return f"{value:.2g} s"
    whole = round(value)
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def listed(items: Sequence[str]) -> str:
    """Return `a`, `a and b`, or `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def digits_for(test_examples: int) -> int:
    """Return how many decimals of a percentage a test set of this size can carry."""
    return 1 if test_examples < 1000 else 2


def changes(arm: Arm, experiment: Experiment) -> str:
    """Return what an arm changes: `model.activation: tanh → relu`, and nothing else."""
    return "; ".join(
        f"{factor}: {setting(_before(experiment, factor))} → {setting(value)}" for factor, value in arm.factors.items()
    )


def _before(experiment: Experiment, factor: str) -> Value:
    """The control's value; an option that only the arm's model has is absent from the control."""
    table, _, key = factor.partition(".")
    value: Value = experiment.control.model_dump()[table].get(key, "(absent)")
    return value


def setting(value: Value) -> str:
    """Return a factor's value as an experiment file would write it."""
    if value is None:
        return "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _signed(value: float, digits: int) -> str:
    text = f"{value:+.{digits}f}".replace("-", _MINUS)
    return text[1:] if float(text[1:]) == 0 else text


def _significant(value: float) -> str:
    size = abs(value)
    form = ".2f" if size >= 1 else ".3f" if size >= 0.1 else ".4f" if size >= 0.01 else ".2g"
    return f"{value:{form}}".replace("-", _MINUS, 1) if value < 0 else f"{value:{form}}"
