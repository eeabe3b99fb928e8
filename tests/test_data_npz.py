from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_files import Arrays, arrays
from paribus.data.npz import NpzFile
from paribus.errors import DataError
from paribus.testing.readers import check_reader


def _write(folder: Path, made: Arrays) -> NpzFile:
    path = folder / "mine.npz"
    np.savez_compressed(path, **made)  # type: ignore[arg-type]
    return NpzFile("mine", path)


def _renamed(made: Arrays, *names: str) -> Arrays:
    return dict(zip(names, made.values(), strict=True))


@pytest.mark.parametrize(
    "names",
    [
        ("arr_0", "arr_1", "arr_2", "arr_3"),
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
    ],
)
def test_reads_every_form_of_keys(tmp_path: Path, names: tuple[str, ...]) -> None:
    made = arrays()
    dataset = check_reader(_write(tmp_path, _renamed(made, *names)).read)
    assert np.array_equal(dataset.train.images[:, 0], made["x_train"])
    assert np.array_equal(dataset.test.images[:, 0], made["x_test"])
    assert np.array_equal(dataset.test.labels, made["y_test"])
    assert dataset.class_names == ("0", "1", "2") and dataset.val is None


def test_reads_a_validation_split(tmp_path: Path) -> None:
    made = arrays() | {"x_val": np.full((3, 6, 6), 9, np.uint8), "y_val": np.array([2, 1, 0])}
    dataset = check_reader(_write(tmp_path, made).read)
    assert dataset.val is not None
    assert (dataset.val.images == 9).all() and dataset.val.labels.tolist() == [2, 1, 0]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_labels_of_any_whole_number_type(tmp_path: Path, dtype: type[Any]) -> None:
    made = arrays()
    made |= {key: made[key].astype(dtype) for key in ("y_train", "y_test")}
    assert np.array_equal(_write(tmp_path, made).read().train.labels, np.arange(30) % 3)


def test_colour_moves_to_the_front(tmp_path: Path) -> None:
    made = arrays()
    made |= {key: np.stack([made[key], made[key] // 2, made[key] // 3], axis=-1) for key in ("x_train", "x_test")}
    dataset = check_reader(_write(tmp_path, made).read)
    assert dataset.image_shape == (3, 6, 6)
    assert np.array_equal(dataset.train.images[:, 2], made["x_train"][..., 2])


def test_a_last_axis_of_one_is_grey(tmp_path: Path) -> None:
    made = arrays()
    made |= {key: made[key][..., None] for key in ("x_train", "x_test")}
    assert _write(tmp_path, made).read().image_shape == (1, 6, 6)


FAULTS: dict[str, tuple[Arrays, str]] = {
    "unknown key": ({"extra": np.zeros(1)}, "must have exactly the keys of one form.*but it has extra, x_test"),
    "half a val": ({"x_val": np.zeros((3, 6, 6), np.uint8)}, "must have exactly the keys of one form"),
    "float images": ({"x_train": np.zeros((30, 6, 6))}, "`x_train` of .* but it is float64 .*Write values 0 to 255"),
    "flat images": ({"x_train": np.zeros((30, 36), np.uint8)}, r"uint8 \(N, H, W\).*\(30, 36\)"),
    "channels first": ({"x_train": np.zeros((30, 1, 6, 6), np.uint8)}, r"but it is uint8 \(30, 1, 6, 6\)"),
    "no images": ({"x_train": np.zeros((0, 6, 6), np.uint8)}, "must hold at least one image"),
    "one-hot": ({"y_train": np.eye(3, dtype=np.int64)[np.arange(30) % 3]}, r"one-hot rows.*argmax\(axis=1\)"),
    "float labels": ({"y_train": np.arange(30) % 3 * 1.0}, "must hold whole numbers.*float64"),
    "count": ({"y_train": np.arange(29) % 3}, "`x_train` holds 30 images and `y_train` 29 labels"),
    "from one": ({"y_train": np.arange(30) % 3 + 1}, "run from 1 to 3. Subtract 1"),
    "one class": (
        {"y_train": np.zeros(30, np.int64), "y_test": np.zeros(9, np.int64)},
        "at least two classes to tell apart, but `.*mine.npz` has 1. Add another",
    ),
    "negative": ({"y_test": np.arange(9) % 3 - 1}, "its test labels span -1 to 1"),
    "objects": ({"y_train": np.array([None] * 30)}, "must be an .npz file of plain arrays.*[Oo]bject arrays"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named(tmp_path: Path, fault: str) -> None:
    changed, text = FAULTS[fault]
    with pytest.raises(DataError, match=text) as caught:
        _write(tmp_path, arrays() | changed).read()
    assert "mine.npz" in str(caught.value)


def test_the_older_form_without_all_its_keys(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="keys of one form"):
        _write(tmp_path, {"arr_0": np.zeros((3, 6, 6), np.uint8)}).read()


@pytest.mark.parametrize("length", [0, 3, 100, -10])
def test_a_cut_file(tmp_path: Path, length: int) -> None:
    reader = _write(tmp_path, arrays())
    reader.path.write_bytes(reader.path.read_bytes()[:length])
    with pytest.raises(DataError, match="cannot be read"):
        reader.read()


def test_a_single_array_under_the_wrong_name(tmp_path: Path) -> None:
    with (tmp_path / "mine.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="it holds a single array"):
        NpzFile("mine", tmp_path / "mine.npz").read()


def test_flipped_bits_are_noticed(tmp_path: Path) -> None:
    reader = _write(tmp_path, arrays())
    content = bytearray(reader.path.read_bytes())
    content[200] ^= 0xFF
    reader.path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="cannot be read"):
        reader.read()


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"A file must exist, but `.*none.npz` does not"):
        NpzFile("mine", tmp_path / "none.npz").read()


def test_the_fingerprint_knows_contents_and_classes_only(tmp_path: Path) -> None:
    reader = _write(tmp_path, arrays())
    moved = tmp_path / "moved.npz"
    moved.write_bytes(reader.path.read_bytes())
    assert NpzFile("other", moved).fingerprint() == reader.fingerprint()
    assert NpzFile("mine", moved, ("a", "b", "c")).fingerprint() != reader.fingerprint()
