"""Two loops that people write in torch: the one of the tutorials, and the best that we know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lenet import LR, Shuffled, network, normalised
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

Epoch = Callable[[], float]
Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def tutorial(net: str, batch_size: int, images: Bytes, labels: Labels) -> Epoch:
    """The way of the tutorials: PIL images, a transform per image, a DataLoader."""
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])

    class Images(Dataset[tuple[torch.Tensor, int]]):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return transform(transforms.functional.to_pil_image(images[index, 0])), int(labels[index])

    return _loop(net, DataLoader(Images(), batch_size, shuffle=True), torch.contiguous_format, {})


def tuned(net: str, batch_size: int, images: Bytes, labels: Labels) -> Epoch:
    """Everything in memory, normalised once, gathered by index, the fused update; torch's usual layout."""
    return _tuned(net, batch_size, images, labels, torch.contiguous_format)


def tuned_channels_last(net: str, batch_size: int, images: Bytes, labels: Labels) -> Epoch:
    """The same loop with the channels innermost."""
    return _tuned(net, batch_size, images, labels, torch.channels_last)


def _tuned(net: str, batch_size: int, images: Bytes, labels: Labels, layout: torch.memory_format) -> Epoch:
    ready = torch.from_numpy(normalised(images))
    return _loop(net, Shuffled(ready, torch.from_numpy(labels), batch_size, layout), layout, {"fused": True})


def _loop(net: str, batches: Any, layout: torch.memory_format, options: dict[str, Any]) -> Epoch:
    model = network(net).to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, **options)

    def epoch() -> float:
        loss_sum = torch.zeros(())
        for images, labels in batches:
            loss = functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach()
        return loss_sum.item() / len(batches)

    return epoch
