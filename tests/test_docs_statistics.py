"""docs/statistics.md: pictures and numbers are those of the stored result. So is the picture in the README."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

PAGE = Path(__file__).parents[1] / "docs" / "statistics.md"
PICTURES = PAGE.parent / "pictures"
NUMBER = re.compile(r"[+−]?\d[\d,]*(?:\.\d+)?")
SAID_OF_THE_METHOD = {
    *("5", "95", "80"),  # LeNet-5, levels of intervals and of power.
    *("1,024", "10,000"),  # Signs of ten numbers, test images of MNIST.
    *("2", "40", "0.1", "0.2", "0.3"),  # What the picture of power shows.
    "−0.41",  # The farthest seed of the picture of pairs.
}


def made(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"pictures_{name}", PICTURES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MADE = made("make")
PROSE = re.sub(r"\]\([^)]*\)|`P\d+`", "]", PAGE.read_text(encoding="utf-8"))


def rounded(svg: str) -> str:
    """An SVG without what the last digits of a processor's floats could change."""
    return re.sub(r"\d+\.\d+", lambda match: f"{float(match[0]):.1f}", svg)


@pytest.mark.parametrize("name", MADE.PICTURES)
def test_a_picture_is_of_the_stored_result(name: str) -> None:
    """After a new gallery entry: python docs/pictures/make.py."""
    drawn = (PICTURES / f"{name}.svg").read_text(encoding="utf-8")
    assert rounded(drawn) == rounded(MADE.PICTURES[name]() + "\n")


def test_every_picture_is_shown_and_described() -> None:
    shown = dict(re.findall(r"!\[(.+?)\]\(pictures/(\w+)\.svg\)", PAGE.read_text(encoding="utf-8")))
    assert sorted(shown.values()) == sorted(MADE.PICTURES) == sorted(path.stem for path in PICTURES.glob("*.svg"))
    assert all(len(alt) > 60 for alt in shown)


@pytest.mark.parametrize(("what", "text"), MADE.facts().items())
def test_a_number_is_quoted_as_it_was_measured(what: str, text: str) -> None:
    flowing = " ".join(PROSE.split())
    assert text in flowing, f"{what} is {text} now: write it so"


def test_no_other_number_is_quoted() -> None:
    measured = {number for text in MADE.facts().values() for number in NUMBER.findall(text)}
    assert set(NUMBER.findall(PROSE)) - measured - SAID_OF_THE_METHOD == set()


def test_what_the_page_says_of_the_pictures() -> None:
    d = MADE.by_seed("max") - MADE.by_seed("control")
    assert (int((d > 0).sum()), int((abs(d) < 1e-9).sum()), int((d < -1e-9).sum())) == (2, 1, 7)
    assert f"{d.min():.2f}" == "-0.41"
    crossing = {arm for arm in ("relu", "max", "momentum", "b512-same-steps") if crosses(arm, "ci95")}
    on_these = {arm for arm in crossing if crosses(arm, "ci95_this_test_set")}
    assert crossing - on_these == {"max"}
    verdicts = [
        MADE.comparison(arm)["verdict"] for arm in ("b512-same-steps", "adam-retuned", "momentum-retuned", "relu")
    ]
    assert verdicts == ["better", "worse", "equivalent", "undecided"]
    compared = [each["verdict"] for question in MADE.verdicts()["questions"] for each in question["comparisons"]]
    assert len(compared) == 11
    assert sum(verdict in ("better", "worse") for verdict in compared) == 5
    assert MADE.comparison("momentum")["p"] < 0.05
    assert 2 ** len(d) == 1024


def crosses(arm: str, key: str) -> bool:
    low, high = MADE.comparison(arm)[key]
    return bool(low < 0 < high)


def test_the_picture_of_the_readme_is_of_the_report_in_the_gallery() -> None:
    """After a new gallery entry: python docs/pictures/report.py."""
    report = made("report")
    with Image.open(report.PICTURE) as picture:
        assert picture.text["digest"] == report.digest()  # type: ignore[attr-defined]
        assert picture.width == report.WIDTH
    assert report.PICTURE.stat().st_size < 300_000
    answers = report.page().sections[0].comment.answer
    assert len(answers) == 4
    assert all(word in answers[0] for word in ("b512", "worse", "10 seeds"))
