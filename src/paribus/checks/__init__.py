"""Coded rules that look at designs and at outcomes, so that no comparison which cannot be fair gets a verdict.

A check of level error makes every verdict that it touches invalid. `where` is `WHOLE`, the name of an arm, or
``"question ID"``; names of arms hold no space, so that the three cannot be confused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from paribus.arms import load
from paribus.checks import of_design, of_outcome
from paribus.checks.of_design import comparisons_planned
from paribus.checks.of_outcome import Arms
from paribus.checks.places import WHOLE, Places, of_question
from paribus.experiment import CONTROL, Experiment, Question
from paribus.store import Results

__all__ = ["CHECKS", "WHOLE", "Check", "Finding", "comparisons_planned", "design", "forbids", "of_question", "outcome"]

Outcome = Literal["fired", "passed", "not applicable"]
Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Check:
    """One rule: what it is called, why it matters, and what to do when it fires."""

    title: str
    level: Level
    why: str
    advice: str
    on_design: Callable[[Experiment], Places] | None = None
    on_outcome: Callable[[Experiment, Arms], Places] | None = None


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
    """Run every check that needs no run: those of the design, and of the data as the recipes describe it."""
    return [
        finding
        for code, check in CHECKS.items()
        if check.on_design is not None
        for finding in _findings(code, check.on_design(experiment))
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
    """Whether a finding makes the verdict on an arm of a question invalid."""
    touched = finding.where in (WHOLE, of_question(question), arm, CONTROL)
    return finding.outcome == "fired" and finding.level == "error" and touched


def _findings(code: str, places: Places) -> list[Finding]:
    if places is None:
        return [Finding(code, "not applicable", WHOLE, "")]
    if not places:
        return [Finding(code, "passed", WHOLE, "")]
    return [Finding(code, "fired", where, message) for where, message in places]


CHECKS: dict[str, Check] = {
    "P001": Check(
        "Too few seeds for the exact test",
        "warning",
        "The exact sign-flip test over n seeds cannot give a p below 2 / 2^n, however large the difference is.",
        "Add seeds, or ask fewer questions.",
        on_design=of_design.too_few_seeds,
    ),
    "P002": Check(
        "Validation on the test set",
        "warning",
        "Whoever looks at test images while choosing reports an accuracy that new images will not give.",
        "Give `data.val` a number of training images, for example 5000.",
        on_design=of_design.validated_on_test,
    ),
    "P003": Check(
        "Best value of a sweep chosen on the test set",
        "error",
        "The best of several test accuracies is too good by chance: the choice must be made on other images.",
        "Give `data.val` a number of training images, for example 5000.",
        on_design=of_design.chosen_on_test,
    ),
    "P004": Check(
        "One learning rate for different optimisers or batch sizes",
        "warning",
        "The best learning rate depends on the optimiser, the momentum and the batch size; at a shared rate the "
        "comparison is of that rate (Choi et al. 2019, arXiv 1910.05446; Shallue et al. 2019, JMLR 20).",
        "Add an arm to the question that changes `optim.lr` together with the other factor.",
        on_design=of_design.shared_rate,
    ),
    "P005": Check(
        "Epochs held, updates not",
        "warning",
        "At equal epochs a larger batch makes fewer updates, so batch size and training length change together.",
        "Add an arm with the same batch size and as many epochs as give the control's number of updates.",
        on_design=of_design.updates_not_held,
    ),
    "P006": Check(
        "A flip that changes labels",
        "warning",
        "A mirrored character is another character or none, but keeps its label.",
        "Turn `augment.hflip` and `augment.vflip` off; shift, rotate and scale instead.",
        on_design=of_design.flipped_characters,
    ),
    "P007": Check(
        "A question whose arms never ran",
        "warning",
        "A question that was asked and not run is easily taken for one that was answered.",
        "Run the experiment again, or remove the question.",
        on_outcome=of_outcome.never_ran,
    ),
    "P008": Check(
        "Best value at the edge of a sweep",
        "warning",
        "Where the best value is the first or the last, the sweep has not found the best.",
        "Add values beyond the best one.",
        on_outcome=of_outcome.best_at_edge,
    ),
    "P009": Check(
        "Diverged runs",
        "warning",
        "A diverged run counts as what it is; leaving it out would make the arm look better than it is.",
        "Lower `optim.lr`, or add `schedule.warmup_epochs`.",
        on_outcome=of_outcome.diverged,
    ),
    "P010": Check(
        "Result outside the published band",
        "warning",
        "A control far from published results hints at a mistake in data, model or training.",
        "Compare data, preprocessing, epochs and model with the source of `experiment.published`.",
        on_outcome=of_outcome.outside_band,
    ),
    "P011": Check(
        "Collapsed to the most frequent class",
        "warning",
        "A run that does no better than naming the most frequent class has learned nothing.",
        "Look at its learning rate, initialisation and last layer.",
        on_outcome=of_outcome.collapsed,
    ),
    "P012": Check(
        "The control has learned nothing",
        "error",
        "A difference from a control that did not train is no evidence about the factor.",
        "Mend the control first: usually its learning rate is too high or too low.",
        on_outcome=of_outcome.control_collapsed,
    ),
    "P013": Check(
        "Tested on different images",
        "error",
        "Arms are compared image by image; on different images the difference is also one of the images.",
        "Put the two data sets into two experiments, or delete the runs made with the old data.",
        on_outcome=of_outcome.other_test_images,
    ),
}
