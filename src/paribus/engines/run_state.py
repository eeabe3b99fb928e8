"""How far a run of the torch engine is: everything that an interrupted run needs to go on to the same bits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from paribus.config import TrainConfig
from paribus.store import Checkpoint, EpochRecord

Array = npt.NDArray[Any]


class RunState:
    """Epochs done, the best of them on val, and whether training is over, beside the model and its optimiser."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, train: TrainConfig) -> None:
        self.model, self.optimizer, self.train = model, optimizer, train
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
                self.best_weights = {name: array.copy() for name, array in self.weights().items()}

    def weights(self) -> dict[str, Array]:
        """Return the model's parameters and buffers by name."""
        return {name: _array(tensor) for name, tensor in self.model.state_dict().items()}

    def load_kept_weights(self) -> None:
        """Put the weights of the kept epoch into the model."""
        if self.best_weights:
            self._load_weights(self.best_weights)

    def arrays(self) -> dict[str, Array]:
        """Return everything that `restore` needs."""
        arrays = {f"model/{name}": array for name, array in self.weights().items()}
        arrays |= {f"best/{name}": array for name, array in self.best_weights.items()}
        for index, entries in self.optimizer.state_dict()["state"].items():
            arrays |= {f"optim/{index}/{key}": _array(torch.as_tensor(value)) for key, value in entries.items()}
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
        self._load_weights(_under(arrays, "model/"))
        entries: dict[int, dict[str, torch.Tensor]] = {}
        for name, array in _under(arrays, "optim/").items():
            index, _, key = name.partition("/")
            entries.setdefault(int(index), {})[key] = torch.from_numpy(array.copy())
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": entries})

    def _load_weights(self, arrays: dict[str, Array]) -> None:
        self.model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()})


def _under(arrays: Any, prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _array(tensor: torch.Tensor) -> Array:
    """Copy to row-major memory, which is how safetensors stores arrays."""
    return tensor.detach().cpu().contiguous().clone(memory_format=torch.contiguous_format).numpy()
