"""The answer to one request: verdicts, what the commentary says, figures, a table of the arms, checks that fired."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

from paribus.assignment.choices import choice
from paribus.assignment.page import Answer, Quoted
from paribus.assignment.requests import Request, Source
from paribus.assignment.stored import Stored
from paribus.experiment import CONTROL, Question
from paribus.report import questions
from paribus.report.build import data_text, notices, summary_rows
from paribus.report.material import Material, check_lines
from paribus.report.page import Cell, Comment, Figure, Link, Table
from paribus.report.recipe import recipe_text
from paribus.store import files
from paribus.wording import NOTHING, count, duration, interval, loss, percent, plain, unit

Found = tuple[Source, Material, Question]


class Teller:
    """Answers requests one after the other, so that what matters beside them is told once, where it first does."""

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        self._told: set[str] = set()

    def answer(self, number: int, request: Request) -> Answer:
        """Return the answer, as far as its experiments have been run."""
        found = [each for source in request.sources if (each := self._found(source)) is not None]
        figures = {name: self.stored.figure(name) for name in request.figures}
        return Answer(
            id=request.id,
            number=number,
            asks=request.asks,
            taken=request.taken,
            verdicts=tuple(_verdicts(found)),
            measured=tuple(self._measured(request)),
            example=request.example,
            choices=tuple(self._choices(found)) if request.is_choice else (),
            quoted=tuple(self._quoted(*each) for each in found if each[0].parts),
            figures=tuple(each for each in figures.values() if each is not None),
            table=self._table(request, found),
            notices=tuple(self._notices(request, found)),
            missing=tuple(self._missing(request, figures)),
        )

    def _found(self, source: Source) -> Found | None:
        material = self.stored.materials.get(source.experiment)
        if material is None:
            return None
        asked = {question.id: question for question in material.experiment.questions}
        return (source, material, asked[source.question]) if source.question in asked else None

    def _measured(self, request: Request) -> Iterator[str]:
        there = self.stored.materials
        control = there.get(request.control_of or "")
        if control is not None:
            yield f"`{request.control_of}`: {control_text(control)}"
        for name in (each for each in request.splits_of if each in there):
            known = splits_text(there[name])
            if known is not None:
                yield f"`{name}`: {known}."
        for name in (each for each in request.recipes_of if each in there):
            yield f"Recipe of the control of `{name}`: {recipe_text(there[name].experiment.control)}."

    def _choices(self, found: list[Found]) -> Iterator[str]:
        for source, material, question in found:
            text = choice(material, question) if source.is_headline else None
            if text is not None:
                yield f"`{source.experiment}`, {question.id}: {text}"

    def _quoted(self, source: Source, material: Material, question: Question) -> Quoted:
        said = {part: _said(material, question, part) for part in source.parts}
        comment = Comment(
            tuple(said.get("answer", ())), " ".join(said.get("evidence", ())), " ".join(said.get("limits", ())), ""
        )
        href = f"{self.stored.report_of(source.experiment)}#question-{question.id}"
        return Quoted(source.experiment, Link(question.asks, href), comment, " ".join(said.get("rates", ())))

    def _table(self, request: Request, found: list[Found]) -> Table | None:
        rows: dict[tuple[str, str], tuple[Cell, ...]] = {}
        name = request.control_of
        if name is not None and name in self.stored.materials:
            rows[name, CONTROL] = _row(self.stored.materials[name], name, CONTROL, None)
        for source, material, question in found:
            compared = questions.comparisons(material.question(question.id))
            baselines = [material.experiment.baseline(arm) for arm in question.arms]
            for arm in dict.fromkeys([CONTROL, *baselines, *question.arms]):
                row = _row(material, source.experiment, arm, compared.get(arm))
                if arm in compared or (source.experiment, arm) not in rows:
                    rows[source.experiment, arm] = row
        if not rows:
            return None
        caption = "Every arm with 95 % intervals in small print; differences are those from the control"
        # Of reports whose runs are not kept, nobody knows the updates.
        shown = [
            place
            for place in range(len(_HEAD))
            if place != _UPDATES or any(row[place] != Cell(NOTHING) for row in rows.values())
        ]
        body = tuple(tuple(row[place] for place in shown) for row in rows.values())
        numeric = tuple(number for number, place in enumerate(shown) if place in _NUMERIC)
        return Table(caption, tuple(_HEAD[place] for place in shown), body, numeric)

    def _notices(self, request: Request, found: list[Found]) -> Iterator[str]:
        """What was not asked but matters: checks that fired at these questions, and of an experiment as a whole."""
        for name in request.experiments:
            if name in self.stored.materials:
                yield from self._new(name, _of_the_whole(self.stored.materials[name]))
        for source, material, question in found:
            yield from self._new(source.experiment, check_lines(questions.told_at(material)[question.id]))

    def _new(self, experiment: str, lines: list[str]) -> Iterator[str]:
        for line in (f"`{experiment}`: {each}" for each in lines):
            if line not in self._told:
                self._told.add(line)
                yield line

    def _missing(self, request: Request, figures: Mapping[str, Figure | None]) -> Iterator[str]:
        absent = [name for name in request.experiments if name not in self.stored.materials]
        yield from (f"`{name}` {self.stored.why_lacking(name)}." for name in absent)
        for source in request.sources:
            if source.experiment not in absent and self._found(source) is None:
                yield f"`{source.experiment}` was run without the question `{source.question}`."
        for name, figure in figures.items():
            experiment, _, stem = name.partition("/")
            if figure is None and experiment not in absent:
                yield f"The report of `{experiment}` has no figure `{stem}`."


def _of_the_whole(material: Material) -> list[str]:
    """What concerns an experiment as a whole; where only its verdicts are kept, nothing is known of single runs."""
    if material.all_runs:
        return list(notices(material))
    elsewhere = [check for checks in questions.told_at(material).values() for check in checks]
    return check_lines([check for check in material.checks() if check not in elsewhere])


def control_text(material: Material) -> str:
    """Say what the control reaches, and what is published for it."""
    arm = material.verdicts["arms"][CONTROL]
    accuracy, nats = arm["test_accuracy"], arm["test_loss"]
    if accuracy["mean"] is None:
        return "no run of the control has finished."
    runs = count(arm["runs"], "run")
    said = f"the control reaches {percent(accuracy['mean'])} % test accuracy (mean of {runs}"
    said += f", 95 % interval{_over(accuracy)} {interval(accuracy['ci95'], percent)} %)" if accuracy["ci95"] else ")"
    said += f" and a test loss of {loss(nats['mean'])}"
    said += f" (95 % interval {interval(nats['ci95'], loss)})" if nats["ci95"] else ""
    said += f". One run takes {duration(arm['seconds_per_run'])}."
    published = material.experiment.published
    return said if published is None else f"{said} Published for this task: {interval(published, percent)} %."


def splits_text(material: Material) -> str | None:
    """Say how many images train, validate and test; where no runs are kept, as the report says, None where it does not.

    Raises:
        StoreError: If the report cannot be read.
    """
    if material.all_runs:
        return data_text(material).partition(": ")[2]
    report = material.results.folder / "report.md"
    if not report.is_file():
        return None
    with files.reading(report):
        told = re.search(r"^- \*\*Data\*\*: [^:\n]*: (.*)$", report.read_text(encoding="utf-8"), re.MULTILINE)
    return told[1] if told else None


def _over(figure: Mapping[str, Any]) -> str:
    """What an interval is over, where it is not seeds: of one run, or of runs that are all alike."""
    return "" if figure["ci95_kind"] in (None, _SEEDS) else " over test images"


def _verdicts(found: list[Found]) -> Iterator[Cell]:
    for source, material, question in found:
        if source.is_headline:
            for _, verdict, arm, *_rest in summary_rows(material, question):
                yield Cell(verdict.text, f"{source.experiment}, {arm.text}", verdict.verdict)


def _said(material: Material, question: Question, part: str) -> list[str]:
    comment = material.question(question.id)["comment"]
    return [sentence["text"] for sentence in comment if sentence["part"] == part]


def _row(material: Material, experiment: str, arm: str, comparison: Mapping[str, Any] | None) -> tuple[Cell, ...]:
    entry, against = material.verdicts["arms"][arm], material.experiment.baseline(arm)
    small = experiment if against == CONTROL else f"{experiment}, against {against}"
    if arm != CONTROL:
        small += f"; {questions.changes(material.experiment.arms[arm], material.experiment)}"
    measured = [
        Cell(write(entry[metric]["mean"]), interval(entry[metric]["ci95"], write) + _over(entry[metric]))
        for metric, write in (("test_accuracy", percent), ("test_loss", loss))
    ]
    tested = (Cell(NOTHING), Cell(NOTHING))
    if comparison is not None and comparison["difference"] is not None:
        found, within = questions.difference_texts(comparison, "ci95")
        small_print = within + _on_fewer(material, comparison)
        tested = (Cell(f"{found} {unit(comparison['metric'])}", small_print), questions.verdict_cell(comparison))
    runs = material.runs[arm]
    updates = plain(fmean(run.result.steps for run in runs)) if runs else NOTHING
    return Cell(arm, small), *measured, *tested, Cell(updates), questions.cost(material, arm)


def _on_fewer(material: Material, comparison: Mapping[str, Any]) -> str:
    """On how many seeds a difference was found, where the control has more of them and another mean over all."""
    runs, baseline = comparison["runs"], material.verdicts["arms"][comparison["control"]]
    return f"; on {count(runs, 'seed')}, of {baseline['runs']}" if runs < baseline["runs"] else ""


_HEAD = ("Arm", "Test accuracy (%)", "Test loss", "Difference", "Verdict", "Updates per run", "Time per run")
_UPDATES = _HEAD.index("Updates per run")
_NUMERIC = (1, 2, 3, 5, 6)
_SEEDS = "t over seeds"
