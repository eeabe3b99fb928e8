"""The activations and poolings that the built-in networks choose from."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from paribus.options import Activation, Pooling


class ScaledTanh(nn.Module):
    """Return 1.7159 tanh(2x / 3), which maps +-1 to +-1 (LeCun et al. 1998, appendix A)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the activations, of the same shape as `x`."""
        return 1.7159 * torch.tanh(x * (2 / 3))


class TrainableSubsampling(nn.Module):
    """Return, for each map, coefficient times the sum of every 2x2 square, plus bias (LeCun et al. 1998, section II-B).

    Departure: the paper draws coefficients at random; ours begin at 1/4 and biases at 0, which is average pooling.

    Args:
        channels: The number of maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as average pooling."""
        nn.init.constant_(self.coefficient, 0.25)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H // 2, W // 2) for `x` of (N, C, H, W)."""
        sums = functional.avg_pool2d(x, 2, divisor_override=1)
        return sums * self.coefficient[:, None, None] + self.bias[:, None, None]


class Crop(nn.Module):
    """Keep the upper left `height` x `width` of every map."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: Tensor) -> Tensor:
        """Return a view (N, C, height, width) of `x`."""
        return x[:, :, : self.height, : self.width]


def activation_layer(activation: Activation) -> nn.Module:
    """Return a new layer for the activation; see `ACTIVATIONS`."""
    return ACTIVATIONS[activation]()


def convolution_stride(pooling: Pooling) -> int:
    """Return the stride of a convolution that stands before `pooling_layer`."""
    return 2 if pooling == "stride" else 1


def pooling_layer(pooling: Pooling, channels: int, height: int, width: int) -> nn.Module:
    """Return a layer that, with the convolution's stride, halves the maps to `height` x `width`.

    ``"stride"`` has no pooling: the convolution before it has stride 2, and maps of odd size lose the row and column
    that pooling would not have seen either, so that all poolings give the same shape.

    Args:
        pooling: Which one.
        channels: The number of maps.
        height: Rows of the result.
        width: Columns of the result.
    """
    if pooling == "max":
        return nn.MaxPool2d(2)
    if pooling == "avg":
        return nn.AvgPool2d(2)
    if pooling == "stride":
        return Crop(height, width)
    return TrainableSubsampling(channels)


ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "scaled-tanh": ScaledTanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
}
