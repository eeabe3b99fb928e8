"""Learning curves of arms and runs, as the report draws them: mean and band of what has ended, a line for the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from paribus.experiment import CONTROL, Experiment
from paribus.report.figures import Look, looks
from paribus.web.live import CURVES, Series, Watched
from paribus.web.schema import ArmCurve, Curves, Line, Panel


def of_question(experiment: Experiment, runs: Sequence[Watched], identity: str | None) -> Curves:
    """Return the curves of a question's arms and of what they are compared with.

    Args:
        experiment: The design.
        runs: Every run of it.
        identity: A question's id; None, where there is no question, gives the control.
    """
    question = next((each for each in experiment.questions if each.id == identity), None)
    asked = question.arms if question else (CONTROL,)
    arms = list(dict.fromkeys([CONTROL, *(experiment.baseline(arm) for arm in asked), *asked]))
    factor = question.factor if question else None
    values = [experiment.arms[arm].recipe.factor(factor) for arm in arms] if factor else []
    is_ordered = bool(values) and all(type(value) in (int, float) for value in values)
    shown = looks(arms, CONTROL, is_ordered=is_ordered)
    groups = {arm: [run for run in runs if run.arm == arm] for arm in arms}
    return Curves(question=identity, panels=panels(groups, shown))


def panels(groups: Mapping[str, Sequence[Watched]], shown: Mapping[str, Look]) -> list[Panel]:
    """Return one panel per figure that some run has, each with a curve per group of runs."""
    found = []
    for key, title in CURVES.items():
        arms = [_arm_curve(name, shown[name], runs, key) for name, runs in groups.items()]
        if any(curve.mean or curve.lines for curve in arms):
            found.append(Panel.model_validate({"key": key, "title": title, "arms": arms}))
    return found


def _arm_curve(name: str, look: Look, runs: Sequence[Watched], key: str) -> ArmCurve:
    series = {run.seed: (run.curves or {}).get(key, ()) for run in runs}
    ended = [series[run.seed] for run in runs if run.has_ended]
    common = min((_finite_length(values) for values in ended), default=0)
    columns = [
        [value for value in column if value is not None] for column in zip(*(s[:common] for s in ended), strict=True)
    ]
    lines = [line for run in runs if (line := _line(run, series[run.seed], common)) is not None]
    return ArmCurve.model_validate(
        {
            "arm": name,
            "colour": look.colour,
            "dash": look.dash,
            "runs": len(ended),
            "mean": [_short(sum(column) / len(column)) for column in columns],
            "low": [_short(min(column)) for column in columns],
            "high": [_short(max(column)) for column in columns],
            "lines": lines,
        }
    )


def _line(run: Watched, values: Series, common: int) -> Line | None:
    """What a run adds: all of one that trains, of one that has ended what goes on after the others or its end."""
    start = 0
    if run.has_ended:
        if len(values) <= common and run.state != "diverged":
            return None
        start = max(common - 1, 0)
    shown = [None if value is None else _short(value) for value in values[start:]]
    if all(value is None for value in shown):
        return None
    return Line(seed=run.seed, state=run.state, start=start + 1, values=shown)


def _finite_length(values: Series) -> int:
    return next((place for place, value in enumerate(values) if value is None or not math.isfinite(value)), len(values))


def _short(value: float) -> float:
    return float(f"{value:.5g}")
