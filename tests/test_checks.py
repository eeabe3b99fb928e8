from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from paribus import checks
from paribus.checks import CHECKS, WHOLE, Finding
from paribus.experiment import Experiment
from paribus.store import Results
from paribus.testing.synthetic import write_results

PAGES = Path(__file__).parents[1] / "docs" / "checks"
HEAD = """
[experiment]
name = "small"
seeds = {seeds}
margin = 0.02
{published}
[control]
data = {{ name = "{data}", size = 32, val = {val} }}
model = {{ name = "lenet5" }}
optim = {{ name = "sgd", lr = 0.1 }}
augment = {{ hflip = {hflip} }}
train = {{ epochs = 2, batch_size = 128 }}
"""
RELU = """
[[question]]
id = "relu"
asks = "ReLU?"
arms.relu = { "model.activation" = "relu" }
"""
SWEEP = """
[[question]]
id = "rate"
asks = "Which rate?"
factor = "optim.lr"
values = [0.01, 0.1, 1.0]
"""
BATCH = """
[[question]]
id = "batch"
asks = "512?"
arms.b512 = { "train.batch_size" = 512 }
"""
SAME_STEPS = """arms.b512-same-steps = { "train.batch_size" = 512, "train.epochs" = 8 }
together = [["train.batch_size", "train.epochs"]]
"""
RETUNED = """arms.b512-retuned = { "train.batch_size" = 512, "optim.lr" = 0.3 }
together = [["train.batch_size", "optim.lr"]]
"""
ADAM = """
[[question]]
id = "adam"
asks = "Adam?"
arms.adam = { "optim.name" = "adam" }
"""
OTHER_RATE_FOR_SGD = """arms.low = { "optim.lr" = 0.01 }
"""


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is about a crash, and waiting for the disk would be most of the time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def design(
    questions: str, seeds: int = 5, val: str = "200", hflip: str = "false", data: str = "digits", published: str = ""
) -> Experiment:
    head = HEAD.format(seeds=seeds, val=val, hflip=hflip, data=data, published=published)
    return Experiment.parse(head + questions)


def of(code: str, findings: list[Finding]) -> list[Finding]:
    found = [finding for finding in findings if finding.code == code]
    assert found
    return found


def fired(code: str, findings: list[Finding]) -> dict[str, str]:
    return {finding.where: finding.message for finding in of(code, findings) if finding.outcome == "fired"}


DESIGN_CASES: list[tuple[str, Experiment, Experiment, str, str]] = [
    (
        "P001",
        design(RELU, seeds=5),
        design(RELU, seeds=6),
        WHOLE,
        "below 0.0625, but Holm over 1 comparison asks for 0.05",
    ),
    ("P002", design(RELU, val='"test"'), design(RELU), WHOLE, "looks at the test images"),
    ("P003", design(SWEEP, val='"test"'), design(SWEEP), "question rate", "chosen on the test images"),
    (
        "P004",
        design(ADAM),
        design(RELU + BATCH + RETUNED),
        "adam",
        "`optim.name` changes while `optim.lr` stays at 0.1",
    ),
    ("P005", design(BATCH), design(BATCH + SAME_STEPS), "b512", "0.25 times the updates"),
    ("P006", design(RELU, hflip="true", data="mnist"), design(RELU, data="mnist"), "relu", "image of `mnist`"),
]


@pytest.mark.parametrize("code, bad, good, where, text", DESIGN_CASES, ids=[case[0] for case in DESIGN_CASES])
def test_design_checks_fire_and_pass(code: str, bad: Experiment, good: Experiment, where: str, text: str) -> None:
    assert text in fired(code, checks.design(bad))[where]
    assert [finding.outcome for finding in of(code, checks.design(good))] == ["passed"]


@pytest.mark.parametrize(
    "code, experiment",
    [
        ("P001", design("")),
        ("P003", design(RELU)),
        ("P004", design(RELU)),
        ("P005", design(RELU)),
        ("P006", design(RELU, data="fashion-mnist", hflip="true")),
    ],
)
def test_design_checks_that_do_not_apply_say_so(code: str, experiment: Experiment) -> None:
    assert of(code, checks.design(experiment)) == [Finding(code, "not applicable", WHOLE, "")]


def test_seven_comparisons_need_nine_seeds() -> None:
    arms = "".join(f'arms.a{n} = {{ "optim.lr" = 0.{n} }}\n' for n in range(2, 9))
    questions = f'\n[[question]]\nid = "many"\nasks = "Many?"\n{arms}'
    assert "9 seeds are the least" in fired("P001", checks.design(design(questions, seeds=8)))[WHOLE]
    assert not fired("P001", checks.design(design(questions, seeds=9)))


def test_a_rate_for_another_arm_is_no_retuning() -> None:
    assert "adam" in fired("P004", checks.design(design(ADAM + OTHER_RATE_FOR_SGD)))


def test_momentum_and_batch_size_sweeps_are_bound_to_a_rate_too() -> None:
    momentum = RELU.replace('"model.activation" = "relu"', '"optim.momentum" = 0.9')
    sweep = SWEEP.replace("optim.lr", "train.batch_size").replace("0.01, 0.1, 1.0", "128, 512")
    assert "relu" in fired("P004", checks.design(design(momentum)))
    assert list(fired("P004", checks.design(design(sweep)))) == ["batch-size-512"]


def test_an_arm_alone_can_validate_on_test() -> None:
    experiment = design(RELU.replace('"model.activation" = "relu"', '"data.val" = "test"'))
    assert list(fired("P002", checks.design(experiment))) == ["relu"]


Make = Callable[[Path], Results]


def _written(questions: str, accuracy: dict[str, float], published: str = "", **options: object) -> Make:
    def make(folder: Path) -> Results:
        experiment = design(questions, seeds=2, published=published)
        return write_results(folder, experiment, accuracy, test_examples=400, **options)  # type: ignore[arg-type]

    return make


def _with_other_labels(folder: Path) -> Results:
    results = _written(RELU, {"control": 0.9})(folder)
    for run in results.runs("relu"):
        stored = run.predictions()
        np.savez(run.folder / "predictions.npz", logits=stored.logits, labels=np.roll(stored.labels, 1))
    return results


GONE = [("relu", 0), ("relu", 1)]
FINE = _written(RELU + SWEEP, {"control": 0.97, "lr-0.01": 0.8, "lr-1": 0.9})
BAND = "published = [0.95, 0.99]"
OUTCOME_CASES: list[tuple[str, Make, Make, str, str]] = [
    ("P007", _written(RELU, {"control": 0.9}, missing=GONE), FINE, "question relu", "`relu` never ran"),
    (
        "P008",
        _written(SWEEP, {"control": 0.8, "lr-1": 0.97}),
        FINE,
        "question rate",
        "`optim.lr` on val, 1, is the largest",
    ),
    ("P009", _written(RELU, {"control": 0.9}, diverged=[("relu", 1)]), FINE, "relu", "1 of 2 runs diverged and counts"),
    (
        "P010",
        _written(RELU, {"control": 0.7}, published=BAND),
        _written(RELU, {"control": 0.97}, published=BAND),
        "control",
        "lies below the published 95.00 to 99.00 %",
    ),
    ("P011", _written(RELU, {"control": 0.9, "relu": 0.02}), FINE, "relu", "2 of 2 runs did no better"),
    ("P012", _written(RELU, {"control": 0.1, "relu": 0.9}), FINE, "control", "says nothing"),
    ("P013", _with_other_labels, FINE, "relu", "other images than the control"),
]


@pytest.mark.parametrize("code, bad, good, where, text", OUTCOME_CASES, ids=[case[0] for case in OUTCOME_CASES])
def test_outcome_checks_fire_and_pass(code: str, bad: Make, good: Make, where: str, text: str, tmp_path: Path) -> None:
    assert text in fired(code, checks.outcome(bad(tmp_path / "bad")))[where]
    assert [finding.outcome for finding in of(code, checks.outcome(good(tmp_path / "good")))] == ["passed"]


def test_outcome_checks_do_not_apply_before_anything_ran(tmp_path: Path) -> None:
    experiment = design(RELU + SWEEP, seeds=1, published=BAND)
    missing = [(arm, 0) for arm in experiment.arms]
    findings = checks.outcome(write_results(tmp_path / "result", experiment, {"control": 0.9}, missing=missing))
    outcomes = {finding.code: finding.outcome for finding in findings}
    assert outcomes.pop("P007") == "fired"
    assert set(outcomes.values()) == {"not applicable"}


def test_a_sweep_of_words_has_no_edge(tmp_path: Path) -> None:
    sweep = SWEEP.replace("optim.lr", "model.activation").replace("0.01, 0.1, 1.0", '"tanh", "relu"')
    results = _written(sweep, {"control": 0.8, "relu": 0.97})(tmp_path / "result")
    assert of("P008", checks.outcome(results))[0].outcome == "not applicable"


def test_one_collapsed_control_run_of_three_is_no_error(tmp_path: Path) -> None:
    experiment = design(RELU, seeds=3)
    results = write_results(tmp_path / "result", experiment, {"control": 0.9}, diverged=[("control", 0)])
    assert not fired("P012", checks.outcome(results))


def test_every_check_has_its_teeth() -> None:
    assert sorted(CHECKS) == sorted(case[0] for case in [*DESIGN_CASES, *OUTCOME_CASES])


def test_the_table_is_complete() -> None:
    assert list(CHECKS) == [f"P{number:03}" for number in range(1, len(CHECKS) + 1)]
    for check in CHECKS.values():
        assert (check.on_design is None) != (check.on_outcome is None)
        assert check.why.endswith(".")
        assert check.advice.endswith(".")
        assert not check.title.endswith(".")


def test_every_check_has_a_page_and_every_page_a_check() -> None:
    assert sorted(path.stem for path in PAGES.iterdir()) == sorted(CHECKS)


@pytest.mark.parametrize("code", CHECKS)
def test_the_page_of_a_check_has_its_title_its_level_and_all_parts(code: str) -> None:
    check, page = CHECKS[code], (PAGES / f"{code}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {code}: {check.title}\n\nLevel: {check.level}. Looks at the ")
    assert (check.on_design is not None) == ("before anything is trained" in page)
    parts = ["How it is detected.", "Why it matters.", "What to do.", "Fires.", "Does not fire."]
    assert re.findall(r"^\*\*(.*?)\*\* \S", page, re.MULTILINE) == parts


@pytest.mark.parametrize("code", CHECKS)
def test_each_rule_names_its_code(code: str) -> None:
    rule = CHECKS[code].on_design or CHECKS[code].on_outcome
    assert re.match(rf"{code}: ", inspect.getdoc(rule) or "")


def test_only_fired_errors_forbid_and_only_where_they_fire() -> None:
    experiment = design(RELU + SWEEP)
    relu, rate = experiment.questions
    assert CHECKS["P003"].level == "error"
    assert CHECKS["P004"].level == "warning"
    assert checks.forbids(Finding("P003", "fired", "question relu", ""), relu, "relu")
    assert not checks.forbids(Finding("P003", "fired", "question relu", ""), rate, "relu")
    assert not checks.forbids(Finding("P003", "passed", "question relu", ""), relu, "relu")
    assert not checks.forbids(Finding("P004", "fired", "question relu", ""), relu, "relu")
    assert checks.forbids(Finding("P013", "fired", "relu", ""), relu, "relu")
    assert not checks.forbids(Finding("P013", "fired", "lr-1", ""), relu, "relu")
    assert checks.forbids(Finding("P012", "fired", "control", ""), relu, "relu")
    assert checks.forbids(Finding("P012", "fired", WHOLE, ""), relu, "relu")
