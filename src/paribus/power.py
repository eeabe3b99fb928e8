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
    """The smallest difference that can be shown by number of seeds, a fraction or None where none can, and what that
    rests on.
    """

    differences: Mapping[int, float | None]
    images: int
    comparisons: int
    basis: str

    @property
    def text(self) -> str:
        """A line for each number of seeds that arms are compared with, and one on what they rest on."""
        lines = [self._line(seeds, smallest) for seeds, smallest in self.differences.items()]
        return "\n".join(lines if set(self.differences.values()) == {None} else [*lines, self.basis])

    def _line(self, seeds: int, smallest: float | None) -> str:
        design = f"{count(seeds, 'seed')} and {count(self.images, 'test image')}"
        if smallest is None:
            return f"No difference can be shown with {design}: one seed has no spread to judge by."
        points = f"{difference(smallest, 'test_accuracy').lstrip('+')} {unit('test_accuracy')}"
        level = f"at {100 * POWER:.0f} % power, corrected for {count(self.comparisons, 'comparison')}"
        return f"Smallest difference that {design} can show: about {points}, {level}."


def detectable(experiment: Experiment, images: int, arms: Mapping[str, ArmRuns]) -> Detectable:
    """Return the smallest difference of accuracy that a design can show.

    Args:
        experiment: The design.
        images: Number of test images, at least 2.
        arms: Finished runs by arm, as many as there are; an arm needs two seeds in common with its control to count.
    """
    comparisons = max(1, comparisons_planned(experiment))
    variances = _measured(experiment, arms)
    if variances:
        basis = f"Rests on the variances of the finished runs: the median over {count(len(variances), 'arm')}."
    else:
        accuracy = expected_accuracy(experiment)
        variances = [assumed(accuracy)]
        ran = any(name in arms and arms[name].runs for name in _compared(experiment))
        lacking = "no arm has two runs that differ from its control's" if ran else "no runs are there to measure"
        why = "" if experiment.published is None else ", the middle of what is published"
        basis = (
            f"Assumed, as {lacking}: a control of {percent(accuracy)} %{why}, and two runs of one "
            f"recipe that differ in {percent(1 - accuracy)} % of the images and by "
            f"{percent(_OF_THE_SEED * (1 - accuracy))} points beyond them."
        )

    def smallest(seeds: int) -> float | None:
        if seeds < 2:
            return None
        return median(smallest_difference(each, (seeds, images), LEVEL / comparisons) for each in variances)

    asked = {name for question in experiment.questions for name in question.arms if name != CONTROL}
    numbers = {len(experiment.seeds_of(name)) for name in asked} or {len(experiment.seeds)}
    return Detectable({seeds: smallest(seeds) for seeds in sorted(numbers, reverse=True)}, images, comparisons, basis)


def assumed(accuracy: float) -> Variances:
    """Return what is assumed of the difference of two arms where the control has that accuracy (a fraction)."""
    error = 1 - accuracy
    return Variances((_OF_THE_SEED * error) ** 2, _OF_THE_IMAGE * error, (1 - _OF_THE_IMAGE) * error, of_shares=True)


def _compared(experiment: Experiment) -> list[str]:
    """The arms whose variances are those of a comparison.

    The values of a sweep count only where nothing else is compared: a rate far too high or low varies like no other.
    """
    asked = [question for question in experiment.questions if question.kind == "compare"] or experiment.questions
    return list(dict.fromkeys(name for question in asked for name in question.arms if name != CONTROL))


def _measured(experiment: Experiment, arms: Mapping[str, ArmRuns]) -> list[Variances]:
    """The variances of every arm that shares two seeds and the test images with its control, and differs from it."""
    found = []
    for name in _compared(experiment):
        arm, against = arms.get(name), arms.get(experiment.baseline(name))
        if arm is None or against is None or not arm.is_paired_with(against):
            continue
        seeds = [seed for seed in arm.seeds if seed in against.seeds]
        if len(seeds) < 2:
            continue
        compared = crossed(arm.scores("test_accuracy", seeds), against.scores("test_accuracy", seeds))
        if compared.error is not None and compared.variances is not None:
            found.append(compared.variances)
    return found
