"""One number that makes probabilities honest: what logits are divided by before they become probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paribus.metrics import cross_entropy
from paribus.wording import count, loss

Logits = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]

FEWEST = 100
"""The fewest val images on which a temperature is judged, half of them at a time."""
_LIMITS = (0.05, 20.0)


@dataclass(frozen=True)
class Temperature:
    """What logits are divided by, None where they stay as they are, and why."""

    value: float | None
    reason: str


def choose(logits: Logits, labels: Labels, *, val_is_test: bool) -> Temperature:
    """Fit a temperature on val, and keep it where it lowers the loss of examples that it is not fitted to.

    These are two halves of val, the classes in equal shares: each is judged by the temperature of the other.

    Source: Guo et al. 2017, On calibration of modern neural networks, arXiv 1706.04599, section 4.2.

    Args:
        logits: Of the validation images, float (N, num_classes).
        labels: Their classes (N,).
        val_is_test: Whether these are the test images, to which nothing is fitted.
    """
    if val_is_test:
        return Temperature(None, "val is test, and nothing is fitted to the test images")
    if len(labels) < FEWEST:
        return Temperature(None, f"val has {count(len(labels), 'image')}, and it takes {FEWEST} to judge a temperature")
    if not np.isfinite(logits).all():
        return Temperature(None, "not all logits of the val images are finite")
    halves = np.empty(len(labels), dtype=np.bool_)
    halves[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % 2 == 0
    value, first, second = (fit(logits[some], labels[some]) for some in (slice(None), ~halves, halves))
    if value is None or first is None or second is None:
        return Temperature(None, f"val does not determine a temperature from {_LIMITS[0]:g} to {_LIMITS[1]:g}")
    divided = logits / np.where(halves, first, second)[:, np.newaxis]
    before, after = (float(cross_entropy(each, labels).mean()) for each in (logits, divided))
    compared = f"a loss of {loss(after)} instead of {loss(before)} nats on halves of val that it is not fitted to"
    if after >= before:
        return Temperature(None, f"it does not help: {compared}")
    return Temperature(value, f"fitted to {count(len(labels), 'val image')}: {compared}")


def fit(logits: Logits, labels: Labels) -> float | None:
    """Return the temperature at which the mean cross-entropy is lowest, None where it lies beyond 0.05 and 20.

    So it does where every example is classified rightly: then the loss falls with the temperature down to 0.

    Args:
        logits: Finite, (N, num_classes).
        labels: Classes (N,).
    """
    from scipy.optimize import brentq

    exact = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    wanted = exact[np.arange(len(labels)), labels]

    def slope(log_scale: float) -> float:
        """Return the derivative of the loss, which is convex in the scale of the logits."""
        weights = np.exp(exact * np.exp(log_scale))
        expected = (weights * exact).sum(axis=1) / weights.sum(axis=1)
        return float((expected - wanted).mean())

    low, high = (float(-np.log(limit)) for limit in reversed(_LIMITS))
    if not slope(low) < 0 < slope(high):
        return None
    return float(np.exp(-brentq(slope, low, high, xtol=1e-9)))
