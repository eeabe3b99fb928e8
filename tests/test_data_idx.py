from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_files import arrays, idx_bytes, write_idx
from paribus.data.idx import IdxFolder, read_idx
from paribus.data.reader import Reading
from paribus.errors import DataError
from paribus.testing.readers import check_reader

TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dotted", [True, False])
def test_reads_every_spelling_of_the_four_files(tmp_path: Path, packed: bool, dotted: bool) -> None:
    made = arrays()
    reader = IdxFolder("mine", write_idx(tmp_path, made, packed, dotted))
    dataset = check_reader(reader.read)
    assert dataset.class_names == ("0", "1", "2")
    assert np.array_equal(dataset.train.images[:, 0], made["x_train"])
    assert np.array_equal(dataset.train.labels, made["y_train"])
    assert np.array_equal(dataset.test.images[:, 0], made["x_test"])
    assert np.array_equal(dataset.test.labels, made["y_test"])
    assert dataset.val is None


def test_size_resizes_every_split(tmp_path: Path) -> None:
    dataset = IdxFolder("mine", write_idx(tmp_path, arrays()), how=Reading(size=12)).read()
    assert dataset.train.images.shape == (30, 1, 12, 12) and dataset.test.images.shape == (9, 1, 12, 12)


def test_fingerprint_is_of_the_images_not_of_the_packing_or_place(tmp_path: Path) -> None:
    made = arrays()
    packed = IdxFolder("mine", write_idx(tmp_path / "a", made))
    plain = IdxFolder("other", write_idx(tmp_path / "b", made, packed=False, dotted=True))
    assert packed.fingerprint() == plain.fingerprint()
    made["x_train"][3, 2, 1] ^= 1
    assert IdxFolder("mine", write_idx(tmp_path / "c", made)).fingerprint() != packed.fingerprint()


@given(st.lists(st.integers(1, 6), min_size=3, max_size=3))
def test_any_shape_comes_back(tmp_path_factory: pytest.TempPathFactory, shape: list[int]) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    path = tmp_path_factory.mktemp("idx") / "images"
    path.write_bytes(idx_bytes(array))
    assert np.array_equal(read_idx(path, dimensions=3), array)


def _fault(tmp_path: Path, name: str, content: bytes) -> IdxFolder:
    folder = write_idx(tmp_path, arrays())
    (folder / name).write_bytes(content)
    return IdxFolder("mine", folder)


def test_missing_file_is_named(tmp_path: Path) -> None:
    folder = write_idx(tmp_path, arrays())
    (folder / TRAIN_LABELS).unlink()
    with pytest.raises(DataError, match=r"must hold `train-labels-idx1-ubyte` or `train-labels-idx1-ubyte.gz`"):
        IdxFolder("mine", folder).read()


WHOLE = idx_bytes(np.zeros((30, 6, 6)))
FAULTS = {
    "not gzip": (TRAIN_IMAGES, WHOLE, "must be whole gzip data.*take `.gz` off its name"),
    "gzip checksum": (TRAIN_IMAGES, gzip.compress(WHOLE)[:-8] + bytes(8), "must be whole gzip data"),
    "gzip garbled": (TRAIN_IMAGES, gzip.compress(WHOLE)[:10] + b"\xff" * 40, "must be whole gzip data"),
    "gzip cut": (TRAIN_IMAGES, gzip.compress(WHOLE)[:-12], "is truncated: its gzip data ends too early"),
    "no header": (TRAIN_IMAGES, gzip.compress(WHOLE[:10]), "is truncated: its header needs 16 bytes, but it has 10"),
    "cut": (TRAIN_IMAGES, gzip.compress(WHOLE[:-1]), "is truncated: its header promises 1080 bytes, but 1079 follow"),
    "trailing": (TRAIN_IMAGES, gzip.compress(WHOLE + b"xy"), "must end after the 1080 bytes.*but 2 more follow"),
    "magic": (TRAIN_IMAGES, gzip.compress(idx_bytes(np.zeros(30))), "magic number 2051.*begins with 2049"),
    "no images": (TRAIN_IMAGES, gzip.compress(idx_bytes(np.zeros((0, 6, 6)))), "must hold at least one image"),
    "no pixels": (TRAIN_IMAGES, gzip.compress(idx_bytes(np.zeros((30, 0, 6)))), "must hold at least one image"),
    "count": (TRAIN_LABELS, gzip.compress(idx_bytes(np.zeros(29))), "30 images.*29 labels"),
    "huge": (TRAIN_IMAGES, gzip.compress(struct.pack(">4I", 2051, *[2**31] * 3)), "is truncated: its header promises"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_file_is_named_with_its_fault(tmp_path: Path, fault: str) -> None:
    name, content, text = FAULTS[fault]
    with pytest.raises(DataError, match=text) as caught:
        _fault(tmp_path, name, content).read()
    assert name in str(caught.value) and str(tmp_path) in str(caught.value)


LABEL_FAULTS = {
    "from one": (np.arange(30) % 3 + 1, None, "train labels of .* run from 1 to 3. Subtract 1"),
    "gap": (np.arange(30) % 3 * 2, None, "must lie in 0 to 2 for the 3 classes.*train labels span 0 to 4"),
    "beyond": (np.arange(30) % 3, ("a", "b"), "must lie in 0 to 1 for the 2 classes.*train labels span 0 to 2"),
    "absent": (np.arange(30) % 2, ("a", "b", "c", "d"), "lack class 2 and 1 more"),
}


@pytest.mark.parametrize("fault", LABEL_FAULTS)
def test_labels_that_make_no_classes(tmp_path: Path, fault: str) -> None:
    labels, classes, text = LABEL_FAULTS[fault]
    made = arrays() | {"y_train": labels, "y_test": np.zeros(9)}
    with pytest.raises(DataError, match=text):
        IdxFolder("mine", write_idx(tmp_path, made), classes).read()


def test_a_test_label_that_train_lacks(tmp_path: Path) -> None:
    made = arrays() | {"y_test": np.full(9, 3)}
    with pytest.raises(DataError, match="its test labels span 3 to 3"):
        IdxFolder("mine", write_idx(tmp_path, made)).read()


def test_splits_of_two_image_sizes(tmp_path: Path) -> None:
    made = arrays() | {"x_test": np.zeros((9, 5, 5), dtype=np.uint8)}
    with pytest.raises(DataError, match=r"must have one shape \(C, H, W\)"):
        IdxFolder("mine", write_idx(tmp_path, made)).read()
