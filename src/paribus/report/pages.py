"""The whole report from the evidence: head, summary, questions, diagnosis, method, environment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from paribus.experiment import CONTROL, Question
from paribus.report import questions, words
from paribus.report.diagnosis import diagnosis
from paribus.report.evidence import Evidence, check_lines, missing_runs
from paribus.report.page import Cell, Page, Section, Table
from paribus.wording import count


def build(evidence: Evidence) -> Page:
    """Return the report as data."""
    experiment = evidence.experiment
    return Page(
        title=experiment.title,
        name=experiment.name,
        facts=tuple(_facts(evidence)),
        summary=_summary(evidence),
        notices=tuple(_notices(evidence)),
        sections=tuple(_sections(evidence)),
        diagnosis=diagnosis(evidence),
        method=Section("method", "Method", (*_METHOD, _TEST_SEEN if evidence.val_is_test else _TEST_UNSEEN)),
        environment=tuple(_environment(evidence)),
    )


def _sections(evidence: Evidence) -> Iterator[Section]:
    """One section per question; the first with figures says how to read them."""
    note = _FIGURES
    for question in evidence.experiment.questions:
        section = questions.section(evidence, question)
        if section.figures and note:
            section, note = replace(section, figures_note=note), ""
        yield section


def _facts(evidence: Evidence) -> Iterator[tuple[str, str]]:
    experiment, runs = evidence.experiment, evidence.all_runs
    wanted = len(experiment.arms) * len(experiment.seeds)
    arms, seeds = count(len(experiment.arms), "arm"), count(len(experiment.seeds), "seed")
    yield "Runs", f"{arms} {words.TIMES} {seeds}: {len(runs)} of {wanted} finished"
    yield "Data", _data(evidence)
    control = evidence.arm(CONTROL)
    if control is not None and control["test_accuracy"]["mean"] is not None:
        accuracy, digits = control["test_accuracy"], evidence.digits
        interval = f" (95 % interval {words.span(accuracy['ci95'], digits)})" if accuracy["ci95"] else ""
        yield "Control", f"{words.percent(accuracy['mean'], digits)} % test accuracy{interval}"
    if experiment.published is not None:
        yield "Published", f"{words.span(experiment.published)} % test accuracy for the control"
    yield "Margin", f"{words.percent(experiment.margin)} percentage points: the smallest difference worth knowing"
    if runs:
        engines = words.listed(sorted({run.result.engine for run in runs}))
        yield "Engine", engines
        yield "Training time", f"{words.seconds(sum(run.result.seconds for run in runs))}, all runs together"


def _data(evidence: Evidence) -> str:
    name = evidence.experiment.control.data.name
    runs = evidence.runs(CONTROL) or evidence.all_runs
    if not runs:
        return name
    result = runs[0].result
    val = "validated on the test set" if result.val_is_test else f"{result.val_examples:,} to validate"
    return f"{name}: {result.train_examples:,} images to train, {val}, {result.test_examples:,} to test"


def _summary(evidence: Evidence) -> Table | None:
    rows = [row for question in evidence.experiment.questions for row in _summary_rows(evidence, question)]
    if not rows:
        return None
    head = ("Question", "Verdict", "Arm", "Difference from control", "95 % interval", "Cost")
    return Table("Every question, its answer, and what the answer costs", head, tuple(rows), (3, 4, 5))


def _summary_rows(evidence: Evidence, question: Question) -> Iterator[tuple[Cell, ...]]:
    entry, digits = evidence.question(question.id), evidence.digits
    compared = questions.comparisons(entry)
    asks = Cell(question.asks, href=f"#question-{question.id}")
    best = questions.best_of_sweep(entry)
    for arm, comparison in compared.items():
        metric = comparison["metric"]
        difference = words.difference(comparison["difference"], metric, digits)
        interval = words.difference_span(comparison["ci95"], metric, digits) or words.NOTHING
        what = f"best {question.factor} by validation" if best is not None and best["arm"] == arm else ""
        shown = questions.verdict_cell(comparison)
        small = "" if comparison["difference"] is None else words.unit(metric)
        yield asks, shown, Cell(arm, what), Cell(difference, small), Cell(interval), questions.cost(evidence, arm)
        asks = Cell("", href=asks.href)
    if not compared:
        yield asks, *_uncompared(evidence, question, best)


def _uncompared(evidence: Evidence, question: Question, best: Mapping[str, Any] | None) -> tuple[Cell, ...]:
    """The row of a question without a comparison, short of its first cell."""
    nothing = Cell(words.NOTHING)
    if best is None:
        return Cell("no verdict", "runs are missing"), Cell(words.listed(question.arms)), nothing, nothing, nothing
    arm = str(best["arm"])
    answer = Cell("no change", "the control is the best value") if arm == CONTROL else Cell("no verdict")
    what = Cell(arm, f"best {question.factor} by validation")
    return answer, what, nothing, nothing, questions.cost(evidence, arm)


def _notices(evidence: Evidence) -> Iterator[str]:
    yield from check_lines(evidence.checks())
    if len(evidence.experiment.seeds) == 1:
        yield (
            "There is only one seed: nothing is known of how much another seed would change, the intervals are "
            "those of the test images alone, and no verdict can be better or worse."
        )
    if not evidence.experiment.questions:
        yield "The experiment asks no question, so the report only describes the control."
    if evidence.val_is_test:
        yield (
            "Validation used the test set, so every validation figure is a test figure. In training it chose nothing."
        )
    elif evidence.all_runs and all(record.val_loss is None for run in evidence.all_runs for record in run.epochs):
        yield "No run recorded a validation loss, so there are no curves of it."
    yield from missing_runs(evidence)


def _environment(evidence: Evidence) -> Iterator[tuple[str, str]]:
    for key, value in evidence.results.environment.items():
        inner = value.items() if isinstance(value, Mapping) else [(key, value)]
        yield from ((name.replace("_", " "), str(item)) for name, item in inner if item is not None)
    data = {str(run.config()["data_fingerprint"]) for run in evidence.all_runs}
    yield from (("data fingerprint", fingerprint[:16]) for fingerprint in sorted(data))
    if evidence.all_runs:
        digests = "/".join(sorted(run.result.digest for run in evidence.all_runs))
        yield "digest of all runs", hashlib.sha256(digests.encode()).hexdigest()[:16]


_FIGURES = (
    "How to read the curves: a line is the mean over seeds, its band reaches from the lowest seed to the highest. "
    "Where one run of an arm has ended, the others go on as thin lines; a cross marks where a run diverged. "
    "An accuracy axis with uneven ticks is stretched towards 100 %: equal distances are equal ratios of the error."
)
_METHOD = (
    "One factor is changed at a time; an arm that changes two does so on purpose and is named so. Arms with one seed "
    "see the same split, the same order of images and, where layers have equal shapes, the same initial weights.",
    "The accuracy of an arm is its mean over seeds, with the 95 % t interval over seeds; a single run has Wilson's "
    "interval over test images instead. A run that diverged counts with the accuracy that it ended with.",
    "The interval of a difference and its p value treat seeds and test images both as samples, so they speak of other "
    "seeds and of new images from the same source. p values are corrected for the number of comparisons by Holm's "
    "method; a sweep counts once, with its best value by validation.",
    "Better and worse: the corrected p is at most 0.05. Equivalent: the difference lies within the margin, shown by "
    "two one-sided tests. Undecided: neither could be shown, which is not the same as no difference. Invalid: a check "
    "forbids the comparison.",
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
