"""LeNet-5 as published: C3 connected by table I, trainable subsampling, a squashing function after every layer.

LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 1998, section
II-B. Departures: the output layer is linear with cross-entropy, where the paper compares F6 with fixed bitmaps by
radial basis functions; weights begin as torch's layers do, where the paper draws them from +-2.4 / fan-in.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from paribus.errors import ModelError
from paribus.models.layers import activation_layer, convolution_stride, pooling_layer
from paribus.options import Activation, Pooling


class TableConvolution(nn.Module):
    """A 5x5 convolution from 6 maps to 16 in which each output map sees only the inputs that `TABLE` gives it.

    `weight` holds the 60 kernels that exist, (60, 5, 5), so that no parameter is counted or trained in vain.

    Args:
        stride: Of the convolution.
    """

    _place: Tensor

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        place = [6 * output + source for output, sources in enumerate(TABLE) for source in sources]
        self.register_buffer("_place", torch.tensor(place), persistent=False)
        self.weight = nn.Parameter(torch.empty(len(place), 5, 5))
        self.bias = nn.Parameter(torch.empty(len(TABLE)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw kernels and bias from +-1 / sqrt(fan-in), torch's rule, with each map's own fan-in."""
        fan_in = torch.tensor([25.0 * len(sources) for sources in TABLE])
        by_kernel = fan_in[self._place.cpu() // 6]
        with torch.no_grad():
            self.weight.copy_((torch.rand(self.weight.shape) * 2 - 1) / by_kernel.sqrt()[:, None, None])
            self.bias.copy_((torch.rand(self.bias.shape) * 2 - 1) / fan_in.sqrt())

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 16, H - 4, W - 4) for `x` of (N, 6, H, W) at stride 1."""
        empty = self.weight.new_zeros(len(TABLE) * 6, 5, 5)
        dense = empty.index_copy(0, self._place, self.weight).view(len(TABLE), 6, 5, 5)
        return functional.conv2d(x, dense, self.bias, self.stride)


class LeNet5Of1998(nn.Module):
    """C1 to F6 with the paper's parameter counts (60,000 at 1x32x32), then a linear output layer.

    Layers bear the paper's names. The squashing function after S2 and S4 stays whatever the pooling.

    Args:
        image_shape: (C, 32, 32).
        num_classes: Number of logits.
        activation: After every layer but the last.
        pooling: Of S2 and S4; ``"trainable"`` is the paper's.

    Raises:
        ModelError: If the images are not 32 x 32.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        activation: Activation = "scaled-tanh",
        pooling: Pooling = "trainable",
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        if (height, width) != (32, 32):
            raise ModelError(
                f"`lenet5-1998` needs images of 32 x 32 pixels, as in the paper, but got {height} x {width}. "
                "Set `data.pad` to 2 for 28 x 28, or `data.size` to 32."
            )
        stride = convolution_stride(pooling)
        self.c1 = nn.Conv2d(channels, 6, 5, stride)
        self.act_c1 = activation_layer(activation)
        self.s2 = pooling_layer(pooling, 6, 14, 14)
        self.act_s2 = activation_layer(activation)
        self.c3 = TableConvolution(stride)
        self.act_c3 = activation_layer(activation)
        self.s4 = pooling_layer(pooling, 16, 5, 5)
        self.act_s4 = activation_layer(activation)
        self.c5 = nn.Linear(16 * 5 * 5, 120)  # The paper's 5x5 convolution, whose maps are 1x1 at this size.
        self.act_c5 = activation_layer(activation)
        self.f6 = nn.Linear(120, 84)
        self.act_f6 = activation_layer(activation)
        self.output = nn.Linear(84, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, num_classes) for `x` of (N, C, 32, 32)."""
        x = self.act_c1(self.c1(x))  # (N, 6, 28, 28)
        x = self.act_s2(self.s2(x))  # (N, 6, 14, 14)
        x = self.act_c3(self.c3(x))  # (N, 16, 10, 10)
        x = self.act_s4(self.s4(x))  # (N, 16, 5, 5)
        x = self.act_c5(self.c5(x.flatten(1)))  # (N, 120)
        x = self.act_f6(self.f6(x))  # (N, 84)
        logits: Tensor = self.output(x)  # (N, num_classes)
        return logits


TABLE: tuple[tuple[int, ...], ...] = (
    (0, 1, 2),
    (1, 2, 3),
    (2, 3, 4),
    (3, 4, 5),
    (0, 4, 5),
    (0, 1, 5),
    (0, 1, 2, 3),
    (1, 2, 3, 4),
    (2, 3, 4, 5),
    (0, 3, 4, 5),
    (0, 1, 4, 5),
    (0, 1, 2, 5),
    (0, 1, 3, 4),
    (1, 2, 4, 5),
    (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)
"""Which maps of S2 each map of C3 sees: table I of the paper."""
