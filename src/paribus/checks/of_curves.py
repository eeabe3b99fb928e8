"""The rules that look at how stored runs learned, epoch by epoch.

A stretch is a fifth of a run's epochs, at least one; figures over it are means, so that one lucky epoch decides
nothing. Runs of fewer than five epochs are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paribus.checks.check import Arms
from paribus.checks.places import Places
from paribus.experiment import Experiment
from paribus.store import Run
from paribus.wording import count, loss, margin, percent

FEWEST_EPOCHS = 5
SPIKE_FACTOR = 2.0
SPIKE_NATS = 0.1
RISE = 1.1
"""A val loss that ends a tenth above its lowest stretch has risen."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Curves:
    """Means over an arm's runs, one figure per epoch (E,), as far as the shortest run goes."""

    train_loss: Floats
    val_loss: Floats
    val_accuracy: Floats

    @property
    def stretch(self) -> int:
        return len(self.val_loss) // 5

    def smooth(self, figures: Floats) -> Floats:
        """Return means over each stretch (E - stretch + 1,); the last one ends with the last epoch."""
        return np.convolve(figures, np.full(self.stretch, 1 / self.stretch), mode="valid")


def spiking(_: Experiment, arms: Arms) -> Places:
    """P029: a run's training loss jumps to twice its lowest so far, and by more than 0.1 nats."""
    places, applies = [], False
    for arm in arms.values():
        finished = [run for run in arm.runs if run.result.status == "finished" and len(run.epochs) > 1]
        applies = applies or bool(finished)
        spikes = [spike for run in finished if (spike := _spike(run)) is not None]
        if spikes:
            epoch, before, after = max(spikes)[1:]
            message = (
                f"The training loss of {len(spikes)} of {count(len(arm.runs), 'run')} jumped, at most from "
                f"{loss(before)} to {loss(after)} at epoch {epoch}."
            )
            places.append((arm.name, message))
    return places if applies else None


def _spike(run: Run) -> tuple[float, int, float, float] | None:
    """The largest jump: its size, its epoch, the lowest loss before it and the loss after it."""
    spikes, lowest = [], np.inf
    for record in run.epochs:
        if record.train_loss is None:
            continue
        rise = record.train_loss - lowest
        if rise > SPIKE_NATS and record.train_loss > SPIKE_FACTOR * lowest:
            spikes.append((float(rise), record.epoch, float(lowest), record.train_loss))
        lowest = min(lowest, record.train_loss)
    return max(spikes, default=None)


def not_converged(experiment: Experiment, arms: Arms) -> Places:
    """P030: over the last two fifths of training val accuracy rises by more than the margin, and val loss falls."""
    places, applies = [], False
    for arm in arms.values():
        curves = _curves(arm.runs)
        if curves is None:
            continue
        applies = True
        accuracy, losses = curves.smooth(curves.val_accuracy), curves.smooth(curves.val_loss)
        gain = float(accuracy[-1] - accuracy[-1 - curves.stretch])
        fall = float(losses[-1 - curves.stretch] - losses[-1])
        if gain > experiment.margin and fall > 0:
            message = (
                f"Training ended while it still helped: over the last {count(curves.stretch, 'epoch')} val accuracy "
                f"rose by {percent(gain)} points, more than the margin of {margin(experiment.margin, 'test_accuracy')}"
                f", and val loss fell by {loss(fall)}."
            )
            places.append((arm.name, message))
    return places if applies else None


def over_fitted(experiment: Experiment, arms: Arms) -> Places:
    """P031: val loss or val accuracy ends worse than at its best stretch, while the training loss went on falling."""
    places, applies = [], False
    for arm in arms.values():
        turns = None if experiment.arms[arm.name].recipe.train.keep == "best" else turns_of(arm.runs, experiment.margin)
        if turns is None:
            continue
        applies = True
        if turns.loss_rose or turns.accuracy_fell:
            places.append((arm.name, f"{_told(turns)}, while the training loss went on falling."))
    return places if applies else None


@dataclass(frozen=True)
class Turns:
    """How the mean val curves of some runs end, from the best stretch of each (with its last epoch) to the last one.

    `loss_rose` and `accuracy_fell` say that they end worse, beyond `RISE` and beyond the margin, while the training
    loss went on falling: the network over-fits.
    """

    loss_from: float
    loss_to: float
    loss_epoch: int
    loss_rose: bool
    accuracy_drop: float
    accuracy_epoch: int
    accuracy_fell: bool


def turns_of(runs: Sequence[Run], margin: float) -> Turns | None:
    """Return where the val curves of some runs turn, None where they are too short or have no val figures.

    Args:
        runs: Those of one arm; the finished ones count.
        margin: The smallest difference of accuracy worth knowing, a fraction.
    """
    curves = _curves(runs)
    if curves is None:
        return None
    accuracy, losses, train = (
        curves.smooth(each) for each in (curves.val_accuracy, curves.val_loss, curves.train_loss)
    )
    lowest, best = int(losses.argmin()), int(accuracy.argmax())
    drop = float(accuracy[best] - accuracy[-1])
    return Turns(
        loss_from=float(losses[lowest]),
        loss_to=float(losses[-1]),
        loss_epoch=lowest + curves.stretch,
        loss_rose=bool(losses[-1] > RISE * losses[lowest] and train[-1] < train[lowest]),
        accuracy_drop=drop,
        accuracy_epoch=best + curves.stretch,
        accuracy_fell=bool(drop > margin and train[-1] < train[best]),
    )


def _told(turns: Turns) -> str:
    rise = f"val loss rose from {loss(turns.loss_from)} around epoch {turns.loss_epoch} to {loss(turns.loss_to)}"
    fall = (
        f"val accuracy fell by {percent(turns.accuracy_drop)} points from its best around epoch {turns.accuracy_epoch}"
    )
    if turns.loss_rose and turns.accuracy_fell:
        return f"Over-fitted in loss and accuracy: {rise}, and {fall}"
    if turns.loss_rose:
        return f"Over-fitted in loss, not in accuracy: {rise}"
    return f"Over-fitted in accuracy, not in loss: {fall}"


def _curves(runs: Sequence[Run]) -> _Curves | None:
    """The mean curves of the finished runs, None where they are too short or have no val figures."""
    finished = [run for run in runs if run.result.status == "finished"]
    epochs = min((len(run.epochs) for run in finished), default=0)
    rows = [
        [(record.train_loss, record.val_loss, record.val_accuracy) for record in run.epochs[:epochs]]
        for run in finished
    ]
    if epochs < FEWEST_EPOCHS or any(None in figures for row in rows for figures in row):
        return None
    return _Curves(*np.mean(np.asarray(rows, dtype=np.float64), axis=0).T)
