"""The whole report from the material: head, summary, questions, diagnosis, method, environment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from paribus.experiment import CONTROL, Question
from paribus.report import questions
from paribus.report.diagnosis import diagnosis
from paribus.report.material import Material, check_lines, missing_runs
from paribus.report.page import Cell, Link, Page, Section, Table
from paribus.report.recipe import recipe_text
from paribus.wording import NOTHING, count, duration, interval, listed, margin, percent, unit


def build(material: Material) -> Page:
    """Return the report as data."""
    experiment = material.experiment
    return Page(
        title=experiment.title,
        name=experiment.name,
        facts=tuple(_facts(material)),
        summary=_summary(material),
        notices=tuple(notices(material)),
        fired=tuple(_fired(material)),
        sections=tuple(_sections(material)),
        diagnosis=diagnosis(material),
        method=Section("method", "Method", (*METHOD, _TEST_SEEN if material.val_is_test else _TEST_UNSEEN)),
        environment=tuple(_environment(material)),
    )


def _sections(material: Material) -> Iterator[Section]:
    """One section per question; the first with figures says how to read them."""
    note, told = READING_FIGURES, questions.told_at(material)
    for question in material.experiment.questions:
        section = questions.section(material, question, told[question.id])
        if section.figures and note:
            section, note = replace(section, figures_note=note), ""
        yield section


def _facts(material: Material) -> Iterator[tuple[str, str]]:
    experiment, runs = material.experiment, material.all_runs
    wanted = sum(len(experiment.seeds_of(arm)) for arm in experiment.arms)
    arms, seeds = count(len(experiment.arms), "arm"), count(len(experiment.seeds), "seed")
    design = f"{arms} × {seeds}" if wanted == len(experiment.arms) * len(experiment.seeds) else f"{arms}, up to {seeds}"
    yield "Runs", f"{design}: {len(runs)} of {wanted} finished"
    yield "Data", data_text(material)
    yield "Recipe of the control", recipe_text(experiment.control)
    control = material.arm(CONTROL)
    if control is not None and control["test_accuracy"]["mean"] is not None:
        accuracy = control["test_accuracy"]
        within = f" (95 % interval {interval(accuracy['ci95'], percent)} %)" if accuracy["ci95"] else ""
        yield "Control", f"{percent(accuracy['mean'])} % test accuracy{within}"
    if experiment.published is not None:
        yield "Published", f"{interval(experiment.published, percent)} % test accuracy for the control"
    yield "Margin", f"{margin(experiment.margin, 'test_accuracy')}: the smallest difference worth knowing"
    if runs:
        yield "Engine", listed(sorted({run.result.engine for run in runs}))
        apart = ", without the features of frozen networks" if any(run.result.features_seconds for run in runs) else ""
        yield "Training time", f"{duration(sum(run.result.seconds for run in runs))}, all runs together{apart}"


def data_text(material: Material) -> str:
    """Say how many images train, validate and test."""
    name = material.experiment.control.data.name
    runs = material.runs[CONTROL] or material.all_runs
    if not runs:
        return name
    result = runs[0].result
    val = "validated on the test set" if result.val_is_test else f"{result.val_examples:,} to validate"
    return f"{name}: {result.train_examples:,} images to train, {val}, {result.test_examples:,} to test"


def _summary(material: Material) -> Table | None:
    rows = [row for question in material.experiment.questions for row in summary_rows(material, question)]
    if not rows:
        return None
    head = ("Question", "Verdict", "Arm", "Difference from control", "95 % interval", "Cost")
    return Table("Every question, its answer, and what the answer costs", head, tuple(rows), (3, 4, 5))


def summary_rows(material: Material, question: Question) -> Iterator[tuple[Cell, ...]]:
    """Yield a row per comparison of a question: what is asked, verdict, arm, difference, interval, cost."""
    entry = material.question(question.id)
    compared = questions.comparisons(entry)
    asks = Cell(question.asks, href=f"#question-{question.id}")
    best = questions.best_of_sweep(entry)
    for arm, comparison in compared.items():
        found, within = questions.difference_texts(comparison, "ci95")
        what = f"best {question.factor} on validation" if best is not None and best["arm"] == arm else ""
        if comparison["control"] != CONTROL:
            what = f"against {comparison['control']}"
        shown = questions.verdict_cell(comparison)
        small = "" if comparison["difference"] is None else unit(question.metric)
        yield asks, shown, Cell(arm, what), Cell(found, small), Cell(within or NOTHING), questions.cost(material, arm)
        asks = Cell("", href=asks.href)
    if not compared:
        yield asks, *_uncompared(material, question, best)


def _uncompared(material: Material, question: Question, best: Mapping[str, Any] | None) -> tuple[Cell, ...]:
    """The row of a question without a comparison, short of its first cell."""
    nothing = Cell(NOTHING)
    if best is None:
        return Cell("no verdict", "runs are missing"), Cell(listed(question.arms)), nothing, nothing, nothing
    arm = str(best["arm"])
    answer = Cell("no change", "the control is the best value") if arm == CONTROL else Cell("no verdict")
    what = Cell(arm, f"best {question.factor} on validation")
    return answer, what, nothing, nothing, questions.cost(material, arm)


def _fired(material: Material) -> Iterator[Link]:
    """The questions at which checks fired; each check is told once, there."""
    for identity, checks in questions.told_at(material).items():
        codes = sorted({check["code"] for check in checks})
        if codes:
            yield Link(f"{identity} ({count(len(checks), 'check')}: {listed(codes)})", f"#question-{identity}")


def notices(material: Material) -> Iterator[str]:
    """Yield what concerns the experiment as a whole, or no question in particular."""
    elsewhere = [check for checks in questions.told_at(material).values() for check in checks]
    yield from check_lines([check for check in material.checks() if check not in elsewhere])
    if len(material.experiment.seeds) == 1:
        yield (
            "There is only one seed: nothing is known of how much another seed would change, the intervals are "
            "those of the test images alone, and no verdict can be better or worse."
        )
    if not material.experiment.questions:
        yield "The experiment asks no question, so the report only describes the control."
    if material.val_is_test:
        yield (
            "Validation used the test set, so every validation figure is a test figure. In training it chose nothing."
        )
    elif material.all_runs and all(record.val_loss is None for run in material.all_runs for record in run.epochs):
        yield "No run recorded a validation loss, so there are no curves of it."
    facts = material.results.facts()
    yield from (f"Not looked at before training: {each}" for each in (facts.unseen if facts else ()))
    yield from missing_runs(material)
    now = _told(material.results.environment)
    if any(now.get(key) != _told(each).get(key) for each in material.results.former_environments() for key in _PACE):
        yield "Not all runs were made on one machine and in one way, so their times say little of the arms."


def _environment(material: Material) -> Iterator[tuple[str, str]]:
    now = _told(material.results.environment)
    yield from now.items()
    for former in map(_told, material.results.former_environments()):
        changed = [f"{key} {value}" for key, value in former.items() if now.get(key) != value]
        yield "earlier calls", ", ".join(changed) or "without what is new here"
    data = {str(run.config()["data_fingerprint"]) for run in material.all_runs}
    yield from (("data fingerprint", fingerprint[:16]) for fingerprint in sorted(data))
    if material.all_runs:
        digests = "/".join(sorted(run.result.digest for run in material.all_runs))
        yield "digest of all runs", hashlib.sha256(digests.encode()).hexdigest()[:16]


def _told(environment: Mapping[str, Any]) -> dict[str, str]:
    """What `environment.json` says, by name."""
    told = {}
    for key, value in environment.items():
        if key == "left_out":  # By path; environment.json lists them.
            told["image files left out"] = f"{len(value)}"
            continue
        inner = value.items() if isinstance(value, Mapping) else [(key, value)]
        told |= {name.replace("_", " "): str(item) for name, item in inner if item is not None}
    return told


_PACE = ("processor", "cores", "workers", "threads per run", "instructions", "torch", "numpy")
READING_FIGURES = (
    "How to read the curves: a line is the mean over seeds, its band reaches from the lowest seed to the highest. "
    "Where one run of an arm has ended, the others go on as thin lines; a cross marks where a run diverged. "
    "An accuracy axis with uneven ticks is stretched towards 100 %: equal distances are equal ratios of the error."
)
VERDICTS = (
    "Better and worse: the corrected p is at most 0.05. Equivalent: the 95 % interval lies within the margin. "
    "Undecided: neither is the case, which is not the same as no difference. Invalid: a check forbids the comparison."
)
METHOD = (
    "One factor is changed at a time; an arm that changes two does so on purpose and is named so. Arms with one seed "
    "see the same split, the same order of images and, where layers have equal shapes, the same initial weights.",
    "The accuracy of an arm is its mean over seeds, with the 95 % t interval over seeds; a single run has Wilson's "
    "interval over test images instead. A run that diverged counts with the accuracy that it ended with. A t interval "
    "is not cut at 0 or 100 %: one that reaches beyond says that its runs are too few or too uneven to say more.",
    "The interval of a difference and its p value treat seeds and test images both as samples, so they speak of other "
    "seeds and of new images from the same source. p values are corrected for the number of comparisons by Holm's "
    "method; a sweep counts once, with its best value on validation.",
    VERDICTS,
    "Beside the interval on new images stands the one for these test images only: what other seeds would give on them. "
    "It is the narrower claim, and decides no verdict.",
)
_TEST_UNSEEN = (
    "Validation may be looked at to choose. The test set is evaluated once per finished run and chooses nothing."
)
_TEST_SEEN = (
    "The experiment validates on its test set. No weights were chosen by it, but whoever reads a validation figure has "
    "seen the test images."
)
