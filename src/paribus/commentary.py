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
from paribus.experiment import CONTROL, Experiment, Question
from paribus.store import Run
from paribus.wording import alike, count, decimals_for, digits, lower, p_value, plain, points, setting

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
        """Runs of an arm and of the control, of the seeds that both have."""
        arm, control = self.arms[name], self.arms[CONTROL]
        return (
            [run for run in arm.runs if run.result.seed in control.seeds],
            [run for run in control.runs if run.result.seed in arm.seeds],
        )

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
    """Return a question's paragraph: the answer for each arm, then loss, course, limits and cost as far as known.

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
    extras = _limits(material)
    lead = _lead(entry)
    if lead is not None:
        course = _over_fitting if _is_about_epochs(experiment, lead) else _speed
        extras = [
            *_of(_other_metric, material, lead),
            *_of(course, material, lead),
            *extras,
            *_of(_cost, material, lead),
        ]
    room = max(2, _LONGEST - len(answers))
    return _without_repetition(answers + extras[:room])


def _of(make: Callable[[_Material, str], Sentence | None], material: _Material, arm: str) -> list[Sentence]:
    sentence = make(material, arm)
    return [] if sentence is None else [sentence]


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
    text = f"{_opening(material.question, comparison)}: {means}{_strength(comparison, evidence)}"
    return Sentence(f"{text}{_way_out(comparison, evidence)}.", evidence)


def _opening(question: Question, comparison: Mapping[str, Any]) -> str:
    name, verdict = comparison["arm"], comparison["verdict"]
    if verdict in ("better", "worse"):
        return f"`{name}` is {verdict} than the control"
    if verdict == "equivalent":
        return f"`{name}` and the control are equivalent"
    return f"Whether `{name}` differs from the control is undecided"


def _means(material: _Material, comparison: Mapping[str, Any], own: Sequence[Run], control: Sequence[Run]) -> str:
    metric, decimals = comparison["metric"], _decimals(comparison)
    word = metric.replace("_", " ") if len(own) == 1 else f"mean {metric.replace('_', ' ')}"
    first, second = (_mean(runs, metric) for runs in (own, control))
    assert first is not None
    assert second is not None
    difference = comparison["difference"]
    if metric == "test_accuracy":
        levels = f"{100 * first:.{decimals}f} % against {100 * second:.{decimals}f} %"
        return f"{word} {levels}, a difference of {100 * difference:+.{decimals}f} points"
    return f"{word} {first:.{decimals}f} against {second:.{decimals}f}, a difference of {difference:+.{decimals}f}"


def _strength(comparison: Mapping[str, Any], evidence: list[Evidence]) -> str:
    """The bracket after the difference: interval, adjusted p, seeds."""
    name, scale, decimals = comparison["arm"], _scale(comparison), _decimals(comparison)
    words = []
    evidence.append(_item(name, "comparison.difference", comparison["difference"]))
    if comparison["ci95"] is not None:
        low, high = comparison["ci95"]
        evidence += [_item(name, "comparison.ci95.0", low), _item(name, "comparison.ci95.1", high)]
        words.append(f"95 % interval on new images {scale * low:+.{decimals}f} to {scale * high:+.{decimals}f}")
    if comparison["p_holm"] is not None:
        evidence.append(_item(name, "comparison.p_holm", comparison["p_holm"]))
        words.append(f"adjusted p {p_value(comparison['p_holm'])}")
    evidence.append(_item(name, "comparison.runs", comparison["runs"]))
    words.append(count(comparison["runs"], "seed"))
    return f" ({', '.join(words)})"


def _way_out(comparison: Mapping[str, Any], evidence: list[Evidence]) -> str:
    """What bounds the verdict: the margin, or what would decide."""
    name, margin = comparison["arm"], comparison["margin"]
    unit = points(margin) if comparison["metric"] == "test_accuracy" else f"{margin:g}"
    if comparison["verdict"] == "equivalent":
        evidence.append(_item(name, "comparison.margin", margin))
        return f", within the margin of {unit}"
    if comparison["verdict"] != "undecided":
        if abs(comparison["difference"]) >= margin:
            return ""
        evidence.append(_item(name, "comparison.margin", margin))
        return f"; the difference is real but below the margin of {unit}"
    if comparison["runs"] == 1:
        return "; one seed cannot tell the change from luck"
    if comparison["ci95"] is None:
        return "; nothing varied from run to run or image to image, so there is no spread to judge by"
    for key, noun in (("seeds_needed", "seed"), ("test_images_needed", "test image")):
        if comparison[key] is not None:
            evidence.append(_item(name, f"comparison.{key}", comparison[key]))
            condition = "" if key == "seeds_needed" else "more seeds would not, but "
            return f"; {condition}about {count(comparison[key], noun)} would decide"
    return "; neither more seeds nor more test images alone would decide"


def _other_metric(material: _Material, name: str) -> Sentence | None:
    """The metric that the question is not about, without a verdict."""
    metric = "test_loss" if material.question.metric == "test_accuracy" else "test_accuracy"
    own, control = material.paired(name)
    first, second = _mean(own, metric), _mean(control, metric)
    if first is None or second is None:
        return None
    evidence = _quotes(own, metric) + _quotes(control, metric)
    figures = alike(100 * first, 100 * second, " %") if metric == "test_accuracy" else alike(first, second)
    return Sentence(f"The {metric.replace('_', ' ')} of `{name}` is {figures[0]} against {figures[1]}.", evidence)


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
    text = f"`{name}` reaches {100 * target:.1f} % validation accuracy after {plain(first)} {noun}{mean}, "
    return Sentence(f"{text}the control after {plain(second)}.", evidence)


def _over_fitting(material: _Material, name: str) -> Sentence | None:
    """Whether validation loss turned, and whether accuracy turned with it."""
    runs, _ = material.paired(name)
    means = {key: _mean(runs, f"epochs.{key}") for key in _COURSE}
    course = {key: mean for key, mean in means.items() if mean is not None}
    if len(course) < len(_COURSE):
        return None
    evidence = [item for key in _COURSE for item in _quotes(runs, f"epochs.{key}")]
    lowest, last = course["val_loss.lowest"], course["val_loss.last"]
    train = f"a training loss of {digits(course['train_loss.last'])}"
    if last <= (1 + _RISE) * lowest:
        return Sentence(
            f"The validation loss of `{name}` does not rise: it ends at {digits(last)} with {train}.", evidence
        )
    best, final = course["val_accuracy.highest"], course["val_accuracy.last"]
    turned = "and in accuracy" if best - final > material.question.margin else "but not in accuracy"
    figures, ends = alike(lowest, last), alike(100 * best, 100 * final, " %")
    text = f"`{name}` over-fits in loss {turned}: validation loss rises from {figures[0]} at epoch "
    text += f"{plain(course['val_loss.lowest_at'])} to {figures[1]} with {train}, validation accuracy goes from "
    return Sentence(f"{text}{ends[0]} at best to {ends[1]}.", evidence)


def _cost(material: _Material, name: str) -> Sentence | None:
    own, control = material.paired(name)
    first, second = _mean(own, "seconds"), _mean(control, "seconds")
    assert first is not None
    assert second is not None
    evidence = _quotes(own, "seconds") + _quotes(control, "seconds")
    figures = alike(first, second, " s")
    return Sentence(f"A run of `{name}` takes {figures[0]}, one of the control {figures[1]}.", evidence)


def _limits(material: _Material) -> list[Sentence]:
    """What the checks say about how far the answer reaches."""
    names = list(dict.fromkeys(each["arm"] for each in material.entry["comparisons"] if each["difference"] is not None))
    sentences = []
    for name in material.fired("P004", names):
        rate = material.experiment.arms[name].recipe.optim.lr
        text = f"The comparison of `{name}` holds at the shared learning rate of {rate:g} only."
        sentences.append(Sentence(text, [_item(name, "optim.lr", rate)]))
    for name in material.fired("P005", names):
        own, control = material.paired(name)
        first, second = _mean(own, "steps"), _mean(control, "steps")
        assert first is not None
        assert second is not None
        text = f"At equal epochs `{name}` makes {first:,.0f} updates, the control {second:,.0f}."
        sentences.append(Sentence(text, _quotes(own, "steps") + _quotes(control, "steps")))
    for name in material.fired("P009", (*material.question.arms, CONTROL)):
        arm = material.arms[name]
        statuses = [_item(_run_name(run), "status", run.result.status) for run in arm.runs]
        is_one = "counts as it is" if arm.diverged == 1 else "count as they are"
        runs = "The only run" if len(arm.runs) == 1 else f"{arm.diverged} of {len(arm.runs)} runs"
        sentences.append(Sentence(f"{runs} of `{name}` diverged and {is_one}.", statuses))
    return sentences


def _sweep(material: _Material) -> list[Sentence]:
    sweep = material.entry["sweep"]
    if sweep["best"] is None:
        return [Sentence(sweep["reason"], [])]
    factor, rows = sweep["factor"], [row for row in sweep["values"] if row["val_accuracy"] is not None]
    best = next(row for row in rows if row["arm"] == sweep["best"])
    evidence = [_item(row["arm"], factor, row["value"]) for row in rows]
    evidence += [_item(row["arm"], "sweep.val_accuracy", row["val_accuracy"]) for row in rows]
    text = f"Of {count(len(rows), 'value')} of `{factor}`, {setting(best['value'])} is best on validation"
    text += f" (accuracy {100 * best['val_accuracy']:.2f} %)"
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
    unit = f"the margin of {points(question.margin)}"
    if first == last:
        return f"; no neighbouring value comes within {unit}"
    low, high = ordered[first]["value"], ordered[last]["value"]
    return f"; from {setting(low)} to {setting(high)} it stays within {unit}"


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


def _scale(comparison: Mapping[str, Any]) -> int:
    return 100 if comparison["metric"] == "test_accuracy" else 1


def _decimals(comparison: Mapping[str, Any]) -> int:
    """So many that half the interval's width shows two digits; a percentage has at least one."""
    if comparison["ci95"] is None:
        return 2 if comparison["metric"] == "test_accuracy" else 4
    low, high = comparison["ci95"]
    decimals = decimals_for(_scale(comparison) * (high - low) / 2, 2)
    return max(1, decimals) if comparison["metric"] == "test_accuracy" else decimals


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
