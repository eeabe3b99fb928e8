"""Which modules the native engine reads as chains, why it refuses others, and what comparing with torch finds."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from native_chains import network_of
from paribus.config import ModelConfig, Recipe
from paribus.engines import choose, native
from paribus.engines.native import build, refuses
from paribus.engines.native.chain import Chain, NotAChainError, chain_of
from paribus.engines.native.comparison import difference, why_not
from paribus.errors import ConfigError
from paribus.models.layers import Crop, TrainableSubsampling
from paribus.models.lenet5_1998 import TableConvolution

needs_kernels = pytest.mark.skipif(build.missing() is not None, reason=f"no native engine: {build.missing()}")
SHAPE = (1, 12, 12)


class Functional(nn.Module):
    """The style of most tutorials."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3, padding="same", bias=False)
        self.fc1, self.fc2 = nn.Linear(6 * 2 * 2, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.avg_pool2d(torch.tanh(self.conv2(x)), kernel_size=2, stride=2)
        x = functional.dropout(x.view(x.size(0), -1), 0.25, training=self.training)
        x = torch.sigmoid(self.fc1(functional.gelu(x)))
        logits: Tensor = self.fc2(x.reshape(-1, 8).contiguous())
        return logits


class Stepwise(nn.Module):
    """A network of convolution and head, with something done between them."""

    extra: Any

    def __init__(self, between: Callable[[Stepwise, Tensor], Any], **parts: Any) -> None:
        super().__init__()
        self.between = between
        self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(400, 3)
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.between(self, self.conv(x)).flatten(1))
        return logits


def kinds(chain: Chain) -> list[str]:
    return [layer.kind for layer in chain.layers]


def test_a_sequential_is_a_chain() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, (3, 2), stride=(1, 2), padding=(1, 0)),
        nn.Tanh(),
        nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.Dropout(0.1), nn.Identity()),
        nn.AdaptiveAvgPool2d((3, 1)),
        nn.Flatten(),
        nn.Linear(12, 5),
    )
    chain = chain_of(model, SHAPE)
    assert kinds(chain) == ["convolution", "tanh", "max-pooling", "dropout", "avg-pooling", "linear"]
    assert chain.layers[0].window == (3, 2, 1, 2, 1, 0)
    assert chain.layers[2].window == (3, 3, 2, 2, 1, 1)
    assert chain.layers[3].value == 0.1
    assert chain.layers[4].window == (2, 3, 2, 3, 0, 0)
    assert chain.parameters == ("0.weight", "0.bias", "5.weight", "5.bias")
    assert [layer.shape for layer in chain.layers[:3]] == [(4, 12, 6), (4, 12, 6), (4, 6, 3)]


def test_the_functional_style_is_a_chain() -> None:
    chain = chain_of(Functional(), SHAPE)
    assert kinds(chain) == [
        *("convolution", "relu", "max-pooling", "convolution", "tanh", "avg-pooling"),
        *("dropout", "gelu", "linear", "sigmoid", "linear"),
    ]
    assert chain.layers[3].window == (3, 3, 1, 1, 1, 1)
    assert chain.layers[3].bias is None
    assert chain.layers[6].value == 0.25


def test_a_convolution_over_the_whole_map_is_linear() -> None:
    model = nn.Sequential(nn.Conv2d(1, 6, 12), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.Flatten())
    assert kinds(chain_of(model, SHAPE)) == ["linear", "relu", "linear"]


def test_layers_of_the_package_are_read() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 6, 1), TrainableSubsampling(6), TableConvolution(), Crop(1, 2), nn.Flatten(), nn.Linear(32, 2)
    )
    chain = chain_of(model, SHAPE)
    assert kinds(chain) == ["convolution", "trainable-pooling", "convolution", "crop", "linear"]
    table = chain.layers[2].connections
    assert table is not None and (table >= 0).sum() == 60 and table.max() == 59


class Scaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


class Finer(nn.Conv2d):
    """A kind of convolution of the user's, which may do anything."""


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(144, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(x.flatten(1))
        return -logits if logits.sum() > 0 else logits


class Pair(nn.Module):
    """Gives what is no row of logits, by `give`."""

    def __init__(self, give: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.first, self.fc, self.give = nn.Linear(144, 9), nn.Linear(9, 3), give

    def forward(self, x: Tensor) -> Any:
        x = self.first(x.flatten(1))
        return self.give(x, self.fc(x))


def between(change: Callable[[Tensor], Any]) -> nn.Module:
    return Stepwise(lambda _, x: change(x))


def conv(**options: Any) -> nn.Module:
    """A convolution with options that keeps 10 x 10 maps of 4 channels, after one that makes them."""
    return Stepwise(lambda net, x: net.extra(x), extra=nn.Conv2d(4, 4, 3, **({"padding": 1} | options)))


def layer(extra: nn.Module) -> nn.Module:
    return Stepwise(lambda net, x: net.extra(x), extra=extra)


def frozen() -> nn.Module:
    model = Functional()
    model.conv2.weight.requires_grad_(False)
    return model


def shared() -> nn.Module:
    turned = nn.Linear(9, 9)
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 9), turned, nn.Tanh(), turned, nn.Linear(9, 3))


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "batch norm": (lambda: layer(nn.BatchNorm2d(4)), "`extra` is a BatchNorm2d"),
    "layer norm": (lambda: layer(nn.LayerNorm([4, 10, 10])), "`extra` is a LayerNorm"),
    "functional norm": (lambda: between(lambda x: functional.layer_norm(x, [10])), "it calls `layer_norm`"),
    "own subclass": (lambda: layer(Finer(4, 4, 1)), "`extra` is a Finer"),
    "other padding": (lambda: conv(padding_mode="reflect"), "`extra` has a border of other things than zeros"),
    "groups": (lambda: conv(groups=2), "`extra` has groups"),
    "dilation": (lambda: conv(dilation=2, padding=2), "`extra` is dilated"),
    "even kernel, same": (
        lambda: layer(nn.Conv2d(4, 4, 2, padding="same")),
        "`extra` has an uneven border",
    ),
    "wide border": (lambda: layer(nn.Conv2d(4, 1, 1, padding=5)), "`extra` has a border as wide as its kernel"),
    "residual": (lambda: between(lambda x: x + torch.relu(x)), "`add` does not follow the layer before it alone"),
    "residual in place": (lambda: between(lambda x: x.add_(x)), "it calls `add_`"),
    "left aside": (
        lambda: Stepwise(lambda net, x: (net.extra(x), x)[1], extra=nn.Conv2d(4, 4, 1)),
        "`flatten` does not follow the layer before it alone",
    ),
    "arithmetic": (lambda: layer(Scaled()), "it calls `mul`"),
    "parameter by itself": (
        lambda: Stepwise(lambda net, x: x * net.extra, extra=nn.Parameter(torch.ones(1))),
        "it reads `extra` by itself",
    ),
    "batch statistics": (lambda: between(lambda x: x - x.mean(dim=0)), "`mean` mixes the examples of a batch"),
    "turned around": (lambda: between(lambda x: x.flip(0)), "it calls `flip`"),
    "images side by side": (
        lambda: Stepwise(lambda _, x: x.reshape(-1, 2, 10, 10).reshape(-1, 4, 10, 10)),
        "`reshape` mixes the examples of a batch",
    ),
    "reshaped": (
        lambda: between(lambda x: x.view(-1, 2, 20, 10)),
        "it reshapes values, but not to one row per example",
    ),
    "detached": (lambda: between(lambda x: x.detach()), "it calls `detach`"),
    "dropout always": (
        lambda: between(lambda x: functional.dropout(x, 0.1)),
        "it does other things in training than afterwards, beside dropout",
    ),
    "other in training": (
        lambda: Stepwise(lambda net, x: torch.relu(x) if net.training else torch.tanh(x)),
        "it does other things in training than afterwards, beside dropout",
    ),
    "dropout of all": (lambda: layer(nn.Dropout(1.0)), "dropout leaves nothing"),
    "dropout of maps": (lambda: layer(nn.Dropout2d(0.1)), "`extra` is a Dropout2d"),
    "gelu by tanh": (lambda: layer(nn.GELU(approximate="tanh")), "GELU is approximated by tanh"),
    "gelu by tanh, a call": (
        lambda: between(lambda x: functional.gelu(x, approximate="tanh")),
        "GELU is approximated by tanh",
    ),
    "ceiling, average": (
        lambda: layer(nn.AvgPool2d(1, ceil_mode=True)),
        "average pooling rounds sizes up or has a divisor of its own",
    ),
    "border not counted": (
        lambda: layer(nn.AvgPool2d(3, 1, 1, count_include_pad=False)),
        "average pooling does not count its border",
    ),
    "ceiling, maximum": (
        lambda: between(lambda x: functional.max_pool2d(x, 1, ceil_mode=True)),
        "max pooling rounds sizes up or returns indices",
    ),
    "dilated maximum": (lambda: layer(nn.MaxPool2d(2, 1, 1, dilation=2)), "max pooling is dilated"),
    "indices": (
        lambda: Stepwise(lambda net, x: net.extra(x)[0], extra=nn.MaxPool2d(1, return_indices=True)),
        "`extra` gives no tensor",
    ),
    "uneven windows": (
        lambda: Stepwise(lambda net, x: net.extra(x), extra=nn.AdaptiveAvgPool2d(4), fc=nn.Linear(64, 3)),
        "adaptive pooling has windows of several sizes",
    ),
    "linear on maps": (lambda: layer(nn.Linear(10, 10)), "`extra` works on maps that are not flattened"),
    "softmax": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 3), nn.Softmax(dim=1)), "`2` is a Softmax"),
    "log-softmax": (lambda: Pair(lambda _, y: functional.log_softmax(y, dim=1)), "it calls `log_softmax`"),
    "two outputs": (lambda: Pair(lambda x, y: (x, y)), "it returns something else than the end of a chain"),
    "features": (lambda: Pair(lambda x, _: x), "it returns something else than the end of a chain"),
    "no logits": (lambda: nn.Sequential(nn.Conv2d(1, 3, 1)), "it does not end in one row of logits per example"),
    "control flow": (Branching, "it cannot be traced: symbolically traced variables cannot be used as inputs"),
    "buffer": (
        lambda: Stepwise(lambda _, x: x, seen=torch.zeros(3)),
        "it keeps `seen`, which is no parameter",
    ),
    "frozen": (frozen, "`conv2.weight` is frozen"),
    "shared layer": (shared, "it uses some parameters twice"),
    "unused": (lambda: Stepwise(lambda _, x: x, extra=nn.Linear(2, 2)), "`extra.bias` is not part of the chain"),
    "double part": (
        lambda: Stepwise(
            lambda net, x: net.extra(x).float(), extra=TrainableSubsampling(4).double(), fc=nn.Linear(100, 3)
        ),
        "`extra.coefficient` is not float32",
    ),
    "double": (lambda: Functional().double(), "it cannot be traced: "),
    "weight norm": (lambda: layer(nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))), "is a Parametrized"),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_chain_is_refused(name: str) -> None:
    make, why = REFUSED[name]
    with pytest.raises(NotAChainError) as caught:
        chain_of(make(), SHAPE)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_argument_with_a_default_does_not_matter() -> None:
    class Optional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(144, 3)

        def forward(self, x: Tensor, scale: float | None = None) -> Tensor:
            logits: Tensor = self.fc(x.flatten(1))
            return logits

    assert kinds(chain_of(Optional(), SHAPE)) == ["linear"]


@pytest.mark.parametrize("make", [Functional, Branching], ids=["chain", "no chain"])
@pytest.mark.parametrize("training", [True, False])
def test_reading_leaves_no_trace(make: Callable[[], nn.Module], training: bool) -> None:
    model = make().train(training)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    before, stream = copy.deepcopy(model), torch.random.get_rng_state()
    try:
        chain_of(model, SHAPE)
    except NotAChainError:
        assert make is Branching
    assert torch.equal(stream, torch.random.get_rng_state())
    assert all(module.training is training for module in model.modules())
    for (name, one), (_, other) in zip(model.named_parameters(), before.named_parameters(), strict=True):
        assert torch.equal(one, other), name
        assert one.grad is not None and (one.grad == 0.5).all(), name


def test_tracing_draws_nothing_from_the_global_stream() -> None:
    model = between(lambda x: x * torch.rand(1))
    stream = torch.random.get_rng_state()
    with pytest.raises(NotAChainError, match="it reads `_tensor_constant0` by itself"):
        chain_of(model, SHAPE)
    assert torch.equal(stream, torch.random.get_rng_state())


HEAD = """
import torch
from torch import nn
from torch.nn import functional as F

class Bent(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.relu(x)

    @staticmethod
    def backward(ctx, dy):
        return 2 * dy

class Net(nn.Module):
    def __init__(self, image_shape, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(image_shape[0], 4, 3)
        self.conv2 = nn.Conv2d(4, 5, 3)
        self.fc = nn.Linear(5 * 4 * 4, num_classes)
"""
FORWARDS: dict[str, tuple[str, str | None]] = {
    "served": ("x = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(x)))), 2)", None),
    "no chain": (
        "x = F.max_pool2d(F.silu(self.conv2(self.conv1(x))), 2)",
        "the network is no chain that its kernels know: it calls `silu`",
    ),
    "without gradient": (
        "with torch.no_grad():\n            x = self.conv1(x)\n        x = F.max_pool2d(self.conv2(x), 2)",
        "its gradients of `conv1.weight` differ from torch's",
    ),
    "gradient of its own": (
        "x = F.max_pool2d(F.relu(self.conv2(Bent.apply(self.conv1(x)))), 2)",
        "its gradients of `conv1.weight` differ from torch's",
    ),
    "outputs of its own": (
        "self.conv1.register_forward_hook(lambda _, __, y: 2 * y)\n"
        "        x = F.max_pool2d(self.conv2(self.conv1(x)), 2)",
        "its outputs differ from torch's",
    ),
    "gradients changed behind": (
        "self.conv2.register_full_backward_hook(lambda _, dx, __: (2 * dx[0],))\n"
        "        x = F.max_pool2d(self.conv2(self.conv1(x)), 2)",
        "its gradients of `conv1.weight` differ from torch's",
    ),
    "not built": ("x = self.conv3(x)", "the network cannot be built"),
}


def config_of(folder: Path, forward: str) -> ModelConfig:
    path = folder / "x.py"
    body = f"    def forward(self, x):\n        {forward}\n        return self.fc(x.flatten(1))\n"
    path.write_text(HEAD + "\n" + body, encoding="utf-8")
    return ModelConfig(name=f"{path}:Net")


@needs_kernels
@pytest.mark.parametrize("name", FORWARDS)
def test_a_users_file_is_served_or_refused(name: str, tmp_path: Path) -> None:
    forward, expected = FORWARDS[name]
    stream = torch.random.get_rng_state()
    given = why_not(config_of(tmp_path, forward), SHAPE, 3)
    assert torch.equal(stream, torch.random.get_rng_state())
    if expected is None:
        assert given is None
    else:
        assert given is not None and given.endswith(expected)


@needs_kernels
def test_a_network_too_large_for_the_caches_is_refused(tmp_path: Path) -> None:
    reason = why_not(config_of(tmp_path, "x = F.max_pool2d(self.conv2(self.conv1(x)), 125)"), (1, 504, 504), 3)
    assert reason == "the network's 2,512,115 values per image are too many for its kernels to be fast"


def tripled(_: nn.Module, gradients: Any, __: Any) -> tuple[Tensor, ...]:
    """Let three times the gradient go on, as a hook of a module."""
    return (3 * gradients[0],)


@needs_kernels
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("hooked", [True, False])
def test_comparing_leaves_no_trace(training: bool, hooked: bool) -> None:
    """Mode, weights, gradients and the global stream stay, also where the answer is that gradients differ."""
    model = Functional().train(training)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    weights = copy.deepcopy(model.state_dict())
    if hooked:
        model.conv2.register_full_backward_hook(tripled)
    network = network_of(model, SHAPE)
    stream = torch.random.get_rng_state()
    expected = "its gradients of `conv1.weight` differ from torch's" if hooked else None
    assert difference(model, network, 3) == expected
    assert torch.equal(stream, torch.random.get_rng_state())
    assert all(module.training is training for module in model.modules())
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, weights[name]), name
        assert parameter.grad is not None and (parameter.grad == 0.5).all(), name


def recipe_of(config: ModelConfig) -> Recipe:
    return Recipe.parse(
        {
            "data": {"name": "digits"},
            "model": {"name": config.name},
            "optim": {"lr": 0.1},
            "train": {"epochs": 1},
        }
    )


@needs_kernels
def test_a_model_is_compared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(config_of(tmp_path, FORWARDS["served"][0]))
    assert refuses(recipe, SHAPE, 3) is None
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it was compared before"))
    assert refuses(recipe, SHAPE, 3) is None


@needs_kernels
def test_a_model_is_compared_anew_once_its_code_is_another(tmp_path: Path) -> None:
    """As in a notebook: one process, before and after the file was edited."""
    recipe = recipe_of(config_of(tmp_path, FORWARDS["served"][0]))
    assert refuses(recipe, SHAPE, 3) is None
    config_of(tmp_path, FORWARDS["outputs of its own"][0])
    assert refuses(recipe, SHAPE, 3) == FORWARDS["outputs of its own"][1]
    (tmp_path / "x.py").unlink()
    assert refuses(recipe, SHAPE, 3) == "the network cannot be built"


@needs_kernels
def test_a_comparison_that_takes_too_long_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the engine, and with it what counts as finished, would depend on what else the machine is at."""
    recipe = recipe_of(config_of(tmp_path, FORWARDS["served"][0]))
    with monkeypatch.context() as patch:
        patch.setattr(native, "LONGEST_S", 0.01)
        for _ in range(2):
            with pytest.raises(
                ConfigError,
                match=r"built and compared with the native engine's kernels within 0.01 s, but .*x\.py:Net` took longer"
                r".* `train.engine = .torch.` .*--engine torch",
            ) as told:
                choose(recipe, SHAPE, 3)
        assert told.value.exit_status == 2
        asked = recipe.with_factors({"train.engine": "torch"})
        assert choose(asked, SHAPE, 3).entry.name == choose(recipe, SHAPE, 3, "torch").entry.name == "torch"
    assert choose(recipe, SHAPE, 3).entry.name == "native"
