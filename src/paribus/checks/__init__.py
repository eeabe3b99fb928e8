"""Coded rules that look at designs, at what was measured before training, and at outcomes, so that no comparison which
cannot be fair gets a verdict.

A check of level error makes every verdict that it touches invalid. `where` is `WHOLE`, the name of an arm, or
``"question ID"``; names of arms hold no space, so that the three cannot be confused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from paribus.arms import load
from paribus.checks.check import Arms, Check, Level
from paribus.checks.of_curves import Turns, turns_of
from paribus.checks.of_data import expected_accuracy
from paribus.checks.of_design import comparisons_planned
from paribus.checks.places import WHOLE, Places, of_question
from paribus.checks.table import CHECKS
from paribus.experiment import CONTROL, Experiment, Question
from paribus.facts import Facts
from paribus.store import Results

__all__ = [
    "CHECKS",
    "WHOLE",
    "Check",
    "Finding",
    "Turns",
    "comparisons_planned",
    "design",
    "expected_accuracy",
    "forbids",
    "measured",
    "of_question",
    "outcome",
    "turns_of",
]

Outcome = Literal["fired", "passed", "not applicable"]


@dataclass(frozen=True)
class Finding:
    """What one check found at one place; `message` is empty unless it fired."""

    code: str
    outcome: Outcome
    where: str
    message: str

    @property
    def level(self) -> Level:
        """The level of the check."""
        return CHECKS[self.code].level

    @property
    def title(self) -> str:
        """The title of the check."""
        return CHECKS[self.code].title


def design(experiment: Experiment) -> list[Finding]:
    """Run every check that needs the experiment alone."""
    return [
        finding
        for code, check in CHECKS.items()
        if check.on_design is not None
        for finding in _findings(code, check.on_design(experiment))
    ]


def measured(experiment: Experiment, facts: Facts | None) -> list[Finding]:
    """Run every check of the data and the networks; without facts, none of them applies."""
    return [
        finding
        for code, check in CHECKS.items()
        if check.on_facts is not None
        for finding in _findings(code, None if facts is None else check.on_facts(experiment, facts))
    ]


def outcome(results: Results, arms: Arms | None = None) -> list[Finding]:
    """Run every check that looks at stored runs; `arms` saves reading them again."""
    stored = load(results) if arms is None else arms
    return [
        finding
        for code, check in CHECKS.items()
        if check.on_outcome is not None
        for finding in _findings(code, check.on_outcome(results.experiment, stored))
    ]


def forbids(finding: Finding, question: Question, arm: str) -> bool:
    """Whether a finding makes the verdict on an arm of a question invalid, where an arm is one side of a comparison.

    What is wrong with the control is wrong with all that is built on it, but for P012: another baseline may have
    learned.
    """
    everywhere = (WHOLE,) if finding.code == "P012" else (WHOLE, CONTROL)
    touched = finding.where in (*everywhere, of_question(question), arm)
    return finding.outcome == "fired" and finding.level == "error" and touched


def _findings(code: str, places: Places) -> list[Finding]:
    if places is None:
        return [Finding(code, "not applicable", WHOLE, "")]
    if not places:
        return [Finding(code, "passed", WHOLE, "")]
    return [Finding(code, "fired", where, message) for where, message in places]
