"""The course of training: the other metric, how soon a target is reached, where over-fitting starts, updates, cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paribus.checks import turns_of
from paribus.commentary.material import Material, words
from paribus.commentary.quotes import mean, mean_curve, median, quote, value
from paribus.commentary.sentence import Evidence, Sentence, item
from paribus.config import Recipe
from paribus.experiment import CONTROL, Metric
from paribus.stats import Interval, t_interval
from paribus.store import Run
from paribus.wording import difference, duration, interval, level, listed, loss, noun, plain, unit

_EPOCHS = {"train.epochs"}
_CLASSES_NAMED = 3
_MOST_TIMED = 5  # Arms in one sentence about speed.
_STEP_BACK = 0.01  # The target is a point below where the control ends,
_OF_THE_ERROR = 0.5  # or half of its error, where that is less.


def other_metric(material: Material) -> list[Sentence]:
    """Return how the lead does in the metric that the question is not about, without a verdict."""
    lead = material.lead
    if lead is None:
        return []
    metric: Metric = "test_loss" if material.question.metric == "test_accuracy" else "test_accuracy"
    pair = material.pair(lead)
    figures = [[value(run, metric) for run in runs] for runs in (pair.own, pair.against)]
    if any(figure is None for each in figures for figure in each):
        return []
    first, second = (np.array(each, dtype=np.float64) for each in figures)
    evidence = quote(pair.own, metric) + quote(pair.against, metric)
    text = f"The {metric.replace('_', ' ')} of `{pair.name}` is {level(float(first.mean()), metric)} against "
    text += level(float(second.mean()), metric)
    ends = t_interval(first - second)
    if ends is not None:
        text += f", a difference of {_difference(pair.name, pair.baseline, metric, first - second, ends, evidence)}"
    return [Sentence(f"{text}.", evidence)]


def _difference(
    name: str, baseline: str, metric: Metric, differences: np.ndarray, ends: Interval, evidence: list[Evidence]
) -> str:
    found, key = float(differences.mean()), f"minus.{baseline}.{metric}"
    evidence.append(item(name, f"{key}.mean", found))
    evidence += [item(name, f"{key}.ci95.{index}", end) for index, end in enumerate(ends)]
    written = interval(ends, lambda end: difference(end, metric))
    return f"{difference(found, metric)} {unit(metric)} (95 % interval over seeds {written})"


@dataclass(frozen=True)
class _Timed:
    """An arm on its way to a target: mean epochs, steps and seconds, or None where some run never reaches it."""

    name: str
    epochs: float | None
    said: str


def speed(material: Material) -> list[Sentence]:
    """Return after how many epochs, steps and seconds each arm reaches the control's accuracy, less a little.

    The target is a point of val accuracy below where the control ends, or half of its error where that is less, but
    none that a run of the control never reaches. Silent on arms that only train longer, and on heads that are solved
    for, which have no epochs.
    """
    compared = [each for each in material.measured if set(material.experiment.arms[each["arm"]].factors) != _EPOCHS]
    others = [name for each in compared for name in (each["arm"], each["control"]) if name != CONTROL]
    lead = material.lead
    if lead is not None and len(set(others)) >= _MOST_TIMED:
        others = [lead["arm"]]
    names = list(dict.fromkeys([*others, CONTROL]))
    seeds = set.intersection(*(set(material.arms[name].seeds) for name in names))
    runs = {name: [run for run in material.arms[name].runs if run.result.seed in seeds] for name in names}
    target = _target(runs[CONTROL])
    if not others or target is None or any(material.experiment.arms[name].recipe.is_solved for name in names):
        return []
    evidence: list[Evidence] = []
    timed = [_timed(name, runs[name], target, evidence) for name in names]
    reached = sorted((each for each in timed if each.epochs is not None), key=lambda each: each.epochs or 0.0)
    never = [words(each.name) for each in timed if each.epochs is None]
    said = listed([each.said for each in reached])
    text = f"A validation accuracy of {level(target, 'test_accuracy')} is reached by {said}"
    if never:
        text += f"; not by {listed(never)}" if len(seeds) == 1 else f"; not in every run by {listed(never)}"
    return [Sentence(f"{text}.", evidence)]


def _target(runs: Sequence[Run]) -> float | None:
    """A val accuracy, cut to tenths of a percent, that every run of the control reaches; None where there is none."""
    final = mean(runs, "epochs.val_accuracy.last")
    if final is None:
        return None
    highest = [max(each.val_accuracy or 0.0 for each in run.epochs) for run in runs]
    target = math.floor(1000 * min(final - min(_STEP_BACK, _OF_THE_ERROR * (1 - final)), *highest)) / 1000
    return target if target > 0 else None


def _timed(name: str, runs: Sequence[Run], target: float, evidence: list[Evidence]) -> _Timed:
    keys = [f"epochs.val_accuracy.{what}_at>={target:g}" for what in ("first", "steps", "seconds")]
    (epochs, steps), seconds = (mean(runs, key) for key in keys[:2]), median(runs, keys[2])
    for key in keys if epochs is not None else keys[:1]:
        evidence += quote(runs, key)
    if epochs is None or steps is None or seconds is None:
        return _Timed(name, None, "")
    after = f"{plain(epochs)} {noun(epochs, 'epoch')}"
    work = f"{plain(steps)} {noun(steps, 'step')}, {duration(seconds)}"
    return _Timed(name, epochs, f"{words(name)} after {after} ({work})")


def over_fitting(material: Material) -> list[Sentence]:
    """Return where validation loss and validation accuracy turn, each for itself, on the mean curve over seeds.

    Whether they turn is what check P031 says of the same runs. Silent where a run diverged.
    """
    lead = material.lead
    if lead is None:
        return []
    runs = material.pair(lead).own
    losses, accuracies = mean_curve(runs, "val_loss"), mean_curve(runs, "val_accuracy")
    training = mean(runs, "epochs.train_loss.last")
    turns = turns_of(runs, material.experiment.margin)
    if any(run.result.status == "diverged" for run in runs) or turns is None or training is None:
        return []
    name = lead["arm"]
    with_training = f"a training loss of {loss(training)}{_what_raises_it(material.experiment.arms[name].recipe)}"
    return [
        _loss_turn(name, runs, losses, with_training, rose=turns.loss_rose),
        _accuracy_turn(name, runs, accuracies, fell=turns.accuracy_fell),
    ]


def _what_raises_it(recipe: Recipe) -> str:
    """Why a training loss is no match for a validation loss, as the end of a clause; empty where it is."""
    causes = {"mixup": recipe.augment.mixup, "label smoothing": recipe.train.label_smoothing}
    named = [cause for cause, amount in causes.items() if amount]
    return f", which {listed(named)} {'raises' if len(named) == 1 else 'raise'}" if named else ""


def _loss_turn(name: str, runs: Sequence[Run], losses: Sequence[float], with_training: str, *, rose: bool) -> Sentence:
    lowest, last = 1 + int(np.argmin(losses)), len(losses)
    evidence = _at(name, runs, "val_loss", "lowest", lowest, last) + quote(runs, "epochs.train_loss.last")
    if lowest == last:
        text = f"The validation loss of `{name}` does not rise: it ends at its lowest, {loss(losses[-1])}, with "
        return Sentence(f"{text}{with_training}.", evidence)
    course = f"is lowest after epoch {lowest}, at {loss(losses[lowest - 1])}, and ends at {loss(losses[-1])}"
    opening = (
        f"`{name}` over-fits in loss: validation loss"
        if rose
        else f"The validation loss of `{name}` rises too little to be called over-fitting: it"
    )
    return Sentence(f"{opening} {course} with {with_training}.", evidence)


def _accuracy_turn(name: str, runs: Sequence[Run], accuracies: Sequence[float], *, fell: bool) -> Sentence:
    highest, last = 1 + int(np.argmax(accuracies)), len(accuracies)
    evidence = _at(name, runs, "val_accuracy", "highest", highest, last)
    ends_at = level(accuracies[-1], "test_accuracy")
    if highest == last:
        return Sentence(f"Its validation accuracy does not fall: it ends at its highest, {ends_at}.", evidence)
    verb = "falls" if fell else "does not clearly fall"
    best = level(accuracies[highest - 1], "test_accuracy")
    course = f"it is highest after epoch {highest}, at {best}, and ends at {ends_at}"
    return Sentence(f"Its validation accuracy {verb}: {course}.", evidence)


def _at(name: str, runs: Sequence[Run], column: str, what: str, turn: int, last: int) -> list[Evidence]:
    """The epoch of a mean curve's turn, and the figures there and at the end."""
    evidence = [item(name, f"mean.{column}.{what}_at", turn)]
    for epoch in dict.fromkeys((turn, last)):
        evidence += quote(runs, f"epochs.{column}.at={epoch}")
    return evidence


def updates(material: Material) -> list[Sentence]:
    """Return how many updates each arm makes, where arms change the batch size or the epochs."""
    compared = [each for each in material.measured if material.changes(each["arm"], "train.batch_size")]
    if not compared:
        return []
    both = dict.fromkeys([each["control"] for each in compared] + [each["arm"] for each in compared])
    names = [name for name in both if not material.experiment.arms[name].recipe.is_solved]
    made = {name: mean(material.arms[name].runs, "steps") for name in names}
    said = [f"{words(name)} {plain(steps)}" for name, steps in made.items() if steps is not None]
    evidence = [each for name in names for each in quote(material.arms[name].runs, "steps")]
    text = listed(said)
    return [Sentence(f"Updates made in a run: {text}.", evidence)]


def cost(material: Material) -> list[Sentence]:
    """Return the training time of a run of the lead and of its baseline, and beside it that of frozen features."""
    lead = material.lead
    if lead is None:
        return []
    sides = {lead["arm"]: f"`{lead['arm']}`", lead["control"]: words(lead["control"])}
    took, evidence, features = [], [], []
    for arm, name in sides.items():
        runs = material.arms[arm].runs  # All of them, as in the tables, and not those alone that have a partner.
        seconds, beside = median(runs, "seconds"), median(runs, "features_seconds")
        assert seconds is not None
        took.append(duration(seconds))
        evidence += quote(runs, "seconds")
        if beside:
            often = "for each run" if material.experiment.arms[arm].recipe.has_own_views else "once for all runs"
            features.append(f"{duration(beside)} for {name} ({often})")
            evidence += quote(runs, "features_seconds")
    own, against = sides.values()
    text = f"A run of {own} takes {took[0]}, one of {against} {took[1]}"
    if features:
        text += f"; the features took {listed(features)}"
    return [Sentence(f"{text}.", evidence)]


def hardest_classes(material: Material) -> list[Sentence]:
    """Return the classes that the lead gets wrong most often, where the question is about another network."""
    lead = material.lead
    if lead is None or not material.changes(lead["arm"], "model.name") or not material.class_names:
        return []
    arm = material.arms[lead["arm"]]
    present = sorted(set(arm.labels.tolist()))
    by_class = {label: arm.correct[:, arm.labels == label].mean(axis=1) for label in present}
    worst = sorted(present, key=lambda label: (float(by_class[label].mean()), label))[:_CLASSES_NAMED]
    worst = [label for label in worst if by_class[label].mean() < 1]
    if not worst:
        return []
    evidence = [
        item(f"{arm.name}/{seed}", f"class.{label}", float(by_class[label][index]))
        for label in worst
        for index, seed in enumerate(arm.seeds)
    ]
    said = [f"`{material.class_names[label]}` ({_share(by_class[label])})" for label in worst]
    noun = "The hardest class" if len(worst) == 1 else "The hardest classes"
    return [Sentence(f"{noun} for `{arm.name}`, with the share of images right: {listed(said)}.", evidence)]


def _share(accuracies: np.ndarray) -> str:
    return level(float(accuracies.mean()), "test_accuracy")
