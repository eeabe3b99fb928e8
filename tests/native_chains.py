"""Random chains of the layers that the native kernels know, and how far the kernels are from torch on them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from paribus.engines.native import build, library
from paribus.engines.native.chain import Chain, chain_of
from paribus.engines.native.network import Batch, Network
from paribus.models.layers import Crop, ScaledTanh, TrainableSubsampling
from paribus.models.lenet5_1998 import TableConvolution

Shape = tuple[int, int, int]
SEEDS = st.integers(0, 2**16)
Draw = Callable[[st.SearchStrategy[Any]], Any]
INSTRUCTIONS = list(build.INSTRUCTIONS)[: list(build.INSTRUCTIONS).index(library.best()) + 1]
"""Every set of instructions that this processor has."""
TOLERANCE = 1e-4
"""Largest difference from float64, relative to the largest value of the same array; most are below 1e-6."""


@dataclass(frozen=True)
class Answer:
    """What a network says of a batch: logits (N, K), the mean loss, how many are right, gradients by name."""

    logits: Tensor
    loss: float
    correct: int
    gradients: dict[str, Tensor]

    @property
    def norm(self) -> float:
        return math.sqrt(sum(float(each.double().square().sum()) for each in self.gradients.values()))


def network_of(model: nn.Module, image_shape: Shape, threads: int = 1, instructions: str | None = None) -> Network:
    """Return the model's chain with its weights."""
    return with_weights(chain_of(model, image_shape), model, threads, instructions)


def with_weights(chain: Chain, model: nn.Module, threads: int, instructions: str | None) -> Network:
    """Return a chain with a model's weights."""
    parameters = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    shapes = {name: array.shape for name, array in parameters.items()}
    network = Network(chain, shapes, threads, instructions)
    network.load(parameters)
    return network


def by_torch(model: nn.Module, images: Tensor, labels: Tensor, smoothing: float = 0.0) -> Answer:
    """Return torch's answer in the precision of the images, in eval mode."""
    model = copy.deepcopy(model).to(images.dtype).eval()
    logits = model(images)
    loss = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    names = [name for name, _ in model.named_parameters()]
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    correct = int((logits.argmax(dim=1) == labels).sum())
    return Answer(logits.detach(), loss.item(), correct, dict(zip(names, gradients, strict=True)))


def by_kernels(network: Network, images: Tensor, labels: Tensor, smoothing: float = 0.0) -> Answer:
    """Return the kernels' answer in eval mode."""
    batch = Batch(images.numpy(), labels=labels.numpy())
    logits = torch.from_numpy(network.logits(batch))
    loss, correct, norm = network.step(batch, smoothing)
    gradients = {name: torch.from_numpy(array.copy()) for name, array in network.gradients.items()}
    answer = Answer(logits, loss / len(images), correct, gradients)
    if np.isfinite(norm):
        assert abs(norm - answer.norm) <= 1e-5 * answer.norm, "the norm must be that of the gradients"
    return answer


def distance(given: Tensor, expected: Tensor) -> float:
    """Return the largest difference, relative to the largest expected value.

    Values below a hundredth are small differences of large ones, which float32 rounds as much as it does these.
    """
    assert given.shape == expected.shape
    return float((given.double() - expected.double()).abs().max() / expected.abs().max().clamp(min=0.01))


def require_equal(given: Answer, expected: Answer, tolerance: float = TOLERANCE) -> None:
    """Raise AssertionError unless two answers are equal but for rounding."""
    assert distance(given.logits, expected.logits) <= tolerance
    assert abs(given.loss - expected.loss) <= tolerance * max(1.0, abs(expected.loss))
    assert given.gradients.keys() == expected.gradients.keys()
    for name, gradient in expected.gradients.items():
        assert distance(given.gradients[name], gradient) <= tolerance, name


def require_as_torch(model: nn.Module, images: Tensor, draw: Draw) -> None:
    """Compare outputs, loss and gradients on every set of instructions with torch's in float64 and float32."""
    classes = model(images[:1]).shape[1]
    labels = torch.randint(classes, (len(images),), generator=torch.Generator().manual_seed(draw(SEEDS)))
    smoothing, threads = draw(st.sampled_from([0.0, 0.1])), draw(st.integers(1, 3))
    exact = by_torch(model, images.double(), labels, smoothing)
    rounded = by_torch(model, images, labels, smoothing)
    chain = chain_of(model, (images.shape[1], images.shape[2], images.shape[3]))
    for instructions in INSTRUCTIONS:
        given = by_kernels(with_weights(chain, model, threads, instructions), images, labels, smoothing)
        require_equal(given, exact)
        require_equal(given, rounded, 2 * TOLERANCE)
        assert abs(given.correct - exact.correct) <= _ties(exact.logits)


def _ties(logits: Tensor) -> int:
    """How many examples have two largest logits that rounding may exchange."""
    if logits.shape[1] == 1:
        return 0
    first, second = logits.topk(2, dim=1).values.unbind(dim=1)
    return int((first - second <= TOLERANCE * logits.abs().max()).sum())


def randomised(model: nn.Module, seed: int) -> nn.Module:
    """Draw every parameter anew, biases and coefficients too."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        spread = max(1, parameter[0].numel()) ** -0.5 if parameter.dim() > 1 else 0.5
        parameter.data = torch.randn(parameter.shape, generator=generator) * spread
    return model


def images_of(shape: Shape, count: int, seed: int) -> Tensor:
    """Return normally distributed images (N, C, H, W)."""
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def with_head(layers: list[nn.Module], image_shape: Shape, classes: int) -> nn.Module:
    """Return the layers, then flattening and a linear layer to logits."""
    features = nn.Sequential(*layers, nn.Flatten())(torch.zeros(1, *image_shape)).shape[1]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, classes))


def draw_layer(draw: Draw, kind: str, shape: Shape) -> nn.Module:
    """Draw a layer's options; `shape` is what it sees."""
    return LAYERS[kind](draw, shape)


def fits(kind: str, shape: Shape) -> bool:
    """Whether a kind of layer can follow maps of a shape."""
    channels, height, width = shape
    if kind == "table":
        return channels == 6 and min(height, width) >= 5
    return kind != "trainable-pooling" or min(height, width) >= 2


def _convolution(draw: Draw, shape: Shape) -> nn.Module:
    channels, height, width = shape
    rows, columns = _extent(draw, height, 1), _extent(draw, width, 1)
    kernel, step, border = zip(rows, columns, strict=True)
    return nn.Conv2d(channels, draw(st.integers(1, 9)), kernel, step, border, bias=draw(st.booleans()))


def _filtered(draw: Draw, shape: Shape) -> nn.Module:
    """A convolution with steps of one, three or five columns wide, which the kernels compute by minimal filtering."""
    rows, width = _extent(draw, shape[1], 1), draw(st.sampled_from([each for each in (3, 5) if each <= shape[2] + 4]))
    border = (rows[2], draw(st.integers(max(0, (width - shape[2] + 1) // 2), width - 1)))
    return nn.Conv2d(shape[0], draw(st.integers(3, 9)), (rows[0], width), 1, border, bias=draw(st.booleans()))


def _pooling(kind: type[nn.AvgPool2d | nn.MaxPool2d]) -> Callable[[Draw, Shape], nn.Module]:
    def draw_pooling(draw: Draw, shape: Shape) -> nn.Module:
        if draw(st.booleans()) and min(shape[1:]) >= 2:
            return kind(2)
        rows, columns = _extent(draw, shape[1], 2), _extent(draw, shape[2], 2)
        kernel, step, border = zip(rows, columns, strict=True)
        made: nn.Module = kind(kernel, step, border)
        return made

    return draw_pooling


def _extent(draw: Draw, size: int, share: int) -> tuple[int, int, int]:
    """Draw kernel, step and border along one side; the border is below the kernel, or at most half of it."""
    border = draw(st.integers(0, 3))
    least = max(1, 2 * border if share == 2 else border + 1)
    kernel = draw(st.integers(least, min(7, size + 2 * border)))
    return kernel, draw(st.integers(1, 3)), border


def _crop(draw: Draw, shape: Shape) -> nn.Module:
    return Crop(draw(st.integers(1, shape[1])), draw(st.integers(1, shape[2])))


def _fixed(kind: Callable[[], nn.Module]) -> Callable[[Draw, Shape], nn.Module]:
    return lambda _, __: kind()


LAYERS: dict[str, Callable[[Draw, Shape], nn.Module]] = {
    "convolution": _convolution,
    "filtered-convolution": _filtered,
    "table": lambda draw, _: TableConvolution(draw(st.integers(1, 3))),
    "avg-pooling": _pooling(nn.AvgPool2d),
    "max-pooling": _pooling(nn.MaxPool2d),
    "trainable-pooling": lambda _, shape: TrainableSubsampling(shape[0]),
    "crop": _crop,
    "tanh": _fixed(nn.Tanh),
    "scaled-tanh": _fixed(ScaledTanh),
    "relu": _fixed(nn.ReLU),
    "sigmoid": _fixed(nn.Sigmoid),
    "gelu": _fixed(nn.GELU),
    "dropout": _fixed(nn.Dropout),
}
