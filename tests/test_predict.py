"""Trained models in use: what a file says of itself, images prepared as the reader does, probabilities, refusals."""

from __future__ import annotations

import dataclasses
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import paribus
from data_files import arrays, picture, write_files, write_idx
from paribus.config import DataConfig
from paribus.data import load_data
from paribus.errors import ConfigError, DataError, ModelError, ParibusError, StoreError, WeightsError
from paribus.predict import Classified, NegativeWarning, Preparation, TrainedModel
from paribus.predict.classified import probabilities_of
from paribus.store import ModelHeader, Results, read_model, write_model
from paribus.testing.datasets import easy_dataset
from pretrained import write_weights
from trained_models import LENET, trained

NET = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, image_shape, num_classes, width=4):
        super().__init__(nn.Conv2d(1, width, 5, 2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(num_classes))
"""
EASY = easy_dataset()
TUNED: dict[str, Any] = {
    "data": {"name": "easy", "val": 100},
    "optim": {"name": "sgd", "lr": 0.005, "momentum": 0.9},
    "train": {"epochs": 1, "batch_size": 32},
}
SOLVED: dict[str, Any] = {"data": {"name": "easy", "val": 100}, "optim": {"name": "lbfgs"}, "train": {"epochs": 1}}


@pytest.fixture(scope="module")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of LeNet-5 on digits."""
    return trained(tmp_path_factory.mktemp("result") / "small", LENET)


@pytest.fixture(scope="module")
def model(lenet: Path) -> TrainedModel:
    return paribus.load(lenet)


def pretrained(folder: Path, recipe: dict[str, Any], engine: str, **options: Any) -> Path:
    folder.mkdir(exist_ok=True)
    weights = str(write_weights(folder))
    chosen = {"name": "pretrained", "weights": weights, "input": 24, **options}
    return trained(folder / "result", recipe | {"model": chosen}, engine, EASY)


# What is stored, and what comes back.


@pytest.mark.parametrize("engine", ["torch", "native"])
def test_a_loaded_model_says_what_the_run_said_of_the_test_images(tmp_path: Path, engine: str) -> None:
    folder = trained(tmp_path / "small", LENET, engine)
    (run,) = Results.open(tmp_path / "small").runs("control")
    loaded, file_alone = paribus.load(str(folder)), paribus.load(folder / "model.safetensors")
    test = load_data("digits", size=28, pad=2).test
    tolerance = 0 if engine == "torch" else 2e-5
    np.testing.assert_allclose(loaded.logits(test.images), run.predictions().logits, atol=tolerance, rtol=0)
    assert np.array_equal(loaded.logits(test.images), file_alone.logits(test.images))
    assert (loaded.arm, loaded.seed, loaded.header.experiment) == ("control", 0, "small")
    assert loaded.recipe.model.options["activation"] == "relu"
    assert loaded.class_names == tuple("0123456789") and loaded.image_shape == (1, 32, 32)
    assert not loaded.network.training and loaded.header.engine == f"{engine}-1"


def test_the_module_from_pixels_gives_the_same(model: TrainedModel) -> None:
    images = load_data("digits", size=28, pad=2).test.images[:40]
    module = model.module()
    with torch.inference_mode():
        for pixels in (torch.from_numpy(images), torch.from_numpy(images).float()):
            np.testing.assert_allclose(module(pixels).numpy(), model.logits(images), atol=1e-5)


def test_the_temperature_divides_logits_before_they_are_probabilities(model: TrainedModel, tmp_path: Path) -> None:
    images = load_data("digits", size=28, pad=2).test.images[:40]
    for temperature in (None, 2.5):
        changed = paribus.load(rewritten(model, tmp_path, temperature=temperature))
        assert changed.temperature == temperature
        wanted = torch.softmax(torch.from_numpy(model.logits(images)) / (temperature or 1), dim=1)
        np.testing.assert_allclose(changed.predict(images).probabilities, wanted, atol=1e-6)


def rewritten(model: TrainedModel, folder: Path, **changes: Any) -> Path:
    """The same weights with another header."""
    path = folder / "changed.safetensors"
    header = ModelHeader.from_text(json.dumps(json.loads(model.header.to_text()) | changes), path)
    write_model(path, header, {name: tensor.numpy() for name, tensor in model.network.state_dict().items()})
    return path


@pytest.mark.parametrize("train", ["all", "stages-1", "head"])
def test_a_fine_tuned_network_needs_no_file_but_its_own(tmp_path: Path, fresh_cache: Path, train: str) -> None:
    folder = pretrained(tmp_path / "weights", TUNED, "torch", train=train)
    shutil.move(folder / "model.safetensors", tmp_path / "alone.safetensors")
    (run,) = Results.open(tmp_path / "weights" / "result").runs("control")
    (tmp_path / "weights" / "tiny.json").unlink()
    loaded = paribus.load(tmp_path / "alone.safetensors")
    np.testing.assert_allclose(loaded.logits(EASY.test.images), run.predictions().logits, atol=1e-5)
    assert loaded.header.mean == pytest.approx((127.5, 102.0, 76.5)) and loaded.image_shape == EASY.image_shape


def test_a_solved_head_finds_its_backbone_as_in_training(tmp_path: Path, fresh_cache: Path) -> None:
    folder = pretrained(tmp_path / "weights", SOLVED, "features", strength=0.1)
    (run,) = Results.open(tmp_path / "weights" / "result").runs("control")
    loaded = paribus.load(folder)
    np.testing.assert_allclose(loaded.logits(EASY.test.images), run.predictions().logits, atol=1e-3)
    assert np.array_equal(loaded.predict(EASY.test.images).classes, run.predictions().classes)
    sidecar = tmp_path / "weights" / "tiny.json"
    content = sidecar.read_text()
    sidecar.write_text(content.replace("0.5", "0.6"))
    with pytest.raises(ModelError, match=r"must be those that the head was solved for, but they are others by now"):
        paribus.load(folder)
    sidecar.unlink()
    with pytest.raises(WeightsError, match=r"must be the path of a weights file's JSON sidecar, .* but there is none"):
        paribus.load(folder)


def test_a_baseline_is_no_model(tmp_path: Path, fresh_cache: Path) -> None:
    folder = pretrained(tmp_path / "weights", SOLVED, "features", head="nearest")
    with pytest.raises(StoreError, match="or a baseline, which is only compared with"):
        paribus.load(folder)


def test_a_class_of_the_users_is_found_as_for_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET.replace("nn.LazyLinear(num_classes)", "nn.Linear(width * 144, num_classes)"))
    recipe = TUNED | {"model": {"name": "net.py:Net", "width": 3}}
    folder = trained(tmp_path / "result", recipe, "torch", EASY)
    (run,) = Results.open(tmp_path / "result").runs("control")
    assert np.array_equal(paribus.load(folder).logits(EASY.test.images), run.predictions().logits)
    Path("net.py").write_text(Path("net.py").read_text() + "# changed")
    with pytest.raises(ModelError, match=r"`net.py:Net` must be as it was when the network was trained, but its file"):
        paribus.load(folder)
    Path("net.py").unlink()
    with pytest.raises(ModelError, match=r"must name a Python file that exists, but there is no `net.py`"):
        paribus.load(folder)


# Images as the reader prepares them.


def prepared_like(dataset: Any, data: dict[str, Any]) -> Preparation:
    return Preparation.of(DataConfig.parse({"name": "x", **data}), dataset.image_shape)


@pytest.mark.parametrize("data", [{}, {"pad": 3}, {"size": 9}, {"size": 4, "pad": 1}])
def test_a_png_of_an_idx_image_is_prepared_as_the_reader_does(
    tmp_path: Path, fresh_cache: Path, data: dict[str, Any]
) -> None:
    made = arrays(side=6)
    dataset = load_data(write_idx(tmp_path / "idx", made), **data)
    preparation = prepared_like(dataset, data)
    for raw, wanted in zip(made["x_test"], dataset.test.images, strict=True):
        file = tmp_path / "image.png"
        file.write_bytes(picture(raw))
        colours = np.repeat(raw[..., None], 3, axis=2)
        for source in (file, str(file), picture(raw), raw, raw[..., None], Image.fromarray(raw), colours):
            assert np.array_equal(preparation.prepare(source), wanted)


@pytest.mark.parametrize(
    "data", [{"size": 24}, {"size": 24, "fit": "crop"}, {"size": 24, "fit": "crop", "pad": 2}, {"size": 70}]
)
def test_photos_are_prepared_as_the_reader_does(tmp_path: Path, fresh_cache: Path, data: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {}
    for name in ("cat", "dog"):
        for number in range(6):
            pixels = rng.integers(0, 256, (6, 5 + number, 3), dtype=np.uint8).repeat(40, axis=0).repeat(31, axis=1)
            files[f"{name}/{number}.jpg"] = picture(pixels, "jpeg", exif=exif)
            files[f"{name}/{number}.png"] = picture(pixels[..., 0] if number % 2 else pixels)
    source = write_files(tmp_path / "photos", files)
    dataset = load_data(source, test=0.3, **data)
    preparation = prepared_like(dataset, data)
    found = {preparation.prepare(source / name).tobytes() for name in files}
    wanted = [image.tobytes() for image in (*dataset.train.images, *dataset.test.images)]
    assert len(wanted) == len(files) and found == set(wanted)


def test_colours_become_grey_where_the_network_sees_grey() -> None:
    preparation = Preparation((1, 4, 4), "squash", 0, resizes=False)
    red = np.zeros((4, 4, 3), dtype=np.uint8)
    red[..., 0] = 200
    assert np.array_equal(preparation.prepare(red), np.full((1, 4, 4), 60))


def test_a_border_stays_black_where_black_and_white_change_places() -> None:
    preparation = Preparation((1, 6, 6), "squash", 1, resizes=False)
    ink = np.full((4, 4), 255, dtype=np.uint8)
    ink[1, 2] = 0
    found = preparation.prepare(ink, invert=True)
    assert found[0, 2, 3] == 255 and found.sum() == 255


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([None, 1, 3]), st.booleans())
def test_any_image_is_prepared_to_the_shape_of_the_network(
    height: int, width: int, channels: int | None, is_grey: bool
) -> None:
    image = np.zeros((height, width) if channels is None else (height, width, channels), dtype=np.uint8)
    shape = (1 if is_grey else 3, 12, 10)
    assert Preparation(shape, "squash", 1, resizes=False).prepare(image).shape == shape


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (np.zeros((4, 4)), r"must be an array \(H, W\) or \(H, W, 1 or 3\) of uint8, 0 to 255, but got float64 \(4, 4"),
        (np.zeros((3, 4, 4), dtype=np.uint8), r"but got uint8 \(3, 4, 4\)"),
        (np.zeros((0, 4), dtype=np.uint8), r"but got uint8 \(0, 4\)"),
        (b"", "the file is empty"),
        (b"GIF89a nothing", "not an image of a known format"),
        (Image.new("F", (3, 3)), "its pixels are floating-point numbers"),
        ("nowhere.png", "A file must exist, but `nowhere.png` does not"),
    ],
)
def test_what_is_no_image_is_refused_with_the_reason(model: TrainedModel, source: Any, text: str) -> None:
    with pytest.raises(DataError, match=text):
        model.prepare(source)


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "data"), [("mnist", {"pad": 2}), ("dogs-vs-cats", {"size": 64, "fit": "crop"})])
def test_real_images_are_prepared_as_the_reader_does(data_folder: Path, name: str, data: dict[str, Any]) -> None:
    if not (data_folder / name).is_dir():
        pytest.skip(f"{data_folder} holds no {name}")
    dataset = load_data(name, data_folder, **data)
    preparation = prepared_like(dataset, data)
    if name == "mnist":
        for image in dataset.test.images[:50]:
            assert np.array_equal(preparation.prepare(picture(image[0, 2:-2, 2:-2])), image)
        return
    files = sorted((data_folder / name / "test" / "cat").iterdir())[:20]
    assert {preparation.prepare(file).tobytes() for file in files} <= {each.tobytes() for each in dataset.test.images}


# Answers.


def test_one_image_or_several_in_every_form(model: TrainedModel, tmp_path: Path) -> None:
    raw = load_data("digits").test.images[:5, 0]
    files = [tmp_path / f"{number}.png" for number in range(5)]
    for file, image in zip(files, raw, strict=True):
        file.write_bytes(picture(image))
    wanted = model.predict(files)
    for images in (map(str, files), [file.read_bytes() for file in files], [Image.open(file) for file in files]):
        assert np.array_equal(model.predict(images).probabilities, wanted.probabilities)
    assert np.array_equal(model.predict(list(raw)).probabilities, wanted.probabilities)
    for one in (files[0], str(files[0]), files[0].read_bytes(), Image.open(files[0]), raw[0]):
        np.testing.assert_allclose(model.predict(one).probabilities, wanted.probabilities[:1], atol=1e-6)


def test_the_most_probable_classes() -> None:
    found = Classified(("a", "b", "c"), np.array([[0.2, 0.7, 0.1], [0.4, 0.2, 0.4]], dtype=np.float32))
    assert found.classes.tolist() == [1, 0] and found.names == ("b", "a") and len(found) == 2
    assert [[name for name, _ in row] for row in found.top(2)] == [["b", "a"], ["a", "c"]]
    assert found.top(1)[0][0][1] == pytest.approx(0.7)
    for wrong in (0, 4):
        with pytest.raises(ConfigError, match=rf"At least 1 and at most 3 classes can be told, .* but got {wrong}"):
            found.top(wrong)


def test_probabilities_of_large_logits_are_no_overflow() -> None:
    found = probabilities_of(np.array([[1e4, 0.0], [-1e4, -1e4]], dtype=np.float32), None)
    assert found.tolist() == [[1.0, 0.0], [0.5, 0.5]] and found.dtype == np.float32


def test_no_images_have_no_classes(model: TrainedModel) -> None:
    assert len(model.predict(np.empty((0, 1, 32, 32), dtype=np.uint8))) == 0


@pytest.mark.parametrize("images", [np.zeros((2, 1, 28, 28), np.uint8), np.zeros((2, 1, 32, 32), np.float32)])
def test_prepared_images_have_the_shape_of_the_network(model: TrainedModel, images: Any) -> None:
    with pytest.raises(DataError, match=r"Prepared images must be uint8 \(N, 1, 32, 32\), but got "):
        model.predict(images)


def test_images_that_look_like_negatives_are_warned_of(model: TrainedModel) -> None:
    raw = load_data("digits").test.images[:, 0]
    prepared = np.stack([model.prepare(image) for image in raw])
    assert not model.negatives(prepared).any()
    with pytest.warns(
        NegativeWarning, match=r"^1 of 2 images is dark on light, but .* trained on light on dark.*--inv"
    ):
        model.predict([255 - raw[0], raw[1]])
    assert model.predict(255 - raw[0], invert=True).classes == model.predict(raw[0]).classes
    assert model.negatives(np.stack([model.prepare(255 - image) for image in raw])).mean() > 0.85


def test_negatives_are_told_only_where_the_training_pixels_are_known(model: TrainedModel, tmp_path: Path) -> None:
    images = np.full((1, 1, 32, 32), 255, dtype=np.uint8)
    assert model.negatives(images).tolist() == [True]
    assert paribus.load(rewritten(model, tmp_path, mean=[100.0])).negatives(images).tolist() == [False]
    light = paribus.load(rewritten(model, tmp_path, mean=[170.0]))
    assert light.negatives(images).tolist() == [False] and light.negatives(255 - images).tolist() == [True]
    assert light.negatives_told(2, 3).startswith("2 of 3 images are light on dark, but the network was trained on dark")


@pytest.mark.real_data
def test_no_mnist_digit_is_taken_for_a_negative(data_folder: Path, model: TrainedModel, tmp_path: Path) -> None:
    if not (data_folder / "mnist").is_dir():
        pytest.skip(f"{data_folder} holds no mnist")
    images = load_data("mnist", data_folder, pad=2).test.images
    of_mnist = paribus.load(rewritten(model, tmp_path, mean=[25.5]))
    assert not of_mnist.negatives(images).any()
    inverted = images.copy()
    inverted[:, :, 2:-2, 2:-2] = 255 - inverted[:, :, 2:-2, 2:-2]
    assert of_mnist.negatives(inverted).all()


# Refusals.


def test_paths_that_are_no_model(lenet: Path, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"")
    (tmp_path / "runs").mkdir()
    for path, error, text in (
        (tmp_path / "nothing", ConfigError, "A model must exist, but `.*nothing` does not. Give a run's folder, or"),
        (tmp_path / "model.pt", ConfigError, r"or a .safetensors or .onnx file that paribus wrote, but got"),
        (
            lenet.parents[2],
            ConfigError,
            r"must be one run, but .* is a whole result. Give a run's folder, such as `.*0`",
        ),
        (tmp_path / "runs", StoreError, r"must be the folder of a finished run, but it holds no `result.json`. Finish"),
    ):
        with pytest.raises(error, match=text):
            paribus.load(path)


def test_a_run_that_is_not_finished_is_refused(lenet: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(lenet, tmp_path / "0")
    (folder / "result.json").unlink()
    with pytest.raises(StoreError, match=r"must be the folder of a finished run, but it holds no `result.json`"):
        paribus.load(folder)


def test_a_run_of_an_earlier_version_says_what_to_do_and_stays_finished(lenet: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(lenet.parents[2], tmp_path / "small")
    run = folder / "runs" / "control" / "0"
    write_model(run / "model.safetensors", None, read_model(lenet / "model.safetensors")[1])
    with pytest.raises(
        StoreError, match=r"trained by an earlier version of paribus, .* train it again: delete the run"
    ):
        paribus.load(run)
    assert len(Results.open(folder).runs("control")) == 1


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "another size": ({"image_shape": [1, 28, 28]}, r"must hold the weights .* but it has other shapes of `fc1.weight`"),
    "too few classes": ({"class_names": list("abc")}, r"has other shapes of `fc3.bias` and `fc3.weight`"),
    "one class": ({"class_names": ["a"]}, r"`class_names`: Tuple should have at least 2 items"),
    "no pixels": ({"image_shape": [1, 0, 32]}, r"`image_shape.1`: Input should be greater than or equal to 1"),
    "huge": ({"image_shape": [1, 1 << 30, 32]}, r"`image_shape.1`: Input should be less than or equal to 4096"),
    "all border": ({"image_shape": [1, 4, 32]}, r"images \(1, 4, 32\) cannot have a border of 2 pixels"),
    "two channels": ({"image_shape": [2, 32, 32]}, r"`image_shape.0`: Input should be 1 or 3"),
    "two means": ({"mean": [1.0, 2.0]}, r"2 means and 1 deviations do not fit images \(1, 32, 32\)"),
    "no spread": ({"std": [0.0]}, r"`std.0`: Input should be greater than 0"),
    "cold": ({"temperature": 0.0}, r"`temperature`: Input should be greater than 0"),
    "a later format": ({"format": 2}, r"`format`: Input should be 1"),
    "an unknown key": ({"licence": "none"}, r"`licence`: Extra inputs are not permitted"),
    "a backbone": ({"backbone": {}}, r"`backbone` goes with the model `pretrained`, and with no other"),
    "an unknown recipe": ({"recipe": {"data": {"name": "x"}, "model": {"name": "lenet6"}}}, "Did you mean `lenet5`"),
    "a number": ({"arm": 3}, r"`arm`: Input should be a valid string"),
}


@pytest.mark.parametrize("lie", LIES)
def test_metadata_that_do_not_fit_are_refused(model: TrainedModel, tmp_path: Path, lie: str) -> None:
    changes, text = LIES[lie]
    with pytest.raises((StoreError, ModelError), match=text):
        paribus.load(rewritten(model, tmp_path, **changes))


def test_a_backbone_that_is_none_is_refused(tmp_path: Path, fresh_cache: Path) -> None:
    folder = pretrained(tmp_path / "weights", TUNED, "torch", train="all")
    loaded = paribus.load(folder)
    backbone = dict(loaded.header.backbone or {})
    with pytest.raises(
        WeightsError, match=r"from which weights it began, but its `num_classes` is not valid: Field req"
    ):
        paribus.load(rewritten(loaded, tmp_path, backbone={k: v for k, v in backbone.items() if k != "num_classes"}))
    with pytest.raises(WeightsError, match=r"must be an architecture of timm, but got `test_resnot`"):
        paribus.load(rewritten(loaded, tmp_path, backbone=backbone | {"architecture": "test_resnot"}))


def test_weights_that_are_not_finite_are_refused(model: TrainedModel, lenet: Path, tmp_path: Path) -> None:
    header, weights = read_model(lenet / "model.safetensors")
    broken = dict(weights) | {"fc3.bias": np.full_like(weights["fc3.bias"], np.nan)}
    write_model(tmp_path / "broken.safetensors", header, broken)
    with pytest.raises(ModelError, match=r"must be finite, but `fc3.bias` are not: the run has diverged"):
        paribus.load(tmp_path / "broken.safetensors")
    huge = {name: array * np.float32(1e30) for name, array in weights.items()}
    write_model(tmp_path / "huge.safetensors", header, huge)
    with pytest.raises(ModelError, match=r"Logits must be finite, but those of 2 images are not"):
        paribus.load(tmp_path / "huge.safetensors").predict(np.full((2, 1, 32, 32), 255, dtype=np.uint8))


@given(st.data())
def test_a_damaged_file_is_refused_in_words(lenet: Path, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Cut off, or with bytes changed in its header: never a crash, never another network in silence."""
    content = bytearray((lenet / "model.safetensors").read_bytes())
    (header_size,) = struct.unpack("<Q", content[:8])
    if data.draw(st.booleans()):
        damaged = bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, 8 + header_size - 1))] = data.draw(st.integers(0, 255))
        damaged = bytes(content)
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    path.write_bytes(damaged)
    try:
        loaded = paribus.load(path)
    except ParibusError as error:
        assert str(path) in str(error) or "`" in str(error)
    else:
        assert loaded.image_shape == (1, 32, 32) and len(loaded.class_names) == 10


def test_names_with_odd_characters_come_back_as_they_were(tmp_path: Path) -> None:
    names = ('=1+1", x', "a\nb", "\u202e\x1b[31m", "日本")
    folder = trained(
        tmp_path / "small", TUNED | {"model": {"name": "lenet5"}}, "torch", dataclasses.replace(EASY, class_names=names)
    )
    assert paribus.load(folder).class_names == names
