"""LeNet-5 at 32 x 32 pixels as a person would write it in torch, and the images ready to be trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

NETS = {"tanh-avg": ("tanh", "avg"), "relu-max": ("relu", "max")}
LR = 0.1


def network(net: str) -> nn.Module:
    """Return the network with the activation and the pooling that a name of `NETS` says."""
    activation, pooling = NETS[net]
    act = {"tanh": nn.Tanh, "relu": nn.ReLU}[activation]
    pool = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}[pooling]
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), act(), pool(2), nn.Conv2d(6, 16, 5), act(), pool(2), nn.Flatten()),
        *(nn.Linear(400, 120), act(), nn.Linear(120, 84), act(), nn.Linear(84, 10)),
    )


def normalised(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return images (N, 1, H, W) as float32 with the mean and deviation of MNIST, as every tutorial has them."""
    return (images.astype(np.float32) / 255 - np.float32(0.1307)) / np.float32(0.3081)


class Shuffled:
    """Batches of tensors in memory, gathered by index in a new order each time, without a call per image."""

    def __init__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        batch_size: int,
        layout: torch.memory_format = torch.channels_last,
    ) -> None:
        self.images, self.labels, self.batch_size, self.layout = images, labels, batch_size, layout

    def __len__(self) -> int:
        return math.ceil(len(self.labels) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for indices in torch.randperm(len(self.labels)).split(self.batch_size):
            yield self.images[indices].contiguous(memory_format=self.layout), self.labels[indices]
