"""Figures of stored runs by the keys under which sentences quote them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paribus.commentary.sentence import Evidence, item
from paribus.store import EpochRecord, Run


def value(run: Run, key: str) -> float | None:
    """Return one figure of a run, None where it has none.

    Args:
        run: A finished or diverged run.
        key: A field of `result.json`; ``"epochs.COLUMN.last"``, or ``"epochs.COLUMN.at=E"`` for epoch E; or one of
            ``"epochs.val_accuracy.first_at>=X"``, ``steps_at>=X`` and ``seconds_at>=X``: the first epoch whose val
            accuracy is at least X, the steps, or the training seconds until its end.
    """
    if not key.startswith("epochs."):
        figure: float | None = getattr(run.result, key)
        return figure
    _, column, what = key.split(".", 2)
    name, _, number = what.partition("=")
    if name == "last":
        figures = [each for record in run.epochs if (each := getattr(record, column)) is not None]
        return figures[-1] if figures else None
    if name == "at":
        return next((getattr(record, column) for record in run.epochs if record.epoch == int(number)), None)
    record = _first_at(run, float(number))
    if record is None:
        return None
    seconds = run.epoch_seconds[: record.epoch] if name == "seconds_at>" else ()
    return {"first_at>": record.epoch, "steps_at>": record.steps, "seconds_at>": sum(seconds)}[name]


def quote(runs: Sequence[Run], key: str) -> list[Evidence]:
    """Return a figure of each run as evidence."""
    return [item(run_name(run), key, value(run, key)) for run in runs]


def mean(runs: Sequence[Run], key: str) -> float | None:
    """Return the mean of a figure over runs, None without runs or where one has no such figure."""
    known = _figures(runs, key)
    return float(np.mean(known)) if known else None


def median(runs: Sequence[Run], key: str) -> float | None:
    """Return the median, as `mean` does: of seconds, as other work on the machine must not decide what an arm costs."""
    known = _figures(runs, key)
    return float(np.median(known)) if known else None


def _figures(runs: Sequence[Run], key: str) -> list[float]:
    figures = [value(run, key) for run in runs]
    known = [figure for figure in figures if figure is not None]
    return known if len(known) == len(figures) else []


def mean_curve(runs: Sequence[Run], column: str) -> list[float]:
    """Return the mean over runs of a column of `epochs.jsonl` by epoch, as far as the shortest run goes.

    Empty where a figure is missing on the way.
    """
    curves = [[getattr(record, column) for record in run.epochs] for run in runs]
    shortest = min((len(curve) for curve in curves), default=0)
    cut = [curve[:shortest] for curve in curves]
    if not shortest or any(figure is None for curve in cut for figure in curve):
        return []
    return [float(each) for each in np.mean(np.asarray(cut, dtype=np.float64), axis=0)]


def run_name(run: Run) -> str:
    """Return ``"ARM/SEED"``."""
    return f"{run.result.arm}/{run.result.seed}"


def _first_at(run: Run, target: float) -> EpochRecord | None:
    return next((each for each in run.epochs if each.val_accuracy is not None and each.val_accuracy >= target), None)
