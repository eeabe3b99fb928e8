"""JAX: the whole step in one jitted call with donated weights, all images on the device; channels last or first.

Measured and left out: `lax.scan` over the steps of an epoch, which takes five times as long, as XLA's convolutions are
slow inside a loop on a CPU; `reduce_window` for the poolings, which is no faster than a mean over a reshaped array.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from lenet import LR, NETS, normalised

Epoch = Callable[[], float]
Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
SHAPES = ((5, 5, 1, 6), (5, 5, 6, 16), (400, 120), (120, 84), (84, 10))
Weights = list[tuple[Any, Any]]


def initial_weights() -> Weights:
    """Draw weights and biases as torch does: uniform within one over the root of the inputs."""
    generator = np.random.default_rng(0)
    bounds = [1 / np.sqrt(np.prod(shape[:-1])) for shape in SHAPES]
    return [
        tuple(jnp.asarray(generator.uniform(-b, b, size), jnp.float32) for size in (shape, shape[-1:]))  # type: ignore
        for shape, b in zip(SHAPES, bounds, strict=True)
    ]


def channels_last(net: str, batch_size: int, images: Bytes, labels: Labels) -> Epoch:
    """Return what trains for one epoch and returns its mean loss."""
    return _build(net, batch_size, normalised(images).transpose(0, 2, 3, 1), labels, "NHWC")


def channels_first(net: str, batch_size: int, images: Bytes, labels: Labels) -> Epoch:
    """Return what trains for one epoch and returns its mean loss."""
    return _build(net, batch_size, normalised(images), labels, "NCHW")


def logits_of(weights: Weights, x: Any, net: str, layout: str) -> Any:
    """Return logits (N, 10) of images laid out as `layout` says."""
    activation, pooling = NETS[net]
    act = {"tanh": jnp.tanh, "relu": jax.nn.relu}[activation]
    pool = {"avg": jnp.mean, "max": jnp.max}[pooling]
    rows = layout.index("H")
    for kernel, bias in weights[:2]:
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=(layout, "HWIO", layout))
        x = act(x + jnp.expand_dims(bias, range(1, 4 - layout.index("C"))))
        height, width = x.shape[rows : rows + 2]
        x = x.reshape(*x.shape[:rows], height // 2, 2, width // 2, 2, *x.shape[rows + 2 :])
        x = pool(x, axis=(rows + 1, rows + 3))
    x = x.reshape(len(x), -1)
    for matrix, bias in weights[2:4]:
        x = act(x @ matrix + bias)
    matrix, bias = weights[4]
    return x @ matrix + bias


def _build(net: str, batch_size: int, images: npt.NDArray[np.float32], labels: Labels, layout: str) -> Epoch:
    def loss_of(weights: Weights, x: Any, y: Any) -> Any:
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits_of(weights, x, net, layout)), y[:, None], axis=1)
        return -chosen.mean()

    def step(weights: Weights, x: Any, y: Any, indices: Any) -> tuple[Weights, Any]:
        loss, gradients = jax.value_and_grad(loss_of)(weights, x[indices], y[indices])
        return jax.tree.map(lambda w, g: w - LR * g, weights, gradients), loss

    jitted = jax.jit(step, donate_argnums=0)
    x, y = jnp.asarray(images), jnp.asarray(labels)
    generator = np.random.default_rng(0)
    weights = initial_weights()

    def epoch() -> float:
        nonlocal weights
        losses = []
        for indices in np.array_split(generator.permutation(len(y)), range(batch_size, len(y), batch_size)):
            weights, loss = jitted(weights, x, y, indices)
            losses.append(loss)
        return float(jnp.stack(losses).mean())

    return epoch
