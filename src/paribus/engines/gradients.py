"""The gradients of one batch: at the recipe's precision, and in parts where the whole would take too much memory."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from paribus.config import TrainConfig
from paribus.errors import ConfigError, ModelError

BUDGET = 1 << 30
"""How many bytes of values back-propagation may keep at a time; a run of a small backbone then takes about 2 GiB.

It is not what the machine has left: a run would then give other bits where other things run beside it.
"""
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
_GIB = 1 << 30
_NORMS = (nn.modules.batchnorm._BatchNorm,)


def add_gradients(
    model: nn.Module, images: Tensor, targets: Tensor, at_once: int, train: TrainConfig
) -> tuple[Tensor, Tensor]:
    """Add the gradients of a batch's mean cross-entropy to those that a model has.

    Args:
        model: In training mode.
        images: What it is given, (B, ...).
        targets: Classes int64 (B,), or the share that each class has, float (B, num_classes).
        at_once: How many images go through it at a time, from `images_at_once`. The gradients are the same for any
            number, to rounding.
        train: Gives precision and label smoothing.

    Returns:
        The sum of the images' losses, and how many were given the class with the largest share.
    """
    loss_sum, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
    for some, wanted in zip(images.split(at_once), targets.split(at_once), strict=True):
        with at_precision(train):
            logits = model(some)
        loss = functional.cross_entropy(logits.float(), wanted, label_smoothing=train.label_smoothing)
        (loss * (len(some) / len(images))).backward()
        classes = wanted if wanted.dim() == 1 else wanted.argmax(dim=1)
        loss_sum += loss.detach() * len(some)
        correct += (logits.argmax(dim=1) == classes).sum()
    return loss_sum, correct


def at_precision(train: TrainConfig) -> torch.autocast:
    """Return the context in which a training step goes forward; its way back follows."""
    return torch.autocast("cpu", torch.bfloat16, enabled=train.precision == "bfloat16")


def require_precision(train: TrainConfig) -> None:
    """Raise ConfigError where this processor does not compute at the recipe's precision."""
    if train.precision == "bfloat16" and not computes_in_bfloat16():
        raise ConfigError(
            '`train.precision = "bfloat16"` needs a processor that computes in it, such as one with AVX-512, but torch '
            'finds that this one does not. Set it to "float32".'
        )


def computes_in_bfloat16() -> bool:
    """Whether torch finds that this processor does. A build without oneDNN, as on Apple silicon, cannot be asked."""
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def images_at_once(model: nn.Module, images: Tensor, batch_size: int, train: TrainConfig) -> int:
    """Return how many images of a batch are to go through a model at a time, from the recipe and the model alone.

    What back-propagation keeps of an image is measured on two of them. Batches are cut into equal parts that keep
    `BUDGET` bytes at most, but for one image, which is the least. Where batch normalisation looks at the
    images of a batch together, parts would be normalised otherwise than the whole, and the whole is taken.

    Args:
        model: In training mode, and left there.
        images: Two or more of what it is given, (B, ...).
        batch_size: How many images a step sees.
        train: Gives the precision.

    Raises:
        ModelError: If a batch that must not be cut keeps more than this machine's memory.
    """
    if batch_size == 1:
        return 1
    together = any(isinstance(module, _NORMS) and _looks_at_batches(module) for module in model.modules())
    two = images[:2].clone()  # A slice would count as all of the batch.
    kept = batch_size * _bytes_kept(model, two, train) / len(two)
    if not together:
        return math.ceil(batch_size / min(batch_size, max(1, math.ceil(kept / BUDGET))))
    memory = _memory()
    if memory is not None and kept > memory:
        raise ModelError(
            f"A step must fit into memory, but with `train.batch_size` of {batch_size} its values alone take "
            f"{kept / _GIB:.3g} GiB of {memory / _GIB:.3g} GiB. Batch normalisation that is trained must see a batch "
            'as a whole: lower `train.batch_size`, or set `model.batch_norm` to "frozen".'
        )
    return batch_size


def _looks_at_batches(norm: nn.modules.batchnorm._BatchNorm) -> bool:
    return norm.training or not norm.track_running_stats


def _bytes_kept(model: nn.Module, images: Tensor, train: TrainConfig) -> int:
    """Measure in eval mode, in which nothing is drawn and no statistics move; modes are restored."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # The tensor itself would hold on to the graph that holds on to it.

    model.eval()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), at_precision(train):
        outputs = model(images)  # As long as it lives, no address is used twice.
    model.train()
    del outputs
    return sum(kept.values())


def _memory() -> int | None:
    """Return the bytes of this machine or, where that is less, of its container; None where the system is silent."""
    if not hasattr(os, "sysconf"):
        return None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = CONTAINER_LIMIT.read_text(encoding="ascii").strip() if CONTAINER_LIMIT.exists() else "max"
    return memory if limit == "max" else min(memory, int(limit))
