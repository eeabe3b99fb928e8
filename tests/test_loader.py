"""Images for loops of one's own: the same as a run's, deterministic, whole, in any batch and any process."""

from __future__ import annotations

import multiprocessing
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from data_files import picture, write_files
from paribus import Images, Loader, load_data
from paribus.batches import Normalisation
from paribus.config import Recipe
from paribus.data import Dataset, Split, draw
from paribus.engines.torch_engine import TorchRun
from paribus.errors import ConfigError, DataError, ModelError
from paribus.experiment import RunSpec
from paribus.transfer import Preprocessing
from pretrained import SIZE, write_weights

GUIDE = Path(__file__).parents[1] / "docs" / "loader.md"
PHOTO_CHANGES: dict[str, Any] = {"crop_scale": [0.3, 1.0], "hflip": True, "contrast": 0.4, "hue": 0.1}
SHOWN = Preprocessing((SIZE, SIZE), (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


def dataset(count: int = 30, side: int = 40, channels: int = 3, own_val: bool = False) -> Dataset:
    """Random images of three classes; the first bytes of an image are its number and its split's."""
    generator = np.random.default_rng(1)
    splits = {}
    for number, (name, size) in enumerate((("train", count), ("val", 6), ("test", 9))):
        images = generator.integers(0, 256, (size, channels, side, side), dtype=np.uint8)
        images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(size), number
        splits[name] = Split(images, np.arange(size) % 3)
    val = splits["val"] if own_val else None
    return Dataset("made", f"made-{count}-{side}", ("a", "b", "c"), splits["train"], val, splits["test"])


def marks(loader: Loader) -> list[tuple[int, int]]:
    """Which images came, in order, as (split, number)."""
    return [(int(image[0, 0, 1]), int(image[0, 0, 0])) for images, _ in loader for image in images]


def recipe(model: dict[str, Any], **augment: Any) -> Recipe:
    tables = {"data": {"name": "made"}, "optim": {"lr": 0.01}, "train": {"epochs": 2, "batch_size": 7}}
    return Recipe.parse(tables | {"model": model, "augment": augment})


def assert_same_as_run(run: TorchRun, loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare what a run's network is given over two epochs with what a loader gives, to the last bit."""
    seen: list[torch.Tensor] = []
    apply = Normalisation.apply

    def note(normalisation: Normalisation, images: torch.Tensor) -> torch.Tensor:
        seen.append(apply(normalisation, images).clone())
        return seen[-1].clone()

    for epoch in (1, 2):
        seen.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Normalisation, "apply", note)
            run.pass_over_train(epoch)
        given = list(loader)
        assert len(seen) == len(given) == len(loader) > 1
        for of_run, indices, (images, labels) in zip(seen, run.batches(epoch), given, strict=True):
            assert torch.equal(of_run, images) and torch.equal(run.train.labels[indices], labels)


@pytest.mark.parametrize("augment", [{}, PHOTO_CHANGES])
def test_a_loader_gives_what_a_run_is_given(augment: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    made = dataset()
    run = TorchRun(RunSpec("arm", 3, recipe({"name": "charcnn"}, **augment), made.fingerprint, "torch"), made)
    loader = Loader(Images(made, "train", seed=3, augment=augment), 7)
    assert_same_as_run(run, loader, monkeypatch)


@pytest.mark.parametrize("augment", [{}, PHOTO_CHANGES, {"shift": 2.0, "brightness": 0.2}])
def test_a_backbone_is_shown_what_it_looks_at_in_runs_and_loaders(augment: dict[str, Any], tmp_path: Path) -> None:
    """Random crops have that size already; else a run's network takes the middle of what it is given."""
    made = dataset()
    model = {"name": "pretrained", "weights": str(write_weights(tmp_path)), "train": "all"}
    run = TorchRun(RunSpec("arm", 0, recipe(model, **augment), made.fingerprint, "torch"), made)
    images = Images(made, "train", augment=augment, preprocessing=run.model.preprocessing)  # type: ignore[arg-type]
    given: list[torch.Tensor] = []
    shown: list[torch.Tensor] = []
    run.model.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].clone()))
    run.model.get_submodule("classifier").register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0].clone()))
    run.pass_over_train(1)
    side = SIZE if "crop_scale" in augment else 40
    assert {each.shape[2:] for each in given} == {(side, side)}
    # The first that it is shown, two images, tells how many of a batch go through at once.
    for of_run, (batch, _) in zip(shown[1:], Loader(images, 7), strict=True):
        assert batch.shape[1:] == (3, SIZE, SIZE) and torch.equal(of_run, batch)


@pytest.mark.parametrize("own_val", [False, True])
def test_splits_are_those_of_runs(own_val: bool) -> None:
    made = dataset(own_val=own_val)
    found = {split: marks(Loader(Images(made, split, seed=4), normalise=False)) for split in ("train", "val", "test")}
    drawn = draw(made, recipe({"name": "charcnn"}).data, 4)
    assert Counter(found["train"]) == Counter((0, index) for index in drawn.train_indices.tolist())
    expected = [(1, index) for index in range(6)]
    if drawn.val_indices is not None:
        expected = [(0, index) for index in drawn.val_indices.tolist()]
    assert found["val"] == expected and len(expected) == (6 if own_val else 3)
    assert found["test"] == [(2, index) for index in range(9)]
    assert len(Images(made, "val", val=0.5)) == 15 == len(Images(made, "train", val=0.5))


def test_each_epoch_has_an_order_and_changes_of_its_own() -> None:
    loader = Loader(Images(dataset(), augment={"brightness": 0.3}), 8, normalise=False)
    assert len(loader) == 4 and [len(labels) for _, labels in loader] == [8, 8, 8, 3]
    plain = Loader(Images(dataset()), 8, normalise=False)
    first, second = marks(plain), marks(plain)
    assert first != second and sorted(first) == sorted(second) and plain.epoch == 2
    again = Loader(Images(dataset()), 8, normalise=False)
    again.epoch = 1
    assert marks(again) == second
    unshuffled = Loader(Images(dataset()), 8, shuffle=False, normalise=False)
    assert marks(unshuffled) == marks(unshuffled) == sorted(first)
    assert marks(Loader(Images(dataset(), seed=1), 8, normalise=False)) != first


def test_same_seed_same_bits_after_the_global_streams_were_disturbed() -> None:
    first = torch.cat([images for images, _ in Loader(Images(dataset(), seed=2, augment=PHOTO_CHANGES))])
    torch.rand(3)
    np.random.seed(1)
    state = torch.get_rng_state()
    again = torch.cat([images for images, _ in Loader(Images(dataset(), seed=2, augment=PHOTO_CHANGES))])
    assert torch.equal(first, again) and torch.equal(state, torch.get_rng_state())
    other = torch.cat([images for images, _ in Loader(Images(dataset(), seed=5, augment=PHOTO_CHANGES))])
    assert not torch.equal(first, other)


@given(st.lists(st.integers(0, 26), min_size=1, max_size=8), st.integers(1, 4))
def test_an_image_is_the_same_alone_and_in_any_batch(positions: list[int], epoch: int) -> None:
    images = Images(dataset(), augment=PHOTO_CHANGES)
    images.set_epoch(epoch)
    together, labels = images.batch(images.indices[positions], epoch)
    for position, image, label in zip(positions, together, labels.tolist(), strict=True):
        alone, own_label = images[position]
        torch.testing.assert_close(alone, image, rtol=0, atol=1e-3)
        assert own_label == label and isinstance(own_label, int)


def test_normalised_images_have_mean_zero_and_deviation_one_over_train_and_bytes_are_the_sources() -> None:
    made = dataset()
    images = torch.cat([batch for batch, _ in Loader(Images(made))])
    assert images.dtype == torch.float32
    torch.testing.assert_close(images.mean(dim=(0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(images.std(dim=(0, 2, 3)), torch.ones(3), rtol=0, atol=1e-3)
    test = torch.cat([batch for batch, _ in Loader(Images(made, "test"), normalise=False)])
    assert test.dtype == torch.uint8 and np.array_equal(test.numpy(), made.test.images)
    assert torch.equal(Images(made, "test").normalisation.mean, Images(made).normalisation.mean)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_backbones_preprocessing_is_applied_to_every_split(split: Any) -> None:
    made = dataset()
    images = Images(made, split, preprocessing=SHOWN)
    batch, _ = next(iter(Loader(images, 3, shuffle=False)))
    source = {"train": made.train, "val": draw(made, recipe({"name": "charcnn"}).data, 0).val, "test": made.test}[split]
    expected = SHOWN.apply(torch.from_numpy(source.images[images.indices[:3].numpy()]))
    assert torch.equal(batch, expected)


def test_images_that_are_smaller_than_what_is_shown_are_refused() -> None:
    with pytest.raises(ModelError, match="must be at least as large as what the backbone looks at, 32x32"):
        Images(dataset(side=20), preprocessing=SHOWN)[0]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize(
    "start", [each for each in ("fork", "spawn") if each in multiprocessing.get_all_start_methods()]
)
def test_a_plain_dataloader_gives_the_same_images_and_its_workers_hear_of_the_epoch(start: str) -> None:
    """Also where workers stay: else every epoch would be changed as the first was, and nobody would notice."""
    images = Images(dataset(), augment=PHOTO_CHANGES)
    workers = DataLoader(images, batch_size=9, num_workers=1, persistent_workers=True, multiprocessing_context=start)
    expected = Loader(images, 9, shuffle=False)
    for epoch in (1, 2):
        images.set_epoch(epoch)
        assert images.epoch == epoch
        for (found, labels), (own, own_labels) in zip(workers, expected, strict=True):
            torch.testing.assert_close(found, own, rtol=0, atol=1e-3)
            assert torch.equal(labels, own_labels)


def test_images_end_as_sequences_do() -> None:
    images = Images(dataset())
    assert len(list(images)) == len(images) == 27  # type: ignore[call-overload]
    assert torch.equal(images[-1][0], images[26][0])
    with pytest.raises(IndexError):
        images[27]


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Images(dataset(), "valid"), ConfigError, "`split` must be one of .* got `valid`.*`val`"),  # type: ignore[arg-type]
        (lambda: Images(dataset(), "val", augment={"hflip": True}), ConfigError, "`augment` is for train, but got it"),
        (lambda: Images(dataset(), augment={"flip": True}), ConfigError, "Unknown key `augment.flip`.*hflip"),
        (
            lambda: Images(dataset(), augment={"mixup": 0.2}),
            ConfigError,
            "`augment.mixup` must be 0 where each",
        ),
        (lambda: Images(dataset(), val=0), ConfigError, "`data.val` must be a number of images of at least 1"),
        (lambda: Images(dataset(), val=30), DataError, "must leave images to train on"),
        (lambda: Loader(Images(dataset()), 0), ConfigError, "`batch_size` must be at least 1, but got 0. Use 32"),
        (lambda: load_data("digits", sise=8), ConfigError, "Unknown key `data.sise`.*size"),
        (lambda: load_data("digits", val=8), ConfigError, "`val` is drawn for a run and not kept with the images"),
        (lambda: load_data("nothing"), DataError, "must be one of mnist"),
    ],
)
def test_refusals_say_what_must_hold(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_load_data_prepares_once(fresh_cache: Path, tmp_path: Path) -> None:
    config = {"size": 12, "fit": "crop", "test": 0.25}
    made = load_data(class_folders(tmp_path / "photos"), **config)  # type: ignore[arg-type]
    assert made.image_shape == (3, 12, 12) and made.class_names == ("cat", "dog")
    (folder,) = (fresh_cache / "prepared").iterdir()
    before = folder.stat().st_mtime_ns
    again = load_data(str(tmp_path / "photos"), **config)  # type: ignore[arg-type]
    assert again.fingerprint == made.fingerprint == folder.name and folder.stat().st_mtime_ns == before


def class_folders(root: Path) -> Path:
    """Write colour photos of many sizes."""
    generator = np.random.default_rng(0)
    files = {
        f"{name}/{number}.png": picture(generator.integers(0, 256, (30 + number, 40, 3), dtype=np.uint8))
        for name in ("cat", "dog")
        for number in range(20)
    }
    return write_files(root, files)


@pytest.mark.usefixtures("fresh_cache")
def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), names)
    assert names["loader"].epoch == 3 and len(names["images"]) == 29 and len(names["val"].images) == 3


@pytest.mark.real_data
def test_real_photos_come_as_tensors(data_folder: Path) -> None:
    photos = load_data("dogs-vs-cats", data_folder, size=64, fit="crop")
    images = Images(photos, augment={"crop_scale": [0.08, 1.0], "hflip": True, "saturation": 0.4})
    labels = torch.cat([labels for _, labels in Loader(images)])
    assert len(images) == 202 and torch.bincount(labels).tolist() == [101, 101]
    assert len(Images(photos, "test")) == 451
