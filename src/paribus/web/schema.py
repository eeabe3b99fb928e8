"""What the JSON API answers: fractions and nats, None where there is nothing, and what pages are filled in from."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from paribus.experiment import Metric
from paribus.verdicts import Verdict

RunState = Literal["waiting", "training", "stopped", "finished", "diverged", "failed"]
State = Literal["waiting", "running", "stopped", "finished"]
Interval = tuple[float, float]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Level(_Answer):
    """A mean over runs with its 95 % interval."""

    mean: float
    ci95: Interval | None


class RunProgress(_Answer):
    """How far one run is: `epochs` of at most `epochs_planned`, `seconds` of training so far."""

    seed: int
    state: RunState
    epochs: int
    epochs_planned: int
    seconds: float
    test_accuracy: float | None = Field(description="Fraction, once the run has ended.")
    failure: str | None = None


class ArmProgress(_Answer):
    """The runs of one arm, in the order of the seeds."""

    arm: str
    runs: list[RunProgress]


class Progress(_Answer):
    """How far an experiment is.

    `running`: a run that has not ended was written to a short while ago. `ended` counts finished and diverged runs.
    `control` is the control's test accuracy over the runs that have ended.
    """

    name: str
    title: str
    state: State
    ended: int
    failed: int
    planned: int
    changed: float | None = Field(description="When a run was last written to, in seconds since 1970.")
    control: Level | None
    verdicts: dict[Verdict, int] | None = Field(
        description="How many comparisons got which, None before there are any."
    )
    verdicts_of: int | None = Field(description="From how many runs the verdicts were computed.")
    arms: list[ArmProgress]


class Listed(_Answer):
    """One result folder: how far it is, or what is wrong with it."""

    folder: str
    progress: Progress | None
    problem: str | None = None


class Line(_Answer):
    """One run's curve from epoch `start` on; a value is None where it is not finite."""

    seed: int
    state: RunState
    start: int
    values: list[float | None]


class ArmCurve(_Answer):
    """One arm's figure by epoch: mean, lowest and highest of the runs that have ended, from epoch 1 on.

    They reach as far as all of these runs have values. `lines` are runs that still train, and what goes on after.
    """

    arm: str
    colour: str
    dash: Literal["-", "--", ":"]
    runs: int
    mean: list[float]
    low: list[float]
    high: list[float]
    lines: list[Line]


class Panel(_Answer):
    """One figure of the epoch records, for every arm shown."""

    key: Literal["val_accuracy", "val_loss", "train_accuracy", "train_loss"]
    title: str
    arms: list[ArmCurve]


class Curves(_Answer):
    """The learning curves of the arms of one question and its controls, or of two sides."""

    question: str | None
    panels: list[Panel]


class Comparison(_Answer):
    """One comparison of `verdicts.json`, as docs/results-format.md describes it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    arm: str
    control: str
    metric: Metric
    margin: float
    runs: int
    difference: float | None
    ci95: Interval | None
    ci95_this_test_set: Interval | None
    p_holm: float | None
    p_equivalence: float | None
    verdict: Verdict
    reason: str | None
    seeds_needed: int | None
    test_images_needed: int | None


class QuestionAnswer(_Answer):
    """A question with its comparisons and what is said about it; both are empty before there are verdicts."""

    id: str
    asks: str
    kind: Literal["compare", "sweep"]
    metric: Metric
    margin: float
    arms: list[str]
    best: str | None = Field(description="The best value of a sweep on val.")
    comparisons: list[Comparison]
    answer: list[str]


class ArmDesign(_Answer):
    """An arm: the factors in which it differs from the control, and what it reached on the test set."""

    arm: str
    factors: dict[str, str]
    against: str
    test_accuracy: Level | None
    seconds_per_run: float | None


class FiredCheck(_Answer):
    """A check that fired."""

    code: str
    level: Literal["error", "warning", "note"]
    title: str
    where: str
    message: str


class ExperimentAnswer(_Answer):
    """An experiment: its design, and what its verdicts say."""

    folder: str
    title: str
    seeds: list[int]
    margin: float
    arms: list[ArmDesign]
    questions: list[QuestionAnswer]
    checks: list[FiredCheck]
    has_report: bool


class Side(_Answer):
    """One side of a confrontation: an arm with all its runs that have ended, or one run."""

    label: str
    arm: str
    seed: int | None
    runs: int
    test_accuracy: Level | None
    test_loss: float | None
    val_accuracy: float | None
    seconds: float | None
    epochs: float | None
    parameters: int | None


class RecipeDifference(_Answer):
    """A key in which two recipes differ."""

    key: str
    first: str
    second: str


class Difference(_Answer):
    """Second minus first in test accuracy with its 95 % interval on new images, or why there is none.

    Not corrected: whoever looks at many pairs will find some that differ by chance.
    """

    value: float | None
    ci95: Interval | None
    p: float | None
    reason: str | None


class TestImage(_Answer):
    """A test image that the sides differ on: the share of each side's runs that get it right, and what most say."""

    __test__ = False  # Not a test class for pytest.

    index: int
    true: str
    first: str
    first_right: float
    second: str
    second_right: float


class Agreement(_Answer):
    """On how many test images which side is right, in more than half of its runs; `images` differ the most."""

    both: int
    only_first: int
    only_second: int
    neither: int
    data: str = Field(description="The test set, for the addresses of its images.")
    images: list[TestImage]


class Confrontation(_Answer):
    """Two sides beside each other."""

    first: Side
    second: Side
    recipe: list[RecipeDifference]
    difference: Difference
    agreement: Agreement | None
    curves: Curves


class Problem(_Answer):
    """What every refusal answers."""

    error: str
