from __future__ import annotations

import dataclasses
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from data_files import Arrays, arrays, class_files, picture, write_files, write_idx, write_zip
from paribus.config import DataConfig
from paribus.data import SOURCES, load_prepared, prepare
from paribus.data.dhcd import CLASSES, find_dhcd
from paribus.data.digits import Digits
from paribus.data.folders import ImageFolders
from paribus.data.idx import IdxFolder
from paribus.data.npz import NpzFile
from paribus.data.reader import Reader
from paribus.data.sources import cache_folder, locate, require_published, search_folders
from paribus.errors import DataError
from paribus.testing.readers import check_reader


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch, fresh_cache: Path) -> None:
    """No real data, no download."""
    monkeypatch.setenv("PARIBUS_DATA", "")
    monkeypatch.setenv("PARIBUS_OFFLINE", "1")


def _like_mnist(**changes: Any) -> Arrays:
    """Return images with a label for each of ten classes."""
    made = arrays(train=20, test=10)
    return made | {"y_train": np.arange(20) % 10, "y_test": np.arange(10)} | changes


# The table


def test_every_source_is_told_completely() -> None:
    assert list(SOURCES) == ["mnist", "fashion-mnist", "dhcd", "dogs-vs-cats", "sign-digits", "digits"]
    for name, source in SOURCES.items():
        assert len(source.classes) == len(source.train_counts) == len(source.test_counts), name
        assert source.title in source.summary and source.licence in source.summary and "\n" not in source.summary


def test_totals_are_the_published_ones() -> None:
    totals = {name: (sum(source.train_counts), sum(source.test_counts)) for name, source in SOURCES.items()}
    assert totals["mnist"] == totals["fashion-mnist"] == (60_000, 10_000)
    assert totals["dhcd"] == (78_200, 13_800)
    assert totals["digits"] == (1_437, 360)


# Digits


def test_digits_are_scikit_learns_in_one_fixed_split() -> None:
    from sklearn.datasets import load_digits

    dataset = check_reader(Digits().read)
    require_published("digits", dataset)
    assert dataset.image_shape == (1, 8, 8)
    bunch = load_digits()
    scaled = np.round(bunch.images * 255 / 16).astype(np.uint8)
    both = np.concatenate([dataset.train.images, dataset.test.images])[:, 0]
    assert sorted(image.tobytes() for image in both) == sorted(image.tobytes() for image in scaled)
    share = np.bincount(bunch.target) * 360 / 1797
    assert (np.abs(np.bincount(dataset.test.labels) - share) < 1).all()


def test_digits_need_no_files() -> None:
    prepared = prepare(DataConfig(name="digits"))
    assert load_prepared(prepared.folder).name == prepared.name == "digits"


def test_other_digits_in_scikit_learn_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    import sklearn.datasets

    other = SimpleNamespace(images=np.zeros((1797, 8, 8)), target=np.zeros(1797, dtype=np.int64))
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: other)
    with pytest.raises(DataError, match="must be the 1,797 that this version of paribus knows"):
        Digits().read()


# DHCD


def _dhcd_files(classes: tuple[str, ...] = CLASSES) -> dict[str, bytes]:
    return {
        f"DevanagariHandwrittenCharacterDataset/{split}/{name}/{number}.png": picture(np.full((4, 4), label, np.uint8))
        for split, count in (("Train", 2), ("Test", 1))
        for label, name in enumerate(classes)
        for number in range(count)
    }


def test_dhcd_classes_come_in_the_published_order() -> None:
    assert len(CLASSES) == 46
    assert CLASSES[0] == "character_1_ka" and CLASSES[9] == "character_10_yna" and CLASSES[35] == "character_36_gya"
    assert CLASSES[36:] == tuple(f"digit_{digit}" for digit in range(10))


def test_dhcd_zip(tmp_path: Path) -> None:
    write_zip(tmp_path / "DevanagariHandwrittenCharacterDataset.zip", _dhcd_files())
    reader = find_dhcd(tmp_path)
    assert reader is not None
    dataset = check_reader(reader.read)
    assert dataset.class_names == CLASSES
    assert np.array_equal(dataset.train.images[:, 0, 0, 0], dataset.train.labels)


def test_dhcd_zip_that_lacks_a_class(tmp_path: Path) -> None:
    write_zip(tmp_path / "DevanagariHandwrittenCharacterDataset.zip", _dhcd_files((*CLASSES[:-1], "digit_x")))
    reader = find_dhcd(tmp_path)
    assert reader is not None
    with pytest.raises(DataError, match="the 46 classes of dhcd, but it lacks digit_9 and has digit_x besides"):
        reader.read()


def test_dhcd_npz(tmp_path: Path) -> None:
    labels = np.arange(92) % 46
    images = np.zeros((92, 4, 4), np.uint8)
    np.savez(tmp_path / "dataset.npz", images, labels, images, labels)
    reader = find_dhcd(tmp_path)
    assert isinstance(reader, NpzFile)
    assert check_reader(reader.read).class_names == tuple(str(label) for label in range(46))


def test_dhcd_elsewhere(tmp_path: Path) -> None:
    assert find_dhcd(tmp_path) is None


# Looking for known data sets


def test_folders_are_searched_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_cache: Path) -> None:
    folders = [tmp_path / name for name in ("given", "first", "second")]
    monkeypatch.setenv("PARIBUS_DATA", os.pathsep.join(map(str, folders[1:])))
    folders[0].mkdir()
    assert search_folders(folders[0]) == (*folders, fresh_cache)
    for folder in reversed((*folders, fresh_cache)):
        write_idx(folder / "mnist", _like_mnist())
        assert locate("mnist", folders[0]).path == folder / "mnist"


def test_torchvisions_own_layout_is_found(tmp_path: Path) -> None:
    write_idx(tmp_path / "FashionMNIST" / "raw", _like_mnist(), packed=False)
    reader = locate("fashion-mnist", tmp_path)
    assert reader.read().class_names[9] == "Ankle boot" and reader.name == "fashion-mnist"


def test_the_cache_is_the_users_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PARIBUS_CACHE")
    assert "paribus" in str(cache_folder())


def test_a_data_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"The data folder must exist.*Correct --data-dir"):
        locate("mnist", tmp_path / "none")


def test_a_folder_that_lacks_one_file_is_named_not_passed_over(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "mnist", _like_mnist())
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"must hold `t10k-labels-idx1-ubyte`"):
        prepare(DataConfig(name="mnist"), tmp_path)


def test_another_data_set_under_a_known_name(tmp_path: Path) -> None:
    write_idx(tmp_path / "mnist", _like_mnist())
    text = "must have 5,923 train and 980 test images of class `0`.*have 2 and 1 .10 of 10 classes differ"
    with pytest.raises(DataError, match=text):
        prepare(DataConfig(name="mnist"), tmp_path)
    assert prepare(DataConfig(name=str(tmp_path / "mnist"))).name == "mnist"


def test_a_known_name_with_its_published_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = dataclasses.replace(SOURCES["mnist"], train_counts=(2,) * 10, test_counts=(1,) * 10)
    monkeypatch.setitem(SOURCES, "mnist", tiny)
    write_idx(tmp_path / "mnist", _like_mnist())
    assert load_prepared(prepare(DataConfig(name="mnist"), tmp_path).folder).num_classes == 10


# What is missing


def test_offline_says_which_file_goes_where(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        locate("mnist", tmp_path)
    text = str(caught.value)
    assert "PARIBUS_OFFLINE forbids" in text and "train-images-idx3-ubyte.gz" in text and "in a folder mnist" in text
    assert f"`{tmp_path}`" in text and f"`{cache_folder()}`" in text and text.endswith("or PARIBUS_DATA.")
    with pytest.raises(DataError, match=r"To go on without it: `--set control.data.name=digits`\.$"):
        locate("mnist", tmp_path, in_experiment=True)


def test_dhcd_is_fetched_by_hand() -> None:
    with pytest.raises(DataError, match=r"no automatic download.*UCI Machine Learning Repository.*Dataset.zip .*dhcd"):
        locate("dhcd")


def _fake_torchvision(monkeypatch: pytest.MonkeyPatch, mnist: Any) -> None:
    module = SimpleNamespace(datasets=SimpleNamespace(MNIST=mnist))
    monkeypatch.setitem(sys.modules, "torchvision", module)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module.datasets)
    monkeypatch.setenv("PARIBUS_OFFLINE", "0")


def test_a_download_is_put_into_the_cache(monkeypatch: pytest.MonkeyPatch, fresh_cache: Path) -> None:
    timeouts = []

    def download(root: str, download: bool) -> None:
        timeouts.append(socket.getdefaulttimeout())
        write_idx(Path(root, "MNIST", "raw"), _like_mnist())
        write_idx(Path(root, "MNIST", "raw"), _like_mnist(), packed=False)

    _fake_torchvision(monkeypatch, download)
    reader: Reader = locate("mnist")
    assert reader.path == fresh_cache / "mnist" and len(list(reader.path.iterdir())) == 4
    assert [entry.name for entry in fresh_cache.iterdir()] == ["mnist"]
    assert timeouts == [30.0] and socket.getdefaulttimeout() is None
    assert locate("mnist").path == reader.path and len(timeouts) == 1


def test_another_process_may_download_at_the_same_time(monkeypatch: pytest.MonkeyPatch, fresh_cache: Path) -> None:
    def download(root: str, download: bool) -> None:
        write_idx(Path(root, "MNIST", "raw"), _like_mnist())
        write_idx(fresh_cache / "mnist", _like_mnist())

    _fake_torchvision(monkeypatch, download)
    assert locate("mnist").path == fresh_cache / "mnist"


@pytest.mark.parametrize("error", [RuntimeError("Error downloading train-images"), OSError("no route to host")])
def test_a_failed_download_says_why(monkeypatch: pytest.MonkeyPatch, fresh_cache: Path, error: Exception) -> None:
    def download(root: str, download: bool) -> None:
        raise error

    _fake_torchvision(monkeypatch, download)
    with pytest.raises(DataError, match=f"Its download failed: {error}. Get it from .* control.data.name=digits"):
        locate("mnist", in_experiment=True)
    assert not list(fresh_cache.iterdir())


def test_a_download_that_cannot_be_put_in_place(monkeypatch: pytest.MonkeyPatch, fresh_cache: Path) -> None:
    def download(root: str, download: bool) -> None:
        write_idx(Path(root, "MNIST", "raw"), _like_mnist())
        write_files(fresh_cache / "mnist", {"notes.txt": b"mine"})

    _fake_torchvision(monkeypatch, download)
    with pytest.raises(DataError, match=r"Its download failed: .*not empty"):
        locate("mnist")
    assert (fresh_cache / "mnist" / "notes.txt").read_bytes() == b"mine"


def test_a_download_without_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(root: str, download: bool) -> None:
        Path(root, "MNIST", "raw").mkdir(parents=True)

    _fake_torchvision(monkeypatch, download)
    with pytest.raises(DataError, match="The download left no files"):
        locate("mnist")


# The user's own


def test_a_path_is_read_as_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = arrays()
    monkeypatch.chdir(tmp_path)
    np.savez("images.npz", **made)  # type: ignore[arg-type]
    write_zip(Path("images.zip"), class_files(made))
    write_files(Path("photos"), class_files(made))
    write_idx(Path("letters"), made)
    found = {name: locate(name) for name in ("images.npz", "images.zip", "photos", "./photos", "letters")}
    kinds = [NpzFile, ImageFolders, ImageFolders, ImageFolders, IdxFolder]
    assert [type(reader) for reader in found.values()] == kinds
    assert [reader.name for reader in found.values()] == ["images", "images", "photos", "photos", "letters"]


def test_endings_in_capitals_serve(tmp_path: Path) -> None:
    write_zip(tmp_path / "IMAGES.ZIP", class_files(arrays()))
    assert isinstance(locate(str(tmp_path / "IMAGES.ZIP")), ImageFolders)


def test_a_known_name_wins_over_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path / "digits", class_files(arrays()))
    monkeypatch.chdir(tmp_path)
    assert isinstance(locate("digits"), Digits) and isinstance(locate("./digits"), ImageFolders)


def test_an_unknown_name_gets_the_nearest() -> None:
    text = r"A data set must be one of mnist.*but got `minst`\. Did you mean `mnist`\? There is nothing .* whole path"
    with pytest.raises(DataError, match=rf"{text}\.$"):
        locate("minst")
    with pytest.raises(DataError, match=rf"{text}\. `--set control.data.name=PATH` does so\.$"):
        locate("minst", in_experiment=True)


@pytest.mark.parametrize("name", ["none/here", "none.zip", "none.npz"])
def test_a_path_that_is_not_there(name: str) -> None:
    with pytest.raises(DataError, match=f"A data set must exist, but `{name}` does not .looked in `/.*Correct"):
        locate(name)


def test_a_file_of_no_known_form(tmp_path: Path) -> None:
    (tmp_path / "images.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"must be a folder .* but `.*images.tar` is none of them"):
        locate(str(tmp_path / "images.tar"))
