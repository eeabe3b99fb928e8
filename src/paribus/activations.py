"""What the activation functions of a network give: units that are dead, values that are saturated.

Works on any `nn.Module`, whether it calls its functions as layers (`nn.ReLU`), as functions (`torch.relu`) or in place:
what torch computes is watched, and the functions of `FLAT` are recognised in it. Not seen are functions that torch
computes inside a larger operation (the gates of `nn.LSTM`, the fast path of `nn.TransformerEncoderLayer`), functions
written out of others (`torch.maximum(x, zero)`), and those that are nowhere flat (leaky ReLU, softplus and the like
are left out on purpose).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from paribus.store import LayerProbe

ROOT = "(model)"
"""The name of the network itself, which torch calls by an empty text."""


@dataclass(frozen=True)
class Flat:
    """Where a function is flat: for inputs up to `below`, and from `above` on; None where it is flat on one side only.

    Flat on one side makes units that can die, flat on both makes values that can saturate.
    """

    below: float
    above: float | None = None


class _Tally:
    """What one call of a function has shown so far, over batches."""

    def __init__(self, units: int, flat: Flat) -> None:
        self.units, self.flat = units, flat
        self.alive = torch.zeros(units, dtype=torch.bool)
        self.values = self.saturated = 0

    def add(self, inputs: Tensor, axis: int) -> None:
        """Take note of the inputs of one batch, whose units lie along `axis`."""
        if self.flat.above is None:
            others = [each for each in range(inputs.dim()) if each != axis]
            self.alive |= ~(inputs.amax(dim=others) <= self.flat.below).cpu()
        else:
            self.values += inputs.numel()
            self.saturated += int(((inputs <= self.flat.below) | (inputs >= self.flat.above)).sum())

    def probe(self, layer: str, function: str) -> LayerProbe:
        if self.flat.above is None:
            return LayerProbe(layer, function, self.units, self.units - int(self.alive.sum()), None)
        return LayerProbe(layer, function, self.units, None, self.saturated / self.values)


class Watch(TorchDispatchMode):
    """Sees every operation of a network while it is entered, and tallies those that are activation functions.

    Where the units of a value lie is told by the operation with weights that came last: along the second axis after a
    convolution, along the last after a linear layer.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._names = {module: name or ROOT for name, module in model.named_modules()}
        self._running: list[list[str]] = []  # Modules from the outermost: its name, then its submodules that have run.
        self._calls: Counter[tuple[str, str]] = Counter()
        self._axis = 1
        self._tallies: dict[tuple[str, str, int], _Tally] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Tell torch not to guard against its compiler, which it would load for that: more than a second."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Look at the inputs of an operation before it runs, as it may overwrite them."""
        name = str(func).removeprefix("aten.").partition(".")[0].removesuffix("_")  # Such as aten.relu_.default.
        flat = _flat(name, args[1:]) if self._running and args and _has_units(args[0]) else None
        if flat is not None:
            self._count(name, flat, args[0])
        elif "conv" in name:
            self._axis = 1
        elif name in _LINEAR:
            self._axis = -1
        return func(*args, **(kwargs or {}))

    def enter_module(self, module: nn.Module, _: Any) -> None:
        """Forward pre-hook of every module."""
        if not self._running:
            self._calls.clear()
            self._axis = 1
        self._running.append([self._names[module]])

    def leave_module(self, _: nn.Module, __: Any, ___: Any) -> None:
        """Forward hook of every module."""
        name = self._running.pop()[0]
        if self._running:
            self._running[-1].append(name)

    def probes(self) -> tuple[LayerProbe, ...]:
        """Return what was seen, in the order of the calls."""
        return tuple(tally.probe(layer, name) for (layer, name, _), tally in self._tallies.items())

    def _count(self, function: str, flat: Flat, inputs: Tensor) -> None:
        name, *ran = self._running[-1]
        layer = f"after {ran[-1]}" if ran else name
        self._calls[layer, function] += 1
        if self._calls[layer, function] > 1:
            layer = f"{layer}, call {self._calls[layer, function]}"
        axis = self._axis % inputs.dim()
        units = inputs.shape[axis]
        self._tallies.setdefault((layer, function, units), _Tally(units, flat)).add(inputs, axis)


@contextmanager
def watch(model: nn.Module) -> Iterator[Watch]:
    """Watch a network's forward passes; `Watch.probes` of what this yields then tells what was seen.

    The network's results do not change, and its hooks are taken off again.

    Args:
        model: The network, which must be called inside, best in eval mode and under `torch.inference_mode`.
    """
    seen = Watch(model)
    handles = [module.register_forward_pre_hook(seen.enter_module, prepend=True) for module in model.modules()]
    handles += [module.register_forward_hook(seen.leave_module) for module in model.modules()]
    try:
        with seen:
            yield seen
    finally:
        for handle in handles:
            handle.remove()


def _has_units(value: object) -> bool:
    """Whether a value is a tensor with an axis of units beside that of examples."""
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() >= 2 and value.numel() > 0


def _flat(name: str, options: Sequence[Any]) -> Flat | None:
    """Return where an operation, called with these arguments after its input, is flat; None if it is none of ours."""
    if name == "hardtanh":
        low, high = list(options) + [-1.0, 1.0][len(options) :]  # torch leaves out what equals a default.
        return Flat(0.0) if low == 0 else Flat(low + 0.05 * (high - low), high - 0.05 * (high - low))
    if name in ("clamp", "clamp_min"):  # Other bounds than 0 keep a number in range: they are no activation.
        low, high = (*options, None, None)[:2]
        return Flat(0.0) if isinstance(low, int | float) and low == 0 and high is None else None
    if name == "threshold":
        return Flat(float(options[0]))
    if name == "elu":
        alpha = float(options[0]) if options else 1.0
        return Flat(math.log(_SLOPE / alpha))
    return FLAT.get(name)


_SLOPE = 0.001
_LINEAR = {"linear", "addmm", "mm", "bmm", "baddbmm", "matmul"}

FLAT: dict[str, Flat] = {
    "relu": Flat(0.0),
    "relu6": Flat(0.0),
    "hardswish": Flat(-3.0),
    "gelu": Flat(-4.0),
    "silu": Flat(-9.2),
    "mish": Flat(-9.2),
    "tanh": Flat(-math.atanh(0.9), math.atanh(0.9)),
    "sigmoid": Flat(-math.log(19), math.log(19)),
    "special_expit": Flat(-math.log(19), math.log(19)),
    "hardsigmoid": Flat(-2.7, 2.7),
}
"""By torch's name. Smooth functions count as flat below where slope and distance from the floor are under 0.001, and
flat on both sides where the output is within 5 % of the range's width of its ends."""
