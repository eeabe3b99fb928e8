"""Loss, accuracy and logits of a model over a whole split."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from paribus.batches import Batches, Normalisation

BATCH = 500


@torch.inference_mode()
def logits_of(model: nn.Module, batches: Batches, normalisation: Normalisation) -> torch.Tensor:
    """Return the model's logits float32 (N, num_classes) in eval mode, in the split's order; the mode is restored."""
    was_training = model.training
    model.eval()
    parts = [
        model(normalisation.apply(batches.gather(indices))).float()
        for indices in torch.arange(len(batches)).split(BATCH)
    ]
    model.train(was_training)
    return torch.cat(parts)


def loss_and_accuracy(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Return mean cross-entropy in nats (may be NaN) and accuracy, a fraction; logits not finite count as wrong."""
    loss = functional.cross_entropy(logits.double(), labels).item()
    right = (logits.argmax(dim=1) == labels) & logits.isfinite().all(dim=1)
    return loss, right.double().mean().item()
