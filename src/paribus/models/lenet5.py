"""LeNet-5 as it is taught today: every map of the second convolution sees every map of the first.

LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 1998. Departures:
full connection between the convolutions, one activation before each pooling, and a linear output layer.
"""

from __future__ import annotations

from torch import Tensor, nn

from paribus.config import Activation, Pooling
from paribus.errors import ModelError
from paribus.models.layers import activation_layer, convolution_stride, pooling_layer


class LeNet5(nn.Module):
    """Two convolutions with pooling, three linear layers; 61,706 parameters at 1x32x32 and 10 classes.

    The last layer has no activation: it gives logits.

    Args:
        image_shape: (C, H, W), H and W at least 28.
        num_classes: Number of logits.
        activation: After every layer but the last.
        pooling: See `pooling_layer`; ``"stride"`` is stride 2 in the convolution instead.
        dropout: Probability before each linear layer, from 0; below 1.

    Raises:
        ModelError: If the images are smaller than 28 x 28.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        activation: Activation = "tanh",
        pooling: Pooling = "avg",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        if min(height, width) < 28:
            raise ModelError(
                f"`lenet5` needs images of at least 28 x 28 pixels, but got {height} x {width}. "
                "Set `data.size` to 32, or add a border with `data.pad`."
            )
        stride = convolution_stride(pooling)
        rows, columns = _after_block(height), _after_block(width)
        self.conv1 = nn.Conv2d(channels, 6, 5, stride)
        self.act1 = activation_layer(activation)
        self.pool1 = pooling_layer(pooling, 6, rows, columns)
        rows, columns = _after_block(rows), _after_block(columns)
        self.conv2 = nn.Conv2d(6, 16, 5, stride)
        self.act2 = activation_layer(activation)
        self.pool2 = pooling_layer(pooling, 16, rows, columns)
        self.drop1 = _dropout(dropout)
        self.fc1 = nn.Linear(16 * rows * columns, 120)
        self.act3 = activation_layer(activation)
        self.drop2 = _dropout(dropout)
        self.fc2 = nn.Linear(120, 84)
        self.act4 = activation_layer(activation)
        self.drop3 = _dropout(dropout)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, num_classes) for `x` of (N, C, H, W); sizes below are for 32 x 32."""
        x = self.pool1(self.act1(self.conv1(x)))  # (N, 6, 14, 14)
        x = self.pool2(self.act2(self.conv2(x)))  # (N, 16, 5, 5)
        x = self.drop1(x.flatten(1))  # (N, 400)
        x = self.drop2(self.act3(self.fc1(x)))  # (N, 120)
        x = self.drop3(self.act4(self.fc2(x)))  # (N, 84)
        logits: Tensor = self.fc3(x)  # (N, num_classes)
        return logits


def _after_block(size: int) -> int:
    """Return the size after a 5x5 convolution without padding and 2x2 pooling."""
    return (size - 4) // 2


def _dropout(probability: float) -> nn.Module:
    return nn.Dropout(probability) if probability else nn.Identity()
