"""The learning-rate range test: which rates it goes through, when it is over, and what its losses show.

One short training in which the rate grows geometrically, step by step (Smith 2015, arXiv 1506.01186, section 3.3). It
looks at training images only and chooses nothing: rates are chosen on val, by `tuning`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from paribus.config import RATE
from paribus.experiment import CONTROL, CONTROL_RETUNED, Experiment
from paribus.store import Tuning

STEPS_PER_DECADE = 20
DECADES_BELOW, DECADES_ABOVE = 2, 1
"""How far the test goes beyond what is tried: from a thousandth of a grid's middle to a hundred times it."""
WINDOW = 4
"""A smoothed loss is the mean over so many steps before and after it, as far as there are any."""
LEAST_FALL = 0.1
"""What a clear fall is at least, as a part of the loss of guessing."""

Floats = npt.NDArray[np.float64]


def wanted(experiment: Experiment, tunings: Mapping[str, Tuning]) -> dict[str, tuple[float, ...]]:
    """Return the arms to be tested, with the rates that are tried for each: retuned arms, and the control.

    The control stands for itself at every rate, so `CONTROL_RETUNED` and a sweep's arms have no test of their own. A
    head that is solved for has no rate.

    Args:
        experiment: The design; what is not found yet is not wanted yet.
        tunings: What was found, by arm.
    """
    found: dict[str, set[float]] = {}
    for name, each in tunings.items():
        if each.rate is not None:
            rates = {tried.lr for tried in each.rate.tried}
            found.setdefault(CONTROL if name == CONTROL_RETUNED else name, set()).update(rates)
    for question in experiment.questions:
        if question.factor == RATE:
            swept = {experiment.arms[arm].recipe.optim.lr for arm in question.arms}
            found.setdefault(CONTROL, set()).update(swept)
    arms = [arm for name, arm in experiment.arms.items() if name in found and not arm.recipe.is_solved]
    return {arm.name: tuple(sorted(found[arm.name])) for arm in arms}


def rates_for(tried: Sequence[float]) -> tuple[float, ...]:
    """Return the rates that a test goes through, in three digits: from well below all that is tried to well above."""
    low, high = min(tried) / 10**DECADES_BELOW, max(tried) * 10**DECADES_ABOVE
    steps = round(STEPS_PER_DECADE * math.log10(high / low))
    return tuple(float(f"{low * (high / low) ** (step / steps):.3g}") for step in range(steps + 1))


def smoothed(losses: Sequence[float]) -> Floats:
    """Return each loss as the mean over `WINDOW` steps before and after it."""
    sums = np.concatenate([[0.0], np.cumsum(losses)])
    places = np.arange(len(losses))
    first, last = np.maximum(places - WINDOW, 0), np.minimum(places + WINDOW + 1, len(losses))
    means: Floats = (sums[last] - sums[first]) / (last - first)
    return means


def is_lost(losses: Sequence[float], num_classes: int) -> bool:
    """Whether the smoothed loss has given back nine tenths of its fall, and half of what guessing costs at least.

    A multiple of the best loss, which is what others take, calls every flicker of a loss near zero a divergence, and
    misses a network that is dead at the loss of guessing.
    """
    curve = smoothed(losses)
    best = float(curve.min())
    return float(curve[-1]) > best + max(0.9 * (_start(curve) - best), 0.5 * math.log(num_classes))


def falls_from(rates: Sequence[float], losses: Sequence[float], num_classes: int) -> float | None:
    """Return the rate from which on a tenth of the smoothed loss's whole fall is done; None without a clear fall."""
    curve = smoothed(losses)
    best = int(curve.argmin())
    fall = _start(curve) - float(curve[best])
    if fall < LEAST_FALL * math.log(num_classes):
        return None
    above = np.flatnonzero(curve[:best] >= _start(curve) - 0.1 * fall)
    return rates[int(above[-1]) + 1 if len(above) else 0]


def steepest(rates: Sequence[float], losses: Sequence[float], num_classes: int) -> float | None:
    """Return the rate around which the smoothed loss falls most, before its best; None without a clear fall."""
    if falls_from(rates, losses, num_classes) is None:
        return None
    curve = smoothed(losses)
    places = np.arange(int(curve.argmin()) + 1)
    drops = curve[np.minimum(places + WINDOW, len(curve) - 1)] - curve[np.maximum(places - WINDOW, 0)]
    return rates[int(drops.argmin())]


def _start(curve: Floats) -> float:
    """The loss at rates that change nothing yet."""
    return float(curve[: STEPS_PER_DECADE // 2].mean())
