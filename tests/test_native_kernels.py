"""The native kernels against torch: every layer, option and odd size, every set of instructions, several threads."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from native_chains import (
    INSTRUCTIONS,
    LAYERS,
    SEEDS,
    Shape,
    by_kernels,
    by_torch,
    draw_layer,
    fits,
    images_of,
    network_of,
    randomised,
    require_as_torch,
    require_equal,
    with_head,
)
from paribus.config import ModelConfig, OptimConfig
from paribus.engines.native import build, library
from paribus.engines.native.chain import Chain, Layer
from paribus.engines.native.network import Batch, Network, optimizer_of
from paribus.models import build_model
from paribus.models.layers import ScaledTanh
from paribus.optim import build_optimizer
from paribus.optim import update as update_by_torch

if build.missing():
    pytest.skip(f"the native engine cannot serve: {build.missing()}", allow_module_level=True)

ACTIVATIONS: dict[str, nn.Module] = {
    "tanh": nn.Tanh(),
    "scaled-tanh": ScaledTanh(),
    "relu": nn.ReLU(),
    "sigmoid": nn.Sigmoid(),
    "gelu": nn.GELU(),
}


@pytest.mark.parametrize("kind", LAYERS)
@settings(max_examples=15)
@given(data=st.data())
def test_each_layer_alone(kind: str, data: st.DataObject) -> None:
    """A 1x1 convolution before it asks for its input gradient, an activation behind it gives every value its own."""
    least = 5 if kind == "table" else 2 if kind == "trainable-pooling" else 1
    sides = st.integers(least, 20)
    shape = (data.draw(st.integers(1, 9)), data.draw(sides), data.draw(sides))
    channels = 6 if kind == "table" else data.draw(st.integers(1, 9))
    before = nn.Conv2d(shape[0], channels, 1)
    layer = draw_layer(data.draw, kind, (channels, *shape[1:]))
    layers = [before, layer] if kind in ACTIVATIONS else [before, layer, nn.Tanh()]
    model = randomised(with_head(layers, shape, data.draw(st.integers(1, 12))), data.draw(SEEDS))
    require_as_torch(model, images_of(shape, data.draw(st.integers(1, 40)), data.draw(SEEDS)), data.draw)


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_minimal_filtering_costs_lenet5_no_digits(activation: str, instructions: str) -> None:
    """Outputs and gradients stay within 2e-6 of float64. (With max pooling rounding may choose another pixel.)"""
    config = ModelConfig.model_validate({"name": "lenet5", "activation": activation})
    model = build_model(config, (1, 32, 32), 10, seed=0)
    images, labels = images_of((1, 32, 32), 64, 1), torch.arange(64) % 10
    exact = by_torch(model, images.double(), labels)
    require_equal(by_kernels(network_of(model, (1, 32, 32), 1, instructions), images, labels), exact, 2e-6)


@settings(max_examples=30)
@given(data=st.data())
def test_layers_in_any_order(data: st.DataObject) -> None:
    """Two activations in a row, poolings of poolings, an activation on the image, layers that shrink to a point."""
    sides = st.integers(1, 20)
    image_shape: Shape = (data.draw(st.sampled_from([1, 3, 6])), data.draw(sides), data.draw(sides))
    shape, layers = image_shape, []
    for _ in range(data.draw(st.integers(1, 7))):
        kind = data.draw(st.sampled_from([kind for kind in LAYERS if fits(kind, shape)]))
        layers.append(draw_layer(data.draw, kind, shape))
        seen: Any = layers[-1](torch.zeros(1, *shape)).shape[1:]
        shape = tuple(seen)
    model = randomised(with_head(layers, image_shape, data.draw(st.integers(1, 12))), data.draw(SEEDS))
    require_as_torch(model, images_of(image_shape, data.draw(st.integers(1, 40)), data.draw(SEEDS)), data.draw)


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
def test_pooled_values_that_are_overwritten_tell_no_slopes(instructions: str) -> None:
    """Max pooling takes the slope of the activation before it from its outputs, unless these are overwritten."""
    for behind in ([], [nn.Tanh()]):
        layers = [nn.Conv2d(2, 3, 3), nn.Tanh(), nn.MaxPool2d(2), *behind]
        model = randomised(with_head(layers, (2, 8, 8), 5), 0)
        images, labels = images_of((2, 8, 8), 20, 1), torch.arange(20) % 5
        exact = by_torch(model, images.double(), labels)
        require_equal(by_kernels(network_of(model, (2, 8, 8), 1, instructions), images, labels), exact, 1e-5)


@settings(max_examples=20)
@given(data=st.data())
def test_linear_layers_of_any_width(data: st.DataObject) -> None:
    widths = [data.draw(st.integers(1, 70)) for _ in range(data.draw(st.integers(2, 4)))]
    layers: list[nn.Module] = [nn.Flatten()]
    for width, following in itertools.pairwise(widths):
        layers += [nn.Linear(width, following, bias=data.draw(st.booleans())), nn.Sigmoid()]
    model = randomised(nn.Sequential(*layers, nn.Linear(widths[-1], data.draw(st.integers(1, 40)))), data.draw(SEEDS))
    require_as_torch(model, images_of((1, 1, widths[0]), data.draw(st.integers(1, 40)), data.draw(SEEDS)), data.draw)


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_exact_to_float32(name: str, instructions: str) -> None:
    """Over the whole range the error is that of a few roundings, so that no coefficient is wrong in a late digit."""
    values = torch.cat([torch.linspace(-20, 20, 4001), torch.tensor([-1e4, -88.0, 0.0, 88.0, 1e4])])
    images = values[:, None, None, None].contiguous()
    model = nn.Sequential(ACTIVATIONS[name], nn.Flatten(), nn.Linear(1, 1, bias=False))
    nn.init.ones_(next(model.parameters()))
    given_ = network_of(model, (1, 1, 1), 1, instructions).logits(Batch(images.numpy()))
    exact = ACTIVATIONS[name](values.double()).numpy()
    assert np.max(np.abs(given_[:, 0] - exact) / np.maximum(1.0, np.abs(values.numpy()))) < 4e-7


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
def test_bytes_are_looked_up_by_channel(instructions: str) -> None:
    """Bytes with rows and a table give the same bits as the floats that they stand for, in the order of the rows."""
    generator = np.random.default_rng(0)
    shape, count = (3, 9, 11), 50
    images = generator.integers(0, 256, (count, *shape), dtype=np.uint8)
    table = generator.normal(size=(3, 256)).astype(np.float32)
    labels = generator.integers(0, 5, count)
    rows = generator.permutation(count)[:37]
    floats = np.stack([table[c][images[:, c]] for c in range(3)], axis=1)[rows]
    model = randomised(with_head([nn.Conv2d(3, 4, 3), nn.Tanh()], shape, 5), 0)
    network = network_of(model, shape, 2, instructions)
    by_bytes, by_floats = Batch(images, table, rows, labels), Batch(np.ascontiguousarray(floats), labels=labels[rows])
    assert np.array_equal(network.logits(by_bytes), network.logits(by_floats))
    seen = network.step(by_bytes)
    gradients = {name: array.copy() for name, array in network.gradients.items()}
    assert seen == network.step(by_floats)
    assert all(np.array_equal(gradients[name], array) for name, array in network.gradients.items())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("pooling", [nn.AvgPool2d(2), nn.MaxPool2d(3, 2, 1)], ids=["avg", "max"])
def test_what_is_not_finite_goes_through(value: float, name: str, pooling: nn.Module) -> None:
    """One pixel of one image spoils that image's logits, the loss and the gradients that it spoils in torch."""
    shape = (1, 8, 8)
    layers = [nn.Conv2d(1, 3, 3), ACTIVATIONS[name], pooling, nn.Conv2d(3, 4, 2), ACTIVATIONS[name]]
    model = randomised(with_head(layers, shape, 3), 1)
    images = images_of(shape, 20, 2)
    images[7, 0, 4, 4] = value
    labels = torch.arange(20) % 3
    expected = by_torch(model, images, labels)
    for instructions in INSTRUCTIONS:
        answer = by_kernels(network_of(model, shape, 1, instructions), images, labels)
        assert torch.equal(answer.logits.isfinite(), expected.logits.isfinite())
        assert torch.equal(answer.logits.isnan(), expected.logits.isnan())
        assert math.isfinite(answer.loss) == math.isfinite(expected.loss)
        for key, gradient in expected.gradients.items():
            assert torch.equal(answer.gradients[key].isfinite(), gradient.isfinite()), key


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_minimal_filtering_hides_nothing_that_is_not_finite(value: float) -> None:
    """What is not finite in torch is not finite here, though it may be NaN instead of infinite."""
    shape = (3, 8, 12)
    model = randomised(with_head([nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, (2, 5))], shape, 3), 1)
    images, labels = images_of(shape, 20, 2), torch.arange(20) % 3
    images[7, 0, 4, 4] = value
    expected = by_torch(model, images, labels)
    for instructions in INSTRUCTIONS:
        answer = by_kernels(network_of(model, shape, 1, instructions), images, labels)
        assert torch.equal(answer.logits.isfinite(), expected.logits.isfinite())
        assert not math.isfinite(answer.loss)
        for key, gradient in expected.gradients.items():
            assert not (answer.gradients[key].isfinite() & ~gradient.isfinite()).any(), key


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("first", [-math.inf, math.inf, math.nan, 1e30])
def test_logits_that_are_not_finite(first: float, smoothing: float) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 3))
    model[1].bias.data = torch.tensor([first, 0.0, 1.0])
    images, labels = images_of((1, 1, 2), 5, 0), torch.full((5,), 1)
    expected = by_torch(model, images, labels, smoothing)
    for instructions in INSTRUCTIONS:
        answer = by_kernels(network_of(model, (1, 1, 2), 1, instructions), images, labels, smoothing)
        assert answer.loss == pytest.approx(expected.loss, rel=1e-6, nan_ok=True)
        assert answer.correct == expected.correct
        for key, gradient in expected.gradients.items():
            torch.testing.assert_close(answer.gradients[key], gradient, rtol=1e-5, atol=1e-6, equal_nan=True)


def weights_after(network: Network, steps: int, count: int, shape: Shape) -> list[npt.NDArray[Any]]:
    update = optimizer_of(OptimConfig(lr=0.05, momentum=0.9))
    labels = (torch.arange(count) % 4).numpy()
    for step in range(steps):
        images = images_of(shape, count, step)
        network.step(Batch(images.numpy(), labels=labels), 0.1, key=step, update=(update, 0.05, step + 1))
    return [array.copy() for array in network.weights.values()]


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_bits_twice(threads: int, instructions: str) -> None:
    shape = (2, 11, 9)
    layers = [nn.Conv2d(2, 5, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2), nn.Dropout(0.2)]
    model = randomised(with_head(layers, shape, 4), 3)
    first, second = (weights_after(network_of(model, shape, threads, instructions), 15, 45, shape) for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    alone = weights_after(network_of(model, shape, 1, instructions), 15, 45, shape)
    assert all(np.allclose(one, other, atol=1e-5) for one, other in zip(first, alone, strict=True))


def mask_of(model: nn.Sequential, count: int, key: int, threads: int = 1) -> Tensor:
    """Return which values dropout leaves, bool (count, units), for a model of convolution, dropout and head.

    With one image and black ones beside it, the head's gradient is not 0 exactly where that image's values are left.
    """
    shape = (1, 3, 4)
    network = network_of(model, shape, threads)
    mask = torch.zeros(count, 24, dtype=torch.bool)
    for place in range(count):
        images = np.zeros((count, *shape), dtype=np.float32)
        images[place] = 1.0
        network.step(Batch(images, labels=np.zeros(count, dtype=np.int64)), key=key)
        mask[place] = torch.from_numpy(network.gradients["head.weight"]).any(dim=0)
    return mask


def dropping(*layers: nn.Module) -> nn.Sequential:
    model = nn.Sequential()
    model.add_module("stem", nn.Conv2d(1, 2, 1, bias=False))
    for number, layer in enumerate(layers):
        model.add_module(str(number), layer)
    model.add_module("flat", nn.Flatten())
    model.add_module("head", nn.Linear(24, 3))
    randomised(model, 5)
    return model


def test_dropout_drops_at_its_rate_and_each_layer_by_itself() -> None:
    for rates, left in [((0.3,), 0.7), ((0.9,), 0.1), ((0.5, 0.4), 0.3)]:
        model = dropping(*map(nn.Dropout, rates))
        masks = torch.cat([mask_of(model, 40, key) for key in range(4)]).double()
        assert masks.mean().item() == pytest.approx(left, abs=5 * (left * (1 - left) / masks.numel()) ** 0.5)
        assert masks.mean(dim=0).sub(left).abs().max() < 5 * (left * (1 - left) / len(masks)) ** 0.5
        assert masks.mean(dim=1).sub(left).abs().max() < 5 * (left * (1 - left) / 24) ** 0.5


def test_dropout_depends_on_its_key_and_not_on_threads() -> None:
    model = dropping(nn.Dropout(0.5))
    mask = mask_of(model, 40, key=7)
    assert torch.equal(mask, mask_of(model, 40, key=7))
    assert torch.equal(mask, mask_of(model, 40, key=7, threads=2))
    assert torch.equal(mask, mask_of(model, 40, key=7, threads=3))
    assert 0.4 < (mask ^ mask_of(model, 40, key=8)).double().mean() < 0.6
    assert 0.4 < (mask ^ mask_of(model, 40, key=2**64 - 1)).double().mean() < 0.6


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
def test_dropout_goes_backward_as_it_went_forward(instructions: str) -> None:
    """Loss and gradients are torch's with the same values dropped and the others scaled up."""
    probability, count = 0.3, 40
    model = dropping(nn.Dropout(probability))
    mask = mask_of(model, count, key=3)
    images, labels = images_of((1, 3, 4), count, 8), torch.arange(count) % 3
    network = network_of(model, (1, 3, 4), 2, instructions)
    loss, _, _ = network.step(Batch(images.numpy(), labels=labels.numpy()), key=3)
    double = {name: parameter.detach().double().requires_grad_() for name, parameter in model.named_parameters()}
    values = functional.conv2d(images.double(), double["stem.weight"]).flatten(1) * mask / (1 - probability)
    expected = functional.cross_entropy(functional.linear(values, double["head.weight"], double["head.bias"]), labels)
    gradients = torch.autograd.grad(expected, list(double.values()))
    assert loss / count == pytest.approx(expected.item(), rel=1e-6)
    for (name, _), gradient in zip(double.items(), gradients, strict=True):
        torch.testing.assert_close(torch.from_numpy(network.gradients[name]).double(), gradient, rtol=1e-4, atol=1e-6)


OPTIMIZERS: dict[str, OptimConfig] = {
    "sgd": OptimConfig(lr=0.1),
    "sgd, decay": OptimConfig(lr=0.1, weight_decay=0.01),
    "momentum, decay": OptimConfig(lr=0.05, momentum=0.9, weight_decay=0.001),
    "nesterov": OptimConfig(lr=0.05, momentum=0.9, nesterov=True),
    "nesterov, decay": OptimConfig(lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.01),
    "adam": OptimConfig(name="adam", lr=0.003),
    "adam, betas, decay": OptimConfig(name="adam", lr=0.003, betas=[0.8, 0.95], weight_decay=0.01),
    "adamw": OptimConfig(name="adamw", lr=0.003, weight_decay=0.1),
    "adamw, betas": OptimConfig(name="adamw", lr=0.003, betas=[0.5, 0.99]),
    "rmsprop": OptimConfig(name="rmsprop", lr=0.002),
    "rmsprop, momentum, decay": OptimConfig(name="rmsprop", lr=0.001, momentum=0.9, weight_decay=0.01),
    "adagrad": OptimConfig(name="adagrad", lr=0.02),
    "adagrad, decay": OptimConfig(name="adagrad", lr=0.02, weight_decay=0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimisers_follow_torch(name: str) -> None:
    """Over 120 updates at a changing rate, torch's optimiser, given the kernels' gradients, makes the same weights."""
    config, shape = OPTIMIZERS[name], (1, 4, 5)
    model = randomised(with_head([nn.Conv2d(1, 3, 2), nn.Tanh()], shape, 4), 4)
    networks = [network_of(model, shape, 1, instructions) for instructions in INSTRUCTIONS]
    for network in networks:
        follower = {key: nn.Parameter(torch.from_numpy(array.copy())) for key, array in network.weights.items()}
        optimizer = build_optimizer(config, list(follower.values()))
        for step in range(120):
            rate = config.lr / (1 + step / 50)
            images, labels = images_of(shape, 16, step), torch.arange(16) % 4
            update = (optimizer_of(config), rate, step + 1)
            network.step(Batch(images.numpy(), labels=labels.numpy()), update=update)
            for key, parameter in follower.items():
                parameter.grad = torch.from_numpy(network.gradients[key].copy())
            optimizer.param_groups[0]["lr"] = rate
            update_by_torch(optimizer)
        for key, parameter in follower.items():
            torch.testing.assert_close(torch.from_numpy(network.weights[key]), parameter.data, rtol=1e-4, atol=2e-6)


def test_without_memory_it_says_so() -> None:
    chain = Chain((1, 2**27, 2**26), (Layer("relu", (1, 2**27, 2**26)),))
    with pytest.raises(MemoryError, match="There is not enough memory for the network's values and gradients"):
        Network(chain, {})


def test_kernels_of_no_name_are_not_there() -> None:
    with pytest.raises(OSError, match="kernels_none"):
        library.load("none")
