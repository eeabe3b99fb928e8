"""Loss, accuracy and logits of a model over a whole split."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from paribus.batches import Batches, Normalisation

BATCH = 500
PIXELS = 1 << 21
"""The most examples, and the most pixels of one channel, that go through a model at once."""


@torch.inference_mode()
def logits_of(
    model: nn.Module,
    batches: Batches,
    normalisation: Normalisation,
    indices: torch.Tensor | None = None,
    change: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Return the model's logits float32 (N, num_classes) in eval mode; the mode is restored.

    Args:
        model: The network.
        batches: The split.
        normalisation: Of the training pixels.
        indices: Which examples, int64 (N,); None for all, in the split's order.
        change: What to do to raw pixels, float (B, C, H, W) from 0 to 255, before they are normalised.
    """
    chosen = torch.arange(len(batches)) if indices is None else indices
    was_training = model.training
    model.eval()
    parts = []
    height, width = batches.images.shape[2:]
    for some in chosen.split(max(1, min(BATCH, PIXELS // (height * width)))):
        images = batches.gather(some)
        parts.append(model(normalisation.apply(images if change is None else change(images))).float())
    model.train(was_training)
    return torch.cat(parts)


def loss_and_accuracy(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Return mean cross-entropy in nats (may be NaN) and accuracy, a fraction; logits not finite count as wrong."""
    loss = functional.cross_entropy(logits.double(), labels).item()
    right = (logits.argmax(dim=1) == labels) & logits.isfinite().all(dim=1)
    return loss, right.double().mean().item()
