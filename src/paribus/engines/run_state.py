"""How far a run is: everything that an interrupted run needs to go on to the same bits."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from paribus.config import TrainConfig
from paribus.store import Arrays, Checkpoint, EpochRecord

Array = npt.NDArray[Any]


class Trainee(Protocol):
    """What is being trained, as copies of its arrays by name."""

    def weights(self) -> Arrays:
        """Return the parameters and buffers."""

    def load_weights(self, weights: Arrays) -> None:
        """Take what `weights` gave."""

    def optimizer_state(self) -> Arrays:
        """Return what the optimiser remembers."""

    def load_optimizer_state(self, state: Arrays) -> None:
        """Take what `optimizer_state` gave."""


class RunState:
    """Epochs done, the best of them on val, and whether training is over, beside what is being trained."""

    def __init__(self, trainee: Trainee, train: TrainConfig) -> None:
        self.trainee, self.train = trainee, train
        self.epoch = 0
        self.steps = 0
        self.seconds = 0.0
        self.diverged = False
        self.best_epoch = 0
        self.best_loss = math.inf
        self.best_weights: dict[str, Array] = {}

    @property
    def is_over(self) -> bool:
        """Whether the last epoch is done, the run has diverged, or patience has run out."""
        patience = self.train.patience
        waited = patience is not None and self.epoch - self.best_epoch >= patience
        return self.diverged or self.epoch >= self.train.epochs or waited

    @property
    def epoch_kept(self) -> int:
        """The epoch whose weights are tested: the last, or that of the lowest validation loss."""
        return self.best_epoch if self.best_weights else self.epoch

    def add(self, record: EpochRecord, seconds: float) -> None:
        """Take note of an epoch."""
        self.epoch, self.steps = record.epoch, record.steps
        self.seconds += seconds
        self.diverged = record.train_loss is None or record.val_loss is None
        if record.val_loss is not None and record.val_loss < self.best_loss:
            self.best_loss, self.best_epoch = record.val_loss, record.epoch
            if self.train.keep == "best":
                self.best_weights = dict(self.trainee.weights())

    def load_kept_weights(self) -> None:
        """Put the weights of the kept epoch into the model."""
        if self.best_weights:
            self.trainee.load_weights(self.best_weights)

    def arrays(self) -> dict[str, Array]:
        """Return everything that `restore` needs."""
        arrays = {f"model/{name}": array for name, array in self.trainee.weights().items()}
        arrays |= {f"best/{name}": array for name, array in self.best_weights.items()}
        arrays |= {f"optim/{name}": array for name, array in self.trainee.optimizer_state().items()}
        scalars = (self.steps, self.seconds, self.diverged, self.best_epoch, self.best_loss)
        arrays["scalars"] = np.asarray(scalars, dtype=np.float64)
        return arrays

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where `arrays` was called."""
        arrays = checkpoint.arrays
        self.epoch = checkpoint.epoch
        steps, self.seconds, diverged, best_epoch, self.best_loss = arrays["scalars"].tolist()
        self.steps, self.diverged, self.best_epoch = int(steps), bool(diverged), int(best_epoch)
        self.best_weights = _under(arrays, "best/")
        self.trainee.load_weights(_under(arrays, "model/"))
        self.trainee.load_optimizer_state(_under(arrays, "optim/"))


def _under(arrays: Any, prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
