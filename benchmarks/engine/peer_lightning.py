"""Lightning, with nothing beside the training: no logger, checkpoint, progress bar, summary or validation.

The images are in memory and gathered by index, a batch at a time; channels innermost, the fused update. Each epoch is a
call of `fit` that goes on from the last, as Lightning has no other way to train for one epoch and stop.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

import lightning
import numpy as np
import numpy.typing as npt
import torch
from lenet import LR, Shuffled, network, normalised
from torch.nn import functional


class Net(lightning.LightningModule):
    """The network, its loss and its optimiser."""

    def __init__(self, net: str) -> None:
        super().__init__()
        self.model = network(net).to(memory_format=torch.channels_last)
        self.loss_sum = torch.zeros(())

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        images, labels = batch
        loss = functional.cross_entropy(self.model(images), labels)
        self.loss_sum += loss.detach()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=LR, fused=True)


def build(
    net: str, batch_size: int, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]
) -> Callable[[], float]:
    """Return what trains for one epoch and returns its mean loss."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    batches = Shuffled(torch.from_numpy(normalised(images)), torch.from_numpy(labels), batch_size)
    module = Net(net)
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )

    def epoch() -> float:
        module.loss_sum.zero_()
        trainer.fit_loop.max_epochs += 1
        trainer.fit(module, batches)
        return module.loss_sum.item() / len(batches)

    return epoch
