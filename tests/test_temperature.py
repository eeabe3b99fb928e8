"""The temperature: found where it is known, kept only where it helps, never fitted to the test images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paribus import temperature
from paribus.metrics import cross_entropy
from paribus.temperature import choose, fit


def sample(scale: float, examples: int = 4000, classes: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose right temperature is `scale`: labels are drawn from what they say after the division by it."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(0, 1.5, (examples, classes))
    shares = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    labels = (shares.cumsum(axis=1) < rng.random((examples, 1))).sum(axis=1)
    return (honest * scale).astype(np.float32), labels.astype(np.int64)


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.5])
def test_the_temperature_is_the_one_that_labels_were_drawn_with(scale: float) -> None:
    found = fit(*sample(scale))
    assert found == pytest.approx(scale, rel=0.06)


@given(st.integers(0, 1000), st.floats(0.3, 3))
def test_no_other_temperature_has_a_lower_loss(seed: int, scale: float) -> None:
    logits, labels = sample(scale, 200, 3, seed)
    found = fit(logits, labels)
    assert found is not None
    best = cross_entropy(logits / found, labels).mean()
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert cross_entropy(logits / (found * factor), labels).mean() >= best - 1e-9


def test_it_is_kept_where_it_helps_on_the_other_half() -> None:
    found = choose(*sample(2.5, 400), val_is_test=False)
    assert found.value == pytest.approx(2.5, rel=0.2)
    assert found.reason.startswith("fitted to 400 val images: a loss of ")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda logits, labels: (logits[:99], labels[:99]), "val has 99 images, and it takes 100 to judge a temp"),
        (lambda logits, labels: (logits * np.nan, labels), "not all logits of the val images are finite"),
        (lambda _, labels: (np.eye(5, dtype=np.float32)[labels], labels), "val does not determine a temperature from"),
        (lambda logits, labels: (-logits, labels), "val does not determine a temperature from 0.05 to 20"),
    ],
)
def test_otherwise_logits_stay_as_they_are_with_a_reason(change: object, reason: str) -> None:
    found = choose(*change(*sample(1.0, 400)), val_is_test=False)  # type: ignore[operator]
    assert found.value is None and found.reason.startswith(reason)


def test_one_that_does_not_help_is_not_kept() -> None:
    """Where labels follow the logits as they are, what one half suggests is as often wrong as right for the other."""
    reasons = [choose(*sample(1.0, 120, seed=seed), val_is_test=False) for seed in range(12)]
    dropped = [each for each in reasons if each.value is None]
    assert 3 <= len(dropped) < 12
    assert all(each.reason.startswith("it does not help: a loss of ") for each in dropped)


def test_nothing_is_fitted_to_the_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temperature, "fit", lambda *_: pytest.fail("fitted"))
    found = choose(*sample(2.5, 400), val_is_test=True)
    assert found.value is None and found.reason == "val is test, and nothing is fitted to the test images"


def test_the_order_of_the_classes_does_not_leave_a_half_without_one() -> None:
    logits, labels = sample(2.5, 400, 2)
    order = np.argsort(labels, kind="stable").reshape(2, -1).T.flatten() if (labels == 0).sum() == 200 else None
    by_turns = np.argsort(np.argsort(labels, kind="stable") % 2, kind="stable") if order is None else order
    assert choose(logits[by_turns], labels[by_turns], val_is_test=False).value is not None
