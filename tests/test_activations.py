"""What a network's activation functions give is seen however it calls them, and counted exactly."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from paribus.activations import FLAT, watch
from paribus.models.layers import ScaledTanh
from paribus.store import LayerProbe

Function = Callable[[Tensor], Tensor]


def images(count: int = 20, channels: int = 1, size: int = 6) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(count, channels, size, size)).astype(np.float32))


@torch.inference_mode()
def seen(model: nn.Module, *batches: Tensor) -> tuple[LayerProbe, ...]:
    with watch(model.eval()) as watched:
        for batch in batches:
            model(batch)
    return watched.probes()


def deadened(layer: nn.Conv2d | nn.Linear, dead: int) -> nn.Module:
    """The layer with biases that keep its first `dead` outputs far below 0 and the others far above."""
    with torch.no_grad():
        assert layer.bias is not None
        layer.weight.mul_(0.01)
        layer.bias.fill_(100.0)
        layer.bias[:dead] = -100.0
    return layer


class Functional(nn.Module):
    """A student's network: functions are called between layers, and a linear layer's twice."""

    def __init__(self, function: Function, dead: tuple[int, int] = (0, 0)) -> None:
        super().__init__()
        self.function = function
        self.conv1 = deadened(nn.Conv2d(1, 5, 3), dead[0])
        self.fc1 = deadened(nn.Linear(5 * 4 * 4, 7), dead[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.fc1(self.function(self.conv1(x)).flatten(1)))


@given(st.integers(0, 5), st.integers(0, 7))
def test_exactly_the_units_that_are_dead_by_construction_are_found(conv: int, linear: int) -> None:
    layers = seen(Functional(torch.relu, (conv, linear)), images())
    assert layers == (
        LayerProbe("after conv1", "relu", 5, conv, None),
        LayerProbe("after fc1", "relu", 7, linear, None),
    )


RELUS: dict[str, tuple[Function, str]] = {
    "torch": (torch.relu, "relu"),
    "functional": (functional.relu, "relu"),
    "method": (Tensor.relu, "relu"),
    "in place": (lambda x: functional.relu(x, inplace=True), "relu"),
    "method in place": (Tensor.relu_, "relu"),
    "relu6": (functional.relu6, "relu6"),
    "relu6 in place": (lambda x: functional.relu6(x, inplace=True), "relu6"),
    "hardtanh from 0": (lambda x: functional.hardtanh(x, 0.0, 6.0), "hardtanh"),
    "clamp": (lambda x: x.clamp(min=0), "clamp"),
    "clamp_min": (lambda x: torch.clamp_min(x, 0.0), "clamp_min"),
    "threshold": (lambda x: functional.threshold(x, -5.0, 0.0), "threshold"),
    "hardswish": (functional.hardswish, "hardswish"),
    "gelu": (functional.gelu, "gelu"),
    "gelu by tanh": (lambda x: functional.gelu(x, approximate="tanh"), "gelu"),
    "silu": (functional.silu, "silu"),
    "silu in place": (lambda x: functional.silu(x, inplace=True), "silu"),
    "mish": (functional.mish, "mish"),
    "elu": (functional.elu, "elu"),
    "elu in place": (lambda x: functional.elu(x, 0.5, inplace=True), "elu"),
}


@pytest.mark.parametrize("name", RELUS)
def test_dead_units_are_seen_in_every_form_of_call(name: str) -> None:
    function, known_as = RELUS[name]
    layers = seen(Functional(function, (2, 3)), images())
    assert [(layer.function, layer.units, layer.dead, layer.saturated) for layer in layers] == [
        (known_as, 5, 2, None),
        (known_as, 7, 3, None),
    ]


SQUASHES: dict[str, tuple[Function, str, float]] = {
    "tanh": (torch.tanh, "tanh", math.atanh(0.9)),
    "tanh in place": (Tensor.tanh_, "tanh", math.atanh(0.9)),
    "sigmoid": (torch.sigmoid, "sigmoid", math.log(19)),
    "functional sigmoid": (functional.sigmoid, "sigmoid", math.log(19)),
    "expit": (torch.special.expit, "special_expit", math.log(19)),
    "hardtanh": (functional.hardtanh, "hardtanh", 0.9),
    "hardtanh to 2": (lambda x: functional.hardtanh(x, -2.0, 2.0), "hardtanh", 1.8),
    "hardsigmoid": (functional.hardsigmoid, "hardsigmoid", 2.7),
}


@pytest.mark.parametrize("name", SQUASHES)
def test_the_saturated_share_is_counted_within_five_percent_of_an_end(name: str) -> None:
    function, known_as, edge = SQUASHES[name]
    values = torch.tensor([[-9.0, -edge - 0.01, -edge + 0.01, 0.0], [0.5, edge - 0.01, edge + 0.01, 9.0]])
    (layer,) = seen(Wrapped(function), values.clone())
    assert layer == LayerProbe("(model)", known_as, 4, None, 0.5)
    outputs = function(values.clone())
    low, high = function(torch.tensor(-99.0)), function(torch.tensor(99.0))
    near = torch.minimum(outputs - low, high - outputs) <= 0.05 * (high - low)
    assert near.double().mean() == layer.saturated


class Wrapped(nn.Module):
    """A network that is one function."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize("name", ["gelu", "silu", "mish"])
def test_smooth_functions_count_as_flat_where_slope_and_height_are_below_a_thousandth(name: str) -> None:
    function = getattr(functional, name)
    x = torch.linspace(-40, FLAT[name].below, 2000, dtype=torch.float64, requires_grad=True)
    y = function(x)
    y.sum().backward()
    assert x.grad is not None
    assert y.abs().max() < 0.001 and x.grad.abs().max() < 0.001
    above = torch.tensor(FLAT[name].below + 0.5, dtype=torch.float64, requires_grad=True)
    function(above).backward()
    assert above.grad is not None and above.grad.abs() > 0.001


def test_scaled_tanh_is_judged_on_the_output_of_tanh() -> None:
    values = torch.tensor([[1.5 * math.atanh(0.89), 1.5 * math.atanh(0.91)]])
    (layer,) = seen(nn.Sequential(ScaledTanh()), values)
    assert layer == LayerProbe("0", "tanh", 2, None, 0.5)


class Shared(nn.Module):
    """One activation layer in two places, and one function after the same layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = deadened(nn.Conv2d(1, 4, 3), 1)
        self.relu = nn.ReLU(inplace=True)
        self.fc = deadened(nn.Linear(64, 3), 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.fc(self.relu(self.conv(x)).flatten(1)))
        return functional.relu(functional.relu(x) - 1000)


def test_a_layer_called_twice_is_two_places_and_units_are_told_apart() -> None:
    assert seen(Shared(), images()) == (
        LayerProbe("relu", "relu", 4, 1, None),
        LayerProbe("relu, call 2", "relu", 3, 2, None),
        LayerProbe("after relu", "relu", 3, 2, None),
        LayerProbe("after relu, call 2", "relu", 3, 3, None),
    )


class Residual(nn.Module):
    """A block whose last activation is called by the block itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.conv(torch.relu(x)))


def test_a_function_is_named_by_the_innermost_module_or_what_ran_before_it() -> None:
    layers = seen(nn.Sequential(nn.Conv2d(1, 2, 1), Residual(), nn.Flatten(), nn.Linear(72, 2), nn.Tanh()), images())
    assert [(layer.layer, layer.function, layer.units) for layer in layers] == [
        ("1", "relu", 2),
        ("after 1.conv", "relu", 2),
        ("4", "tanh", 2),
    ]


def test_units_lie_along_the_last_axis_after_a_linear_layer_and_the_second_after_a_convolution() -> None:
    tokens = nn.Sequential(nn.Flatten(2), deadened(nn.Linear(36, 8), 3), nn.ReLU())
    assert seen(tokens, images(channels=5)) == (LayerProbe("2", "relu", 8, 3, None),)
    sequence = nn.Sequential(nn.Flatten(2), nn.Conv1d(5, 4, 3), nn.ReLU())
    assert seen(sequence, images(channels=5))[0].units == 4


def test_a_unit_is_dead_only_if_no_batch_brings_it_to_life_and_shares_are_over_all_values() -> None:
    relu, low, high = nn.Sequential(nn.ReLU()), torch.tensor([[-1.0, -1.0]]), torch.tensor([[-2.0, 3.0]])
    assert [seen(relu, *batches)[0].dead for batches in ((low,), (low, high), (high, low))] == [2, 1, 1]
    tanh, many = nn.Sequential(nn.Tanh()), torch.zeros(3, 2)
    assert seen(tanh, many, torch.full((1, 2), 9.0))[0].saturated == 0.25


@pytest.mark.parametrize(
    "function",
    [
        functional.leaky_relu,
        functional.softplus,
        lambda x: x.clamp(min=1e-12),
        lambda x: x.clamp(0, 1),
        lambda x: x + torch.relu(torch.zeros(3)).sum(),
        lambda x: torch.maximum(x, torch.zeros(())),
    ],
)
def test_what_cannot_die_or_has_no_units_is_no_activation(function: Function) -> None:
    assert seen(Wrapped(function), torch.zeros(3, 2)) == ()


def test_watching_changes_no_bit_leaves_no_hook_and_no_buffer_moved() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(64, 3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.inference_mode():
        plain = model.eval()(images())
        with watch(model):
            watched = model(images())
    assert torch.equal(plain, watched)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_hooks_are_taken_off_after_an_error_too() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), watch(model):
        model(torch.zeros(1, 3))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
