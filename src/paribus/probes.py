"""What is measured about the mechanism of a run: activations, calibration, robustness, gradients by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from paribus.activations import ROOT, watch
from paribus.augment import rotate
from paribus.batches import Batches, Normalisation
from paribus.evaluate import logits_of, loss_and_accuracy
from paribus.metrics import calibration_error
from paribus.seeding import torch_generator
from paribus.store import Probes

IMAGES = 1000
PIXELS = 1 << 23
"""The most images that are probed, and the most pixels of one channel that these may have together."""
DEGREES = 10.0
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1))


def probe(
    model: nn.Module,
    val: Batches,
    normalisation: Normalisation,
    gradient_norms_at_start: Mapping[str, float] | None,
) -> Probes:
    """Measure a trained network on validation images; its weights, buffers and mode stay as they are.

    Args:
        model: With the weights that are to be probed.
        val: The validation split; at most `IMAGES` of it are used, fewer where they have more than
            `PIXELS`, spread evenly over its order.
        normalisation: Of the training pixels.
        gradient_norms_at_start: What `layer_gradient_norms` gave before the first step.
    """
    height, width = val.images.shape[2:]
    count = min(len(val), IMAGES, max(1, PIXELS // (height * width)))
    indices = torch.arange(count) * len(val) // count
    with watch(model) as seen:
        logits = logits_of(model, val, normalisation, indices)
    # Who is changed how is drawn, lest it follow the classes, and the same for all runs, so that arms are comparable.
    mixed = indices[torch.randperm(count, generator=torch_generator(0, "augment", index="probes"))]

    def accuracy(changes: Sequence[Callable[[Tensor], Tensor]]) -> float:
        groups = list(zip(mixed.tensor_split(len(changes)), changes, strict=True))
        changed = [logits_of(model, val, normalisation, group, change) for group, change in groups if len(group)]
        return loss_and_accuracy(torch.cat(changed), val.labels[mixed])[1]

    confidence, classes = logits.double().softmax(dim=1).max(dim=1)
    return Probes(
        images=count,
        accuracy=loss_and_accuracy(logits, val.labels[indices])[1],
        confidence=confidence.mean().item(),
        calibration_error=calibration_error(confidence.numpy(), (classes == val.labels[indices]).numpy()),
        accuracy_shifted_1=accuracy([partial(shift, right=x, down=y) for x, y in DIRECTIONS]),
        accuracy_shifted_2=accuracy([partial(shift, right=2 * x, down=2 * y) for x, y in DIRECTIONS]),
        accuracy_rotated_10=accuracy([partial(rotate, degrees=degrees) for degrees in (DEGREES, -DEGREES)]),
        layers=seen.probes(),
        gradient_norms_at_start=gradient_norms_at_start,
    )


def layer_gradient_norms(model: nn.Module) -> dict[str, float] | None:
    """Return the L2 norm of the gradients that each module's own parameters hold, None if one is not finite.

    Args:
        model: After a backward pass. A parameter that several modules share counts where it is first owned; one
            without a gradient does not count, and a module with no other is left out.
    """
    norms, counted = {}, set()
    for name, module in model.named_modules():
        own = [parameter for parameter in module.parameters(recurse=False) if parameter not in counted]
        counted.update(own)
        gradients = [parameter.grad for parameter in own if parameter.grad is not None]
        if gradients:
            norms[name or ROOT] = nn.utils.get_total_norm(gradients).item()
    return norms if all(map(math.isfinite, norms.values())) else None


def shift(images: Tensor, right: int, down: int) -> Tensor:
    """Return images (B, C, H, W) moved by whole pixels, with 0, which is black, where there was nothing."""
    return functional.pad(images, (right, -right, down, -down))
