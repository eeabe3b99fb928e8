"""Follow a network operation by operation: where its layers with weights are, and what reaches what.

Works below modules and functions, on torch's own operations, so that it sees every network alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

Push = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Layer:
    """One operation that mixes features with weights: a convolution or a matrix product.

    `name` is that of the module that owns the weights, `given` a copy of what it was given, `below` the positions of
    the layers whose results reach it through none other.
    """

    name: str
    given: Tensor
    below: frozenset[int]


@dataclass(frozen=True)
class Traced:
    """A forward pass: logits (N, K), the layers in their order, and which of them are nearest to the logits."""

    logits: Tensor
    layers: tuple[Layer, ...]
    last: frozenset[int]


@torch.no_grad()
def trace(model: nn.Module, images: Tensor, pushes: Mapping[int, Push] | None = None) -> Traced:
    """Run a network once and follow the images through it.

    Args:
        model: In the mode that it is to be seen in.
        images: Normalised, float (N, C, H, W).
        pushes: By a layer's position, what to do to its result before the network goes on with it.
    """
    mode = _Mode(model, images, pushes or {})
    with mode:
        logits = model(images)
    return Traced(logits, tuple(mode.layers), mode.origin(logits).below)


@dataclass(frozen=True)
class _Origin:
    """What a tensor's storage was made from."""

    image: bool = False
    below: frozenset[int] = frozenset()
    weights: frozenset[str] = frozenset()


class _Mode(TorchDispatchMode):
    def __init__(self, model: nn.Module, images: Tensor, pushes: Mapping[int, Push]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.pushes = pushes
        self.layers: list[Layer] = []
        self.kept: list[Tensor] = []  # A storage that is freed could come back as another.
        self.origins: dict[int, _Origin] = {}
        self._note(images, _Origin(image=True))
        for name, parameter in model.named_parameters():
            self._note(parameter, _Origin(weights=frozenset([name.rpartition(".")[0] or name])))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Spare this mode torch's compiler, which takes seconds to load and has nothing to do here."""
        return False

    def origin(self, tensor: Tensor) -> _Origin:
        return self.origins.get(_storage(tensor), _Origin())

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = list(_tensors((args, kwargs or {})))
        from_image = [tensor for tensor in given if self.origin(tensor).image]
        weights = [tensor for tensor in given if _is_weight(tensor) and self.origin(tensor).weights]
        weights = [tensor for tensor in weights if not self.origin(tensor).image]
        below = frozenset[int]().union(*(self.origin(tensor).below for tensor in given))
        is_layer = bool(from_image and weights) and _name(func) in _MIXING
        if is_layer:
            names = sorted(set().union(*(self.origin(tensor).weights for tensor in weights)))
            below_it = frozenset[int]().union(*(self.origin(tensor).below for tensor in from_image))
            self.layers.append(Layer(", ".join(names), from_image[0].clone(), below_it))
            below = frozenset([len(self.layers) - 1])
        result = func(*args, **(kwargs or {}))
        if is_layer and len(self.layers) - 1 in self.pushes:
            result = self.pushes[len(self.layers) - 1](result)
        origin = _Origin(
            bool(from_image), below, frozenset[str]().union(*(self.origin(tensor).weights for tensor in given))
        )
        for tensor in _tensors(result):
            self._note(tensor, origin)
        return result

    def _note(self, tensor: Tensor, origin: _Origin) -> None:
        self.kept.append(tensor)
        self.origins[_storage(tensor)] = origin


def _storage(tensor: Tensor) -> int:
    """Return what all views of one memory share."""
    return int(tensor.untyped_storage()._cdata)


def _is_weight(tensor: Tensor) -> bool:
    """Whether it can mix features: a matrix or more, where a vector only scales or shifts them."""
    return tensor.dim() > 1


def _name(func: Any) -> str:
    return str(func.name()).removeprefix("aten::").partition(".")[0]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


_MIXING = {
    *("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "linear", "mkldnn_linear", "_trilinear"),
    *("convolution", "_convolution", "mkldnn_convolution"),
}
"""Torch's operations that every convolution, linear layer and product comes down to."""
