"""From a torch module to a chain of layers that the kernels know, or the reason why it is none.

A module is traced in training and in eval mode on an example; both must be the same chain, but for dropout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from paribus.models.layers import Crop, ScaledTanh, TrainableSubsampling
from paribus.models.lenet5_1998 import TABLE, TableConvolution

Shape = tuple[int, ...]
EXAMPLES = 3


class NotAChainError(Exception):
    """The module is not a chain of layers that the kernels know; the text says what is in the way."""


@dataclass(frozen=True)
class Layer:
    """One layer of a chain. `window` is (height, width, down, right, above, left): kernel, steps, border of zeros."""

    kind: str
    shape: Shape  # Of one sample behind the layer.
    window: tuple[int, int, int, int, int, int] = (1, 1, 1, 1, 0, 0)
    value: float = 0.0
    connections: npt.NDArray[np.int32] | None = field(default=None, compare=False)
    weight: str | None = None
    bias: str | None = None


@dataclass(frozen=True)
class Chain:
    """A network as the kernels take it: the shape of one sample, then its layers."""

    input_shape: Shape
    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters in the order in which the kernels hold them."""
        return tuple(name for layer in self.layers for name in (layer.weight, layer.bias) if name)


def chain_of(model: nn.Module, image_shape: tuple[int, int, int]) -> Chain:
    """Return the module as a chain; its mode and weights stay as they are.

    Raises:
        NotAChainError: If it is none, or one with parts that the kernels do not know.
    """
    was_training = model.training
    try:
        training = _trace(model.train(), image_shape)
        evaluating = _trace(model.eval(), image_shape)
    finally:
        model.train(was_training)
    if _without_dropout(training) != evaluating.layers:
        raise NotAChainError("it does other things in training than afterwards, beside dropout")
    _require_all_trained(model, training)
    return training


def _without_dropout(chain: Chain) -> tuple[Layer, ...]:
    return tuple(layer for layer in chain.layers if layer.kind != "dropout")


def _require_all_trained(model: nn.Module, chain: Chain) -> None:
    used = chain.parameters
    if len(set(used)) < len(used):
        raise NotAChainError("it uses some parameters twice")
    parameters = dict(model.named_parameters())
    state = set(model.state_dict())
    if state != set(parameters):
        raise NotAChainError(f"it keeps `{min(state - set(parameters))}`, which is no parameter")
    frozen = [name for name, parameter in parameters.items() if not parameter.requires_grad]
    if frozen:
        raise NotAChainError(f"`{frozen[0]}` is frozen")
    unused = set(parameters) - set(used)
    if unused:
        raise NotAChainError(f"`{min(unused)}` is not part of the chain")
    other = [name for name, parameter in parameters.items() if parameter.dtype != torch.float32]
    if other:
        raise NotAChainError(f"`{other[0]}` is not float32")


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, tuple(_MODULES)) or super().is_leaf_module(m, module_qualified_name)


class _Reader(fx.Interpreter):
    """Runs the traced graph on an example and notes every step that a tensor takes."""

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        super().__init__(fx.GraphModule(model, graph))
        self.extra_traceback = False  # Reasons are for users, who did not write the graph.
        self.layers: list[Layer] = []
        self.last: fx.Node | None = None

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "placeholder":
            self.last = self.last or n  # Further arguments of forward have defaults; a chain does without them.
        elif n.op == "output":
            if n.args[0] is not self.last:
                raise NotAChainError("it returns something else than the end of a chain")
        elif isinstance(result, Tensor):
            self._note(n, result)
        elif n.op == "call_module":
            raise NotAChainError(f"`{n.target}` gives no tensor")
        return result

    def _note(self, n: fx.Node, result: Tensor) -> None:
        name = str(n.target) if isinstance(n.target, str) else getattr(n.target, "__name__", str(n.target))
        if n.op == "get_attr":
            raise NotAChainError(f"it reads `{name}` by itself")
        sources = [node for node in n.all_input_nodes if isinstance(self.env.get(node), Tensor)]
        if sources != [self.last]:
            raise NotAChainError(f"`{name}` does not follow the layer before it alone")
        assert self.last is not None
        before = self.env[self.last]
        if before.shape[0] != EXAMPLES or result.shape[:1] != (EXAMPLES,):
            raise NotAChainError(f"`{name}` mixes the examples of a batch")
        if result.shape == before.shape and n.op == "call_method" and name in ("contiguous", "float"):
            self.last = n
            return
        layers = self._read(n, name, tuple(before.shape[1:]), tuple(result.shape[1:]))
        self.layers += layers
        self.last = n

    def _read(self, n: fx.Node, name: str, before: Shape, after: Shape) -> list[Layer]:
        if n.op == "call_module":
            module = self.fetch_attr(name)
            reader = next((read for kind, read in _MODULES.items() if type(module) is kind), None)
            if reader is None:
                raise NotAChainError(f"`{name}` is a {type(module).__name__}")
            return reader(module, name, before, after)
        arguments = [self.env.get(each, each) if isinstance(each, fx.Node) else each for each in n.args]
        options = {
            key: self.env.get(each, each) if isinstance(each, fx.Node) else each for key, each in n.kwargs.items()
        }
        reader_ = _FUNCTIONS.get(name)
        if reader_ is None or (n.op == "call_function" and not _is_torchs(n.target)):
            raise NotAChainError(f"it calls `{name}`")
        return reader_(arguments[1:], options, before, after)


def _is_torchs(function: Any) -> bool:
    return (getattr(function, "__module__", None) or "torch").split(".")[0] == "torch"


def _trace(model: nn.Module, image_shape: tuple[int, int, int]) -> Chain:
    example = torch.linspace(-1, 1, EXAMPLES * math.prod(image_shape)).view(EXAMPLES, *image_shape)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            reader = _Reader(model, _Tracer().trace(model))
            logits = reader.run(example)
    except NotAChainError as reason:
        raise NotAChainError(str(reason).splitlines()[0]) from None  # torch adds its graph to the text.
    except (Exception, SystemExit) as error:
        raise NotAChainError(
            f"it cannot be traced: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    if not reader.layers or logits.dim() != 2:
        raise NotAChainError("it does not end in one row of logits per example")
    return Chain(image_shape, tuple(reader.layers))


def _pair(value: Any) -> tuple[int, int]:
    found = (value, value) if isinstance(value, int) else tuple(value)
    if len(found) == 1:
        found *= 2
    first, second = found
    return int(first), int(second)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise NotAChainError(what)


def _convolution(module: nn.Conv2d, name: str, before: Shape, after: Shape) -> list[Layer]:
    _require(module.groups == 1, f"`{name}` has groups")
    _require(_pair(module.dilation) == (1, 1), f"`{name}` is dilated")
    _require(module.padding_mode == "zeros", f"`{name}` has a border of other things than zeros")
    return [_convolution_layer(module, name, before, after, np.arange(after[0] * before[0], dtype=np.int32))]


def _table_convolution(module: TableConvolution, name: str, before: Shape, after: Shape) -> list[Layer]:
    connections = np.full((len(TABLE), before[0]), -1, dtype=np.int32)
    places = [(output, source) for output, sources in enumerate(TABLE) for source in sources]
    for kernel, place in enumerate(places):
        connections[place] = kernel
    step = module.stride
    window = (5, 5, step, step, 0, 0)
    return [Layer("convolution", after, window, 0.0, connections.ravel(), f"{name}.weight", f"{name}.bias")]


def _convolution_layer(
    module: nn.Conv2d, name: str, before: Shape, after: Shape, connections: npt.NDArray[np.int32]
) -> Layer:
    height, width = _pair(module.kernel_size)
    down, right = _pair(module.stride)
    padding: Any = module.padding
    if padding == "same":
        _require(height % 2 == 1 and width % 2 == 1, f"`{name}` has an uneven border")
        above, left = height // 2, width // 2
    else:
        above, left = (0, 0) if padding == "valid" else _pair(padding)
    _require(above < height and left < width, f"`{name}` has a border as wide as its kernel")
    bias = _bias(module, name)
    if after[1:] == (1, 1) and (height, width) == before[1:] and (above, left) == (0, 0):
        return Layer("linear", after, weight=f"{name}.weight", bias=bias)  # One place only: all inputs to all outputs.
    return Layer(
        "convolution", after, (height, width, down, right, above, left), 0.0, connections, f"{name}.weight", bias
    )


def _linear(module: nn.Linear, name: str, before: Shape, after: Shape) -> list[Layer]:
    _require(len(before) == 1, f"`{name}` works on maps that are not flattened")
    return [Layer("linear", after, weight=f"{name}.weight", bias=_bias(module, name))]


def _bias(module: nn.Module, name: str) -> str | None:
    return None if getattr(module, "bias", None) is None else f"{name}.bias"


def _trainable_pooling(module: TrainableSubsampling, name: str, before: Shape, after: Shape) -> list[Layer]:
    return [Layer("trainable-pooling", after, (2, 2, 2, 2, 0, 0), weight=f"{name}.coefficient", bias=f"{name}.bias")]


def _avg_pooling(module: nn.AvgPool2d, after: Shape) -> list[Layer]:
    above, left = _pair(module.padding)
    own_divisor = module.ceil_mode or module.divisor_override is not None
    _require(not own_divisor, "average pooling rounds sizes up or has a divisor of its own")
    _require(module.count_include_pad or (above, left) == (0, 0), "average pooling does not count its border")
    return [Layer("avg-pooling", after, (*_pair(module.kernel_size), *_pair(module.stride), above, left))]


def _max_pooling(module: nn.MaxPool2d, after: Shape) -> list[Layer]:
    _require(not module.ceil_mode and not module.return_indices, "max pooling rounds sizes up or returns indices")
    _require(_pair(module.dilation) == (1, 1), "max pooling is dilated")
    return [Layer("max-pooling", after, (*_pair(module.kernel_size), *_pair(module.stride), *_pair(module.padding)))]


def _max_pooling_call(given: list[Any], options: Mapping[str, Any], after: Shape) -> list[Layer]:
    _require(len(given) <= 4, "max pooling is called with more than four unnamed options")  # Then the orders part.
    return _max_pooling(nn.MaxPool2d(*given, **options), after)


def _adaptive(size: Any, before: Shape, after: Shape) -> list[Layer]:
    rows, columns = after[1:]
    _require(before[1] % rows == 0 and before[2] % columns == 0, "adaptive pooling has windows of several sizes")
    return _avg_pooling(nn.AvgPool2d((before[1] // rows, before[2] // columns)), after)


def _dropout(after: Shape, p: float = 0.5, training: bool = True, inplace: bool = False) -> list[Layer]:
    _require(p < 1, "dropout leaves nothing")
    return [Layer("dropout", after, value=p)] if training and p else []


def _flatten(before: Shape, after: Shape) -> list[Layer]:
    _require(after == (math.prod(before),) or after == before, "it reshapes values, but not to one row per example")
    return []


def _simple(kind: str) -> Callable[..., list[Layer]]:
    return lambda _, __, ___, after: [Layer(kind, after)]


def _gelu(approximate: str, after: Shape) -> list[Layer]:
    _require(approximate == "none", "GELU is approximated by tanh")
    return [Layer("gelu", after)]


_MODULES: Mapping[type[nn.Module], Callable[..., list[Layer]]] = {
    nn.Conv2d: _convolution,
    TableConvolution: _table_convolution,
    nn.Linear: _linear,
    nn.Tanh: _simple("tanh"),
    ScaledTanh: _simple("scaled-tanh"),
    nn.ReLU: _simple("relu"),
    nn.Sigmoid: _simple("sigmoid"),
    nn.GELU: lambda module, _, __, after: _gelu(module.approximate, after),
    nn.AvgPool2d: lambda module, _, __, after: _avg_pooling(module, after),
    nn.MaxPool2d: lambda module, _, __, after: _max_pooling(module, after),
    nn.AdaptiveAvgPool2d: lambda module, _, before, after: _adaptive(module.output_size, before, after),
    TrainableSubsampling: _trainable_pooling,
    Crop: lambda *given: [Layer("crop", given[-1])],
    nn.Dropout: lambda module, _, __, after: _dropout(after, module.p, module.training),
    nn.Identity: lambda *_: [],
    nn.Flatten: lambda _, __, before, after: _flatten(before, after),
}
_FUNCTIONS: Mapping[str, Callable[..., list[Layer]]] = {
    "tanh": _simple("tanh"),
    "relu": _simple("relu"),
    "relu_": _simple("relu"),
    "sigmoid": _simple("sigmoid"),
    "gelu": lambda _, options, __, after: _gelu(options.get("approximate", "none"), after),
    "avg_pool2d": lambda given, options, _, after: _avg_pooling(nn.AvgPool2d(*given, **options), after),
    "max_pool2d": lambda given, options, _, after: _max_pooling_call(given, options, after),
    "dropout": lambda given, options, _, after: _dropout(after, *given, **options),
    "flatten": lambda _, __, before, after: _flatten(before, after),
    "view": lambda _, __, before, after: _flatten(before, after),
    "reshape": lambda _, __, before, after: _flatten(before, after),
}
