"""Counter-based randomness: (seed, purpose, epoch, index) decides every draw, and nothing else does.

No draw depends on how runs are packed, on the number of workers, on resuming or on global state.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import torch

Purpose = Literal["split", "subset", "init", "order", "augment", "dropout", "mixup"]


def derive(seed: int, purpose: Purpose, epoch: int = 0, index: int | str = 0) -> int:
    """Return a 63-bit integer that is a fixed, well-mixed function of its arguments.

    Args:
        seed: The run's seed.
        purpose: What the draw is for; purposes never share a stream.
        epoch: 0 for what happens once per run.
        index: An example, a step, a layer name, or 0.
    """
    text = f"{seed}/{purpose}/{epoch}/{index}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def numpy_generator(seed: int, purpose: Purpose, epoch: int = 0, index: int | str = 0) -> np.random.Generator:
    """Return numpy's Philox generator for this purpose; same arguments, same stream on every machine."""
    return np.random.Generator(np.random.Philox(derive(seed, purpose, epoch, index)))


def torch_generator(seed: int, purpose: Purpose, epoch: int = 0, index: int | str = 0) -> torch.Generator:
    """Return torch's CPU generator for this purpose."""
    import torch

    return torch.Generator().manual_seed(derive(seed, purpose, epoch, index))
