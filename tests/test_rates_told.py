"""What reports tell of learning rates: the paragraph, its numbers, the figure, records of old, heads without a rate."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from paribus import rate_range, tuning, verdicts
from paribus.commentary import Material as Prose
from paribus.commentary.rates import rates as rates_in_words
from paribus.config import Recipe
from paribus.experiment import CONTROL
from paribus.report import write_report
from paribus.report.material import Material
from paribus.report.questions import section
from paribus.store import RangeTest, Results
from paribus.testing.synthetic import write_results
from quoted_values import resolve, unexplained
from rate_searches import folder

RATES = rate_range.rates_for([0.01, 1.0])


def made_up(arm: str, recipe: Recipe, middle: float) -> RangeTest:
    """A test whose loss falls around a rate and is lost ten times above it."""
    rates = [rate for rate in RATES if rate <= 10 * middle]
    losses = [2.3 - 2 / (1 + (middle / rate) ** 4) for rate in rates[:-5]] + [5.0] * 5
    at_first = recipe.with_factors({"optim.lr": RATES[0]})
    return RangeTest(
        arm=arm,
        digest="made up",
        recipe=at_first.identity(),
        seed=10_000,
        planned=RATES,
        losses=tuple(losses),
        smoothed=tuple(rate_range.smoothed(losses).tolist()),
        falls_from=rate_range.falls_from(rates, losses, 10),
        steepest=rate_range.steepest(rates, losses, 10),
        diverges_at=rates[-1],
    )


@pytest.fixture
def told(tmp_path: Path) -> Results:
    """A folder with runs, found rates and range tests."""
    found = folder(tmp_path / "result")
    for arm, middle in ((CONTROL, 0.2), ("relu", 0.02)):
        found.write_range(made_up(arm, found.experiment.arms[arm].recipe, middle))
    return write_results(found.folder, found.experiment, {"control": 0.9, "relu": 0.97}, test_examples=300)


def rates_of(entry: dict[str, Any]) -> list[str]:
    return [each["text"] for each in entry["comment"] if each["part"] == "rates"]


def test_every_number_of_the_paragraph_comes_from_the_store(told: Results) -> None:
    for entry in verdicts.compute(told)["questions"]:
        sentences = [each for each in entry["comment"] if each["part"] == "rates"]
        assert len(sentences) == {"relu": 4, "rate": 1}[entry["id"]]
        for sentence in sentences:
            assert unexplained(sentence) == [], sentence["text"]
            for item in sentence["evidence"]:
                assert resolve(item, told, entry) == pytest.approx(item["value"]), item
        wrong = {**sentences[0], "text": sentences[0]["text"].replace("0.", "0.7")}
        assert unexplained(wrong) != []


def test_the_paragraph_says_what_was_chosen_how_wide_it_is_and_how_rates_differ(told: Results) -> None:
    chosen, good, tested, apart = rates_of(verdicts.compute(told)["questions"][0])
    assert chosen == (
        "Each learning rate is the one of those tried that is best on validation, with 3 seeds that nothing else uses: "
        "0.03 (90.00 %) for `relu` out of 5 rates between 0.01 and 1 and 0.3 (97.00 %) for the control out of 5 rates "
        "between 0.01 and 1."
    )
    assert good == (
        "Rates that stay within the margin of 5 points of the best on validation: 0.03 alone for `relu`; 0.3 alone for "
        "the control."
    )
    tests = told.ranges()
    assert f"the training loss of `relu` begins to fall at {tests['relu'].falls_from:g}, falls most around " in tested
    assert f"that of the control begins to fall at {tests[CONTROL].falls_from:g}, falls most around" in tested
    assert apart == "Beside the control's rate of 0.3, that of `relu` is 10 times smaller."


def test_the_good_range_is_of_neighbours_within_the_margin() -> None:
    accuracies = [0.94, 0.5, 0.93, 0.95, 0.91, 0.9]
    assert tuning.good_range(accuracies, 3, 0.02) == (2, 3)
    assert tuning.good_range(accuracies, 3, 0.04) == (2, 4)
    assert tuning.good_range(accuracies, 3, 0.5) == (0, 5)
    assert tuning.good_range([0.9], 0, 0.01) == (0, 0)


def prose(told: Results, **changes: Any) -> list[str]:
    question, entry = told.experiment.questions[0], verdicts.compute(told)["questions"][0]
    material = Prose(question, entry, told.experiment, {}, [], (), told.tunings, told.ranges())
    return [sentence.text for sentence in rates_in_words(dataclasses.replace(material, **changes))]


def test_what_a_test_does_not_show_is_not_said(told: Results) -> None:
    flat = {"falls_from": None, "steepest": None, "diverges_at": None}
    changed = {name: dataclasses.replace(test, **flat) for name, test in told.ranges().items()}  # type: ignore[arg-type]
    assert (
        "of `relu` never falls clearly and does not diverge up to 10; that of the control"
        in prose(told, ranges=changed)[2]
    )
    assert len(prose(told, ranges={})) == 3
    assert prose(told, ranges={}, tunings={}) == []


def test_a_wide_range_is_told_in_decades_and_equal_rates_as_equal(told: Results) -> None:
    rate = told.tunings["relu"].rate
    assert rate is not None
    tried = tuple(dataclasses.replace(each, val_accuracy=0.9) for each in rate.tried)
    wide = dataclasses.replace(told.tunings["relu"], rate=dataclasses.replace(rate, lr=0.3, tried=tried))
    _, good, *_, apart = prose(told, tunings={**told.tunings, "relu": wide}, ranges={})
    assert "on validation: 0.01 to 1 for `relu` (2 decades); 0.3 alone for the control." in good
    assert apart == "Beside the control's rate of 0.3, that of `relu` is the same."


def test_the_report_has_one_figure_of_rates_for_each_question(told: Results) -> None:
    write_report(told, verdicts.compute(told))
    report = (told.folder / "report.md").read_text(encoding="utf-8")
    for question, chosen in (("relu", "control-retuned 0.3 and relu 0.03"), ("rate", "control ")):
        assert report.count(f"](figures/{question}-rates.svg)") == 1
        drawing = (told.folder / "figures" / f"{question}-rates.svg").read_text(encoding="utf-8")
        for label in ("training loss (nats)", "validation accuracy (%)", "learning rate"):
            assert drawing.count(f">{label}<") == 1
        assert f"Validation chose {chosen}" in report
    assert "rate of 0.3, that of <code>relu</code> is 10 times smaller" in (told.folder / "report.html").read_text(
        encoding="utf-8"
    )


def test_without_range_tests_the_grid_stands_alone(told: Results) -> None:
    for path in (told.folder / "ranges").iterdir():
        path.unlink()
    material = Material.gather(told, verdicts.compute(told))
    for question in told.experiment.questions:
        (figure,) = [one for one in section(material, question, []).figures if one.name.endswith("-rates")]
        assert "training loss" not in figure.svg and "validation accuracy (%)" in figure.svg
        assert "range test" not in figure.caption


def test_records_of_old_have_means_only_and_still_open(told: Results) -> None:
    path = told.folder / "tuning" / "relu.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for each in content["rate"]["tried"]:
        del each["val_accuracies"]
    path.write_text(json.dumps(content), encoding="utf-8")
    old = Results.open(told.folder)
    rate = old.tunings["relu"].rate
    assert rate is not None and {each.val_accuracies for each in rate.tried} == {()}
    material = Material.gather(old, verdicts.compute(old))
    assert any(one.name == "relu-rates" for one in section(material, old.experiment.questions[0], []).figures)
