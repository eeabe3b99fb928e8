"""The experiments of the assignment in minutes: fewer seeds, images or epochs, and nothing else changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from paribus import experiments
from paribus.experiment import Experiment

SUFFIX = "quick"
TITLE = "Quick look"
MARK = "quick, settles nothing"
WARNING = (
    "This is a quick look, with fewer seeds, images or epochs than the experiments have. It shows that everything runs "
    "and what the document will hold, and settles nothing. Leave out `--quick` for results."
)


def experiment(name: str) -> Experiment:
    """Return the quick form of a shipped experiment, under a name of its own, so that it never mixes with real results.

    The published accuracies, which are those of all images and epochs, are left out.

    Args:
        name: A key of `SETTINGS`.
    """
    small = Experiment.load(experiments.find(name), SETTINGS[name])
    return replace(small, name=f"{name}-{SUFFIX}", title=f"{TITLE}, settles nothing: {small.title}", published=None)


def command(*, is_quick: bool, only: Sequence[str] = ()) -> str:
    """Return the command that runs the assignment, or these of its experiments."""
    return " ".join(["paribus assignment", *(["--quick"] if is_quick else []), *(f"--only {name}" for name in only)])


SETTINGS: dict[str, tuple[str, ...]] = {
    "lenet-mnist": (
        "experiment.seeds=2",
        "control.data.train_size=1000",
        "control.data.val=500",
    ),
    "lenet-dhcd": (
        "experiment.seeds=2",
        "control.data.train_size=1150",
        "control.data.val=230",
    ),
    "dogs-vs-cats": (
        "experiment.seeds=2",
        "question.approach.seeds=2",
        "question.approach.arms.fine-tuning.train.epochs=2",
        "question.approach.arms.lp-ft.train.epochs=2",
        "question.approach.arms.from-scratch.train.epochs=2",
    ),
    "sign-digits": (
        "experiment.seeds=2",
        "control.data.train_size=200",
        "control.train.epochs=2",
        "question.start.seeds=2",
        "question.model.seeds=2",
        "question.rate.seeds=2",
    ),
    "sign-digits-people": (
        "experiment.seeds=2",
        "control.data.train_size=200",
        "control.train.epochs=2",
    ),
}
"""What is replaced in each, as after ``--set``."""
