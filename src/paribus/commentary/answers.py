"""The answer: one sentence for each comparison, with its verdict, difference, interval and what bounds it."""

from __future__ import annotations

import math

from paribus.checks.of_design import SAME_UPDATES
from paribus.commentary.material import Comparison, Material, Pair, words
from paribus.commentary.quotes import mean, quote
from paribus.commentary.sentence import Evidence, Sentence, item
from paribus.config import EPOCHS
from paribus.experiment import Metric
from paribus.wording import (
    count,
    difference,
    interval,
    level,
    lower,
    margin,
    p_value,
    setting,
    unit,
    would_decide,
)


def answers(material: Material) -> list[Sentence]:
    """Return one sentence for each comparison of the question."""
    return [_answer(material, comparison) for comparison in material.comparisons]


def _answer(material: Material, comparison: Comparison) -> Sentence:
    name, verdict = comparison["arm"], comparison["verdict"]
    if verdict == "invalid":
        code = str(comparison["reason"]).partition(":")[0]
        title = next(finding.title for finding in material.findings if finding.code == code)
        return Sentence(f"No verdict on `{name}` is given, because check `{code}` fired: {lower(title)}.", [], "answer")
    if comparison["difference"] is None:
        return Sentence(f"Nothing can be said about `{name}`. {comparison['reason']}", [], "answer")
    pair, metric = material.pair(comparison), comparison["metric"]
    evidence = quote(pair.own, metric) + quote(pair.against, metric)
    opening = _held(material, comparison, evidence) + _opening(comparison)
    text = f"{opening[0].upper()}{opening[1:]}: {_means(comparison, pair)}{_strength(comparison, evidence)}"
    return Sentence(f"{text}{_way_out(comparison, evidence)}.", evidence, "answer")


def _held(material: Material, comparison: Comparison, evidence: list[Evidence]) -> str:
    """What a comparison of batch sizes holds equal: epochs or updates, and whether the learning rate moves too."""
    name = comparison["arm"]
    if not material.changes(name, "train.batch_size"):
        return ""
    arms = material.experiment.arms
    own, against = arms[name].recipe, arms[comparison["control"]].recipe
    updates = [recipe.train.epochs / recipe.train.batch_size for recipe in (own, against)]
    held = []
    if math.isclose(*updates, rel_tol=SAME_UPDATES):
        evidence += [item(each, EPOCHS, arms[each].recipe.train.epochs) for each in (name, comparison["control"])]
        held.append(f"equal updates ({own.train.epochs} epochs against {against.train.epochs})")
    elif own.train.epochs == against.train.epochs:
        held.append("equal epochs")
    if material.changes(name, "optim.lr"):
        evidence += [item(each, "optim.lr", arms[each].recipe.optim.lr) for each in (name, comparison["control"])]
        rate, other = setting(own.optim.lr), setting(against.optim.lr)
        held.append(f"a learning rate of {rate} {'in both' if rate == other else f'against {other}'}")
    return f"at {' and '.join(held)}, " if held else ""


def _opening(comparison: Comparison) -> str:
    name, verdict, baseline = comparison["arm"], comparison["verdict"], words(comparison["control"])
    if verdict in ("better", "worse"):
        return f"`{name}` is {verdict} than {baseline}"
    if verdict == "equivalent":
        return f"`{name}` and {baseline} are equivalent"
    return f"whether `{name}` differs from {baseline} is undecided"


def _means(comparison: Comparison, pair: Pair) -> str:
    metric: Metric = comparison["metric"]
    noun = metric.replace("_", " ")
    first, second = (mean(runs, metric) for runs in (pair.own, pair.against))
    assert first is not None
    assert second is not None
    found = f"{difference(comparison['difference'], metric)} {unit(metric)}"
    levels = f"{level(first, metric)} against {level(second, metric)}"
    return f"{noun if len(pair.own) == 1 else f'mean {noun}'} {levels}, a difference of {found}"


def _strength(comparison: Comparison, evidence: list[Evidence]) -> str:
    """The bracket after the difference: interval, adjusted p, seeds."""
    name, said = comparison["arm"], []
    evidence.append(item(name, "comparison.difference", comparison["difference"]))
    if comparison["ci95"] is not None:
        low, high = comparison["ci95"]
        evidence += [item(name, "comparison.ci95.0", low), item(name, "comparison.ci95.1", high)]
        ends = interval((low, high), lambda end: difference(end, comparison["metric"]))
        said.append(f"95 % interval on new images {ends}")
    if comparison["p_holm"] is not None:
        evidence.append(item(name, "comparison.p_holm", comparison["p_holm"]))
        said.append(f"adjusted p {p_value(comparison['p_holm'])}")
    evidence.append(item(name, "comparison.runs", comparison["runs"]))
    said.append(count(comparison["runs"], "seed"))
    return f" ({', '.join(said)})"


def _way_out(comparison: Comparison, evidence: list[Evidence]) -> str:
    """What bounds the verdict: the margin, or what would decide."""
    name, smallest = comparison["arm"], margin(comparison["margin"], comparison["metric"])
    if comparison["verdict"] == "equivalent":
        evidence.append(item(name, "comparison.margin", comparison["margin"]))
        if comparison["test"] == "none apart":
            return f", right and wrong on the same test images in every run, within the margin of {smallest}"
        return f", within the margin of {smallest}"
    if comparison["verdict"] != "undecided":
        if abs(comparison["difference"]) >= comparison["margin"]:
            return ""
        evidence.append(item(name, "comparison.margin", comparison["margin"]))
        if max(map(abs, comparison["ci95"])) < comparison["margin"]:
            return f"; the difference is real but below the margin of {smallest}"
        return f"; the difference is real, but whether it reaches the margin of {smallest} is open"
    if comparison["runs"] == 1:
        return "; one seed cannot tell the change from luck"
    alike = "; right and wrong on the same test images in every run" if comparison["test"] == "none apart" else ""
    if comparison["ci95"] is None:
        return "; nothing varied from run to run or image to image, so there is no spread to judge by"
    for key in ("seeds_needed", "test_images_needed"):
        if comparison[key] is not None:
            evidence.append(item(name, f"comparison.{key}", comparison[key]))
    return f"{alike}; {would_decide(comparison['seeds_needed'], comparison['test_images_needed'])}"
