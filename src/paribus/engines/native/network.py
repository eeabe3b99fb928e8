"""A chain of layers with its weights, trained by the compiled kernels."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus.config import OptimConfig
from paribus.engines.native import library
from paribus.engines.native.chain import Chain, Layer

Floats = npt.NDArray[np.float32]
_OVERWRITTEN = ("tanh", "scaled-tanh", "relu", "sigmoid")
"""Activations that may overwrite their input, as their output tells their slope."""


class Network:
    """Weights, gradients and the optimiser's averages, each one row of float32 that the kernels work on in place.

    Args:
        chain: The layers.
        shapes: Of every parameter of the chain.
        threads: How many threads share a batch; the bits of a result depend on it.
        instructions: A name of `build.INSTRUCTIONS`; None for the best that this processor has.
    """

    def __init__(
        self, chain: Chain, shapes: Mapping[str, tuple[int, ...]], threads: int = 1, instructions: str | None = None
    ) -> None:
        self.chain = chain
        self._library = library.load(instructions)
        count = sum(math.prod(shapes[name]) for name in chain.parameters)
        self._rows = {name: np.zeros(count, dtype=np.float32) for name in ("weights", "gradients", "first", "second")}
        self.weights = _views(self._rows["weights"], chain, shapes)
        self.gradients = _views(self._rows["gradients"], chain, shapes)
        self.averages = {
            f"{row}/{name}": view
            for row in ("first", "second")
            for name, view in _views(self._rows[row], chain, shapes).items()
        }
        specs = (library.LayerSpec * len(chain.layers))(*_specs(chain))
        weights, gradients = (self._rows[name].ctypes.data for name in ("weights", "gradients"))
        self._handle = self._library.paribus_create(
            specs, len(chain.layers), *chain.input_shape, weights, gradients, threads
        )
        if not self._handle:
            raise MemoryError("There is not enough memory for the network's values and gradients.")
        weakref.finalize(self, self._library.paribus_destroy, self._handle)
        assert self._library.paribus_parameters(self._handle) == count, "the kernels count other parameters"

    def load(self, weights: Mapping[str, npt.NDArray[Any]]) -> None:
        """Copy weights in, by their names in the module."""
        for name, view in self.weights.items():
            view[...] = weights[name]

    def step(
        self,
        batch: Batch,
        label_smoothing: float = 0.0,
        key: int | None = None,
        update: tuple[Optimizer, float, int] | None = None,
    ) -> tuple[float, int, float]:
        """Set the gradients of the batch's mean loss, and make one update where asked for.

        Args:
            batch: With labels.
            label_smoothing: Of the loss.
            key: What dropout is drawn from; None for eval mode, in which there is none.
            update: The optimiser, the learning rate, and the number of this update, from 1.

        Returns:
            The sum of the examples' losses, how many were classified rightly, the L2 norm of all gradients.
        """
        sums = library.Sums()
        optimizer, lr, number = update or (None, 0.0, 0)
        self._library.paribus_step(
            self._handle,
            batch.source,
            label_smoothing,
            key is not None,
            key or 0,
            optimizer,
            lr,
            number,
            *(row.ctypes.data for row in self._rows.values()),
            sums,
        )
        return sums.loss, int(sums.correct), math.sqrt(sums.squared_norm)

    def logits(self, batch: Batch) -> Floats:
        """Return logits (N, num_classes) in eval mode."""
        logits = np.empty((len(batch), math.prod(self.chain.layers[-1].shape)), dtype=np.float32)
        self._library.paribus_predict(self._handle, batch.source, logits.ctypes.data)
        return logits


class Batch:
    """What the kernels read of one batch; holds on to the arrays behind it.

    Args:
        images: uint8 with `table`, or float32 that is ready; (N, C, H, W).
        table: What each byte of each channel stands for, float32 (C, 256).
        rows: Which of the images, int64; None for all of them in order.
        labels: By image, int64; None where no loss is asked for.
    """

    def __init__(
        self,
        images: npt.NDArray[Any],
        table: Floats | None = None,
        rows: npt.NDArray[np.int64] | None = None,
        labels: npt.NDArray[np.int64] | None = None,
    ) -> None:
        arrays = [images, table, rows, labels]
        assert all(array is None or array.flags.c_contiguous for array in arrays), "the kernels walk rows of memory"
        assert images.dtype == (np.float32 if table is None else np.uint8)
        assert all(array is None or array.dtype == np.int64 for array in (rows, labels))
        self._arrays = arrays
        self._count = len(images) if rows is None else len(rows)
        pixels, known, chosen, classes = (None if array is None else array.ctypes.data for array in arrays)
        as_bytes, as_floats = (pixels, None) if table is not None else (None, pixels)
        self.source = library.Source(as_bytes, known, as_floats, chosen, classes, self._count)

    def __len__(self) -> int:
        return self._count


Optimizer = library.Optimizer


def optimizer_of(config: OptimConfig) -> Optimizer:
    """Return the optimiser with torch's defaults for what the configuration does not say."""
    beta1, beta2 = config.betas or (0.9, 0.999)
    epsilon = 1e-10 if config.name == "adagrad" else 1e-8
    kind = library.OPTIMIZERS.index(config.name)
    return Optimizer(kind, config.nesterov, config.momentum, config.weight_decay, beta1, beta2, 0.99, epsilon)


def _views(row: Floats, chain: Chain, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Floats]:
    views, begin = {}, 0
    for name in chain.parameters:
        end = begin + math.prod(shapes[name])
        views[name] = row[begin:end].reshape(shapes[name])
        begin = end
    return views


def _specs(chain: Chain) -> list[library.LayerSpec]:
    specs = []
    before = ""
    for layer in chain.layers:
        in_place = layer.kind in _OVERWRITTEN and before not in _OVERWRITTEN
        specs.append(_spec(layer, in_place))
        before = layer.kind
    return specs


def _spec(layer: Layer, in_place: bool) -> library.LayerSpec:
    window = (*layer.shape[1:], 1, 1, 0, 0) if layer.kind == "crop" else layer.window
    connections = None if layer.connections is None else layer.connections.ctypes.data
    outputs, has_bias = layer.shape[0], layer.bias is not None
    return library.LayerSpec(
        library.KINDS.index(layer.kind), *window, outputs, has_bias, in_place, layer.value, 0, connections
    )
