"""Networks: the paper's counts, initialisation by seed and layer, users' classes, and the shipped conformance suite."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from paribus.config import Activation, ModelConfig, Pooling
from paribus.errors import ModelError
from paribus.models import MODELS, build_model, model_code_digest
from paribus.models.build import _initialise
from paribus.models.layers import ACTIVATIONS, ScaledTanh, TrainableSubsampling
from paribus.models.lenet5_1998 import TABLE, LeNet5Of1998, TableConvolution
from paribus.testing.models import check_model

GREY = (1, 32, 32)
POOLINGS = get_args(Pooling)
OPTIONS: list[dict[str, Any]] = [
    *({"name": "lenet5", "activation": activation} for activation in ACTIVATIONS),
    *({"name": "lenet5", "pooling": pooling} for pooling in POOLINGS),
    {"name": "lenet5", "dropout": 0.5},
    *({"name": "lenet5-1998", "activation": activation} for activation in ACTIVATIONS),
    *({"name": "lenet5-1998", "pooling": pooling} for pooling in POOLINGS),
    {"name": "charcnn"},
    {"name": "charcnn", "width": 8, "dropout": 0.0},
]


def build(name: str, seed: int = 0, shape: tuple[int, int, int] = GREY, classes: int = 10, **options: Any) -> nn.Module:
    return build_model(ModelConfig.model_validate({"name": name, **options}), shape, classes, seed)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_every_activation_has_a_layer() -> None:
    assert set(ACTIVATIONS) == set(get_args(Activation))


# The conformance suite, and that it has teeth.


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
def test_every_built_in_model_conforms(options: dict[str, Any]) -> None:
    check_model(lambda seed: build(seed=seed, **options), GREY, 10)


@pytest.mark.parametrize("shape", [(3, 28, 28), (1, 29, 40), (3, 64, 33)])
@pytest.mark.parametrize("name", ["lenet5", "charcnn"])
def test_other_shapes_and_classes_conform(name: str, shape: tuple[int, int, int]) -> None:
    check_model(lambda seed: build(name, seed, shape, 46), shape, 46)


class Wrong(nn.Module):
    """A network that breaks one rule."""

    seen: Tensor

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault, self.calls = fault, 0
        self.fc1, self.fc2 = nn.Linear(16, 8), nn.Linear(8, 4)
        self.unused = nn.Linear(2, 2) if fault == "unused" else None
        self.register_buffer("seen", torch.zeros(()))
        self.hidden = torch.randn(4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc2(torch.tanh(self.fc1(x.flatten(1))))
        self.calls += 1
        faults = {
            "shape": lambda: logits[:, :3],
            "dtype": lambda: logits.half().to(torch.float16),
            "nan": lambda: logits / 0,
            "twice": lambda: logits + self.calls,
            "batch": lambda: logits - logits.mean(dim=0),
            "hidden": lambda: logits + self.hidden,
            "gradient": lambda: logits + torch.sqrt(self.fc2.bias * 0),
            "tanh": lambda: torch.tanh(logits),
            "relu": lambda: torch.relu(logits),
            "softmax": lambda: torch.softmax(logits, dim=1),
        }
        if self.fault == "buffer":
            self.seen += 1
        return faults[self.fault]() if self.fault in faults else logits


def build_wrong(fault: str, seed: int) -> nn.Module:
    if fault == "global-draws":
        return Wrong()
    with torch.random.fork_rng(devices=[]):
        if fault != "unseeded":
            torch.default_generator.manual_seed(0 if fault == "one-seed" else seed)
        return Wrong(fault)


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("global-draws", "Building must leave torch's global stream as it was."),
        ("unseeded", "The same seed must give the same weights"),
        ("one-seed", "Another seed must give other weights."),
        ("shape", r"Logits must have the shape \(16, 4\), but got \(16, 3\)."),
        ("dtype", "Logits must be float32, but got torch.float16."),
        ("nan", "Logits must be finite on normal images."),
        ("unused", "The gradient must reach every parameter, but not `unused.weight`."),
        ("gradient", "Gradients must be finite, but that of `fc2.bias` is not."),
        ("twice", "Evaluation must give the same logits twice."),
        ("buffer", "Evaluation must not change parameters or buffers."),
        ("batch", "Evaluation must treat each image alone"),
        ("hidden", "`state_dict` must hold all that decides the logits"),
        ("tanh", r"Logits must not be squashed, but they all lie in \[-1, 1\]."),
        ("softmax", r"Logits must not be squashed, but they all lie in \[-1, 1\]."),
        ("relu", "Logits must not pass through an activation, but none is negative."),
    ],
)
def test_the_suite_names_each_fault(fault: str, rule: str) -> None:
    with pytest.raises(AssertionError, match=rule):
        check_model(lambda seed: build_wrong(fault, seed), (1, 4, 4), 4)


def test_the_suite_passes_a_sound_network_of_the_users() -> None:
    check_model(lambda seed: build_wrong("", seed), (1, 4, 4), 4)


def test_the_suite_says_nothing_of_outputs_where_scaled_weights_overflow() -> None:
    class Deep(Wrong):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(super().forward(x)) / (self.fc1.weight.abs().max() < 1)

    def build_deep(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return Deep()

    check_model(build_deep, (1, 4, 4), 4)


# The networks.


def test_lenet5_has_61706_parameters() -> None:
    model = build("lenet5")
    assert count(model) == 61_706
    counts = {name: count(layer) for name, layer in model.named_children() if count(layer)}
    assert counts == {"conv1": 156, "conv2": 2_416, "fc1": 48_120, "fc2": 10_164, "fc3": 850}
    assert count(build("lenet5", pooling="trainable")) == 61_706 + 12 + 32


def test_lenet5_ends_in_a_linear_layer() -> None:
    model = build("lenet5", activation="relu")
    outputs: list[Tensor] = []
    model.get_submodule("fc3").register_forward_hook(lambda _layer, _inputs, output: outputs.append(output))
    logits = model(torch.randn(4, *GREY))
    assert torch.equal(logits, outputs[0])


def test_lenet5_of_1998_has_the_papers_counts() -> None:
    model = build("lenet5-1998")
    counts = {name: count(layer) for name, layer in model.named_children() if count(layer)}
    paper = {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164}
    assert counts == {**paper, "output": 850}
    assert sum(paper.values()) == 60_000


def test_c3_is_connected_by_table_i() -> None:
    rows = [  # Table I of the paper: a row for each map of S2, a column for each map of C3.
        "X...XXX..XXXX.XX",
        "XX...XXX..XXXX.X",
        "XXX...XXX..X.XXX",
        ".XXX..XXXX..X.XX",
        "..XXX..XXXX.XX.X",
        "...XXX..XXXX.XXX",
    ]
    for source, row in enumerate(rows):
        assert "".join("X" if source in TABLE[column] else "." for column in range(16)) == row


def test_the_table_convolution_equals_a_convolution_of_each_maps_inputs() -> None:
    layer = TableConvolution()
    x = torch.randn(2, 6, 14, 14)
    kernels = iter(layer.weight)
    expected = []
    for sources, bias in zip(TABLE, layer.bias, strict=True):
        kernel = torch.stack([next(kernels) for _ in sources])[None]
        expected.append(nn.functional.conv2d(x[:, list(sources)], kernel, bias[None]))
    torch.testing.assert_close(layer(x), torch.cat(expected, dim=1))
    bound = torch.tensor([1 / (25 * len(sources)) ** 0.5 for sources in TABLE])
    assert bool((layer.bias.abs() <= bound).all())
    assert layer.weight.abs().max() <= 1 / 75**0.5
    assert layer.weight[-6:].abs().max() <= 1 / 150**0.5


def test_scaled_tanh_maps_one_to_one() -> None:
    x = torch.tensor([-1.0, 0.0, 1.0, 100.0])
    torch.testing.assert_close(ScaledTanh()(x), torch.tensor([-1.0, 0.0, 1.0, 1.7159]), rtol=0, atol=1e-4)


def test_trainable_subsampling_is_coefficient_times_sum_plus_bias_and_begins_as_the_mean() -> None:
    layer, x = TrainableSubsampling(3), torch.randn(2, 3, 7, 6)
    torch.testing.assert_close(layer(x), nn.functional.avg_pool2d(x, 2))
    with torch.no_grad():
        layer.coefficient.copy_(torch.tensor([1.0, 2.0, 3.0]))
        layer.bias.copy_(torch.tensor([0.0, 1.0, 2.0]))
    sums = x[:, :, :6].unfold(2, 2, 2).unfold(3, 2, 2).sum(dim=(4, 5))
    expected = sums * torch.tensor([1.0, 2.0, 3.0])[:, None, None] + torch.tensor([0.0, 1.0, 2.0])[:, None, None]
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("size", [28, 29, 30, 31, 32, 33])
def test_all_poolings_give_one_shape_and_stride_takes_every_second_place(size: int) -> None:
    models = {pooling: build("lenet5", shape=(1, size, size), pooling=pooling) for pooling in POOLINGS}
    assert len({models[pooling].get_parameter("fc1.weight").shape for pooling in POOLINGS}) == 1
    x = torch.randn(2, 1, size, size)
    dense = models["avg"].get_submodule("conv1")(x)
    half = (size - 4) // 2
    strided = models["stride"].get_submodule("pool1")(models["stride"].get_submodule("conv1")(x))
    torch.testing.assert_close(strided, dense[:, :, ::2, ::2][:, :, :half, :half])


def test_charcnn_is_affordable() -> None:
    model, multiply_adds = build("charcnn", classes=46), 0

    def add(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal multiply_adds
        weight = layer.get_parameter("weight")
        multiply_adds += weight[0].numel() * output[0].numel()

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(add)
    model.eval()(torch.zeros(1, *GREY))
    assert 14e6 < multiply_adds < 15e6
    assert count(build("charcnn", classes=46, width=64)) > 3 * count(model)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("lenet5", (1, 27, 32), "`lenet5` needs images of at least 28 x 28 pixels, but got 27 x 32. Set `data.size`"),
        ("lenet5-1998", (1, 28, 28), "`lenet5-1998` needs images of 32 x 32 pixels, as in the paper, but got 28 x 28."),
        ("charcnn", (1, 7, 8), "`charcnn` needs images of at least 8 x 8 pixels, but got 7 x 8."),
    ],
)
def test_images_that_are_too_small_are_refused(name: str, shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(name, shape=shape)


# Initialisation.


FROM_SCRATCH: dict[str, dict[str, Any]] = {
    "pretrained": {"weights": "none", "backbone": "test_resnet", "train": "all", "input": 32}
}


@pytest.mark.parametrize("name", MODELS)
def test_same_seed_same_bits_after_the_global_stream_was_disturbed(name: str) -> None:
    options = FROM_SCRATCH.get(name, {})
    first = build(name, 3, GREY, **options).state_dict()
    torch.rand(11)
    state = torch.get_rng_state()
    second = build(name, 3, GREY, **options).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", MODELS)
def test_another_seed_draws_all_weights_anew(name: str) -> None:
    first, other = (build(name, seed, GREY, **FROM_SCRATCH.get(name, {})) for seed in (3, 4))
    for (key, mine), theirs in zip(first.named_parameters(), other.parameters(), strict=True):
        is_constant = "norm" in key or key.split(".")[0] in ("s2", "s4")
        is_constant |= name == "pretrained" and len(mine.unique()) == 1
        assert torch.equal(mine, theirs) == is_constant, key


CHANGES: list[dict[str, Any]] = [{"pooling": pooling} for pooling in POOLINGS if pooling != "avg"]
CHANGES += [{"activation": "relu"}, {"activation": "tanh"}]


@pytest.mark.parametrize(
    ("name", "change"),
    [("lenet5", {"dropout": 0.5}), *((name, change) for name in ("lenet5", "lenet5-1998") for change in CHANGES)],
)
def test_arms_share_the_weights_of_equal_layers(name: str, change: dict[str, Any]) -> None:
    base, changed = build(name, pooling="avg").state_dict(), build(name, **{"pooling": "avg", **change}).state_dict()
    assert set(base) <= set(changed)
    assert all(torch.equal(base[key], changed[key]) for key in base)


def test_more_classes_leave_the_other_layers_alone() -> None:
    ten, many = build("lenet5").state_dict(), build("lenet5", classes=46).state_dict()
    assert all(torch.equal(ten[key], many[key]) for key in ten if not key.startswith("fc3"))


@pytest.mark.parametrize(("name", "first"), [("lenet5", "conv1"), ("lenet5-1998", "c1"), ("charcnn", "block1")])
def test_colour_images_leave_all_but_the_first_layer_alone(name: str, first: str) -> None:
    grey, colour = build(name).state_dict(), build(name, shape=(3, 32, 32)).state_dict()
    assert all(torch.equal(grey[key], colour[key]) for key in grey if not key.startswith(first))


def test_each_layer_draws_from_the_stream_of_its_name() -> None:
    layers = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    alone = nn.ModuleDict({"b": nn.Linear(3, 3)})
    with torch.random.fork_rng(devices=[]):
        _initialise(layers, 0)
        _initialise(alone, 0)
    weights = {name: layers.get_parameter(f"{name}.weight") for name in ("a", "b")}
    assert not torch.equal(weights["a"], weights["b"])
    assert torch.equal(weights["b"], alone.get_parameter("b.weight"))


def test_layers_begin_by_torchs_own_rule() -> None:
    weight = build("lenet5").get_parameter("fc1.weight")
    assert weight.abs().max().item() == pytest.approx(400**-0.5, rel=0.01)
    assert weight.std().item() == pytest.approx(400**-0.5 / 3**0.5, rel=0.02)


# Users' classes.

USER_FILE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, hidden=8):
        super().__init__()
        if hidden > 100:
            raise ValueError("hidden is too much")
        self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(hidden), nn.Tanh(), nn.Linear(hidden, num_classes))

    def forward(self, x):
        return self.net(x)

class Fixed(nn.Module):
    def __init__(self, kind="logits"):
        super().__init__()
        self.kind, self.fc = kind, nn.Linear(1024, 10)

    def forward(self, x):
        logits = self.fc(x.flatten(1))
        return {"logits": logits, "labels": logits.argmax(1), "few": logits[:, :9], "pair": (logits, x)}[self.kind]

class Frozen(Fixed):
    def __init__(self):
        super().__init__()
        self.requires_grad_(False)

class Shaped(nn.Module):
    def __init__(self, *, image_shape, outputs, **rest):
        super().__init__()
        self.rest, self.fc = rest, nn.Linear(image_shape[0] * image_shape[1] * image_shape[2], outputs)

    def forward(self, x):
        return self.fc(x.flatten(1))

class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 10, 32)

    def forward(self, x):
        return self.conv(x).flatten(1)

def function():
    return None
"""


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    path = tmp_path / "nets.py"
    path.write_text(USER_FILE, encoding="utf-8")
    return path


def test_a_users_class_gets_its_options_and_what_the_data_decide(user_file: Path) -> None:
    model = build(f"{user_file}:Net", hidden=5)
    assert [tuple(parameter.shape) for parameter in model.parameters()] == [(5, 1024), (5,), (10, 5), (10,)]
    assert model.training
    shaped = build(f"{user_file}:Shaped", outputs=10, more=1)
    assert shaped.rest == {"more": 1, "num_classes": 10}


def test_a_users_class_conforms_and_is_initialised_by_seed(user_file: Path) -> None:
    check_model(lambda seed: build(f"{user_file}:Net", seed), GREY, 10)


def test_a_module_on_the_path_serves_like_a_file(user_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(user_file.parent)
    by_file, by_module = build(f"{user_file}:Net", 2), build("nets:Net", 2)
    assert all(torch.equal(a, b) for a, b in zip(by_file.parameters(), by_module.parameters(), strict=True))
    config = ModelConfig.model_validate({"name": "nets:Net"})
    assert model_code_digest(config) == hashlib.sha256(USER_FILE.encode()).hexdigest()


def test_a_class_of_another_file_is_refused(user_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the file that is named is hashed: the class could change, and its runs would still count as current."""
    package = tmp_path / "mine"
    package.mkdir()
    (package / "net.py").write_text(USER_FILE, encoding="utf-8")
    (package / "__init__.py").write_text("from mine.net import Net as Mine\n", encoding="utf-8")
    (tmp_path / "again.py").write_text("from mine import Mine\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        for name in ("mine:Mine", f"{tmp_path / 'again.py'}:Mine"):
            with pytest.raises(
                ModelError,
                match=r"must name a class by the module that defines it, .*:Mine` comes from `mine\.net`.* "
                r"Name it as `mine\.net:Net`",
            ):
                build(name)
        assert type(build("mine.net:Net")).__name__ == type(build(f"{user_file}:Net")).__name__ == "Net"
    finally:
        for name in ("mine", "mine.net"):
            sys.modules.pop(name, None)


def test_the_code_digest_follows_the_file(user_file: Path) -> None:
    config = ModelConfig.model_validate({"name": f"{user_file}:Net"})
    before = model_code_digest(config)
    assert before == hashlib.sha256(USER_FILE.encode()).hexdigest()
    user_file.write_text(USER_FILE + "\n", encoding="utf-8")
    assert model_code_digest(config) != before
    assert model_code_digest(ModelConfig.model_validate({"name": "lenet5"})) is None


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Nett", {}, r"must have the class `Nett`, but has none. Did you mean `Net`\?"),
        ("function", {}, "must name a subclass of torch.nn.Module, but .* is <function"),
        ("Net", {"hiden": 3}, r"Unknown option `model.hiden`. Did you mean `hidden`\? .* takes: num_classes, hidden."),
        ("Wide", {"depth": 3}, "Unknown option `model.depth`. .* takes: none."),
        ("Shaped", {}, "needs the option `model.outputs`, but it is missing. Add it."),
        ("Net", {"hidden": 101}, "its constructor raised ValueError: hidden is too much"),
        ("Wide", {}, r"must take images \(2, 1, 32, 32\), but its forward raised RuntimeError: .*channels.*Mend its f"),
        ("Fixed", {"kind": "pair"}, r"must give logits as one tensor \(2, 10\), but gave tuple."),
        ("Fixed", {"kind": "labels"}, r"must give logits, float \(2, 10\) .* but gave int64 \(2,\)."),
        ("Fixed", {"kind": "few"}, r"for two images and 10 classes, but gave float32 \(2, 9\)."),
        ("Frozen", {}, "must have parameters to train, but none of its 2 requires a gradient. Keep layers"),
    ],
)
def test_a_users_mistake_is_named(user_file: Path, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(f"{user_file}:{name}", **options)


@pytest.mark.parametrize("call", [build, lambda name: model_code_digest(ModelConfig.model_validate({"name": name}))])
def test_a_missing_file_or_module_is_named(call: Any) -> None:
    with pytest.raises(ModelError, match=r"must name a Python file that exists, but there is no `gone/net.py` in `/"):
        call("gone/net.py:Net")
    with pytest.raises(ModelError, match=r"can be imported, but `no_such\.module` raised ModuleNotFoundError: No"):
        call("no_such.module:Net")
    with pytest.raises(ModelError, match="must name a module that can be imported, but there is no `no_such`"):
        call("no_such:Net")
    with pytest.raises(ModelError, match="must name a module that can be imported, but there is no ``"):
        call(":Net")


def test_a_file_that_fails_on_import_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import no_such_package\n", encoding="utf-8")
    with pytest.raises(ModelError, match=r"broken.py` must import without error, but raised ModuleNotFoundError: No"):
        build(f"{path}:Net")


# The table.


def test_the_table_holds_every_name_that_a_recipe_accepts() -> None:
    assert set(MODELS) == set(ModelConfig.options_by_name)
    assert MODELS["lenet5-1998"].load() is LeNet5Of1998


def test_listing_models_and_digesting_code_load_no_torch(user_file: Path) -> None:
    code = (
        "import sys; from paribus.config import ModelConfig; from paribus.models import MODELS, model_code_digest; "
        "print([model.title for model in MODELS.values()]); "
        f"model_code_digest(ModelConfig.model_validate({{'name': {f'{user_file}:Net'!r}}})); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
