"""What pages say of progress and of two sides, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from paribus.report.page import Cell
from paribus.web.schema import ArmProgress, Confrontation, FiredCheck, Progress, Side
from paribus.wording import NOTHING, count, difference, duration, interval, listed, loss, p_value, percent, plain


def state_text(progress: Progress) -> str:
    """Return how far an experiment is, such as ``"running: 34 of 170 runs done"``."""
    if progress.state == "finished":
        return f"finished: {count(progress.planned, 'run')}"
    return _STATES[progress.state].format(f"{progress.ended:,} of {count(progress.planned, 'run')} done")


def arm_text(arm: ArmProgress) -> str:
    """Return how far the runs of an arm are, such as ``"3 finished, 1 training (epoch 4 of 20)"``."""
    said = []
    for state in dict.fromkeys(run.state for run in arm.runs):
        runs = [run for run in arm.runs if run.state == state]
        epochs = listed([str(run.epochs) for run in runs]) if state in ("training", "stopped") else ""
        said.append(f"{len(runs)} {state}" + (f" (epoch {epochs} of {runs[0].epochs_planned})" if epochs else ""))
    return ", ".join(said)


def moment(seconds: float) -> str:
    """Return a time in seconds since 1970 as this machine's clock shows it."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def places(checks: Sequence[FiredCheck]) -> Iterator[tuple[FiredCheck, str]]:
    """Yield fired checks with where they fired; places that a check says the same of share one line."""
    found: dict[tuple[str, str], list[FiredCheck]] = {}
    for check in checks:
        found.setdefault((check.code, check.message), []).append(check)
    for alike in found.values():
        yield alike[0], listed([check.where for check in alike])


def measures(found: Confrontation) -> Iterator[tuple[str, Cell, Cell]]:
    """Yield the rows of the table of results: what is measured, and each side's figure."""
    for name, write in _MEASURES.items():
        yield name, write(found.first), write(found.second)


def share(side: Side, right: float) -> str:
    """Return how many of an arm's runs get an image right; a single run's answer says it itself."""
    return "" if side.runs == 1 else f" ({round(right * side.runs)} of {side.runs} right)"


def difference_text(found: Confrontation) -> str:
    """Return the difference of two sides as a sentence with what it is worth."""
    about = found.difference
    if about.value is None or about.ci95 is None:
        return about.reason or ""
    within = interval(about.ci95, lambda end: difference(end, "test_accuracy"))
    return (
        f"{found.second.label} against {found.first.label}: {difference(about.value, 'test_accuracy')} points of test "
        f"accuracy, 95 % interval on new images {within}, p {p_value(about.p)}. This is not corrected for the other "
        "pairs that you look at; the verdicts are."
    )


def _accuracy(side: Side) -> Cell:
    found = side.test_accuracy
    if found is None:
        return Cell(NOTHING)
    within = interval(found.ci95, percent)
    return Cell(f"{percent(found.mean)} %", f"{within} %" if within else "")


_STATES = {"waiting": "not started", "running": "running: {}", "stopped": "stopped: {}"}
_MEASURES: dict[str, Callable[[Side], Cell]] = {
    "Test accuracy": _accuracy,
    "Test loss": lambda side: Cell(loss(side.test_loss)),
    "Validation accuracy": lambda side: Cell(
        NOTHING if side.val_accuracy is None else f"{percent(side.val_accuracy)} %"
    ),
    "Training time per run": lambda side: Cell(NOTHING if side.seconds is None else duration(side.seconds)),
    "Epochs trained": lambda side: Cell(NOTHING if side.epochs is None else plain(side.epochs)),
    "Parameters": lambda side: Cell(NOTHING if side.parameters is None else f"{side.parameters:,}"),
    "Runs that have ended": lambda side: Cell(f"{side.runs}"),
}
"""How each figure of a side is written."""
