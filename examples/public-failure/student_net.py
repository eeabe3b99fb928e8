"""LeNet-5 as published solutions of the assignment have it, with their mistake on the last layer.

The activation is a parameter, and `forward` applies it behind each layer in turn, the logits included.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class StudentNet(nn.Module):
    """Two convolutions with pooling and three linear layers, for images of 32 x 32."""

    def __init__(
        self, image_shape: tuple[int, int, int], num_classes: int, activation: str = "tanh", pooling: str = "avg"
    ) -> None:
        super().__init__()
        self.activation = {"tanh": functional.tanh, "relu": functional.relu}[activation]
        self.pool = {"avg": nn.AvgPool2d(2), "max": nn.MaxPool2d(2)}[pooling]
        self.conv1 = nn.Conv2d(image_shape[0], 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the student takes for logits, (N, num_classes)."""
        x = self.pool(self.activation(self.conv1(x)))
        x = self.pool(self.activation(self.conv2(x)))
        x = self.activation(self.fc1(x.flatten(1)))
        x = self.activation(self.fc2(x))
        return self.activation(self.fc3(x))  # The mistake.
