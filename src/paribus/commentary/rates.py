"""What was looked for in learning rates: what was chosen and why, the good range, the range test, why rates differ.

The evidence quotes `tuning/<arm>.json` as ``"tuning.KEY"`` of the arm, and `ranges/<arm>.json` as ``"range.KEY"``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from paribus.commentary.material import Material, words
from paribus.commentary.sentence import Evidence, Sentence, item
from paribus.commentary.tuning import found_rates
from paribus.config import RATE, Recipe
from paribus.experiment import CONTROL, CONTROL_RETUNED
from paribus.store import RangeTest, RateChoice
from paribus.tuning import good_range
from paribus.wording import count, level, listed, margin, noun, plain, ratio, setting


def rates(material: Material) -> list[Sentence]:
    """Return the paragraph on learning rates, nothing where the question is not about any."""
    found = found_rates(material)
    sentences = [_chosen(found)] if found else []
    if found and material.question.metric == "test_accuracy":
        sentences.append(_good(material, found))
    return [*sentences, *_tested(material, found), *_apart(material, found), *_why_apart(material, found)]


def _chosen(found: Mapping[str, RateChoice]) -> Sentence:
    evidence: list[Evidence] = []
    parts = []
    for name, rate in found.items():
        best = _place(rate)
        accuracy = rate.tried[best].val_accuracy
        evidence.append(item(name, "tuning.rate.lr", rate.lr))
        evidence.append(item(name, f"tuning.rate.tried.{best}.val_accuracy", accuracy))
        evidence += [item(name, f"tuning.rate.tried.{i}.lr", each.lr) for i, each in enumerate(rate.tried)]
        evidence += [item(name, f"tuning.rate.seeds.{i}", seed) for i, seed in enumerate(rate.seeds)]
        tried = f"{count(len(rate.tried), 'rate')} between {setting(rate.tried[0].lr)} and {setting(rate.tried[-1].lr)}"
        edge = ", the edge of what was tried" if rate.at_edge else ""
        reached = f"({level(accuracy, 'test_accuracy')}{edge})"
        parts.append(f"{setting(rate.lr)} {reached} for {_whose(name)} out of {tried}")
    seeds = max(len(rate.seeds) for rate in found.values())
    by = f"with {count(seeds, 'seed')} that nothing else uses"
    text = f"Each learning rate is the one of those tried that is best on validation, {by}: {listed(parts)}."
    return Sentence(text, evidence, "rates")


def _good(material: Material, found: Mapping[str, RateChoice]) -> Sentence:
    question = material.question
    evidence = [item(CONTROL, "question.margin", question.margin)]
    parts = []
    for name, rate in found.items():
        first, last = good_range([each.val_accuracy for each in rate.tried], _place(rate), question.margin)
        low, high = rate.tried[first].lr, rate.tried[last].lr
        evidence += [item(name, f"tuning.rate.tried.{i}.lr", rate.tried[i].lr) for i in (first, last)]
        if low == high:
            parts.append(f"{setting(low)} alone for {_whose(name)}")
            continue
        decades = math.log10(high / low)
        evidence.append(item(name, f"decades={low!r}..{high!r}", decades))
        width = f"{plain(round(decades, 1))} {noun(round(decades, 1), 'decade')}"
        parts.append(f"{setting(low)} to {setting(high)} for {_whose(name)} ({width})")
    text = f"Rates that stay within the margin of {margin(question.margin, question.metric)} of the best on validation"
    return Sentence(f"{text}: {'; '.join(parts)}.", evidence, "rates")


def _place(rate: RateChoice) -> int:
    """Where the chosen rate stands in what was tried."""
    return next(place for place, each in enumerate(rate.tried) if each.lr == rate.lr)


def _tested(material: Material, found: Mapping[str, RateChoice]) -> list[Sentence]:
    """What the range tests show of the arms whose rates were found, or of the control whose rates are swept."""
    wanted = [CONTROL if name == CONTROL_RETUNED else name for name in found]
    if material.question.factor == RATE:
        wanted.append(CONTROL)
    tests = {name: material.ranges[name] for name in wanted if name in material.ranges}
    if not tests:
        return []
    evidence: list[Evidence] = []
    parts = [f"of {_whose(name)} {_course(test, evidence)}" for name, test in tests.items()]
    text = "In the range test, one short training at a rate that grows step by step, the training loss"
    return [Sentence(f"{text} {'; that '.join(parts)}.", evidence, "rates")]


def _course(test: RangeTest, evidence: list[Evidence]) -> str:
    """Where the loss of a test falls, where most, where it is lost."""
    values = {"falls_from": test.falls_from, "steepest": test.steepest, "diverges_at": test.diverges_at}
    evidence += [item(test.arm, f"range.{key}", value) for key, value in values.items() if value is not None]
    if test.falls_from is None or test.steepest is None:
        fall = "never falls clearly"
    else:
        fall = f"begins to fall at {setting(test.falls_from)}, falls most around {setting(test.steepest)}"
    if test.diverges_at is not None:
        return f"{fall} and diverges at {setting(test.diverges_at)}"
    evidence.append(item(test.arm, f"range.planned.{len(test.planned) - 1}", test.planned[-1]))
    return f"{fall} and does not diverge up to {setting(test.planned[-1])}"


def _apart(material: Material, found: Mapping[str, RateChoice]) -> list[Sentence]:
    """How the rates of arms differ from the control's."""
    control = found.get(CONTROL_RETUNED)
    if control is None:
        return []
    evidence = [item(CONTROL_RETUNED, "tuning.rate.lr", control.lr)]
    parts = []
    for name, rate in found.items():
        if name == CONTROL_RETUNED:
            continue
        evidence.append(item(name, "tuning.rate.lr", rate.lr))
        if rate.lr == control.lr:
            parts.append(f"that of {_whose(name)} is the same")
            continue
        (larger, high), (smaller, low) = sorted(((name, rate.lr), (CONTROL_RETUNED, control.lr)), key=lambda x: -x[1])
        evidence.append(item(larger, f"rate_ratio.{smaller}", high / low))
        than = "larger" if larger == name else "smaller"
        parts.append(f"that of {_whose(name)} is {ratio(high / low)} times {than}")
    return [Sentence(f"Beside the control's rate of {setting(control.lr)}, {listed(parts)}.", evidence, "rates")]


def _why_apart(material: Material, found: Mapping[str, RateChoice]) -> list[Sentence]:
    """Why training part of a pretrained network and all of it want different rates: from the literature.

    That a large step costs what a network has learnt before is why fine-tuning takes small rates (Howard, Ruder 2018,
    arXiv 1801.06146, section 3.2), and why it may well begin from a solved head (Kumar et al. 2022, arXiv 2202.10054).
    """
    if not found:
        return []
    arms = material.experiment.arms
    recipes = {name: arms[name].recipe for name in (CONTROL, *material.question.arms)}
    parts = [name for name, recipe in recipes.items() if _learns(recipe) not in ("", "all")]
    wholes = [name for name, recipe in recipes.items() if _learns(recipe) == "all"]
    if not parts or not wholes:
        return []
    names = {"part": parts[0], "whole": wholes[0]}
    evidence = [item(name, "model.train", _learns(recipes[name])) for name in names.values()]
    text = (
        f"{_opening(names['part'])} trains only part of the pretrained network and {words(names['whole'])} all of it. "
        "A reason for rates to differ is known from the literature and was not measured here: a head on fixed features "
        "is a convex problem and bears large steps, and the more of the network learns, the more of what is good "
        "already large steps destroy"
    )
    return [Sentence(f"{text}.", evidence, "rates")]


def _learns(recipe: Recipe) -> str:
    """What of a pretrained network learns; nothing where there is none, or none that has learnt before."""
    options = recipe.model.options
    return str(options["train"]) if recipe.model.name == "pretrained" and options["weights"] != "none" else ""


def _whose(name: str) -> str:
    return words(CONTROL) if name == CONTROL_RETUNED else words(name)


def _opening(name: str) -> str:
    text = words(name)
    return f"{text[0].upper()}{text[1:]}"
