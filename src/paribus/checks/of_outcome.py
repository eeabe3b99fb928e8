"""The rules that look at stored runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from paribus.arms import ArmRuns, best_on_val
from paribus.checks.places import Places, of_question
from paribus.config import RATE
from paribus.experiment import CONTROL, Experiment
from paribus.stats import wilson
from paribus.wording import count, interval, named, percent, setting

Arms = Mapping[str, ArmRuns]


def never_ran(experiment: Experiment, arms: Arms) -> Places:
    """P007: an arm of a question, or the control, has no run."""
    places = []
    for question in experiment.questions:
        absent = [name for name in dict.fromkeys((CONTROL, *question.arms)) if not arms[name].runs]
        if absent:
            places.append((of_question(question), f"The question is asked, but {named(absent)} never ran."))
    return places if experiment.questions else None


def best_at_edge(experiment: Experiment, arms: Arms) -> Places:
    """P008: the value that is best on val is the smallest or the largest tried."""
    places, applies = _retuned_to_edge(experiment)
    for question in experiment.questions:
        best = best_on_val(question, arms) if question.kind == "sweep" else None
        values = (
            {name: experiment.arms[name].recipe.factor(question.factor or "") for name in question.arms} if best else {}
        )
        if best is None or not all(type(value) in (int, float) for value in values.values()):
            continue
        applies = True
        ordered: list[Any] = sorted(values.values(), key=float)
        if values[best] in (ordered[0], ordered[-1]):
            side = "smallest" if values[best] == ordered[0] else "largest"
            places.append(
                (
                    of_question(question),
                    f"The best value of `{question.factor}` on val, {setting(values[best])}, is the {side} that was "
                    "tried; a better one may lie beyond.",
                )
            )
    return places if applies else None


def _retuned_to_edge(experiment: Experiment) -> tuple[list[tuple[str, str]], bool]:
    """The retuned arms whose rate was still at an edge when the search met its limit, and whether there are any."""
    chosen = {name: arm.found[RATE] for name, arm in experiment.arms.items() if RATE in arm.found}
    places = [
        (
            name,
            f"The best learning rate on val, {setting(found.value)}, is at the edge of what was tried even after the "
            "last extension of its grid; a better one may lie beyond.",
        )
        for name, found in chosen.items()
        if found.at_edge
    ]
    return places, bool(chosen)


def diverged(_: Experiment, arms: Arms) -> Places:
    """P009: an arm has diverged runs."""
    ran = [arm for arm in arms.values() if arm.runs]
    if not ran:
        return None
    return [
        (
            arm.name,
            f"{arm.diverged} of {count(len(arm.runs), 'run')} diverged and {_verb(arm.diverged)} in every mean.",
        )
        for arm in ran
        if arm.diverged
    ]


def outside_band(experiment: Experiment, arms: Arms) -> Places:
    """P010: the control's mean test accuracy is not within the published band."""
    runs = arms[CONTROL].runs
    if experiment.published is None or not runs:
        return None
    low, high = experiment.published
    mean = float(np.mean([run.result.test_accuracy for run in runs]))
    if low <= mean <= high:
        return []
    side = "below" if mean < low else "above"
    band = interval((low, high), percent)
    return [(CONTROL, f"The mean test accuracy, {percent(mean)} %, lies {side} the published {band} %.")]


def collapsed(_: Experiment, arms: Arms) -> Places:
    """P011: a run that finished is not above the majority class, by the lower end of its Wilson interval."""
    places, applies = [], False
    for arm in arms.values():
        learned = [run for run in arm.runs if run.result.status == "finished"]
        applies = applies or bool(learned)
        stuck = [run for run in learned if _is_no_better_than_majority(arm, run.result.test_accuracy)]
        if stuck:
            share = f"{len(stuck)} of {count(len(arm.runs), 'run')}"
            message = f"{share} did no better than always naming the most frequent class ({percent(_majority(arm))} %)."
            places.append((arm.name, message))
    return places if applies else None


def control_collapsed(_: Experiment, arms: Arms) -> Places:
    """P012: at least half of the control's runs are not above the majority class."""
    control = arms[CONTROL]
    if not control.runs:
        return None
    stuck = sum(_is_no_better_than_majority(control, run.result.test_accuracy) for run in control.runs)
    if 2 * stuck < len(control.runs):
        return []
    return [
        (
            CONTROL,
            f"{stuck} of {count(len(control.runs), 'run')} of the control learned nothing beyond the most frequent "
            "class, so a difference from it says nothing.",
        )
    ]


def other_test_images(_: Experiment, arms: Arms) -> Places:
    """P013: an arm's test labels are not those of the control."""
    control = arms[CONTROL]
    others = [arm for arm in arms.values() if arm.runs and arm.name != CONTROL]
    if not control.runs or not others:
        return None
    message = "It was tested on other images than the control, so that the two cannot be paired image by image."
    return [(arm.name, message) for arm in others if not np.array_equal(arm.labels, control.labels)]


def _verb(number: int) -> str:
    return "counts" if number == 1 else "count"


def _majority(arm: ArmRuns) -> float:
    return float(np.bincount(arm.labels).max() / len(arm.labels))


def _is_no_better_than_majority(arm: ArmRuns, accuracy: float) -> bool:
    low, _ = wilson(round(accuracy * len(arm.labels)), len(arm.labels))
    return low <= _majority(arm)
