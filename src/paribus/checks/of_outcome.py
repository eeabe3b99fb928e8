"""The rules that look at stored runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus.arms import ArmRuns, best_on_val
from paribus.checks.check import Arms
from paribus.checks.of_data import FEW_IMAGES
from paribus.checks.of_model import loss_floor
from paribus.checks.places import Places, of_question
from paribus.config import RATE
from paribus.errors import ConfigError
from paribus.experiment import CONTROL, CONTROL_RETUNED, Experiment
from paribus.stats import LEVEL
from paribus.store import Run
from paribus.wording import count, interval, listed, loss, named, percent, setting

_CLASSES_NAMED = 5
MOST_DEAD = 0.5
MOST_SATURATED = 0.75
EDGE = 0.01
"""A logit is at a bound within that share of the range of all logits."""


def never_ran(experiment: Experiment, arms: Arms) -> Places:
    """P007: an arm of a question, or the control, has no run."""
    places = []
    for question in experiment.questions:
        absent = [name for name in dict.fromkeys((CONTROL, *question.arms)) if not arms[name].runs]
        if absent:
            places.append((of_question(question), f"The question is asked, but {named(absent)} never ran."))
    return places if experiment.questions else None


def best_at_edge(experiment: Experiment, arms: Arms) -> Places:
    """P008: the value that is best on val is the smallest or the largest tried, and not of all that there are."""
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
        if values[best] in (ordered[0], ordered[-1]) and _goes_on(
            experiment, question.factor or "", ordered, values[best]
        ):
            side = "smallest" if values[best] == ordered[0] else "largest"
            places.append(
                (
                    of_question(question),
                    f"The best value of `{question.factor}` on validation, {setting(values[best])}, is the {side} that "
                    "was tried; a better one may lie beyond.",
                )
            )
    return places if applies else None


def _goes_on(experiment: Experiment, factor: str, ordered: Sequence[Any], edge: Any) -> bool:
    """Whether the recipe takes any value beyond an edge of those tried: nothing lies below a momentum of 0."""
    step = 1 if isinstance(edge, int) else 1e-6 * (abs(edge) or 1e-3)
    try:
        experiment.control.with_factors({factor: edge - step if edge == ordered[0] else edge + step})
    except ConfigError:
        return False
    return True


def _retuned_to_edge(experiment: Experiment) -> tuple[list[tuple[str, str]], bool]:
    """The retuned arms whose rate was still at an edge when the search met its limit, and whether there are any."""
    chosen = {name: arm.found[RATE] for name, arm in experiment.arms.items() if RATE in arm.found}
    places = [
        (
            name,
            f"The best learning rate on validation, {setting(found.value)}, is at the edge of what was tried even "
            "after the last extension of its grid; a better one may lie beyond.",
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
            f"{arm.diverged} of {count(len(arm.runs), 'run')} diverged and {_verb(arm.diverged, 'count')} in every "
            "mean.",
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


def collapsed(experiment: Experiment, arms: Arms) -> Places:
    """P011: a run that finished is not shown to do better than naming the most frequent class, by McNemar's test."""
    places, applies = [], False
    for arm in arms.values():
        model = experiment.arms[arm.name].recipe.model
        if model.name == "pretrained" and model.options["head"] == "majority":
            continue  # The baseline itself.
        learned = [better for run, better in _better_than_majority(arm) if run.result.status == "finished"]
        applies = applies or bool(learned)
        if not all(learned):
            share = f"{learned.count(False)} of {count(len(arm.runs), 'run')}"
            verb = "is" if learned.count(False) == 1 else "are"
            places.append((arm.name, f"{share} {verb} not shown to do better than {_naming_the_majority(arm)}."))
    return places if applies else None


def control_collapsed(experiment: Experiment, arms: Arms) -> Places:
    """P012: so are at least half of the runs of the control, or of the retuned one, diverged ones too."""
    baselines = [arms[name] for name in (CONTROL, CONTROL_RETUNED) if name in experiment.arms and arms[name].runs]
    if not baselines:
        return None
    places = []
    for arm in baselines:
        stuck = sum(not better for _, better in _better_than_majority(arm))
        if 2 * stuck >= len(arm.runs):
            who = "the control" if arm.name == CONTROL else "the retuned control"
            message = (
                f"{stuck} of {count(len(arm.runs), 'run')} of {who} {'is' if stuck == 1 else 'are'} not shown to do "
                f"better than {_naming_the_majority(arm)}, so a difference from it says nothing."
            )
            places.append((arm.name, message))
    return places


def other_test_images(_: Experiment, arms: Arms) -> Places:
    """P013: an arm's test images are not those of the control."""
    control = arms[CONTROL]
    others = [arm for arm in arms.values() if arm.runs and arm.name != CONTROL]
    if not control.runs or not others:
        return None
    message = "It was tested on other images than the control, so that the two cannot be paired image by image."
    return [(arm.name, message) for arm in others if not arm.is_paired_with(control)]


def dead_classes(_: Experiment, arms: Arms) -> Places:
    """P028: a run that learned something never names a class that the test set holds."""
    places, applies = [], False
    for arm in arms.values():
        present = np.flatnonzero(np.bincount(arm.labels, minlength=len(arm.class_names)) >= FEW_IMAGES)
        learned = [run for run, better in _better_than_majority(arm) if run.result.status == "finished" and better]
        applies = applies or bool(learned)
        dead = [np.setdiff1d(present, run.predictions().classes) for run in learned]
        hit = [classes for classes in dead if len(classes)]
        if hit:
            share = f"{len(hit)} of {count(len(arm.runs), 'run')}"
            places.append((arm.name, f"{share} never {_verb(len(hit), 'predict')} {_missed(arm, hit)}."))
    return places if applies else None


def dead_units(_: Experiment, arms: Arms) -> Places:
    """P032: in the mean over runs, over half of a layer's units are dead or three quarters of its values saturated."""
    places, applies = [], False
    for arm in arms.values():
        probes = [probe for run in arm.runs if (probe := run.probes()) is not None]
        applies = applies or bool(probes)
        dead, saturated = [], []
        for layer in dict.fromkeys(each.layer for probe in probes for each in probe.layers):
            same = [each for probe in probes for each in probe.layers if each.layer == layer]
            shares = [each.dead / each.units for each in same if each.dead is not None]
            if shares and np.mean(shares) > MOST_DEAD:
                dead.append(f"{percent(float(np.mean(shares)))} % in `{layer}`")
            shares = [each.saturated for each in same if each.saturated is not None]
            if shares and np.mean(shares) > MOST_SATURATED:
                saturated.append(f"{percent(float(np.mean(shares)))} % in `{layer}`")
        found = [
            f"{what}, {listed(some)}" for what, some in (("dead units", dead), ("saturated values", saturated)) if some
        ]
        if found:
            places.append((arm.name, f"Many {'; '.join(found)} (mean of {count(len(probes), 'run')})."))
    return places if applies else None


def loss_under_a_floor(_: Experiment, arms: Arms) -> Places:
    """P033: a run's logits lie at their bounds, and the loss that these allow is over half of its test loss."""
    places, applies = [], False
    for arm in arms.values():
        finished = [run for run in arm.runs if run.result.status == "finished" and run.result.test_loss]
        applies = applies or bool(finished)
        floors = [floor for run in finished if (floor := _floor(run)) is not None]
        if floors:
            low, high = min(floors)[1]
            message = (
                f"In {len(floors)} of {count(len(arm.runs), 'run')} the logits stay within {loss(round(low, 4))} "
                f"to {loss(round(high, 4))}, where the loss cannot fall below {loss(min(floors)[0])} nats."
            )
            places.append((arm.name, message))
    return places if applies else None


def _floor(run: Run) -> tuple[float, tuple[float, float]] | None:
    """The least loss that the range of a run's logits allows, with that range, where it hinders the run.

    A network that is sure of every answer would have one logit of K at the upper bound and the others at the lower.
    A quarter as many must be there, and one class alone must reach from bound to bound: the logits of two classes
    gather at two values in a good network too, but not as closely, and those of a network that has learned nothing are
    constants.
    """
    logits = run.predictions().logits
    low, high = float(logits.min()), float(logits.max())
    floor = loss_floor(low, high, logits.shape[1])
    edge, share = EDGE * (high - low), 1 / logits.shape[1]
    is_bounded = np.mean(logits >= high - edge) >= share / 4 and np.mean(logits <= low + edge) >= (1 - share) / 4
    reaches = float(np.ptp(logits, axis=0).max()) >= high - low - 2 * edge
    hinders = floor >= (run.result.test_loss or 0.0) / 2
    return (floor, (low, high)) if low < high and hinders and is_bounded and reaches else None


def _missed(arm: ArmRuns, hit: Sequence[npt.NDArray[np.int64]]) -> str:
    """Which classes some runs never predict: all of them where the runs agree, else the most frequent."""
    missing = Counter(arm.class_names[label] for classes in hit for label in classes.tolist())
    if set(missing.values()) == {len(hit)}:
        more = [f"{len(missing) - _CLASSES_NAMED} more"] if len(missing) > _CLASSES_NAMED else []
        shown = listed([f"`{name}`" for name in list(missing)[:_CLASSES_NAMED]] + more)
        return f"class {shown}" if len(missing) == 1 else f"the classes {shown}"
    often = [f"`{name}` ({count(runs, 'run')})" for name, runs in missing.most_common(_CLASSES_NAMED)]
    return f"some class, most often {listed(often)}"


def _verb(number: int, verb: str) -> str:
    return f"{verb}s" if number == 1 else verb


def _naming_the_majority(arm: ArmRuns) -> str:
    return f"always naming the most frequent class ({percent(float(_is_majority(arm).mean()))} %)"


def _is_majority(arm: ArmRuns) -> npt.NDArray[np.bool_]:
    return np.equal(arm.labels, np.bincount(arm.labels).argmax())


def _better_than_majority(arm: ArmRuns) -> list[tuple[Run, bool]]:
    """Every run, and whether it is right more often than naming the most frequent class on the same images would be.

    By McNemar's exact test, one-sided at 2.5 %: of the images that only one of the two has right, how many are the
    run's. With five images or fewer outside the most frequent class no run could pass it, so being right more often is
    enough there.
    """
    from scipy.special import bdtrc  # Much faster than scipy.stats, and as exact.

    if not arm.runs:
        return []
    named, right = _is_majority(arm), arm.correct > 0
    gained, lost = (right & ~named).sum(axis=1), (~right & named).sum(axis=1)
    level = LEVEL / 2 if 0.5 ** (~named).sum() <= LEVEL / 2 else 0.5
    p = [float(bdtrc(more - 1, more + less, 0.5)) if more else 1.0 for more, less in zip(gained, lost, strict=True)]
    return [(run, each <= level) for run, each in zip(arm.runs, p, strict=True)]
