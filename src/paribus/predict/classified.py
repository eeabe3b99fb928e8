"""What a network says of images: a probability for each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paribus.errors import ConfigError


@dataclass(frozen=True)
class Classified:
    """Probabilities float32 (N, num_classes) of N images, by `class_names`; each row sums to 1."""

    class_names: tuple[str, ...]
    probabilities: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.probabilities)

    @property
    def classes(self) -> npt.NDArray[np.int64]:
        """The number of the most probable class of each image (N,)."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of the most probable class of each image."""
        return tuple(self.class_names[number] for number in self.classes)

    def top(self, k: int) -> list[list[tuple[str, float]]]:
        """Return the k most probable classes of each image with their probabilities, the most probable first.

        Raises:
            ConfigError: If there are fewer classes.
        """
        require_top(k, self.class_names)
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :k]
        return [
            [(self.class_names[number], float(row[number])) for number in best]
            for row, best in zip(self.probabilities, order, strict=True)
        ]


def require_top(k: int, class_names: Sequence[str]) -> int:
    """Return how many classes are asked for.

    Raises:
        ConfigError: If there are fewer.
    """
    if not 1 <= k <= len(class_names):
        raise ConfigError(
            f"At least 1 and at most {len(class_names)} classes can be told, as many as there are, but got {k}. "
            "Ask for fewer."
        )
    return k


def probabilities_of(logits: npt.NDArray[np.float32], temperature: float | None) -> npt.NDArray[np.float32]:
    """Return the softmax of logits (N, num_classes), divided by a temperature where there is one."""
    exact = logits.astype(np.float64) / (temperature or 1.0)
    raised = np.exp(exact - exact.max(axis=1, keepdims=True))
    shares: npt.NDArray[np.float32] = (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares
