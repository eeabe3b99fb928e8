"""How far an answer reaches: what design, intervals and diverged runs leave open, one sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from paribus.arms import ArmRuns
from paribus.checks.of_design import without_equal_updates, without_own_rate
from paribus.commentary.material import Comparison, Material, among, words
from paribus.commentary.quotes import run_name
from paribus.commentary.sentence import Sentence, item
from paribus.experiment import CONTROL
from paribus.stats import LEVEL
from paribus.wording import listed, named, setting


def limits(material: Material) -> list[Sentence]:
    """Return what bounds the answer."""
    return [
        *_shared_rate(material),
        *_updates_not_held(material),
        *_these_images(material),
        *_too_many_comparisons(material),
        *_diverged(material),
    ]


def _compared(material: Material) -> list[Comparison]:
    return [each for each in material.comparisons if each["difference"] is not None]


def _shared_rate(material: Material) -> list[Sentence]:
    names = among(without_own_rate(material.experiment, material.question), _compared(material))
    if not names:
        return []
    rate = material.experiment.control.optim.lr
    verb = "comparison of {} holds" if len(names) == 1 else "comparisons of {} hold"
    text = f"The {verb.format(named(names))} at the shared learning rate of {setting(rate)} only."
    return [Sentence(text, [item(name, "optim.lr", rate) for name in names], "limits")]


def _updates_not_held(material: Material) -> list[Sentence]:
    names = among(without_equal_updates(material.experiment, material.question), _compared(material))
    if not names:
        return []
    text = f"No arm with the batch size of {named(names)} makes as many updates as the control."
    return [Sentence(text, [], "limits")]


def _these_images(material: Material) -> list[Sentence]:
    """Where other seeds would agree on these test images, and only new images leave the question open."""
    names = [
        each["arm"]
        for each in _undecided(material)
        if _excludes_none(each["ci95_this_test_set"])
        and each["p_this_test_set"] <= LEVEL
        and not _excludes_none(each["ci95"])
    ]
    if not names:
        return []
    text = f"On these test images other seeds would probably agree about the sign of the difference of {named(names)}"
    return [Sentence(f"{text}; on new images it is open.", [], "limits")]


def _too_many_comparisons(material: Material) -> list[Sentence]:
    """Where an interval excludes no difference, and only the correction for all comparisons leaves it open."""
    names = [each["arm"] for each in _undecided(material) if _excludes_none(each["ci95"])]
    if not names:
        return []
    noun = "interval" if len(names) == 1 else "intervals"
    verb = "leaves" if len(names) == 1 else "leave"
    it = "it stays" if len(names) == 1 else "they stay"
    text = f"Alone, the {noun} of {named(names)} {verb} out zero; by the p adjusted for all comparisons {it} undecided."
    return [Sentence(text, [], "limits")]


def _undecided(material: Material) -> list[Comparison]:
    several = [each for each in material.measured if each["runs"] > 1]
    return [each for each in several if each["verdict"] == "undecided"]


def _excludes_none(ends: Sequence[float] | None) -> bool:
    return ends is not None and ends[0] * ends[1] > 0


def _diverged(material: Material) -> list[Sentence]:
    baselines = [each["control"] for each in material.comparisons]
    names = material.fired("P009", tuple(dict.fromkeys((*material.question.arms, *baselines, CONTROL))))
    return [_count_diverged([material.arms[name] for name in names])] if names else []


def _count_diverged(arms: Sequence[ArmRuns]) -> Sentence:
    statuses = [item(run_name(run), "status", run.result.status) for arm in arms for run in arm.runs]
    parts = [
        f"{arm.diverged} of {len(arm.runs)} runs of {words(arm.name)}"
        if len(arm.runs) > 1
        else f"the only run of {words(arm.name)}"
        for arm in arms
    ]
    count_as = "counts as it is" if sum(arm.diverged for arm in arms) == 1 else "count as they are"
    text = f"{listed(parts)} diverged and {count_as}."
    return Sentence(text[0].upper() + text[1:], statuses, "limits")
