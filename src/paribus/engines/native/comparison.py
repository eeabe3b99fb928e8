"""Whether a network gives the same outputs and gradients by the kernels as by torch."""

from __future__ import annotations

import json
import math
import sys

import torch
from torch import nn
from torch.nn import functional

from paribus.config import ModelConfig
from paribus.engines.native.chain import NotAChainError, chain_of
from paribus.engines.native.network import Batch, Network
from paribus.errors import ModelError
from paribus.models import build_model

EXAMPLES = 20
TOLERANCE = 1e-3
"""Largest difference relative to the largest value of the same array; rounding gives about 1e-6."""
LARGEST = 2**27
"""Bytes that the values of 16 images may take at all layers of a user's network, lest they leave the caches."""


def why_not(config: ModelConfig, image_shape: tuple[int, int, int], num_classes: int) -> str | None:
    """Return why the kernels cannot serve a model, None if they can.

    A model that cannot be built is torch's to report.
    """
    try:
        model = build_model(config, image_shape, num_classes, seed=0)
        chain = chain_of(model, image_shape)
    except ModelError:
        return "the network cannot be built"
    except NotAChainError as reason:
        return f"the network is no chain that its kernels know: {reason}"
    values = math.prod(image_shape) + sum(math.prod(layer.shape) for layer in chain.layers)
    if values * 16 * 4 > LARGEST:
        return f"the network's {values:,} values per image are too many for its kernels to be fast"
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    return difference(model, Network(chain, shapes), num_classes)


def difference(model: nn.Module, network: Network, num_classes: int) -> str | None:
    """Return where torch and the kernels differ in eval mode on random images, None if nowhere.

    Args:
        model: On the CPU; its mode and gradients come out as they went in.
        network: The same chain; it takes the model's weights.
        num_classes: Of the random labels.
    """
    network.load({name: parameter.detach().numpy() for name, parameter in model.named_parameters()})
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(EXAMPLES, *network.chain.input_shape, generator=generator)
    labels = torch.randint(num_classes, (EXAMPLES,), generator=generator)
    logits, gradients = _by_torch(model, images, labels)
    batch = Batch(images.numpy(), labels=labels.numpy())
    if _differ(logits, torch.from_numpy(network.logits(batch))):
        return "its outputs differ from torch's"
    network.step(batch)
    for (name, _), expected in zip(model.named_parameters(), gradients, strict=True):
        if expected is None or _differ(expected, torch.from_numpy(network.gradients[name])):
            return f"its gradients of `{name}` differ from torch's"
    return None


def _by_torch(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, tuple[torch.Tensor | None, ...]]:
    """Return logits and gradients; None for a parameter that the loss does not reach."""
    parameters = [parameter for _, parameter in model.named_parameters()]
    was_training = model.training
    model.eval()
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            logits = model(images)
            loss = functional.cross_entropy(logits, labels)
            if not loss.requires_grad:
                return logits, (None,) * len(parameters)
            return logits.detach(), torch.autograd.grad(loss, parameters, allow_unused=True)
    finally:
        model.train(was_training)


def _differ(expected: torch.Tensor, given: torch.Tensor) -> bool:
    largest = expected.abs().max().item()
    return not (expected - given).abs().max().item() <= TOLERANCE * max(largest, 1e-6)


if __name__ == "__main__":
    table, shape, classes = json.load(sys.stdin)
    torch.set_num_threads(1)
    answer = why_not(ModelConfig.model_validate(table), tuple(shape), classes)
    sys.stdout.write("\n" + json.dumps(answer))
