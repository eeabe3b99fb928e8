"""The whole document from the results: facts, summary, an answer for each request, limits, environments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from paribus.assignment import quick
from paribus.assignment.answers import Teller
from paribus.assignment.page import Answer, Document
from paribus.assignment.requests import EXPERIMENTS, REQUESTS, Request
from paribus.assignment.stored import Stored, experiment_of
from paribus.experiment import CONTROL
from paribus.report.build import METHOD, READING_FIGURES, VERDICTS, summary_rows
from paribus.report.material import Material
from paribus.report.page import Cell, Table
from paribus.store import WallTime
from paribus.wording import NOTHING, count, duration, interval, listed, percent


def build(stored: Stored) -> Document:
    """Return the document as data."""
    teller = Teller(stored)
    answers = tuple(teller.answer(number, request) for number, request in enumerate(REQUESTS, 1))
    return Document(
        title=f"{quick.TITLE}: {_TITLE}" if stored.is_quick else _TITLE,
        warning=quick.WARNING if stored.is_quick else "",
        mark=quick.MARK if stored.is_quick else "",
        facts=tuple(_facts(stored)),
        reading=(_READING, VERDICTS),
        summary=_summary(stored, answers),
        answers=answers,
        method=(*(text for text in METHOD if text != VERDICTS), READING_FIGURES),
        limits=tuple(_limits(stored)),
        command=quick.command(is_quick=stored.is_quick),
        environments=_environments(stored),
    )


def _facts(stored: Stored) -> Iterator[tuple[str, str]]:
    about = [each.results.environment for each in stored.materials.values()]
    yield "Experiments", listed(list(stored.materials)) or "none has been run"
    absent = _absent(stored)
    if absent:
        yield "Not run", listed(absent)
    if stored.changed:
        yield "Changed and not finished", listed(list(stored.changed))
    runs = sum(_runs(material) for material in stored.materials.values())
    yield "Runs", f"{runs:,}"
    trained = sum(map(_seconds, stored.materials.values()))
    yield "Training time", f"{duration(trained)}, all runs one after another, searches for rates not counted"
    walls = {name: each.results.wall_time() for name, each in stored.materials.items()}
    known = {name: wall for name, wall in walls.items() if wall is not None}
    if known:
        least = "" if all(_is_whole(wall, stored.materials[name]) for name, wall in known.items()) else "at least "
        partly = "" if len(known) == len(walls) else f" for {listed(list(known))}; not kept for the others"
        yield "Wall time", f"{least}{duration(sum(wall.seconds for wall in known.values()))}{partly}"
    for what, key in (("Processor", "processor"), ("Python", "python")):
        yield what, listed(sorted({str(each[key]) for each in about})) or NOTHING
    yield "torch", listed(sorted({str(each["packages"]["torch"]) for each in about})) or NOTHING


def _absent(stored: Stored) -> list[str]:
    return [name for name in EXPERIMENTS if name not in stored.materials and name not in stored.changed]


def _summary(stored: Stored, answers: tuple[Answer, ...]) -> Table:
    rows = [row for request, answer in zip(REQUESTS, answers, strict=True) for row in _rows(stored, request, answer)]
    head = ("Request", "Verdict", "Arm", "Difference from control", "95 % interval", "Figure")
    caption = "Every request, its verdict, and the figure that carries it"
    return Table(f"{caption}; {quick.MARK}" if stored.is_quick else caption, head, tuple(rows), (3, 4))


def _rows(stored: Stored, request: Request, answer: Answer) -> Iterator[tuple[Cell, ...]]:
    asks = Cell(f"{answer.number}. {answer.asks}", href=f"#request-{request.id}")
    figure = Cell(NOTHING)
    if answer.figures:
        figure = Cell(request.figures[0].partition("/")[2], href=f"#figure-{answer.figures[0].name}")
    for row in _verdict_rows(stored, request):
        yield asks, *row, figure
        asks, figure = Cell("", href=asks.href), Cell("")


def _verdict_rows(stored: Stored, request: Request) -> list[tuple[Cell, ...]]:
    """The rows of a request short of their first and last cell; a request without verdicts has its control's."""
    rows: list[tuple[Cell, ...]] = []
    for source in request.sources:
        material = stored.materials.get(source.experiment)
        questions = material.experiment.questions if material else ()
        question = next((each for each in questions if each.id == source.question), None)
        if material is None or question is None or not source.is_headline:
            continue
        for _, verdict, arm, difference, within, _cost in summary_rows(material, question):
            small = "; ".join(filter(None, [source.experiment, arm.small]))
            rows.append((verdict, Cell(arm.text, small), difference, within))
    if rows:
        return rows
    control = stored.materials.get(request.control_of or "")
    nothing = Cell(NOTHING)
    if control is None:
        state = "not finished" if request.control_of in stored.changed else "not run"
        return [(Cell(state), Cell("", listed(request.experiments)), nothing, nothing)]
    accuracy = control.verdicts["arms"][CONTROL]["test_accuracy"]
    if accuracy["mean"] is None:
        return [(Cell("no verdict", "runs are missing"), Cell(CONTROL, request.control_of or ""), nothing, nothing)]
    ends = f"95 % interval {interval(accuracy['ci95'], percent)}" if accuracy["ci95"] else "no interval"
    measured = Cell(f"{percent(accuracy['mean'])} %", ends)
    return [(measured, Cell(CONTROL, request.control_of or ""), nothing, nothing)]


def _limits(stored: Stored) -> Iterator[str]:
    if stored.is_quick:
        yield quick.WARNING
    yield from _LIMITS
    for names, been in ((_absent(stored), "not been run"), (stored.changed, "been changed and not finished")):
        if names:
            verb = "has" if len(names) == 1 else "have"
            yield f"{listed([f'`{name}`' for name in names])} {verb} {been}, so nothing is said there."
    for name, material in stored.materials.items():
        asked, made = experiment_of(name, is_quick=stored.is_quick).seeds, material.experiment.seeds
        if len(made) < len(asked):
            yield f"`{name}` was run with {count(len(made), 'seed')}, while it asks for {len(asked)}."


def _environments(stored: Stored) -> Table:
    head = ("Experiment", "Runs", "Training time", "Wall time", "Processor", "Workers", "Engine", "Versions", "Commit")
    rows = [_environment(stored, name, material) for name, material in stored.materials.items()]
    caption = "What each experiment was made on; wall time is that of all calls that trained it, where they kept it"
    return Table(caption, head, tuple(rows), (1, 2, 3))


def _environment(stored: Stored, name: str, material: Material) -> tuple[Cell, ...]:
    about: Mapping[str, Any] = material.results.environment
    wall = material.results.wall_time()
    packages = {key: value for key, value in about["packages"].items() if value is not None}
    versions = ", ".join(f"{key} {value}" for key, value in {"Python": about["python"], **packages}.items())
    return (
        Cell(name, href=stored.report_of(name)),
        Cell(f"{_runs(material):,}"),
        Cell(duration(_seconds(material))),
        Cell(_wall_text(wall, material)),
        Cell(str(about["processor"]), count(about["cores"], "core")),
        Cell(str(about["workers"]), f"{count(about['threads_per_run'], 'thread')} each"),
        Cell(str(about["engine"])),
        Cell("", versions),
        Cell(about["git_commit"] or NOTHING),
    )


def _wall_text(wall: WallTime | None, material: Material) -> str:
    if wall is None:
        return NOTHING
    return duration(wall.seconds) if _is_whole(wall, material) else f"at least {duration(wall.seconds)}"


def _is_whole(wall: WallTime, material: Material) -> bool:
    """Whether no call that trained these runs is missing: none was killed, and none is of before it was kept."""
    return wall.all_ended and wall.runs >= _runs(material)


def _runs(material: Material) -> int:
    return sum(int(arm["runs"]) for arm in material.verdicts["arms"].values())


def _seconds(material: Material) -> float:
    """The training time of all runs, from the verdicts."""
    arms = material.verdicts["arms"].values()  # Verdicts of old lack the sum, and their time per run is the mean.
    return sum(float(arm.get("seconds", arm["runs"] * (arm["seconds_per_run"] or 0))) for arm in arms)


_TITLE = "The assignment: LeNet-5, Devanagari, dogs and cats, digits in sign language"
_READING = (
    "An experiment compares arms with one control. An arm is a whole recipe that changes what stands below its name "
    "and nothing else, trained once for each seed. Points are percentage points of test accuracy; the margin of an "
    "experiment is the smallest difference worth knowing."
)
_LIMITS = (
    "A verdict holds for its recipe, its data and the learning rates that were tried. Undecided is not the same as no "
    "difference: it says that these seeds and test images cannot tell.",
    "The sentences on differences are those of the full reports, quoted and not written anew; the next experiment "
    "worth running and the wrong answers as images are there.",
    "p values are corrected for the comparisons of one experiment, not for those of all of them together.",
    "No verdict compares one data set with another: the experiments differ in more than their images.",
)
