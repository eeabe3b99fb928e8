"""JAX: the whole step in one jitted call with donated weights; all images are on the device, in NHWC.

Measured and left out: `lax.scan` over the steps of an epoch, which takes five times as long, as XLA's convolutions are
slow inside a loop on a CPU; `reduce_window` for the poolings, no faster than a mean over a reshaped array; and NCHW.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from lenet import LR, NETS, normalised

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


def logits_of(weights: Weights, x: Any, net: str) -> Any:
    """Return logits (N, 10) of images (N, 32, 32, 1)."""
    activation, pooling = NETS[net]
    act = {"tanh": jnp.tanh, "relu": jax.nn.relu}[activation]
    pool = {"avg": jnp.mean, "max": jnp.max}[pooling]
    for kernel, bias in weights[:2]:
        layout = ("NHWC", "HWIO", "NHWC")
        x = act(jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=layout) + bias)
        count, height, width, channels = x.shape
        x = pool(x.reshape(count, height // 2, 2, width // 2, 2, channels), axis=(2, 4))
    x = x.reshape(len(x), -1)
    for matrix, bias in weights[2:4]:
        x = act(x @ matrix + bias)
    matrix, bias = weights[4]
    return x @ matrix + bias


def build(
    net: str, batch_size: int, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]
) -> Callable[[], float]:
    """Return what trains for one epoch and returns its mean loss."""

    def loss_of(weights: Weights, x: Any, y: Any) -> Any:
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits_of(weights, x, net)), y[:, None], axis=1)
        return -chosen.mean()

    def step(weights: Weights, x: Any, y: Any, indices: Any) -> tuple[Weights, Any]:
        loss, gradients = jax.value_and_grad(loss_of)(weights, x[indices], y[indices])
        return jax.tree.map(lambda w, g: w - LR * g, weights, gradients), loss

    jitted = jax.jit(step, donate_argnums=0)
    x, y = jnp.asarray(normalised(images).reshape(-1, 32, 32, 1)), jnp.asarray(labels)
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
