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
from paribus.stats import t_interval
from paribus.store import Run
from paribus.wording import count, loss, margin, percent

FEWEST_EPOCHS = 5
SPIKE_FACTOR = 2.0
SPIKE_NATS = 0.1
RISE = 1.1
"""A val loss that ends a tenth above its lowest stretch has risen."""
ROUNDING = 1e-9
"""0.86 - 0.84 is a little more than 0.02 to a computer, and no more than a margin of 0.02 to a reader."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Curves:
    """Figures of an arm's runs by epoch (R, E), as far as the shortest run goes."""

    train_loss: Floats
    val_loss: Floats
    val_accuracy: Floats

    @property
    def stretch(self) -> int:
        return int(self.val_loss.shape[1]) // 5

    def smooth(self, figures: Floats) -> Floats:
        """Return means over each stretch (R, E - stretch + 1); the last one ends with the last epoch."""
        means: Floats = np.lib.stride_tricks.sliding_window_view(figures, self.stretch, axis=1).mean(axis=-1)
        return means


def spiking(experiment: Experiment, arms: Arms) -> Places:
    """P029: a run's training loss jumps to twice its lowest so far, and by more than 0.1 nats.

    Under mixup it jumps with the shares that are drawn, and says nothing.
    """
    places, applies = [], False
    for arm in arms.values():
        if experiment.arms[arm.name].recipe.augment.mixup:
            continue
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
        accuracy, losses = (curves.smooth(each).mean(axis=0) for each in (curves.val_accuracy, curves.val_loss))
        gain = float(accuracy[-1] - accuracy[-1 - curves.stretch])
        fall = float(losses[-1 - curves.stretch] - losses[-1])
        if gain > experiment.margin + ROUNDING and fall > 0:
            last = "epoch" if curves.stretch == 1 else count(curves.stretch, "epoch")
            message = (
                f"Training ended while it still helped: over the last {last} validation accuracy "
                f"rose by {percent(gain)} points, more than the margin of {margin(experiment.margin, 'test_accuracy')}"
                f", and validation loss fell by {loss(fall)}."
            )
            places.append((arm.name, message))
    return places if applies else None


def over_fitted(experiment: Experiment, arms: Arms) -> Places:
    """P031: val loss or val accuracy ends worse than at its best stretch, while the training loss went on falling.

    With several runs the turn must be beyond the noise of their seeds; in one run, a stretch of one epoch is no turn.
    """
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

    `loss_rose` and `accuracy_fell` say that they end worse, beyond `RISE` and beyond the margin, beyond the noise of
    the seeds where there are several, and while the training loss went on falling: the network over-fits.
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

    In one run a stretch of one epoch is no turn, so that it counts as too short.

    Args:
        runs: Those of one arm; the finished ones count.
        margin: The smallest difference of accuracy worth knowing, a fraction.
    """
    curves = _curves(runs)
    if curves is None or curves.val_loss.shape[0] * curves.stretch == 1:
        return None
    by_run = [curves.smooth(each) for each in (curves.val_accuracy, curves.val_loss, curves.train_loss)]
    accuracy, losses, train = (each.mean(axis=0) for each in by_run)
    lowest, best = int(losses.argmin()), int(accuracy.argmax())
    drop = float(accuracy[best] - accuracy[-1])
    rose = losses[-1] > RISE * losses[lowest] and train[-1] < train[lowest] and _is_clear(by_run[1], lowest)
    fell = drop > margin + ROUNDING and train[-1] < train[best] and _is_clear(by_run[0], best)
    return Turns(
        loss_from=float(losses[lowest]),
        loss_to=float(losses[-1]),
        loss_epoch=lowest + curves.stretch,
        loss_rose=bool(rose),
        accuracy_drop=drop,
        accuracy_epoch=best + curves.stretch,
        accuracy_fell=bool(fell),
    )


def _told(turns: Turns) -> str:
    rise = f"validation loss rose from {loss(turns.loss_from)} around epoch {turns.loss_epoch} to {loss(turns.loss_to)}"
    fall = f"validation accuracy fell by {percent(turns.accuracy_drop)} points from its best around epoch "
    fall += f"{turns.accuracy_epoch}"
    if turns.loss_rose and turns.accuracy_fell:
        return f"Over-fitted in loss and accuracy: {rise}, and {fall}"
    if turns.loss_rose:
        return f"Over-fitted in loss, not in accuracy: {rise}"
    return f"Over-fitted in accuracy, not in loss: {fall}"


def _is_clear(figures: Floats, turn: int) -> bool:
    """Whether the change (R, stretches) from a turn to the end is beyond the noise of the runs."""
    ends = t_interval(figures[:, -1] - figures[:, turn])
    return ends is None or ends[0] * ends[1] > 0


def _curves(runs: Sequence[Run]) -> _Curves | None:
    """The curves of the finished runs, None where they are too short or have no val figures."""
    finished = [run for run in runs if run.result.status == "finished"]
    epochs = min((len(run.epochs) for run in finished), default=0)
    rows = [
        [(record.train_loss, record.val_loss, record.val_accuracy) for record in run.epochs[:epochs]]
        for run in finished
    ]
    if epochs < FEWEST_EPOCHS or any(None in figures for row in rows for figures in row):
        return None
    return _Curves(*np.moveaxis(np.asarray(rows, dtype=np.float64), 2, 0))
