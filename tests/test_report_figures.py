"""Figures by themselves: looks, letters, curves of runs that end early."""

from __future__ import annotations

from xml.etree import ElementTree

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from paribus.report import canvas, figures


def test_the_control_is_black_and_arms_differ() -> None:
    arms = ["control", *(f"a{index}" for index in range(8))]
    for is_ordered in (False, True):
        found = figures.looks(arms, "control", is_ordered=is_ordered)
        assert found["control"].colour == "#1a1a1a"
        assert len({(look.colour, look.dash) for look in found.values()}) == len(arms)


def test_letters_that_the_layout_has_no_font_for_stay_letters() -> None:
    names = ["क", "$x$", "<b>"]
    drawing = figures.confusion(np.eye(3) * 100, names)
    tree = ElementTree.fromstring(drawing)
    assert set(names) <= {"".join(node.itertext()).strip() for node in tree.iter() if node.tag.endswith("text")}


def test_curves_stop_being_means_where_a_run_has_ended() -> None:
    look = figures.looks(["control"], "control")["control"]
    runs = (np.array([1.0, 0.5, 0.3]), np.array([1.0, np.nan]), np.array([1.0, 0.6, 0.4]))
    one = figures.Series("control", look, runs, (False, True, False))
    assert figures.learning_curves([one], "loss", "loss").count("<path") > figures.learning_curves(
        [figures.Series("control", look, runs[::2], (False, False))], "loss", "loss"
    ).count("<path")


@given(st.floats(0.01, 10), st.lists(st.floats(0, 100.4), min_size=1))
def test_a_stretched_axis_keeps_the_order_and_finds_back(floor: float, accuracies: list[float]) -> None:
    scale, values = canvas._Stretched(floor), np.array(sorted(accuracies))
    places = scale.forward(values)
    assert (np.diff(places) >= 0).all()
    assert scale.inverse(places) == pytest.approx(values, abs=1e-6)


def test_a_mean_below_all_is_not_drawn_at_all_and_100_has_a_tick() -> None:
    """Nine runs with every image right and one without, beside three that are far away."""
    look = figures.looks(["control", "other"], "control")
    nearly = figures.Dots("control", look["control"], (98.0, *(100.0,) * 9), 99.8, (99.35, 100.25))
    far = figures.Dots("other", look["other"], (80.0, 90.0, 92.0), 87.33, None)
    whole = figures.Dots("other", look["other"], (100.0,) * 3, 100.0, None)
    scale = canvas._Stretched(0.2)
    assert float(scale.forward(np.array(99.8))) < float(scale.forward(np.array(100.0)))
    for rows in ([nearly, far], [nearly, far, whole]):
        drawing = figures.seed_dots(rows)
        texts = ["".join(node.itertext()).strip() for node in ElementTree.fromstring(drawing).iter()]
        assert {"80", "98", "99.8", "100"} <= set(texts)
    assert len({*_places(figures.seed_dots([nearly, far, whole]), "use")}) > 4


def _places(drawing: str, kind: str) -> list[float]:
    nodes = (node for node in ElementTree.fromstring(drawing).iter() if node.tag.endswith(kind))
    return [round(float(node.get("x", "0")), 1) for node in nodes]
