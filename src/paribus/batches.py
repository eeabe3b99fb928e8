"""Batches for an engine: uint8 images held whole, gathered, augmented and normalised a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from paribus.augment import Augmenter
from paribus.data.dataset import Split
from paribus.seeding import torch_generator


@dataclass(frozen=True)
class Normalisation:
    """Per-channel mean and standard deviation of the training pixels, shape (1, C, 1, 1), in units of 0 to 255.

    A channel that never varies gets a deviation of 1.
    """

    mean: torch.Tensor
    std: torch.Tensor

    @classmethod
    def of(cls, images: torch.Tensor, indices: torch.Tensor) -> Normalisation:
        """Compute exact integer sums over the chosen images, uint8 (N, C, H, W)."""
        channels = images.shape[1]
        total = torch.zeros(channels, dtype=torch.int64)
        squares = torch.zeros(channels, dtype=torch.int64)
        for chunk in indices.split(4096):
            counts = [torch.bincount(images[chunk, c].flatten(), minlength=256) for c in range(channels)]
            values = torch.arange(256)
            total += torch.stack([(count * values).sum() for count in counts])
            squares += torch.stack([(count * values * values).sum() for count in counts])
        pixels = len(indices) * images.shape[2] * images.shape[3]
        mean = total.double() / pixels
        std = (squares.double() / pixels - mean * mean).clamp(min=0).sqrt()
        std = torch.where(std > 0, std, torch.ones_like(std))
        return cls(mean.float().view(1, -1, 1, 1), std.float().view(1, -1, 1, 1))

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise float images in place and return them; where grey ones meet several channels, copies of them."""
        if images.shape[1] < self.mean.shape[1]:
            images = images.repeat(1, self.mean.shape[1], 1, 1)
        return images.sub_(self.mean).div_(self.std)


class Batches:
    """One split as tensors: `gather` gives raw float pixels, `labels` the classes."""

    def __init__(self, split: Split) -> None:
        self.images = torch.from_numpy(split.images)
        self.labels = torch.from_numpy(split.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, indices: torch.Tensor, augmenter: Augmenter | None = None) -> torch.Tensor:
        """Return images (B, C, H, W) as float 0 to 255, laid out channels last.

        Args:
            indices: Which examples, int64 (B,).
            augmenter: What changes them, where they are to be changed.
        """
        images = self.images[indices]
        if augmenter is None:
            return images.to(torch.float32).contiguous(memory_format=torch.channels_last)
        return augmenter.change(images, indices)


def in_order(indices: torch.Tensor, seed: int, epoch: int) -> torch.Tensor:
    """Return the indices (N,) in the order in which a run with this seed takes them in this epoch."""
    return indices[torch.randperm(len(indices), generator=torch_generator(seed, "order", epoch))]
