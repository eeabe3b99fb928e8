"""Which arm of a question to take, by its verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paribus.experiment import Question
from paribus.report import questions
from paribus.report.material import Material
from paribus.wording import listed, named, ratio


def choice(material: Material, question: Question) -> str | None:
    """Say which arm to take: one that is better than the control, or else the control; None where none was compared.

    A sweep has no such sentence: its best value is chosen on validation.
    """
    compared = questions.comparisons(material.question(question.id))
    tested = {arm: each for arm, each in compared.items() if each["difference"] is not None}
    return _taken(material, tested) if tested and question.kind != "sweep" else None


def _taken(material: Material, tested: Mapping[str, Mapping[str, Any]]) -> str:
    by_verdict: dict[str, list[str]] = {}
    for arm, each in tested.items():
        by_verdict.setdefault(each["verdict"], []).append(arm)
    if better := by_verdict.get("better"):
        return f"{named(better)}, shown to be better than the control."
    told = [f"{named(arms)} {'is' if len(arms) == 1 else 'are'} {verdict}" for verdict, arms in by_verdict.items()]
    costly = [
        f"`{arm}` takes {ratio(times)} times as long"
        for arm in tested
        if (times := questions.times_control(material, arm)) is not None and times >= _COSTLY
    ]
    cost = f" {listed(costly)}." if costly else ""
    return f"the control{_approach(material)}. Nothing else is shown to be better: {listed(told)}.{cost}"


def _approach(material: Material) -> str:
    """What the control does with a pretrained network, in the words of the assignment."""
    recipe = material.experiment.control
    if recipe.model.name != "pretrained":
        return ""
    return ", feature extraction" if recipe.model.trains_head else ", fine-tuning"


_COSTLY = 1.5
