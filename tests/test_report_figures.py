"""Figures by themselves: looks, letters, curves of runs that end early."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np

from paribus.report import figures


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
