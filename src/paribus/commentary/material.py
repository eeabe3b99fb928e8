"""What the sentences on one question are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from paribus.arms import ArmRuns
from paribus.checks import Finding
from paribus.experiment import CONTROL, CONTROL_RETUNED, Arm, Experiment, Question
from paribus.store import RangeTest, Run, Tuning

Comparison = Mapping[str, Any]


@dataclass(frozen=True)
class Pair:
    """Runs of an arm and of its baseline, of the seeds that both have, in the same order."""

    name: str
    baseline: str
    own: tuple[Run, ...]
    against: tuple[Run, ...]

    @property
    def baseline_words(self) -> str:
        """The baseline in a sentence."""
        return words(self.baseline)


@dataclass(frozen=True)
class Material:
    """A question, its entry of `verdicts.json` without the comment, the design, the stored runs, the findings.

    `class_names` are those of the control's test set, empty where nobody knows them, `tunings` what was
    found before the runs, by arm, and `ranges` the learning-rate range tests.
    """

    question: Question
    entry: Mapping[str, Any]
    experiment: Experiment
    arms: Mapping[str, ArmRuns]
    findings: Sequence[Finding]
    class_names: tuple[str, ...] = ()
    tunings: Mapping[str, Tuning] = field(default_factory=dict)
    ranges: Mapping[str, RangeTest] = field(default_factory=dict)

    @property
    def comparisons(self) -> Sequence[Comparison]:
        """Every comparison of the question."""
        found: Sequence[Comparison] = self.entry["comparisons"]
        return found

    @property
    def measured(self) -> list[Comparison]:
        """The comparisons that have a difference and may have a verdict."""
        return [each for each in self.comparisons if each["difference"] is not None and each["verdict"] != "invalid"]

    @property
    def lead(self) -> Comparison | None:
        """The arm worth saying more about: the best by the question's metric, of those measured."""
        sign = 1 if self.question.metric == "test_accuracy" else -1
        return max(self.measured, key=lambda each: float(sign * each["difference"]), default=None)

    def pair(self, comparison: Comparison) -> Pair:
        """Return the runs that a comparison rests on."""
        arm, baseline = self.arms[comparison["arm"]], self.arms[comparison["control"]]
        return Pair(
            arm.name,
            baseline.name,
            tuple(run for run in arm.runs if run.result.seed in baseline.seeds),
            tuple(run for run in baseline.runs if run.result.seed in arm.seeds),
        )

    def changes(self, name: str, *factors: str) -> bool:
        """Whether an arm changes one of some factors."""
        return any(factor in self.experiment.arms[name].factors for factor in factors)

    def fired(self, code: str, where: Sequence[str]) -> list[str]:
        """Return those of some places where a check fired."""
        return [f.where for f in self.findings if f.code == code and f.outcome == "fired" and f.where in where]


def among(arms: Sequence[Arm], comparisons: Sequence[Comparison]) -> list[str]:
    """Return the names of those of some arms that are compared in some comparisons."""
    compared = [each["arm"] for each in comparisons]
    return [arm.name for arm in arms if arm.name in compared]


def words(arm: str) -> str:
    """Return how a sentence names an arm: the control as what it is, others by their names."""
    return {CONTROL: "the control", CONTROL_RETUNED: "the retuned control"}.get(arm, f"`{arm}`")
