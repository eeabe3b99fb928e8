"""Keras, the images in memory as the library behind it likes them: JAX, compiled, channels last; torch, channels first.

Measured and left out: several steps per call, which is no faster with JAX behind it.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from lenet import LR, NETS, normalised

Epoch = Callable[[], float]
Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def on_jax(net: str, batch_size: int, images: Bytes, labels: Labels) -> Epoch:
    """Return what trains for one epoch and returns its mean loss."""
    os.environ["KERAS_BACKEND"] = "jax"  # Keras reads it once, when imported.
    return _build(net, batch_size, normalised(images).reshape(-1, 32, 32, 1), labels, jit_compile=True)


def on_torch(net: str, batch_size: int, images: Bytes, labels: Labels) -> Epoch:
    """Return what trains for one epoch and returns its mean loss."""
    os.environ["KERAS_BACKEND"] = "torch"
    return _build(net, batch_size, normalised(images), labels, jit_compile=False)


def _build(net: str, batch_size: int, images: npt.NDArray[np.float32], labels: Labels, jit_compile: bool) -> Epoch:
    import keras
    from keras import layers

    keras.backend.set_image_data_format("channels_last" if images.shape[-1] == 1 else "channels_first")
    act, pooling = NETS[net]
    pool = {"avg": layers.AveragePooling2D, "max": layers.MaxPooling2D}[pooling]
    convolutions = [layers.Conv2D(6, 5, activation=act), pool(2), layers.Conv2D(16, 5, activation=act), pool(2)]
    dense = [layers.Flatten(), layers.Dense(120, act), layers.Dense(84, act), layers.Dense(10)]
    model = keras.Sequential([keras.Input(images.shape[1:]), *convolutions, *dense])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(LR), loss, jit_compile=jit_compile)

    def epoch() -> float:
        return float(model.fit(images, labels, batch_size=batch_size, shuffle=True, verbose=0).history["loss"][0])

    return epoch
