from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_files import arrays, class_files, picture, write_files, write_zip
from paribus.data.folders import ImageFolders
from paribus.data.reader import Reading
from paribus.errors import DataError
from paribus.testing.readers import check_reader

SQUARE = picture(np.zeros((6, 6), np.uint8))


def _read(root: Path, files: dict[str, bytes], size: int | None = None) -> ImageFolders:
    return ImageFolders("mine", write_files(root / "mine", files), how=Reading(size=size))


@pytest.mark.parametrize("prefix", ["", "Outer/", "Outer/inner/"])
@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Train", "TEST")])
@pytest.mark.parametrize("packed", [True, False])
def test_reads_folders_and_zips_alike(tmp_path: Path, prefix: str, train: str, test: str, packed: bool) -> None:
    made = arrays()
    files = class_files(made, train, test, prefix)
    path = write_zip(tmp_path / "mine.zip", files) if packed else write_files(tmp_path / "mine", files)
    dataset = check_reader(ImageFolders("mine", path).read)
    assert dataset.class_names == ("a", "b", "c") and dataset.image_shape == (1, 6, 6)
    order = np.argsort(made["y_train"], kind="stable")
    assert np.array_equal(dataset.train.images[:, 0], made["x_train"][order])
    assert np.array_equal(dataset.train.labels, made["y_train"][order])
    assert dataset.val is None


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_every_name_of_the_validation_folder(tmp_path: Path, name: str) -> None:
    files = class_files(arrays()) | {f"{name}/{label}/x.png": SQUARE for label in "abc"}
    dataset = check_reader(_read(tmp_path, files).read)
    assert dataset.val is not None and dataset.val.labels.tolist() == [0, 1, 2]


def test_clutter_is_ignored(tmp_path: Path) -> None:
    files = class_files(arrays())
    clutter = ["__MACOSX/train/a/._000.png", ".DS_Store", "train/.hidden/x.png", "train/a/Thumbs.db", "README.txt"]
    path = write_zip(tmp_path / "mine.zip", files | dict.fromkeys(clutter, b"junk"))
    assert len(ImageFolders("mine", path).read().train) == 30


def test_the_fingerprint_follows_contents_and_names_but_not_the_place(tmp_path: Path) -> None:
    files = class_files(arrays())
    first = ImageFolders("one", write_files(tmp_path / "one", files)).fingerprint()
    assert ImageFolders("two", write_files(tmp_path / "two", files)).fingerprint() == first
    moved = {name.replace("train/a/000", "train/b/000"): content for name, content in files.items()}
    assert ImageFolders("three", write_files(tmp_path / "three", moved)).fingerprint() != first


def test_colour_anywhere_makes_all_rgb(tmp_path: Path) -> None:
    colour = np.zeros((6, 6, 3), np.uint8)
    colour[..., 0] = 200
    dataset = check_reader(_read(tmp_path, class_files(arrays()) | {"train/a/000.png": picture(colour)}).read)
    assert dataset.image_shape == (3, 6, 6)
    assert dataset.train.images[0, :, 0, 0].tolist() == [200, 0, 0]
    assert (dataset.train.images[1:] == dataset.train.images[1:, :1]).all()


def test_size_resizes_images_of_many_sizes(tmp_path: Path) -> None:
    files = class_files(arrays()) | {"train/a/000.png": picture(np.full((40, 17), 77, np.uint8))}
    dataset = check_reader(_read(tmp_path, files, 8).read)
    assert dataset.image_shape == (1, 8, 8) and (dataset.train.images[0] == 77).all()


def test_images_of_many_sizes_need_data_size(tmp_path: Path) -> None:
    files = class_files(arrays()) | {"train/a/000.png": picture(np.zeros((7, 5), np.uint8))}
    with pytest.raises(DataError, match=r"holds 2 sizes: 6x6 \(38\), 5x7 \(1\). Set `data.size`"):
        _read(tmp_path, files).read()


def test_huge_images_need_data_size(tmp_path: Path) -> None:
    huge = picture(np.zeros((1, 1025), np.uint8))
    files = {f"{split}/{label}/x.png": huge for split in ("train", "test") for label in "ab"}
    with pytest.raises(DataError, match=r"at most 1024 pixels wide and high.*1025x1 \(4\). Set `data.size`"):
        _read(tmp_path, files).read()


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((6, 6), np.uint8)
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # The camera was turned: rotate by 90 degrees clockwise.
    files = class_files(arrays()) | {"train/a/000.png": picture(pixels, exif=exif)}
    assert np.array_equal(_read(tmp_path, files).read().train.images[0, 0], np.rot90(pixels, k=-1))


def _in_mode(mode: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((6, 6), 200, np.uint8)).convert(mode).save(buffer, "tiff" if mode == "CMYK" else "png")
    return buffer.getvalue()


GREY_FORMS = {
    "1": (_in_mode("1"), 255),
    "LA": (_in_mode("LA"), 200),
    "grey palette": (_in_mode("P"), 200),
    "16 bits": (picture(np.full((6, 6), 200 * 256 + 99, np.uint16)), 200),
    "32 bits": (picture(np.full((6, 6), 200 * 256 + 99, np.int32), "tiff"), 200),
    "transparent": (picture(np.stack([np.zeros((6, 6), np.uint8)] * 2, axis=-1)), 255),
}


@pytest.mark.parametrize("form", GREY_FORMS)
def test_grey_forms_stay_grey(tmp_path: Path, form: str) -> None:
    content, value = GREY_FORMS[form]
    dataset = _read(tmp_path, class_files(arrays()) | {"train/a/000.png": content}).read()
    assert dataset.image_shape == (1, 6, 6)
    if form != "1":  # Pillow dithers on the way to two levels.
        assert (dataset.train.images[0] == value).all()


@pytest.mark.parametrize("mode", ["RGBA", "CMYK"])
def test_colour_forms_become_rgb(tmp_path: Path, mode: str) -> None:
    dataset = _read(tmp_path, class_files(arrays()) | {"train/a/000.png": _in_mode(mode)}).read()
    assert dataset.image_shape == (3, 6, 6) and (dataset.train.images[0] == 200).all()


def test_all_unreadable_images_are_named_at_once(tmp_path: Path) -> None:
    noise = picture(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    bad = {
        "train/a/000.png": (b"", "the file is empty"),
        "train/b/001.png": (b"not an image", "not an image of a known format"),
        "train/c/002.png": (noise[: len(noise) // 2], "truncated"),
        "test/a/000.png": (picture(np.zeros((6, 6), np.float32), "tiff"), "floating-point"),
        "test/b/001.png": (picture(np.full((6, 6), 70000, np.int32), "tiff"), "70000, more than 16 bits"),
    }
    files = class_files(arrays()) | {name: content for name, (content, _) in bad.items()}
    with pytest.raises(DataError, match=r"but 5 of the 39 files in .* are not") as caught:
        _read(tmp_path, files).read()
    for name, (_, reason) in bad.items():
        assert any(name in line and reason in line for line in str(caught.value).splitlines()), name


def test_a_long_list_of_unreadable_images_is_cut(tmp_path: Path) -> None:
    files = dict.fromkeys(class_files(arrays()), b"junk")
    with pytest.raises(DataError, match="39 of the 39 files") as caught:
        _read(tmp_path, files).read()
    assert len(str(caught.value).splitlines()) == 12 and "and 29 more" in str(caught.value)


def test_a_decompression_bomb_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(DataError, match="decompression bomb"):
        _read(tmp_path, class_files(arrays())).read()


FAULTS: dict[str, tuple[dict[str, bytes], str]] = {
    "no test": (
        {"train/a/x.png": SQUARE, "train/b/x.png": SQUARE, "val/a/x.png": SQUARE},
        "test cannot be found.*aside",
    ),
    "no splits": ({"cat/x.png": SQUARE, "dog/x.png": SQUARE}, "train and test cannot be found beside cat, dog"),
    "empty": ({}, "train and test cannot be found beside none"),
    "two vals": (class_files(arrays()) | {"val/a/x.png": SQUARE, "valid/a/x.png": SQUARE}, "also has val, valid"),
    "no split": (class_files(arrays()) | {"extra/a/x.png": SQUARE}, "also has extra. Rename or remove"),
    "test lacks": (class_files(arrays()) | {"train/d/x.png": SQUARE}, "test lacks d and has none that train lacks"),
    "train lacks": (class_files(arrays()) | {"test/d/x.png": SQUARE}, "test lacks none and has d that train lacks"),
    "too deep": (class_files(arrays()) | {"train/a/b/x.png": SQUARE}, "split/class/image, but .* `train/a/b/x.png`"),
    "too flat": (class_files(arrays()) | {"train/x.png": SQUARE}, "split/class/image, but .* `train/x.png`"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("packed", [True, False])
def test_a_layout_that_does_not_hold(tmp_path: Path, fault: str, packed: bool) -> None:
    files, text = FAULTS[fault]
    (tmp_path / "mine").mkdir()
    path = write_zip(tmp_path / "mine.zip", files) if packed else write_files(tmp_path / "mine", files)
    with pytest.raises(DataError, match=text) as caught:
        ImageFolders("mine", path).read()
    assert str(path) in str(caught.value)


def test_a_folder_that_is_no_data_set_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise AssertionError(f"{path} was read")

    write_files(tmp_path / "home", {"films/a.mkv": SQUARE, "letters/b.txt": SQUARE})
    monkeypatch.setattr("paribus.data.folders.file_digest", refuse)
    with pytest.raises(DataError, match="train and test cannot be found beside films, letters"):
        ImageFolders("home", tmp_path / "home").fingerprint()


def test_an_empty_class_folder(tmp_path: Path) -> None:
    reader = _read(tmp_path, class_files(arrays()))
    (reader.path / "train" / "d").mkdir()
    with pytest.raises(DataError, match="there are none in train/d"):
        reader.read()
    path = write_zip(tmp_path / "mine.zip", class_files(arrays()) | {"test/d/": b""})
    with pytest.raises(DataError, match="there are none in test/d"):
        ImageFolders("mine", path).read()


def test_splits_without_any_class(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
    with pytest.raises(DataError, match="its train folder has none"):
        ImageFolders("mine", tmp_path).read()


def test_given_classes_decide_the_order_and_must_all_be_there(tmp_path: Path) -> None:
    path = write_files(tmp_path / "mine", class_files(arrays()))
    dataset = check_reader(ImageFolders("mine", path, ("c", "a", "b")).read)
    assert dataset.class_names == ("c", "a", "b")
    assert dataset.train.labels.tolist() == sorted(dataset.train.labels.tolist())
    with pytest.raises(DataError, match="must hold the 3 classes of mine, but it lacks d and has c besides"):
        ImageFolders("mine", path, ("a", "b", "d")).read()


def test_a_file_that_is_no_zip(tmp_path: Path) -> None:
    (tmp_path / "mine.zip").write_bytes(b"not a zip")
    with pytest.raises(DataError, match="must be a whole zip file"):
        ImageFolders("mine", tmp_path / "mine.zip").read()


def test_a_missing_zip(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"A file must exist, but `.*` does not"):
        ImageFolders("mine", tmp_path / "none.zip").read()


def test_a_truncated_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "mine.zip", class_files(arrays()))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="must be a whole zip file"):
        ImageFolders("mine", path).read()


def test_damage_inside_the_zip_names_the_image(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "mine.zip", class_files(arrays()))
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 8] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"1 of the 39 files[^\n]*\n  train/a/000.png: damaged in the zip: Bad CRC-32"):
        ImageFolders("mine", path).read()


def test_an_encrypted_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "mine.zip", class_files(arrays()))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # The flag in the central directory.
    path.write_bytes(bytes(content))
    assert zipfile.ZipFile(path).infolist()[0].flag_bits & 1
    with pytest.raises(DataError, match=r"000.png: it is encrypted"):
        ImageFolders("mine", path).read()


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = _read(tmp_path, class_files(arrays()))

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(DataError, match="cannot be listed: Permission denied"):
        reader.read()


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = _read(tmp_path, class_files(arrays()))

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"000.png` cannot be read: Permission denied. Check the file"):
        reader.read()
