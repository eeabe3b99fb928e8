"""Probes against numpy, autograd and hand computation; that they cost no bit, and never see the test set."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from paribus import probes
from paribus.augment import rotate
from paribus.batches import Batches, Normalisation
from paribus.config import Recipe
from paribus.data.dataset import Dataset, Split
from paribus.engines import Event, RunEnd, torch_engine
from paribus.engines.torch_engine import TorchEngine, TorchRun
from paribus.experiment import RunSpec
from paribus.models import build_model
from paribus.probes import layer_gradient_norms, probe, shift
from paribus.store import Checkpoint, EpochRecord, LayerProbe, Probes, Results
from paribus.testing.engines import DATASET, check_engine, fit_one, spec_for
from paribus.testing.synthetic import example_experiment

SAME = Normalisation(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))


def random_split(count: int, size: int = 8, classes: int = 4, seed: int = 0) -> Split:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 1, size, size), dtype=np.uint8)
    return Split(images, generator.integers(0, classes, count, dtype=np.int64))


def recipe(**tables: dict[str, Any]) -> Recipe:
    base: dict[str, dict[str, Any]] = {
        "data": {"name": "easy", "val": 40},
        "model": {"name": "lenet5"},
        "optim": {"lr": 0.05, "momentum": 0.9},
        "train": {"epochs": 2, "batch_size": 32},
    }
    return Recipe.parse(base | tables)


@pytest.mark.parametrize(("right", "down"), [(1, 0), (-1, 0), (0, 2), (0, -2), (2, -1)])
def test_a_shift_is_numpys_roll_with_black_at_the_border(right: int, down: int) -> None:
    images = random_split(3).images.astype(np.float32)
    rolled = np.roll(images, (down, right), axis=(2, 3))
    rolled[:, :, : max(down, 0)] = 0
    rolled[:, :, 8 + min(down, 0) :] = 0
    rolled[:, :, :, : max(right, 0)] = 0
    rolled[:, :, :, 8 + min(right, 0) :] = 0
    assert np.array_equal(shift(torch.from_numpy(images), right, down).numpy(), rolled)


def test_rotation_is_exact_for_quarter_turns_and_counter_clockwise() -> None:
    images = torch.from_numpy(random_split(2).images.astype(np.float32))
    torch.testing.assert_close(rotate(images, 90), images.rot90(1, (2, 3)), rtol=0, atol=1e-2)
    torch.testing.assert_close(rotate(images, -90), images.rot90(-1, (2, 3)), rtol=0, atol=1e-2)


class Recorder(nn.Module):
    """Answers class 0 and keeps the images that it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shown.append(x.clone())
        return functional.one_hot(torch.zeros(len(x), dtype=torch.int64), 4).float()


def test_every_image_is_seen_as_it_is_shifted_and_rotated_before_normalising() -> None:
    split, recorder = random_split(40), Recorder()
    probe(recorder, Batches(split), Normalisation(SAME.mean + 50, SAME.std * 2), None)
    pixels = [2 * batch + 50 for batch in recorder.shown]
    original = torch.from_numpy(split.images).float()
    assert torch.equal(pixels[0], original)
    ways = [(1, 0), (-1, 0), (0, 1), (0, -1)]
    expected = [shift(original, far * x, far * y) for far in (1, 2) for x, y in ways]
    expected += [rotate(original, 10), rotate(original, -10)]
    found = [which_of(some, whole) for some, whole in zip(pixels[1:], expected, strict=True)]
    assert [len(each) for each in found] == [10] * 8 + [20] * 2
    for part in (found[:4], found[4:8], found[8:]):
        assert sorted(index for each in part for index in each) == list(range(40))
    assert found[:4] == found[4:8]


def which_of(some: Tensor, whole: Tensor) -> list[int]:
    """Which images of the whole these are."""
    return [int((whole - each).abs().amax(dim=(1, 2, 3)).argmin()) for each in some]


def test_at_most_a_thousand_images_are_used_evenly_over_val() -> None:
    classes = np.repeat(np.arange(4), 800)
    recorder = Recorder()
    found = probe(recorder, Batches(Split(random_split(3200).images, classes)), SAME, None)
    assert found.images == 1000 and found.accuracy == 0.25
    few = probe(recorder, Batches(random_split(3)), SAME, None)
    assert few.images == 3


class Linear(nn.Module):
    """Logits that are linear in the pixels, with a function between."""

    def __init__(self, scale: float, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weights = nn.Parameter(scale * torch.randn(64, 4, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x.flatten(1) @ self.weights)


@settings(max_examples=25)
@given(st.integers(1, 30), st.floats(0, 10), st.integers(0, 5))
def test_every_figure_is_a_fraction_and_deads_are_at_most_the_units(count: int, scale: float, seed: int) -> None:
    found = probe(Linear(scale, seed), Batches(random_split(count, seed=seed)), SAME, None)
    for name, value in asdict(found).items():
        if isinstance(value, float):
            assert 0 <= value <= 1, name
    assert found.confidence >= 0.25
    (layer,) = found.layers
    assert layer.units == 4 and layer.dead is not None and 0 <= layer.dead <= 4


def test_confidence_and_calibration_are_those_of_the_softmax() -> None:
    split, model = random_split(50), Linear(0.01, 0)
    found = probe(model, Batches(split), SAME, None)
    with torch.no_grad():
        probabilities = model(torch.from_numpy(split.images).float()).double().softmax(1).numpy()
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == split.labels
    assert found.confidence == pytest.approx(confidence.mean())
    assert found.accuracy == correct.mean()
    assert found.calibration_error == pytest.approx(calibration_by_hand(confidence, correct))


def calibration_by_hand(confidence: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_]) -> float:
    error = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return error


def test_gradient_norms_by_layer_are_those_of_autograd_by_hand() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Sequential(nn.Tanh(), nn.Linear(2, 2, bias=False)), nn.Linear(2, 2))
    model.get_parameter("2.weight").requires_grad_(False)
    x, labels = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 1, 1])
    loss = functional.cross_entropy(model(x), labels)
    owned = {"0": ["0.weight", "0.bias"], "1.1": ["1.1.weight"], "2": ["2.bias"]}
    gradients = {
        layer: torch.autograd.grad(loss, [model.get_parameter(name) for name in names], retain_graph=True)
        for layer, names in owned.items()
    }
    loss.backward()
    found = layer_gradient_norms(model)
    assert found is not None and list(found) == list(owned)
    for layer, parts in gradients.items():
        assert found[layer] == pytest.approx(sum(float((part**2).sum()) for part in parts) ** 0.5)


def test_gradient_norms_count_a_shared_weight_once_and_name_the_network_itself() -> None:
    model = Linear(1.0, 0)
    model.again = nn.Linear(1, 1, bias=False)
    model.again.weight = model.weights
    model.weights.grad = torch.full((64, 4), 2.0)
    found = layer_gradient_norms(model)
    assert found is not None and found == pytest.approx({"(model)": 32.0})


def test_gradient_norms_are_none_where_one_is_not_finite() -> None:
    model = nn.Linear(1, 1)
    model.weight.grad = torch.full((1, 1), torch.inf)
    assert layer_gradient_norms(model) is None
    assert layer_gradient_norms(nn.Linear(1, 1)) == {}


@pytest.mark.parametrize("model", [{"name": "lenet5", "dropout": 0.5}, {"name": "charcnn", "width": 4}])
def test_the_gradients_at_the_start_are_those_of_the_first_step(model: dict[str, Any]) -> None:
    """An epoch of one step ends with the gradients that it began with."""
    chosen = recipe(model=model, train={"epochs": 1, "batch_size": 500, "label_smoothing": 0.1}, augment={"shift": 1.0})
    epochs, end = fit_one(TorchEngine(), spec_for(chosen))
    assert end.probes is not None
    assert end.probes.gradient_norms_at_start == epochs[0].record.layer_gradient_norms


def test_the_gradients_at_the_end_of_an_epoch_are_those_of_its_last_step() -> None:
    chosen = recipe(train={"epochs": 1, "batch_size": 150})
    epochs, _ = fit_one(TorchEngine(), spec_for(chosen))
    run = TorchRun(spec_for(chosen), DATASET)
    run.epoch(1)
    by_hand = {
        name: sum(float((p.grad.double() ** 2).sum()) for p in layer.parameters() if p.grad is not None) ** 0.5
        for name, layer in run.model.named_children()
        if list(layer.parameters())
    }
    assert epochs[0].record.layer_gradient_norms == pytest.approx(by_hand)
    assert list(by_hand) == ["conv1", "conv2", "fc1", "fc2", "fc3"]


@pytest.mark.parametrize("keep", ["last", "best"])
def test_probes_are_of_the_kept_weights(keep: str) -> None:
    chosen = recipe(train={"epochs": 4, "batch_size": 32, "keep": keep}, optim={"lr": 0.3, "momentum": 0.9})
    epochs, end = fit_one(TorchEngine(), spec_for(chosen))
    assert end.probes is not None
    assert end.probes.accuracy == epochs[end.result.epoch_kept - 1].record.val_accuracy


def test_the_store_gives_back_what_the_engine_measured(tmp_path: Path) -> None:
    experiment = example_experiment(1, 1)
    results = Results.create(tmp_path / "result", experiment, {})
    spec = replace(spec_for(recipe()), arm="control", recipe=experiment.control)
    epochs, end = fit_one(TorchEngine(), spec_for(recipe()))
    writer = results.begin(spec)
    for event in epochs:
        writer.epoch(event.record, event.seconds, event.state)
    writer.finish(end.result, end.predictions, end.weights, end.probes)
    (run,) = results.runs("control")
    assert end.probes is not None and run.probes() == end.probes
    assert [record.layer_gradient_norms for record in run.epochs] == [e.record.layer_gradient_norms for e in epochs]


def test_a_diverged_run_has_no_probes_and_no_gradient_norms_at_its_end() -> None:
    chosen = recipe(optim={"lr": 1e9}, model={"name": "lenet5", "activation": "relu"})
    epochs, end = fit_one(TorchEngine(), spec_for(chosen))
    assert end.result.status == "diverged"
    assert end.probes is None
    assert epochs[-1].record.layer_gradient_norms is None


def test_probing_changes_no_bit_of_weights_records_or_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_for(recipe(model={"name": "charcnn", "width": 4, "dropout": 0.3}, augment={"rotate": 5.0}))
    epochs, end = fit_one(TorchEngine(), spec)

    def no_probes(*_: object) -> Probes | None:
        return None

    monkeypatch.setattr(torch_engine, "layer_gradient_norms", no_probes)
    monkeypatch.setattr(TorchRun, "probes", no_probes)
    plain_epochs, plain = fit_one(TorchEngine(), spec)
    assert end.probes is not None and plain.probes is None
    assert [without_layers(e.record) for e in epochs] == [e.record for e in plain_epochs]
    assert np.array_equal(end.predictions.logits, plain.predictions.logits)
    assert all(np.array_equal(array, plain.weights[name]) for name, array in end.weights.items())


def without_layers(record: EpochRecord) -> EpochRecord:
    assert record.layer_gradient_norms
    return replace(record, layer_gradient_norms=None)


class Flawed(TorchEngine):
    """The torch engine with probes made wrong."""

    def __init__(self, change: Callable[[Probes, Dataset], Probes]) -> None:
        self.change = change

    def fit(self, pack: Sequence[RunSpec], dataset: Dataset, checkpoints: Mapping[str, Checkpoint]) -> Iterator[Event]:
        for event in super().fit(pack, dataset, checkpoints):
            if isinstance(event, RunEnd) and event.probes is not None:
                yield replace(event, probes=self.change(event.probes, dataset))
            else:
                yield event


FLAWS: dict[str, tuple[Callable[[Probes, Dataset], Probes], str]] = {
    "of all images": (lambda p, _: replace(p, images=240), "must use the validation images"),
    "of other images": (lambda p, _: replace(p, accuracy=p.accuracy / 2), "validation accuracy of the kept epoch"),
    "percent": (lambda p, _: replace(p, confidence=90.0), "`confidence` of the probes must be a fraction"),
    "of test": (
        lambda p, data: replace(p, calibration_error=float(data.test.images.mean() / 255)),
        "other test images must not change what is probed",
    ),
    "too many dead": (
        lambda p, _: replace(p, layers=(LayerProbe("a", "relu", 3, 4, None),)),
        "`a` must not have more dead units than units",
    ),
    "dead and saturated": (
        lambda p, _: replace(p, layers=(LayerProbe("a", "relu", 3, 0, 0.5),)),
        "`a` must have dead units or saturation",
    ),
    "too saturated": (
        lambda p, _: replace(p, layers=(LayerProbe("a", "tanh", 3, None, 1.5),)),
        "the saturated share of `a` must be a fraction",
    ),
}


@pytest.mark.parametrize("name", FLAWS)
def test_the_conformance_suite_finds_probes_that_cannot_be(name: str) -> None:
    change, message = FLAWS[name]
    with pytest.raises(AssertionError, match=re.escape(message)):
        check_engine(Flawed(change), recipe(train={"epochs": 3, "batch_size": 32}))


def test_the_conformance_suite_accepts_an_engine_without_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TorchRun, "probes", lambda _: None)
    check_engine(TorchEngine(), recipe(train={"epochs": 3, "batch_size": 32}))


def test_probing_leaves_the_network_and_the_global_stream_as_they_were() -> None:
    model = build_model(recipe(model={"name": "charcnn"}).model, (1, 8, 8), 4, 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stream = torch.random.get_rng_state()
    first = probe(model, Batches(random_split(30)), SAME, None)
    torch.manual_seed(77)
    assert probe(model, Batches(random_split(30)), SAME, None) == first
    torch.random.set_rng_state(stream)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_probes_do_not_load_torchs_compiler() -> None:
    """It takes more than a second, which every worker would spend."""
    code = (
        "import sys, torch; from paribus.activations import watch; from torch import nn\n"
        "model = nn.Sequential(nn.ReLU())\n"
        "with torch.inference_mode(), watch(model) as seen: model(torch.zeros(2, 2))\n"
        "sys.exit(seen.probes()[0].dead != 2 or 'torch._dynamo' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_directions_are_the_same_for_every_run_and_not_those_of_the_classes() -> None:
    """Labels that repeat every four images must not decide which way an image is moved."""
    split = random_split(40)
    recorder = Recorder()
    probe(recorder, Batches(split), SAME, None)
    again = Recorder()
    probe(again, Batches(split), SAME, None)
    assert all(torch.equal(one, other) for one, other in zip(recorder.shown, again.shown, strict=True))
    moved = which_of(recorder.shown[1], shift(torch.from_numpy(split.images).float(), 1, 0))
    assert len({index % 4 for index in moved}) > 1
    assert probes.DIRECTIONS[0] == (1, 0)
