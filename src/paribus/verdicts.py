"""From stored runs to `verdicts.json`: arms, comparisons with their verdicts, comments, checks.

The analysis on new data (`stats.crossed`) decides; the one on this test set (`stats.paired_by_seed`) is printed beside
it. A retuned arm is compared with the control at its own best rate. Every comparison of the experiment is one of a
family that Holm corrects for; the same arm in two questions is one comparison, and a sweep is one: its best value on
val against the control.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from paribus import checks
from paribus.arms import ArmRuns, load, summary, sweep
from paribus.checks import Finding
from paribus.commentary import Material, comment
from paribus.experiment import CONTROL, Experiment, Metric, Question
from paribus.stats import (
    LEVEL,
    CrossedComparison,
    Needed,
    SeedComparison,
    crossed,
    equivalence,
    holm,
    paired_by_seed,
    seeds_needed,
)
from paribus.store import FORMAT, Results
from paribus.wording import named, p_value

Verdict = Literal["better", "worse", "equivalent", "undecided", "invalid"]
VERDICTS: tuple[Verdict, ...] = ("better", "worse", "equivalent", "undecided", "invalid")
_Key = tuple[str, Metric]
_NOTHING = Needed(None, None)


@dataclass(frozen=True)
class _Analysis:
    """One arm against its control on one metric; without analyses, `reason` says why there are none."""

    arm: str
    control: str
    metric: Metric
    seeds: int
    new_data: CrossedComparison | None = None
    this_test_set: SeedComparison | None = None
    reason: str | None = None

    @property
    def p(self) -> float | None:
        return self.new_data.p if self.new_data else None


@dataclass(frozen=True)
class _Decision:
    verdict: Verdict
    reason: str | None
    p_equivalence: float | None = None
    needed: Needed = _NOTHING


def compute(results: Results) -> dict[str, Any]:
    """Return the content of `verdicts.json`, format 1, as docs/results-format.md describes it.

    Reads the store only, and gives the same content for the same runs.

    Raises:
        StoreError: If a stored file is damaged, or runs of one arm were tested on different examples.
    """
    experiment, arms = results.experiment, load(results)
    findings = checks.design(experiment) + checks.measured(experiment, results.facts()) + checks.outcome(results, arms)
    sweeps = {q.id: sweep(q, experiment, arms) for q in experiment.questions if q.kind == "sweep"}
    family = _family(experiment, arms, sweeps)
    adjusted = _adjusted(family)
    class_names, ranges = _class_names(results, arms[CONTROL]), results.ranges()
    questions = []
    for question in experiment.questions:
        entries = []
        for arm in _compared(question, sweeps):
            key = (arm, question.metric)
            decision = _decide(family[key], adjusted.get(key), question, findings, len(family))
            entries.append(_entry(family[key], adjusted.get(key), question, decision))
        entry = {
            "id": question.id,
            "asks": question.asks,
            "kind": question.kind,
            "metric": question.metric,
            "margin": question.margin,
            "comparisons": entries,
            "sweep": sweeps.get(question.id),
        }
        found = Material(question, entry, experiment, arms, findings, class_names, results.tunings, ranges)
        sentences = comment(found)
        questions.append(entry | {"comment": [asdict(sentence) for sentence in sentences]})
    return {
        "format": FORMAT,
        "experiment": experiment.name,
        "margin": experiment.margin,
        "seeds": list(experiment.seeds),
        "comparisons_counted": len(family),
        "arms": {name: summary(arm) | {"recipe": experiment.arms[name].recipe.digest()} for name, arm in arms.items()},
        "questions": questions,
        "checks": [asdict(finding) | {"level": finding.level, "title": finding.title} for finding in findings],
    }


def _class_names(results: Results, control: ArmRuns) -> tuple[str, ...]:
    """The classes of the control's test set, for a comment that names some."""
    if not control.runs:
        return ()
    return results.class_names(control.runs[0].config()["data_fingerprint"])


def _compared(question: Question, sweeps: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """The arms that a question compares with the control."""
    if question.kind == "compare":
        return question.arms
    best = sweeps[question.id]["best"]
    return () if best in (None, CONTROL) else (best,)


def _family(
    experiment: Experiment, arms: Mapping[str, ArmRuns], sweeps: Mapping[str, Mapping[str, Any]]
) -> dict[_Key, _Analysis]:
    keys = {(arm, question.metric): None for question in experiment.questions for arm in _compared(question, sweeps)}
    return {(arm, metric): _analyse(arms[arm], arms[experiment.baseline(arm)], metric) for arm, metric in keys}


def _analyse(arm: ArmRuns, control: ArmRuns, metric: Metric) -> _Analysis:
    seeds = [seed for seed in arm.seeds if seed in control.seeds]
    if not seeds:
        missing = [each.name for each in (arm, control) if not each.runs]
        what = f"{named(missing)} never ran" if missing else "no seed has a run of both arms"
        return _Analysis(arm.name, control.name, metric, 0, reason=f"There is nothing to compare: {what}.")
    if not arm.is_paired_with(control):
        reason = "The arms were tested on different images."
        return _Analysis(arm.name, control.name, metric, len(seeds), reason=reason)
    first, second = arm.scores(metric, seeds), control.scores(metric, seeds)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        reason = "Diverged runs have an infinite loss, which has no mean."
        return _Analysis(arm.name, control.name, metric, len(seeds), reason=reason)
    seed_level = paired_by_seed(first.mean(axis=1), second.mean(axis=1))
    return _Analysis(arm.name, control.name, metric, len(seeds), crossed(first, second), seed_level)


def _adjusted(family: Mapping[_Key, _Analysis]) -> dict[_Key, float]:
    """Holm over the whole family; a comparison that gave no p counts with p = 1, so that it still costs."""
    values = holm([1.0 if analysis.p is None else analysis.p for analysis in family.values()])
    return {key: value for (key, analysis), value in zip(family.items(), values, strict=True) if analysis.p is not None}


def _decide(
    analysis: _Analysis, p_holm: float | None, question: Question, findings: Sequence[Finding], comparisons: int
) -> _Decision:
    sides = (analysis.arm, analysis.control)
    forbidding = [each for each in findings if any(checks.forbids(each, question, side) for side in sides)]
    if forbidding:
        return _Decision("invalid", f"{forbidding[0].code}: {forbidding[0].message}")
    new_data = analysis.new_data
    if new_data is None:
        return _Decision("undecided", analysis.reason)
    if new_data.seeds == 1:
        return _Decision("undecided", "One seed cannot tell the change from luck. Run at least 3 seeds.")
    if p_holm is None or new_data.ci95 is None:
        return _Decision(
            "undecided", "Arm and control did not differ from run to run or image to image: no spread to judge by."
        )
    p_equivalence = equivalence(new_data, question.margin)
    if p_holm <= LEVEL:
        is_better = (new_data.difference > 0) == (analysis.metric == "test_accuracy")
        return _Decision("better" if is_better else "worse", None, p_equivalence)
    if p_equivalence <= LEVEL:
        return _Decision("equivalent", None, p_equivalence)
    needed = seeds_needed(new_data, question.margin, LEVEL / comparisons)
    reason = (
        f"Neither a difference (adjusted p {p_value(p_holm)}) nor equivalence within the margin "
        f"(p {p_value(p_equivalence)}) is shown at {LEVEL:g}."
    )
    return _Decision("undecided", reason, p_equivalence, needed)


def _entry(analysis: _Analysis, p_holm: float | None, question: Question, decision: _Decision) -> dict[str, Any]:
    new_data, seed_level = analysis.new_data, analysis.this_test_set
    return {
        "arm": analysis.arm,
        "control": analysis.control,
        "metric": analysis.metric,
        "margin": question.margin,
        "runs": analysis.seeds,
        "difference": new_data.difference if new_data else None,
        "ci95": _pair(new_data.ci95 if new_data else None),
        "ci95_this_test_set": _pair(seed_level.ci95 if seed_level else None),
        "p": analysis.p,
        "p_holm": p_holm,
        "p_equivalence": decision.p_equivalence,
        "p_this_test_set": seed_level.p if seed_level else None,
        "test": new_data.test if new_data else None,
        "correlation": seed_level.correlation if seed_level else None,
        "verdict": decision.verdict,
        "reason": decision.reason,
        "seeds_needed": decision.needed.seeds,
        "test_images_needed": decision.needed.test_images,
    }


def _pair(interval: tuple[float, float] | None) -> list[float] | None:
    return list(interval) if interval else None
