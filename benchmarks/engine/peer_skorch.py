"""skorch, with the images in memory and gathered by index, without callbacks or a validation split.

Channels innermost, the fused update. skorch's own loss of a batch is read each step: it has no way around it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import skorch
import torch
from lenet import LR, Shuffled, network, normalised


def build(
    net: str, batch_size: int, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]
) -> Callable[[], float]:
    """Return what trains for one epoch and returns its mean loss."""
    ready = torch.utils.data.TensorDataset(torch.from_numpy(normalised(images)), torch.from_numpy(labels))

    def batches(dataset: Any, **_options: Any) -> Shuffled:
        return Shuffled(*dataset.tensors, batch_size)

    model = skorch.NeuralNet(
        network(net).to(memory_format=torch.channels_last),
        torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__fused=True,
        lr=LR,
        max_epochs=1,
        iterator_train=batches,
        train_split=None,
        callbacks="disable",
        verbose=0,
    )
    model.initialize()

    def epoch() -> float:
        model.partial_fit(ready)
        return float(np.mean([batch["train_loss"] for batch in model.history[-1]["batches"]]))

    return epoch
