"""The compiled kernels, as ctypes sees them: kernels/api.cpp has the same structures and functions."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from paribus.engines.native import build

Pointer = ctypes.c_void_p

KINDS = (
    "convolution",
    "linear",
    "tanh",
    "scaled-tanh",
    "relu",
    "sigmoid",
    "gelu",
    "avg-pooling",
    "max-pooling",
    "trainable-pooling",
    "crop",
    "dropout",
)
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop", "adagrad")


class LayerSpec(ctypes.Structure):
    """One layer; which fields count depends on its kind."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("kind", "height", "width", "down", "right", "above", "left")),
        *((name, ctypes.c_int32) for name in ("outputs", "has_bias", "in_place")),
        ("value", ctypes.c_float),
        ("unused", ctypes.c_int32),
        ("connections", Pointer),
    )


class Source(ctypes.Structure):
    """One batch: bytes with a table, or floats; rows and labels."""

    _fields_ = (
        *((name, Pointer) for name in ("bytes", "table", "floats", "rows", "labels")),
        ("count", ctypes.c_int64),
    )


class Optimizer(ctypes.Structure):
    """How weights are updated."""

    _fields_ = (
        ("kind", ctypes.c_int32),
        ("nesterov", ctypes.c_int32),
        *((name, ctypes.c_double) for name in ("momentum", "weight_decay", "beta1", "beta2", "alpha", "epsilon")),
    )


class Sums(ctypes.Structure):
    """What a step tells: summed loss, correct predictions, the squared norm of all gradients."""

    _fields_ = (("loss", ctypes.c_double), ("correct", ctypes.c_double), ("squared_norm", ctypes.c_double))


@functools.cache
def load(instructions: str | None = None) -> ctypes.CDLL:
    """Load the kernels for a set of instructions of `build.available`, by default the best that this processor has.

    Raises:
        OSError: If there are none; `build.missing` says why.
    """
    library = ctypes.CDLL(str(build.path_of(instructions or best())))
    step: list[Any] = [Pointer, ctypes.POINTER(Source), ctypes.c_float, ctypes.c_int32, ctypes.c_uint64]
    step += [ctypes.POINTER(Optimizer), ctypes.c_double, ctypes.c_int64, *[Pointer] * 4, ctypes.POINTER(Sums)]
    create: list[Any] = [ctypes.POINTER(LayerSpec), *[ctypes.c_int32] * 4, Pointer, Pointer, ctypes.c_int32]
    library.paribus_create.argtypes, library.paribus_create.restype = create, Pointer
    library.paribus_destroy.argtypes, library.paribus_destroy.restype = [Pointer], None
    library.paribus_parameters.argtypes, library.paribus_parameters.restype = [Pointer], ctypes.c_int64
    library.paribus_step.argtypes, library.paribus_step.restype = step, None
    library.paribus_predict.argtypes = [Pointer, ctypes.POINTER(Source), Pointer]
    library.paribus_predict.restype = None
    return library


@functools.cache
def best() -> str:
    """Return the best set of instructions that this processor has, among those that the package was built for."""
    portable = ctypes.CDLL(str(build.path_of("portable")))
    portable.paribus_best.argtypes, portable.paribus_best.restype = [], ctypes.c_char_p
    found = portable.paribus_best().decode()
    assert isinstance(found, str)
    return found
