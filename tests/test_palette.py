"""Colours that several files hold, because a style sheet, a script and Python cannot read one source: they agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paribus.report import figures

ROOT = Path(__file__).parents[1]
REPORT = (ROOT / "src/paribus/report/templates/report.css").read_text(encoding="utf-8")
WEB = (ROOT / "src/paribus/web/static/style.css").read_text(encoding="utf-8")
CURVES = (ROOT / "src/paribus/web/static/curves.js").read_text(encoding="utf-8")
PICTURES = (ROOT / "docs/pictures/make.py").read_text(encoding="utf-8")
BLUE, ORANGE, GREEN = (colour.lower() for colour in figures._PALETTE[:3])


@pytest.mark.parametrize("verdict", ["better", "worse", "equivalent", "undecided"])
def test_a_verdict_has_one_colour_in_reports_and_on_the_page(verdict: str) -> None:
    (report,) = re.findall(rf"^\.{verdict} {{ background: (\S+); border-color: (\S+); color: (\S+); }}$", REPORT, re.M)
    parts = (f"{verdict}-wash", f"{verdict}-line", verdict)
    light = WEB.partition("prefers-color-scheme: dark")[0]
    assert tuple(re.findall(rf"--{part}: (#\w+);", light)[0] for part in parts) == report


def test_strips_and_pictures_take_the_palette_of_figures() -> None:
    marks = dict(re.findall(r"\.strip \.(\w+) { --mark: (#\w+); }", WEB.replace("} .strip", "}\n.strip")))
    assert marks == {"better": GREEN, "worse": ORANGE, "equivalent": BLUE}
    assert f'"{BLUE}", "{ORANGE}", "{GREEN}"' in PICTURES


def test_the_control_is_as_black_in_live_curves_as_in_figures() -> None:
    assert f'const CONTROL = "{figures._CONTROL}";' in CURVES
