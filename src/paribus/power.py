"""The smallest difference in accuracy that an experiment's seeds and test images can show.

It is the true difference that the analysis on new data finds significant with a probability of 80 %, at the level that
Holm's first step leaves to it. The variances of the two-way layout are those of finished runs where there are any, else
assumed from the control's accuracy alone: two runs of one recipe differ in as many test images as the error has, a
tenth of that being due to the image whatever the seed, and runs differ beyond their images by a tenth of the error.
Measured on the shipped experiments, such runs differ in 0.5 (digits) to 1.0 (DHCD) times their error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from paribus.arms import ArmRuns
from paribus.checks import comparisons_planned, expected_accuracy
from paribus.experiment import CONTROL, Experiment
from paribus.stats import LEVEL, POWER, Variances, crossed, smallest_difference
from paribus.wording import count, difference, percent, unit

_OF_THE_IMAGE = 0.1
_OF_THE_SEED = 0.1


@dataclass(frozen=True)
class Detectable:
    """The smallest difference that can be shown, a fraction or None where none can, and what it rests on."""

    seeds: int
    images: int
    comparisons: int
    difference: float | None
    basis: str

    @property
    def text(self) -> str:
        """Both in one line each."""
        design = f"{count(self.seeds, 'seed')} and {count(self.images, 'test image')}"
        if self.difference is None:
            return f"No difference can be shown with {design}: one seed has no spread to judge by."
        smallest = f"{difference(self.difference, 'test_accuracy').lstrip('+')} {unit('test_accuracy')}"
        level = f"at {100 * POWER:.0f} % power, corrected for {count(self.comparisons, 'comparison')}"
        return f"Smallest difference that {design} can show: about {smallest}, {level}.\n{self.basis}"


def detectable(experiment: Experiment, images: int, arms: Mapping[str, ArmRuns]) -> Detectable:
    """Return the smallest difference of accuracy that a design can show.

    Args:
        experiment: The design.
        images: Number of test images, at least 2.
        arms: Finished runs by arm, as many as there are; an arm needs two seeds in common with its control to count.
    """
    seeds, comparisons = len(experiment.seeds), max(1, comparisons_planned(experiment))
    measured = _measured(experiment, arms)
    if measured:
        found = [_smallest(each, experiment, images) for each in measured]
        basis = f"Rests on the variances of the finished runs: the median over {count(len(found), 'arm')}."
        known = [each for each in found if each is not None]
        return Detectable(seeds, images, comparisons, median(known) if known else None, basis)
    accuracy = expected_accuracy(experiment)
    why = "" if experiment.published is None else ", the middle of what is published"
    basis = (
        f"Assumed, as no runs are there to measure: a control of {percent(accuracy)} %{why}, and two runs of one "
        f"recipe that differ in {percent(1 - accuracy)} % of the images and by "
        f"{percent(_OF_THE_SEED * (1 - accuracy))} points beyond them."
    )
    smallest = _smallest(assumed(accuracy), experiment, images)
    return Detectable(seeds, images, comparisons, smallest, basis)


def assumed(accuracy: float) -> Variances:
    """Return what is assumed of the difference of two arms where the control has that accuracy (a fraction)."""
    error = 1 - accuracy
    return Variances((_OF_THE_SEED * error) ** 2, _OF_THE_IMAGE * error, (1 - _OF_THE_IMAGE) * error)


def _smallest(variances: Variances, experiment: Experiment, images: int) -> float | None:
    """The difference in question, None with one seed, which shows none."""
    seeds, comparisons = len(experiment.seeds), max(1, comparisons_planned(experiment))
    return smallest_difference(variances, (seeds, images), LEVEL / comparisons) if seeds > 1 else None


def _measured(experiment: Experiment, arms: Mapping[str, ArmRuns]) -> list[Variances]:
    """The variances of every arm that is to be compared and shares two seeds and the test images with its control.

    The values of a sweep count only where nothing else is compared: a rate far too high or low varies like no other.
    """
    asked = [question for question in experiment.questions if question.kind == "compare"] or experiment.questions
    found = []
    for name in dict.fromkeys(name for question in asked for name in question.arms if name != CONTROL):
        arm, against = arms.get(name), arms.get(experiment.baseline(name))
        if arm is None or against is None or not arm.is_paired_with(against):
            continue
        seeds = [seed for seed in arm.seeds if seed in against.seeds]
        if len(seeds) < 2:
            continue
        compared = crossed(arm.scores("test_accuracy", seeds), against.scores("test_accuracy", seeds))
        assert compared.variances is not None  # Two seeds at least.
        found.append(compared.variances)
    return found
