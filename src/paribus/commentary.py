"""Plain sentences that answer each question, from templates; every number in them is quoted from the store.

An evidence item quotes one value. `run` is ``"ARM/SEED"`` with a key of `_QUOTES` (a field of `result.json`, or a
figure of `epochs.jsonl`), or ``"ARM"`` with a factor or with ``"comparison.KEY"``, ``"sweep.KEY"``, ``"question.KEY"``
of the same question's entry. A number in a sentence is a quoted value, a mean of quoted values over the runs of an arm,
or a count of quoted items.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paribus.arms import ArmRuns
from paribus.checks import Finding, of_question
from paribus.experiment import CONTROL, Experiment, Metric, Question
from paribus.store import Run
from paribus.wording import (
    count,
    difference,
    duration,
    interval,
    level,
    listed,
    loss,
    lower,
    margin,
    named,
    p_value,
    plain,
    setting,
    unit,
    would_decide,
)

Evidence = dict[str, Any]
_LONGEST = 5
_RISE = 0.02  # Validation loss has turned where it ends this much above its lowest, relatively.
_COURSE = (
    "val_loss.lowest",
    "val_loss.lowest_at",
    "val_loss.last",
    "train_loss.last",
    "val_accuracy.highest",
    "val_accuracy.last",
)
_STEP_BACK = 0.01  # A level that both arms reach: a point below the lower of their final val accuracies.


@dataclass(frozen=True)
class Sentence:
    """A text and the store values that it quotes: `{"run": ..., "key": ..., "value": ...}` each."""

    text: str
    evidence: list[Evidence]


@dataclass(frozen=True)
class _Material:
    """What a question's sentences are made of; `entry` is its entry of `verdicts.json` without the comment."""

    question: Question
    entry: Mapping[str, Any]
    experiment: Experiment
    arms: Mapping[str, ArmRuns]
    findings: Sequence[Finding]

    def paired(self, name: str) -> tuple[list[Run], list[Run]]:
        """Runs of an arm and of what it is compared with, of the seeds that both have."""
        arm, control = self.arms[name], self.arms[self.experiment.baseline(name)]
        return (
            [run for run in arm.runs if run.result.seed in control.seeds],
            [run for run in control.runs if run.result.seed in arm.seeds],
        )

    def opponent(self, name: str) -> str:
        """What an arm is compared with, in words."""
        baseline = self.experiment.baseline(name)
        return "the control" if baseline == CONTROL else named([baseline])

    def fired(self, code: str, where: Sequence[str]) -> list[str]:
        """Those of some places where a check fired."""
        return [f.where for f in self.findings if f.code == code and f.outcome == "fired" and f.where in where]


def comment(
    question: Question,
    entry: Mapping[str, Any],
    experiment: Experiment,
    arms: Mapping[str, ArmRuns],
    findings: Sequence[Finding],
) -> list[Sentence]:
    """Return a question's paragraph: the answer for each arm, then loss, course and cost where there is room, limits.

    Args:
        question: What was asked.
        entry: Its entry of `verdicts.json`, without the comment.
        experiment: The design.
        arms: Every arm's runs, by name.
        findings: What the checks found.
    """
    material = _Material(question, entry, experiment, arms, findings)
    answers = _sweep(material) if question.kind == "sweep" else []
    answers += [_answer(material, comparison) for comparison in entry["comparisons"]]
    limits, extras = _limits(material), []
    lead = _lead(entry)
    if lead is not None:
        course = _over_fitting if _is_about_epochs(experiment, lead) else _speed
        extras = [make(material, lead) for make in (_other_metric, course, _cost)]
    room = max(1, _LONGEST - len(answers) - len(limits))
    known = [sentence for sentence in extras if sentence is not None]
    return _without_repetition([*answers, *known[:room], *limits])


def _lead(entry: Mapping[str, Any]) -> str | None:
    """The arm worth saying more about: the best by the question's metric, of those that have a verdict to give."""
    known = [each for each in entry["comparisons"] if each["difference"] is not None and each["verdict"] != "invalid"]
    sign = 1 if entry["metric"] == "test_accuracy" else -1
    return max(known, key=lambda each: float(sign * each["difference"]))["arm"] if known else None


def _without_repetition(sentences: Sequence[Sentence]) -> list[Sentence]:
    return list({sentence.text: sentence for sentence in reversed(sentences)}.values())[::-1]


def _answer(material: _Material, comparison: Mapping[str, Any]) -> Sentence:
    name, verdict = comparison["arm"], comparison["verdict"]
    if verdict == "invalid":
        code = str(comparison["reason"]).partition(":")[0]
        title = next(finding.title for finding in material.findings if finding.code == code)
        return Sentence(f"No verdict on `{name}` is given, because check `{code}` fired: {lower(title)}.", [])
    if comparison["difference"] is None:
        return Sentence(f"Nothing can be said about `{name}`. {comparison['reason']}", [])
    own, control = material.paired(name)
    metric = comparison["metric"]
    evidence = _quotes(own, metric) + _quotes(control, metric)
    means = _means(material, comparison, own, control)
    text = f"{_opening(material, comparison)}: {means}{_strength(comparison, evidence)}"
    return Sentence(f"{text}{_way_out(comparison, evidence)}.", evidence)


def _opening(material: _Material, comparison: Mapping[str, Any]) -> str:
    name, verdict = comparison["arm"], comparison["verdict"]
    opponent = material.opponent(name)
    if verdict in ("better", "worse"):
        return f"`{name}` is {verdict} than {opponent}"
    if verdict == "equivalent":
        return f"`{name}` and {opponent} are equivalent"
    return f"Whether `{name}` differs from {opponent} is undecided"


def _means(material: _Material, comparison: Mapping[str, Any], own: Sequence[Run], control: Sequence[Run]) -> str:
    metric: Metric = comparison["metric"]
    word = metric.replace("_", " ") if len(own) == 1 else f"mean {metric.replace('_', ' ')}"
    first, second = (_mean(runs, metric) for runs in (own, control))
    assert first is not None
    assert second is not None
    found = f"{difference(comparison['difference'], metric)} {unit(metric)}"
    return f"{word} {level(first, metric)} against {level(second, metric)}, a difference of {found}"


def _strength(comparison: Mapping[str, Any], evidence: list[Evidence]) -> str:
    """The bracket after the difference: interval, adjusted p, seeds."""
    name, words = comparison["arm"], []
    evidence.append(_item(name, "comparison.difference", comparison["difference"]))
    if comparison["ci95"] is not None:
        low, high = comparison["ci95"]
        evidence += [_item(name, "comparison.ci95.0", low), _item(name, "comparison.ci95.1", high)]
        ends = interval((low, high), lambda end: difference(end, comparison["metric"]))
        words.append(f"95 % interval on new images {ends}")
    if comparison["p_holm"] is not None:
        evidence.append(_item(name, "comparison.p_holm", comparison["p_holm"]))
        words.append(f"adjusted p {p_value(comparison['p_holm'])}")
    evidence.append(_item(name, "comparison.runs", comparison["runs"]))
    words.append(count(comparison["runs"], "seed"))
    return f" ({', '.join(words)})"


def _way_out(comparison: Mapping[str, Any], evidence: list[Evidence]) -> str:
    """What bounds the verdict: the margin, or what would decide."""
    name, smallest = comparison["arm"], margin(comparison["margin"], comparison["metric"])
    if comparison["verdict"] == "equivalent":
        evidence.append(_item(name, "comparison.margin", comparison["margin"]))
        return f", within the margin of {smallest}"
    if comparison["verdict"] != "undecided":
        if abs(comparison["difference"]) >= comparison["margin"]:
            return ""
        evidence.append(_item(name, "comparison.margin", comparison["margin"]))
        return f"; the difference is real but below the margin of {smallest}"
    if comparison["runs"] == 1:
        return "; one seed cannot tell the change from luck"
    if comparison["ci95"] is None:
        return "; nothing varied from run to run or image to image, so there is no spread to judge by"
    for key in ("seeds_needed", "test_images_needed"):
        if comparison[key] is not None:
            evidence.append(_item(name, f"comparison.{key}", comparison[key]))
    return f"; {would_decide(comparison['seeds_needed'], comparison['test_images_needed'])}"


def _other_metric(material: _Material, name: str) -> Sentence | None:
    """The metric that the question is not about, without a verdict."""
    metric: Metric = "test_loss" if material.question.metric == "test_accuracy" else "test_accuracy"
    own, control = material.paired(name)
    first, second = _mean(own, metric), _mean(control, metric)
    if first is None or second is None:
        return None
    evidence = _quotes(own, metric) + _quotes(control, metric)
    levels = f"{level(first, metric)} against {level(second, metric)}"
    return Sentence(f"The {metric.replace('_', ' ')} of `{name}` is {levels}.", evidence)


def _speed(material: _Material, name: str) -> Sentence | None:
    """How many epochs it takes to reach a level of val accuracy that both reach; silent where a run never does."""
    own, control = material.paired(name)
    lasts = [_mean(runs, "epochs.val_accuracy.last") for runs in (own, control)]
    if None in lasts:
        return None
    target = math.floor(1000 * (min(last for last in lasts if last is not None) - _STEP_BACK)) / 1000
    key = f"epochs.val_accuracy.first_at>={target:g}"
    epochs = [[_first_at(run, target) for run in runs] for runs in (own, control)]
    reached = [[epoch for epoch in each if epoch is not None] for each in epochs]
    if any(len(some) < len(each) for some, each in zip(reached, epochs, strict=True)) or target <= 0:
        return None
    evidence = [
        _item(_run_name(run), key, epoch)
        for runs, each in zip((own, control), epochs, strict=True)
        for run, epoch in zip(runs, each, strict=True)
    ]
    first, second = (float(np.mean(each)) for each in reached)
    mean = "" if len(own) == 1 else " on average"
    noun = "epoch" if first == 1 else "epochs"
    text = f"`{name}` reaches {level(target, 'test_accuracy')} validation accuracy after {plain(first)} {noun}{mean}, "
    return Sentence(f"{text}{material.opponent(name)} after {plain(second)}.", evidence)


def _over_fitting(material: _Material, name: str) -> Sentence | None:
    """Whether validation loss turned, and whether accuracy turned with it; silent where a run diverged."""
    runs, _ = material.paired(name)
    if any(run.result.status == "diverged" for run in runs):
        return None
    means = {key: _mean(runs, f"epochs.{key}") for key in _COURSE}
    course = {key: mean for key, mean in means.items() if mean is not None}
    if len(course) < len(_COURSE):
        return None
    evidence = [item for key in _COURSE for item in _quotes(runs, f"epochs.{key}")]
    lowest, last = course["val_loss.lowest"], course["val_loss.last"]
    train = f"a training loss of {loss(course['train_loss.last'])}"
    if last <= (1 + _RISE) * lowest:
        return Sentence(
            f"The validation loss of `{name}` does not rise: it ends at {loss(last)} with {train}.", evidence
        )
    best, final = course["val_accuracy.highest"], course["val_accuracy.last"]
    turned = "and in accuracy" if best - final > material.question.margin else "but not in accuracy"
    text = f"`{name}` over-fits in loss {turned}: validation loss rises from {loss(lowest)} at epoch "
    text += f"{plain(course['val_loss.lowest_at'])} to {loss(last)} with {train}, validation accuracy goes from "
    text += f"{level(best, 'test_accuracy')} at best to {level(final, 'test_accuracy')}."
    return Sentence(text, evidence)


def _cost(material: _Material, name: str) -> Sentence | None:
    own, control = material.paired(name)
    first, second = _mean(own, "seconds"), _mean(control, "seconds")
    assert first is not None
    assert second is not None
    evidence = _quotes(own, "seconds") + _quotes(control, "seconds")
    text = f"A run of `{name}` takes {duration(first)}, one of {material.opponent(name)} {duration(second)}."
    return Sentence(text, evidence)


def _limits(material: _Material) -> list[Sentence]:
    """What the checks say about how far the answer reaches, one sentence for each that fired."""
    compared = [each["arm"] for each in material.entry["comparisons"] if each["difference"] is not None]
    sentences = []
    if names := material.fired("P004", compared):
        rate = material.experiment.control.optim.lr
        verb = "comparison of {} holds" if len(names) == 1 else "comparisons of {} hold"
        text = f"The {verb.format(named(names))} at the shared learning rate of {setting(rate)} only."
        sentences.append(Sentence(text, [_item(name, "optim.lr", rate) for name in names]))
    if names := material.fired("P005", compared):
        updates = {name: _mean(material.arms[name].runs, "steps") or 0.0 for name in (CONTROL, *names)}
        others = listed([f"`{name}` {updates[name]:,.0f}" for name in names])
        text = f"At equal epochs the control makes {count(round(updates[CONTROL]), 'update')}, {others}."
        sentences.append(
            Sentence(text, [item for name in updates for item in _quotes(material.arms[name].runs, "steps")])
        )
    if names := material.fired("P009", (*material.question.arms, CONTROL)):
        sentences.append(_diverged([material.arms[name] for name in names]))
    return sentences


def _updates(control: ArmRuns, others: Sequence[ArmRuns]) -> Sentence:
    made = {arm.name: round(np.mean([run.result.steps for run in arm.runs])) for arm in (control, *others)}
    rest = listed([f"`{arm.name}` {made[arm.name]:,}" for arm in others])
    evidence = [item for arm in (control, *others) for item in _quotes(arm.runs, "steps")]
    return Sentence(f"At equal epochs the control makes {count(made[control.name], 'update')}, {rest}.", evidence)


def _diverged(arms: Sequence[ArmRuns]) -> Sentence:
    statuses = [_item(_run_name(run), "status", run.result.status) for arm in arms for run in arm.runs]
    parts = [
        f"{arm.diverged} of {len(arm.runs)} runs of `{arm.name}`"
        if len(arm.runs) > 1
        else f"the only run of `{arm.name}`"
        for arm in arms
    ]
    count_as = "counts as it is" if sum(arm.diverged for arm in arms) == 1 else "count as they are"
    text = f"{listed(parts)} diverged and {count_as}."
    return Sentence(text[0].upper() + text[1:], statuses)


def _sweep(material: _Material) -> list[Sentence]:
    sweep = material.entry["sweep"]
    if sweep["best"] is None:
        return [Sentence(sweep["reason"], [])]
    factor, rows = sweep["factor"], [row for row in sweep["values"] if row["val_accuracy"] is not None]
    best = next(row for row in rows if row["arm"] == sweep["best"])
    evidence = [_item(row["arm"], factor, row["value"]) for row in rows]
    evidence += [_item(row["arm"], "sweep.val_accuracy", row["val_accuracy"]) for row in rows]
    text = f"Of {count(len(rows), 'value')} of `{factor}`, {_quoted(best['value'])} is best on validation"
    text += f" (accuracy {level(best['val_accuracy'], 'test_accuracy')})"
    sentences = [Sentence(text + _good_range(material.question, rows, best, evidence) + ".", evidence)]
    edge = material.fired("P008", [of_question(material.question)])
    if edge:
        text = f"That is the edge of what was tried for `{factor}`, so a better value may lie beyond."
        sentences.append(Sentence(text, []))
    if sweep["best"] == CONTROL:
        sentences.append(Sentence(f"It is the control's own `{factor}`, so there is nothing to compare it with.", []))
    return sentences


def _good_range(
    question: Question, rows: Sequence[Mapping[str, Any]], best: Mapping[str, Any], evidence: list[Evidence]
) -> str:
    """The neighbours of a best number whose val accuracy is within the margin of it."""
    if not all(type(row["value"]) in (int, float) for row in rows) or question.metric != "test_accuracy":
        return ""
    ordered = sorted(rows, key=lambda row: float(row["value"]))
    good = [best["val_accuracy"] - row["val_accuracy"] <= question.margin for row in ordered]
    first = last = ordered.index(best)
    while first > 0 and good[first - 1]:
        first -= 1
    while last < len(ordered) - 1 and good[last + 1]:
        last += 1
    evidence.append(_item(CONTROL, "question.margin", question.margin))
    smallest = f"the margin of {margin(question.margin, question.metric)}"
    if first == last:
        return f"; no neighbouring value comes within {smallest}"
    low, high = ordered[first]["value"], ordered[last]["value"]
    return f"; from {setting(low)} to {setting(high)} it stays within {smallest}"


def _quoted(value: Any) -> str:
    """A factor's value in a sentence: a number as it is, a word as code."""
    return setting(value) if type(value) in (int, float) else f"`{setting(value)}`"


def _is_about_epochs(experiment: Experiment, name: str) -> bool:
    return set(experiment.arms[name].factors) == {"train.epochs"}


def _item(run: str, key: str, value: Any) -> Evidence:
    return {"run": run, "key": key, "value": value}


def _run_name(run: Run) -> str:
    return f"{run.result.arm}/{run.result.seed}"


def _quotes(runs: Sequence[Run], key: str) -> list[Evidence]:
    return [_item(_run_name(run), key, _QUOTES[key](run)) for run in runs]


def _mean(runs: Sequence[Run], key: str) -> float | None:
    """Mean over runs, None where a run has no such figure."""
    values = [_QUOTES[key](run) for run in runs]
    return None if None in values or not values else float(np.mean([value for value in values if value is not None]))


def _first_at(run: Run, target: float) -> int | None:
    return next(
        (each.epoch for each in run.epochs if each.val_accuracy is not None and each.val_accuracy >= target), None
    )


def _column(run: Run, name: str) -> list[float]:
    return [value for record in run.epochs if (value := getattr(record, name)) is not None]


def _last(column: Sequence[float]) -> float | None:
    return column[-1] if column else None


def _lowest_at(run: Run) -> float | None:
    known = [(record.val_loss, record.epoch) for record in run.epochs if record.val_loss is not None]
    return min(known)[1] if known else None


_QUOTES: dict[str, Callable[[Run], float | None]] = {
    "test_accuracy": lambda run: run.result.test_accuracy,
    "test_loss": lambda run: run.result.test_loss,
    "seconds": lambda run: run.result.seconds,
    "steps": lambda run: run.result.steps,
    "epochs.train_loss.last": lambda run: _last(_column(run, "train_loss")),
    "epochs.val_loss.last": lambda run: _last(_column(run, "val_loss")),
    "epochs.val_loss.lowest": lambda run: min(_column(run, "val_loss"), default=None),
    "epochs.val_loss.lowest_at": _lowest_at,
    "epochs.val_accuracy.last": lambda run: _last(_column(run, "val_accuracy")),
    "epochs.val_accuracy.highest": lambda run: max(_column(run, "val_accuracy"), default=None),
}
