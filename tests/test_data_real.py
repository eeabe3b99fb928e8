"""The real files, where they are."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paribus.config import DataConfig
from paribus.data import Dataset, draw, load_prepared, prepare
from paribus.testing.readers import check_dataset

pytestmark = pytest.mark.real_data


def _real(folder: Path, name: str, **keys: Any) -> Dataset:
    if not (folder / name).is_dir():
        pytest.skip(f"real data is needed: there is no {name} in the folder that PARIBUS_DATA names")
    return load_prepared(prepare(DataConfig(name=name, **keys), folder).folder)


def test_mnist(data_folder: Path) -> None:
    dataset = _real(data_folder, "mnist")
    check_dataset(dataset)
    assert dataset.train.images.shape == (60_000, 1, 28, 28) and dataset.test.images.shape == (10_000, 1, 28, 28)
    header = b"\x00\x00\x08\x03" + b"".join(number.to_bytes(4, "big") for number in (60_000, 28, 28))
    digest = hashlib.md5(header + dataset.train.images.tobytes(), usedforsecurity=False).hexdigest()
    assert digest == "6bbc9ace898e44ae57da46a324031adb"
    assert np.bincount(dataset.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_mnist_labels_are_those_of_the_file(data_folder: Path) -> None:
    dataset = _real(data_folder, "mnist")
    content = gzip.decompress((data_folder / "mnist" / "train-labels-idx1-ubyte.gz").read_bytes())
    assert dataset.train.labels.astype(np.uint8).tobytes() == content[8:]


def test_mnist_split_of_the_shipped_experiment(data_folder: Path) -> None:
    drawn = draw(_real(data_folder, "mnist"), DataConfig(name="mnist", val=5000), seed=0)
    assert len(drawn.val) == 5000 and len(drawn.train_indices) == 55_000


def test_dhcd(data_folder: Path) -> None:
    dataset = _real(data_folder, "dhcd")
    check_dataset(dataset)
    assert dataset.image_shape == (1, 32, 32)
    assert np.bincount(dataset.train.labels).tolist() == [1700] * 46
    assert np.bincount(dataset.test.labels).tolist() == [300] * 46
    # White on black: the border of the published images is empty.
    assert not dataset.train.images[:, :, :2].any() and dataset.train.images.max() == 255


def test_dhcd_holds_its_known_duplicates(data_folder: Path) -> None:
    """25 pairs of identical images, all in character_15_adna, 5 of them across the splits: the order is right."""
    dataset = _real(data_folder, "dhcd")
    images = np.concatenate([dataset.train.images, dataset.test.images]).reshape(92_000, -1)
    labels = np.concatenate([dataset.train.labels, dataset.test.labels])
    seen: dict[bytes, list[int]] = {}
    for index, image in enumerate(images):
        seen.setdefault(image.tobytes(), []).append(index)
    pairs = [indices for indices in seen.values() if len(indices) > 1]
    assert len(pairs) == 25 and {dataset.class_names[labels[index]] for pair in pairs for index in pair} == {
        "character_15_adna"
    }
    assert sum(first < 78_200 <= second for first, second in pairs) == 5


@pytest.mark.parametrize(
    ("name", "counts", "classes"), [("dogs-vs-cats", (202, 103, 451), 2), ("sign-digits", (1712, 300, 50), 10)]
)
def test_class_folders(data_folder: Path, name: str, counts: tuple[int, int, int], classes: int) -> None:
    if not (data_folder / name).is_dir():
        pytest.skip(f"real data is needed: there is no {name} in the folder that PARIBUS_DATA names")
    dataset = load_prepared(prepare(DataConfig(name=str(data_folder / name), size=32)).folder)
    check_dataset(dataset)
    assert dataset.val is not None
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == counts
    assert dataset.num_classes == classes and dataset.image_shape == (3, 32, 32)


def test_dogs_vs_cats(data_folder: Path) -> None:
    dataset = _real(data_folder, "dogs-vs-cats", size=64, fit="crop")
    check_dataset(dataset)
    assert dataset.class_names == ("cat", "dog") and dataset.image_shape == (3, 64, 64) and dataset.val is not None
    assert [np.bincount(each.labels).tolist() for each in (dataset.train, dataset.val, dataset.test)] == [
        [101, 101],
        [51, 52],
        [250, 201],
    ]


def test_sign_digits_by_image_and_by_person(data_folder: Path) -> None:
    """The book's split shares people between train and test; one by the numbers of the files shares none."""
    by_image = _real(data_folder, "sign-digits", size=32, group="numbering")
    groups = [each.groups for each in (by_image.train, by_image.val or by_image.test, by_image.test)]
    train, val, test = (set() if each is None else set(each.tolist()) for each in groups)
    assert (len(by_image.train), len(by_image.test)) == (1712, 50)
    assert [len(train | val | test), len(test), len(test - train), len(val - train)] == [220, 40, 1, 1]
    by_person = _real(data_folder, "sign-digits", size=32, group="numbering", test=0.2)
    check_dataset(by_person)
    assert by_person.train.groups is not None and by_person.test.groups is not None
    assert not set(by_person.train.groups) & set(by_person.test.groups)
    assert len(by_person.train) + len(by_person.test) == 2062 and len(by_person.test) >= 412
