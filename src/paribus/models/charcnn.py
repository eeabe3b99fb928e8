"""A small convolutional network for handwritten characters, stronger than LeNet-5 and still trained on a CPU.

Stacks of 3x3 convolutions that double their channels as the maps halve (Simonyan, Zisserman 2015, arXiv 1409.1556),
batch normalisation before each activation (Ioffe, Szegedy 2015, arXiv 1502.03167), and pooling before normalising, in
the order convolution, pooling, normalisation, activation of airbench (Jordan 2024, arXiv 2404.00498), which spares
three quarters of the work outside the convolutions. Dropout before the linear head (Srivastava et al. 2014).
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from paribus.errors import ModelError


class CharCnn(nn.Module):
    """Five 3x3 convolutions and a linear head; about 14 million multiply-adds at 1x32x32 and width 32.

    Args:
        image_shape: (C, H, W), H and W at least 8.
        num_classes: Number of logits.
        width: Channels of the first convolution; the others have 2 and 4 times as many.
        dropout: Probability before the head, from 0; below 1.

    Raises:
        ModelError: If the images are smaller than 8 x 8.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], num_classes: int, width: int = 32, dropout: float = 0.2
    ) -> None:
        super().__init__()
        channels, height, columns = image_shape
        if min(height, columns) < 8:
            raise ModelError(
                f"`charcnn` needs images of at least 8 x 8 pixels, but got {height} x {columns}. "
                "Set `data.size` to 32, or add a border with `data.pad`."
            )
        self.block1 = _block(channels, width, pooled=True)
        self.block2 = _block(width, 2 * width, pooled=True)
        self.block3 = _block(2 * width, 2 * width, pooled=False)
        self.block4 = _block(2 * width, 4 * width, pooled=True)
        self.block5 = _block(4 * width, 4 * width, pooled=False)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(4 * width * (height // 8) * (columns // 8), num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, num_classes) for `x` of (N, C, H, W); sizes below are for 32 x 32 and width 32."""
        x = self.block1(x)  # (N, 32, 16, 16)
        x = self.block3(self.block2(x))  # (N, 64, 8, 8)
        x = self.block5(self.block4(x))  # (N, 128, 4, 4)
        x = self.drop(x.flatten(1))  # (N, 2048)
        logits: Tensor = self.head(x)  # (N, num_classes)
        return logits


def _block(channels: int, maps: int, *, pooled: bool) -> nn.Sequential:
    """Return a 3x3 convolution, without the bias that normalising would remove, with all that follows it."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=nn.Conv2d(channels, maps, 3, padding=1, bias=False))
    if pooled:
        layers["pool"] = nn.MaxPool2d(2)
    layers["norm"] = nn.BatchNorm2d(maps)
    layers["act"] = nn.ReLU()
    return nn.Sequential(layers)
