"""The native engine: conformance, the torch engine's curves, which engine is chosen and why, building the kernels."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from paribus import engines
from paribus.cli import main
from paribus.config import Activation, DataConfig, OptimConfig, Pooling, Recipe
from paribus.data import load_prepared, prepare
from paribus.engines import native
from paribus.engines.native import build
from paribus.engines.native.chain import chain_of
from paribus.engines.native.engine import NativeEngine
from paribus.engines.native.network import optimizer_of
from paribus.engines.torch_engine import TorchEngine
from paribus.errors import ConfigError
from paribus.models import build_model
from paribus.testing.engines import DATASET, check_engine, fit_one, spec_for

needs_kernels = pytest.mark.skipif(build.missing() is not None, reason=f"no native engine: {build.missing()}")
ROOT = Path(__file__).parents[1]
ACTIVATIONS, POOLINGS = native._KNOWN["activation"], native._KNOWN["pooling"]


def recipe(**tables: dict[str, Any]) -> Recipe:
    base: dict[str, dict[str, Any]] = {
        "data": {"name": "easy", "val": 40},
        "model": {"name": "lenet5"},
        "optim": {"lr": 0.05, "momentum": 0.9},
        "train": {"epochs": 3, "batch_size": 32},
    }
    return Recipe.parse(base | tables)


def train(**keys: Any) -> dict[str, Any]:
    return {"epochs": 3, "batch_size": 32} | keys


VARIANTS = {
    "plain": recipe(),
    "adam": recipe(optim={"name": "adam", "lr": 0.001}),
    "adamw": recipe(optim={"name": "adamw", "lr": 0.001, "weight_decay": 0.01, "betas": [0.8, 0.99]}),
    "rmsprop": recipe(optim={"name": "rmsprop", "lr": 0.0005, "momentum": 0.5}),
    "adagrad": recipe(optim={"name": "adagrad", "lr": 0.01}),
    "nesterov": recipe(optim={"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}),
    "dropout": recipe(model={"name": "lenet5", "dropout": 0.3}),
    "augmented": recipe(augment={"shift": 0.5, "elastic": 0.5}),
    "best": recipe(train=train(keep="best", patience=3)),
    "unshuffled": recipe(train=train(shuffle=False, label_smoothing=0.1)),
    "cosine": recipe(schedule={"name": "cosine", "warmup_epochs": 1.0}),
}


OPTIONS = [("pooling", each) for each in get_args(Pooling)] + [("activation", each) for each in get_args(Activation)]
NAMES = [each for each in get_args(OptimConfig.model_fields["name"].annotation) if each != "lbfgs"]


@needs_kernels
@pytest.mark.parametrize("name", ["lenet5", "lenet5-1998"])
@pytest.mark.parametrize(("option", "value"), OPTIONS)
def test_every_option_is_served_or_refused(name: str, option: str, value: str) -> None:
    chosen = recipe(model={"name": name, option: value})
    if native.refuses(chosen, (1, 32, 32), 10) is None:
        assert chain_of(build_model(chosen.model, (1, 32, 32), 10, seed=0), (1, 32, 32)).layers


@pytest.mark.parametrize("name", NAMES)
def test_every_optimiser_is_served_or_refused(name: str) -> None:
    chosen = recipe(optim={"name": name, "lr": 0.01})
    if native.refuses(chosen, (1, 32, 32), 10) in (None, build.missing()):
        optimizer_of(chosen.optim)


def test_what_there_are_no_kernels_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "OPTIMIZERS", ("adam",))
    assert native.refuses(recipe(), (1, 32, 32), 10) == "its kernels have no sgd"
    chosen = recipe(model={"name": "lenet5", "pooling": "max"}, optim={"name": "adam", "lr": 0.01})
    monkeypatch.setitem(native._KNOWN, "pooling", ("avg",))
    assert native.refuses(chosen, (1, 32, 32), 10) == "its kernels know no pooling `max`"


@needs_kernels
@pytest.mark.parametrize("name", VARIANTS)
def test_conforms(name: str) -> None:
    check_engine(NativeEngine(), VARIANTS[name])


@needs_kernels
def test_conforms_on_three_threads() -> None:
    torch.set_num_threads(3)
    check_engine(NativeEngine(), VARIANTS["plain"])


def require_same_curves(chosen: Recipe, tolerance: float = 1e-3) -> None:
    """Every figure of every epoch, and the logits on test, are the torch engine's but for rounding."""
    by_torch, expected = fit_one(TorchEngine(), spec_for(chosen))
    by_native, given = fit_one(NativeEngine(), spec_for(chosen))
    for one, other in zip(by_native, by_torch, strict=True):
        assert (one.record.epoch, one.record.steps, one.record.lr) == (
            other.record.epoch,
            other.record.steps,
            other.record.lr,
        )
        for key in ("train_loss", "val_loss", "gradient_norm"):
            assert getattr(one.record, key) == pytest.approx(getattr(other.record, key), rel=tolerance), key
        assert one.record.train_accuracy == pytest.approx(other.record.train_accuracy, abs=0.011)
        assert one.record.layer_gradient_norms is not None
        assert one.record.layer_gradient_norms == pytest.approx(other.record.layer_gradient_norms, rel=20 * tolerance)
    assert given.weights.keys() == expected.weights.keys()
    assert np.abs(given.predictions.logits - expected.predictions.logits).max() < 20 * tolerance
    assert given.result.test_accuracy == pytest.approx(expected.result.test_accuracy, abs=0.02)
    assert given.result.parameters == expected.result.parameters


@needs_kernels
@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "dropout"])
def test_curves_are_torchs(name: str) -> None:
    require_same_curves(VARIANTS[name])


@needs_kernels
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_curves_of_every_lenet5(activation: str, pooling: str) -> None:
    model = {"name": "lenet5", "activation": activation, "pooling": pooling}
    require_same_curves(recipe(model=model, optim={"lr": 0.02}, train=train(epochs=1)))


@needs_kernels
@pytest.mark.parametrize("pooling", ["trainable", "stride"])
def test_curves_of_the_lenet5_of_1998(pooling: str) -> None:
    dataset = {"data": {"name": "easy", "val": 40, "pad": 2}}
    chosen = recipe(**dataset, model={"name": "lenet5-1998", "pooling": pooling}, train=train(epochs=2))
    padded = large()
    spec = spec_for(chosen)
    by_torch, by_native = (list(engine.fit([spec], padded, {})) for engine in (TorchEngine(), NativeEngine()))
    for one, other in zip(by_native[:-1], by_torch[:-1], strict=True):
        assert isinstance(one, engines.EpochEnd) and isinstance(other, engines.EpochEnd)
        assert one.record.train_loss == pytest.approx(other.record.train_loss, rel=1e-3)
        assert one.record.val_loss == pytest.approx(other.record.val_loss, rel=1e-3)


def large() -> Any:
    from paribus.testing.datasets import easy_dataset

    return easy_dataset(size=32)


@needs_kernels
def test_300_steps_on_digits_stay_with_torch() -> None:
    """On the embedded scans of handwriting: rounding grows over the steps, and is still below a thousandth."""
    prepared = prepare(DataConfig(name="digits", size=28, val=200))
    dataset = load_prepared(prepared.folder)
    chosen = recipe(data={"name": "digits", "size": 28, "val": 200}, train=train(epochs=8), optim={"lr": 0.05})
    losses = []
    for engine in (TorchEngine(), NativeEngine()):
        events = engine.fit([spec_for(chosen)], dataset, {})
        losses.append([e.record.train_loss for e in events if isinstance(e, engines.EpochEnd)])
    assert len(losses[0]) == 8
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@needs_kernels
def test_a_diverged_run_ends_and_says_so() -> None:
    model = {"name": "lenet5", "activation": "relu"}
    epochs, end = fit_one(NativeEngine(), spec_for(recipe(optim={"lr": 1e9}, model=model)))
    assert len(epochs) < 3
    assert epochs[-1].record.train_loss is None
    assert end.result.status == "diverged"
    assert end.result.test_loss is None
    assert end.result.test_accuracy == 0.0
    assert (end.predictions.classes == -1).all()


@needs_kernels
def test_best_keeps_the_epoch_of_the_lowest_val_loss() -> None:
    chosen = recipe(train=train(epochs=8, keep="best"), optim={"lr": 0.3, "momentum": 0.9})
    epochs, end = fit_one(NativeEngine(), spec_for(chosen))
    losses = [math.inf if e.record.val_loss is None else e.record.val_loss for e in epochs]
    assert end.result.epoch_kept == losses.index(min(losses)) + 1
    for name, array in end.weights.items():
        assert np.array_equal(array, epochs[end.result.epoch_kept - 1].state[f"model/{name}"])


USERS = """
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self, image_shape, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(image_shape[0], 4, 5)
        self.fc = nn.Linear(4 * 12 * 12, num_classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.fc(LAST)
"""


def users(folder: Path, last: str = "x.flatten(1)") -> dict[str, Any]:
    path = folder / "x.py"
    path.write_text(USERS.replace("LAST", last), encoding="utf-8")
    return {"name": f"{path}:Net"}


@needs_kernels
@pytest.mark.parametrize("last", ["x.flatten(1)", "x.view(x.size(0), -1)"], ids=["flatten", "view"])
def test_a_users_chain_trains_as_torch_trains_it(last: str, tmp_path: Path) -> None:
    """Both ways to make rows; `view` refuses maps with channels last, which other networks are faster with."""
    require_same_curves(recipe(model=users(tmp_path, last)))


def choose(chosen: Recipe, wanted: str = "auto") -> tuple[str, str]:
    choice = engines.choose(chosen, DATASET.image_shape, DATASET.num_classes, wanted)
    return choice.entry.name, choice.reason


@needs_kernels
def test_the_fastest_engine_that_can_is_chosen(tmp_path: Path) -> None:
    charcnn = recipe(model={"name": "charcnn"})
    assert choose(recipe()) == ("native", "the fastest that can")
    assert choose(recipe(model={"name": "lenet5-1998"})) == ("native", "the fastest that can")
    assert choose(charcnn) == ("torch", "native cannot, as `charcnn` normalises batches")
    assert choose(recipe(model=users(tmp_path))) == ("native", "the fastest that can")
    (tmp_path / "other").mkdir()
    name, reason = choose(recipe(model=users(tmp_path / "other", "F.silu(x).flatten(1)")))
    assert name == "torch"
    assert reason == "native cannot, as the network is no chain that its kernels know: it calls `silu`"
    assert choose(recipe(), "torch") == ("torch", "--engine asks for it")
    assert choose(recipe(), "native") == ("native", "--engine asks for it")
    assert choose(recipe(train=train(engine="torch"))) == ("torch", "the experiment asks for it")
    assert choose(recipe(train=train(engine="native")), "torch") == ("native", "the experiment asks for it")


LACKS: dict[str, tuple[float | str, str]] = {
    "augment.mixup": (0.2, "its kernels know one class per image, which `augment.mixup` mixes"),
    "train.average": (0.99, "it keeps no `train.average` of weights"),
    "train.precision": ("bfloat16", "its kernels compute in float32"),
}


@pytest.mark.parametrize("factor", LACKS)
def test_what_its_kernels_lack_is_left_to_torch(factor: str) -> None:
    value, lack = LACKS[factor]
    chosen = recipe().with_factors({factor: value})
    assert choose(chosen) == ("torch", f"native cannot, as {lack}")
    with pytest.raises(ConfigError, match=f"The engine native cannot train this recipe, as {lack}"):
        choose(chosen, "native")


def test_a_plan_says_what_the_native_engine_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY.replace('"model.activation" = "relu"', '"train.average" = 0.99'), encoding="utf-8")
    assert main(["plan", str(path), "--out", str(tmp_path / "out")]) == 0
    plan = " ".join(capsys.readouterr().out.split())
    assert "torch-1 trains relu: native cannot, as it keeps no `train.average` of weights." in plan


def test_float16_is_refused_on_a_processor() -> None:
    half = recipe(train=train(precision="float16"))
    with pytest.raises(ConfigError, match=r"torch cannot, as it trains on the CPU, where float16 is slow and"):
        choose(half)
    with pytest.raises(ConfigError, match=r"The engine torch cannot train this recipe, as it trains on the CPU"):
        choose(half, "torch")


def test_an_engine_that_cannot_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"The engine must be one of auto, native, torch, features, but got `nativ`\. Did you"
    ):
        choose(recipe(), "nativ")
    charcnn = recipe(model={"name": "charcnn"}, train=train(engine="native"))
    with pytest.raises(ConfigError, match=r"The engine native cannot train this recipe, as .*Use --engine auto, or"):
        choose(charcnn)


@pytest.fixture(params=["not compiled", "stale", "no stamp"])
def without_kernels(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Take the kernels away, or let them be older than their sources, and return what is to be said."""
    stamp = tmp_path / "kernels.sha256"
    if request.param == "not compiled":
        monkeypatch.setattr(build, "path_of", lambda name: tmp_path / f"kernels_{name}.so")
        return "its kernels were not compiled when paribus was installed, for want of a C++ compiler"
    for name in build.INSTRUCTIONS:
        (tmp_path / f"kernels_{name}.so").touch()
    if request.param == "stale":
        stamp.write_text("of other sources")
    monkeypatch.setattr(build, "path_of", lambda name: tmp_path / f"kernels_{name}.so")
    monkeypatch.setattr(build, "stamp", lambda: stamp)
    return "its kernels are older than their sources; install paribus again, or run make kernels"


def test_without_kernels_torch_serves(without_kernels: str) -> None:
    assert choose(recipe()) == ("torch", f"native cannot, as {without_kernels}")
    with pytest.raises(ConfigError, match="The engine native cannot train this recipe, as its kernels"):
        choose(recipe(), "native")


TINY = """
[experiment]
name = "tiny"
seeds = 1
margin = 0.01
[control]
data = { name = "digits", size = 28, val = 200, train_size = 100 }
model = { name = "lenet5" }
optim = { lr = 0.05 }
train = { epochs = 1, batch_size = 50 }
[[question]]
id = "relu"
asks = "ReLU?"
arms.relu = { "model.activation" = "relu" }
"""


def test_without_kernels_a_plan_and_a_run_say_so_once(
    without_kernels: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    given = [str(path), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main(["plan", *given]) == 0
    plan = " ".join(capsys.readouterr().out.split())
    assert f"torch-1 trains every arm: native cannot, as {without_kernels}." in plan
    assert main(["run", *given]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert told.count(f"The torch engine trains; the native one, which is faster, cannot, as {without_kernels}.") == 1


def test_a_compiler_that_is_not_there_or_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in build.HERE.iterdir()}
    monkeypatch.setenv("CXX", "no-such-compiler --fast")
    with pytest.raises(build.BuildError, match="the compiler `no-such-compiler` cannot be started: No such file"):
        build.compile_kernels()
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(build.BuildError, match=r"`false -O3 .*` failed:"):
        build.compile_kernels()
    monkeypatch.delenv("CXX")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(build.BuildError, match=r"there is no C\+\+ compiler \(looked for c\+\+, g\+\+, clang"):
        build.compile_kernels()
    assert before == {path: path.stat().st_mtime_ns for path in build.HERE.iterdir()}


def test_without_a_compiler_the_wheel_is_built(tmp_path: Path) -> None:
    """It is pure Python then, and kernels of an earlier build stay out of it."""
    pytest.importorskip("hatchling", reason="the package's own build backend is needed")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, source / name)
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (source / "src" / "paribus" / "engines" / "native" / "kernels_portable.so").touch()
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-v", "-w", str(tmp_path)]
    environment = os.environ | {"CXX": "false", "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "The native engine is left out: `false -O3" in done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "paribus/engines/native/kernels/network.cpp" in names
    assert not [name for name in names if name.endswith((".so", ".sha256"))]
