"""Data sets of image files: splits that are drawn, groups, tables, what cannot be read, photos of every kind."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_files import picture, write_files, write_zip
from paribus.config import NUMBERING, DataConfig
from paribus.data import Dataset, draw, load_prepared, prepare
from paribus.data.archive import Archive
from paribus.data.folders import ImageFolders
from paribus.data.groups import draw_groups, named_groups, numbered_groups
from paribus.data.pixels import decode
from paribus.data.reader import Reading
from paribus.data.samples import Sample
from paribus.data.table import CsvFile
from paribus.errors import ConfigError, DataError
from paribus.testing.readers import check_reader
from test_photos import GOOD


def photo(value: int, width: int = 12, height: int = 9) -> bytes:
    """A grey picture, different for every value."""
    pixels = np.full((height, width), value % 200, np.uint8)
    pixels.flat[value % pixels.size] = 255
    return picture(pixels)


def class_folders(per_class: int = 10, classes: str = "ab") -> dict[str, bytes]:
    return {f"{name}/{i:02}.png": photo(100 * k + i) for k, name in enumerate(classes) for i in range(per_class)}


def folder(root: Path, files: dict[str, bytes], **how: Any) -> ImageFolders:
    return ImageFolders("mine", write_files(root / "mine", files), how=Reading(size=8, **how))


def values(dataset: Dataset, split: str) -> set[bytes]:
    return {image.tobytes() for image in getattr(dataset, split).images}


def test_a_test_split_is_drawn_from_class_folders(tmp_path: Path) -> None:
    dataset = check_reader(folder(tmp_path, class_folders(), test=0.2).read)
    assert dataset.class_names == ("a", "b") and dataset.val is None
    assert np.bincount(dataset.test.labels).tolist() == [2, 2]
    assert np.bincount(dataset.train.labels).tolist() == [8, 8]


def test_the_draw_follows_contents_and_not_names(tmp_path: Path) -> None:
    files = class_folders()
    renamed = {f"{name[0]}/x{99 - int(name[2:4])}.png": content for name, content in files.items()}
    first = folder(tmp_path / "one", files, test=0.3).read()
    second = folder(tmp_path / "two", renamed, test=0.3).read()
    assert values(first, "test") == values(second, "test") != set()


def test_a_sources_own_splits_are_pooled_where_a_test_split_is_drawn(tmp_path: Path) -> None:
    files = {f"{split}/{name}": content for split in ("train", "val") for name, content in class_folders(5).items()}
    files |= {f"test/{name}": photo(50 + i) for i, name in enumerate(class_folders(2))}
    dataset = folder(tmp_path, files, test=0.5).read()
    assert dataset.val is None and len(dataset.train) + len(dataset.test) == 24


def test_copies_of_one_image_stay_on_one_side(tmp_path: Path) -> None:
    files = class_folders(6)
    files |= {name.replace(".png", "-copy.png"): content for name, content in files.items()}
    dataset = folder(tmp_path, files, test=0.4).read()
    assert len(dataset.test) >= 9 and not values(dataset, "train") & values(dataset, "test")


def test_class_folders_without_a_test_split_say_how_to_draw_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train and test cannot be found beside a, b.*set `data.test`, for example to"):
        folder(tmp_path, class_folders()).read()


def test_a_class_that_one_split_would_lack_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`data.test = 0.5` leaves train of .* without c\. Give these classes more"):
        folder(tmp_path, class_folders() | {"c/1.png": photo(1)}, test=0.5).read()


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"a/x/1.png": b"", "b/1.png": b""}, "must lie as class/image, but .* `a/x/1.png`"),
        ({"a/1.png": b"", "a/2.png": b""}, "must be at least two classes to tell apart, but .* has 1"),
        ({}, "must hold class folders with images, but it has none"),
    ],
)
def test_class_folders_that_do_not_hold(tmp_path: Path, files: dict[str, bytes], text: str) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match=text):
        folder(tmp_path, {name: photo(i) for i, name in enumerate(files)}, test=0.5).read()


def test_groups_by_expression_never_straddle(tmp_path: Path) -> None:
    files = {
        f"{name}/{who}-{i}.png": photo(7 * i + 50 * ord(who) + ord(name))
        for name in "ab"
        for who in "klmnopqr"
        for i in range(3)
    }
    reader = folder(tmp_path, files, test=0.25, group=r"/(\w)-")
    dataset = check_reader(reader.read)
    assert dataset.train.groups is not None and dataset.test.groups is not None
    assert not set(dataset.train.groups) & set(dataset.test.groups)
    assert len(dataset.test) == 12 and np.bincount(dataset.test.labels).tolist() == [6, 6]
    for seed in range(5):
        drawn = draw(dataset, DataConfig(name="x", val=6), seed)
        assert drawn.val.groups is not None
        assert not set(drawn.val.groups) & set(dataset.train.groups[drawn.train_indices])
        assert len(drawn.val) == 6 and len(drawn.train_indices) == 30


def test_groups_survive_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARIBUS_CACHE", str(tmp_path / "cache"))
    path = write_files(tmp_path / "mine", class_folders() | {"a/broken.png": b"junk"})
    config = DataConfig(name=str(path), size=8, test=0.2, group=r"\d\d", skip_unreadable=True)
    dataset = load_prepared(prepare(config).folder)
    assert dataset.train.groups is not None and dataset.train.groups.shape == dataset.train.labels.shape
    assert dataset.skipped == {"a/broken.png": "not an image of a known format"}


def test_a_group_expression_that_matches_nothing_is_refused() -> None:
    with pytest.raises(DataError, match=r"matches nothing in `b/1.png` \(1 of 2 paths\)"):
        named_groups(["a/x1.png", "b/1.png"], "x")


def test_groups_by_numbers_begin_where_the_classes_begin_anew() -> None:
    names = ["t/0/IMG_7.JPG", "t/1/IMG_9.JPG", "v/0/IMG_8.JPG", "t/2/IMG_10.JPG", "t/0/IMG_11.JPG", "t/3/IMG_12.JPG"]
    assert numbered_groups(names, [0, 1, 0, 2, 0, 3]) == ["0", "1", "1", "1", "2", "2"]


@pytest.mark.parametrize(
    ("names", "text"),
    [(["a/x.png", "a/1.png"], "`a/x.png` has none"), (["a/1.png", "b/1.png"], "`a/1.png` and `b/1.png` have the same")],
)
def test_names_that_do_not_number_the_images(names: list[str], text: str) -> None:
    with pytest.raises(DataError, match=text):
        numbered_groups(names, [0, 1])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), min_size=1, max_size=60), st.data())
def test_drawing_groups_takes_whole_ones_and_enough(pairs: list[tuple[int, int]], data: st.DataObject) -> None:
    labels, groups = (np.array(each) for each in zip(*pairs, strict=True))
    labels = np.unique(labels, return_inverse=True)[1]
    count = data.draw(st.integers(0, len(labels)))
    chosen = draw_groups(labels, groups, count, lambda ids, _: ids)
    assert len(chosen) >= count and not set(groups[chosen]) & set(np.delete(groups, chosen))
    assert (np.diff(chosen) > 0).all()


def table(root: Path, text: str, **how: Any) -> CsvFile:
    write_files(root / "some folder", class_folders())
    (root / "some folder" / "list.csv").write_text(text, encoding="utf-8")
    return CsvFile("list", root / "some folder" / "list.csv", how=Reading(size=8, **how))


ROWS = [f"{name},{name[0].upper()},{i}" for i, name in enumerate(class_folders())]


def test_a_table_of_paths_and_labels(tmp_path: Path) -> None:
    lines = [
        f"{row.rpartition(',')[0]},{'Valid' if i % 5 == 0 else 'test' if i % 5 == 1 else 'train'}"
        for i, row in enumerate(ROWS)
    ]
    dataset = check_reader(table(tmp_path, "\n".join(["path,label,split", *lines])).read)
    assert dataset.class_names == ("A", "B")
    assert dataset.val is not None and [len(dataset.train), len(dataset.val), len(dataset.test)] == [12, 4, 4]


def test_a_table_with_groups(tmp_path: Path) -> None:
    lines = [f"{row.rpartition(',')[0]},{i // 2}" for i, row in enumerate(ROWS)]
    dataset = table(tmp_path, "\n".join(["path,label,group", *lines]), test=0.25).read()
    assert dataset.test.groups is not None and len(dataset.test) == 6 and len(set(dataset.test.groups)) == 3


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("path,class\na/00.png,A", r"must name the columns path and label, .* but it names path, class"),
        ("path,label\na/00.png,", r"must have a label, but line 2 has none"),
        ("path,label\na/00.png,A\na/01.png", r"must have a label, but line 3 has none"),
        (
            "path,label,group\na/00.png,A,x\na/01.png,A\n",
            r"must have a group, but line 3 has none. .* An image that belongs to no other has a group of its own",
        ),
        ("path,label,group\na/00.png,A, \na/01.png,A,\n", r"must have a group, but line 2 has none"),
        ("path,label,split\na/00.png,A,train\na/01.png,A\n", r"must have a split, but line 3 has none"),
        ("path,label,split,group\na/00.png,A,,\n", r"must have a split and a group, but line 2 has none"),
        ("path,label\na/00.png,A,B", r"must have a value for each column, but line 2 has more"),
        ("path,label,split\na/00.png,A,extra", r"must be train, val or test, but line 2 of .* has `extra`"),
        ("path,label\na/00.png,A\na/00.png,B", r"has several for a/00.png"),
        ("path,label\na/00.png,A\nb/00.png,B", r"train and test cannot be found|test cannot be found"),
        ("path,label,split\na/no.png,A,train\nb/00.png,B,train", r"a/no.png: .*must exist"),
        ('path,label\n"a', "must be a table of comma-separated UTF-8, but is not"),
    ],
)
def test_tables_that_do_not_hold(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(DataError, match=error):
        table(tmp_path, text).read()


class SomeGrouped(ImageFolders):
    """Folders that name the groups of all images but the first `without` of each class."""

    without: ClassVar[int] = 0

    def samples(self, archive: Archive) -> list[Sample]:
        found = super().samples(archive)
        return [replace(each, group=None if int(each.file[-1][:2]) < self.without else "g") for each in found]


@pytest.mark.parametrize("without", [0, 1, 10])
def test_a_source_names_the_groups_of_all_images_or_of_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: int
) -> None:
    files = {f"{split}/{name}": content for split in ("train", "test") for name, content in class_folders().items()}
    reader = SomeGrouped("mine", write_files(tmp_path, files), how=Reading(size=8))
    monkeypatch.setattr(SomeGrouped, "without", without)
    if without in (0, 10):
        assert (reader.read().train.groups is None) == (without == 10)
        return
    with pytest.raises(
        DataError, match=r"must have a group or none of them, but 4 of 40 have none: train/a/00.png, .*\. Name theirs"
    ):
        reader.read()


def test_every_kind_of_file_in_a_folder_a_zip_and_a_table_makes_one_data_set(tmp_path: Path) -> None:
    splits = ("train", "Valid", "test")
    kinds = [content for content, _ in GOOD.values()]
    names = [f"{split}/{'ab'[i % 2]}/{i:02}.jpg" for split in splits for i in range(len(kinds))]
    files = dict(zip(names, kinds * 3, strict=True))
    loose, packed = write_files(tmp_path / "mine", files), write_zip(tmp_path / "mine.zip", files)
    rows = "\n".join(f"{name},{name.split('/')[1]},{name.split('/')[0]}" for name in names)
    (loose / "list.csv").write_text(f"path,label,split\n{rows}\n", encoding="utf-8")
    how = Reading(size=8, fit="crop")
    listed = CsvFile("mine", loose / "list.csv", how=how).read()
    (loose / "list.csv").unlink()
    for found in (ImageFolders("mine", loose, how=how).read(), ImageFolders("mine", packed, how=how).read(), listed):
        assert found.image_shape == (3, 8, 8) and found.val is not None and found.class_names == ("a", "b")
        for split in ("train", "val", "test"):
            part, own = getattr(found, split), getattr(listed, split)
            assert len(part) == len(kinds) and np.array_equal(part.labels, own.labels)
            assert np.array_equal(part.images, own.images)
    order = [i for label in range(2) for i in range(label, len(kinds), 2)]
    for image, i in zip(listed.train.images, order, strict=True):
        assert np.array_equal(image, np.broadcast_to(decode(kinds[i], 8, "crop").T, (3, 8, 8)).swapaxes(1, 2))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("group", [None, r"/(\d)\d"])
def test_one_folder_of_classes_is_split_by_the_seed(tmp_path: Path, packed: bool, group: str | None) -> None:
    """Test is the same for every seed; val is drawn anew, class by class, and in whole groups where there are any."""
    files = class_folders(40)
    path = write_zip(tmp_path / "mine.zip", files) if packed else write_files(tmp_path / "mine", files)
    dataset = ImageFolders("mine", path, how=Reading(size=8, test=0.25, group=group)).read()
    assert dataset.val is None and len(dataset.test) == 20
    drawn = [draw(dataset, DataConfig(name="mine", val=20), seed) for seed in (1, 1, 2, 3, 4)]
    found = [{image.tobytes() for image in each.val.images} for each in drawn]
    assert found[0] == found[1] and any(each != found[0] for each in found)
    for each in drawn:
        assert len(each.val) == 20 and len(each.train_indices) == 40
        assert np.bincount(each.val.labels).tolist() == [10, 10]
        if group is not None:
            assert each.val.groups is not None and dataset.train.groups is not None
            assert not set(each.val.groups) & set(dataset.train.groups[each.train_indices])


def test_unreadable_files_can_be_left_out_and_are_told(tmp_path: Path) -> None:
    bad = {"a/empty.jpg": b"", "b/page.jpg": b"<html>not found</html>", "b/half.png": photo(9, 200, 200)[:60]}
    files = class_folders() | bad
    with pytest.raises(DataError, match=r"3 of the 23 files.*`data.skip_unreadable = true`") as caught:
        folder(tmp_path, files, test=0.2).read()
    assert all(name in str(caught.value) for name in bad)
    dataset = folder(tmp_path, files, test=0.2, skip_unreadable=True).read()
    assert len(dataset.train) + len(dataset.test) == 20 and set(dataset.skipped) == set(bad)


def test_a_source_of_nothing_but_unreadable_files(tmp_path: Path) -> None:
    files = dict.fromkeys(class_folders(), b"junk")
    with pytest.raises(DataError, match="must hold images that can be read, but there is none"):
        folder(tmp_path, files, test=0.2, skip_unreadable=True).read()


def test_names_of_every_kind(tmp_path: Path) -> None:
    """Spaces, other alphabets, mixed case, no extension, a wrong one; hidden files do not count."""
    names = ["Été à Paris.PNG", "नमस्ते.png", "a b.JpG", "none", "wrong.jpeg", ".hidden.png", "Thumbs.db", "犬.png"]
    files = {f"{k} class/{name}": photo(10 * i + k) for k in (1, 2) for i, name in enumerate(names)}
    dataset = folder(tmp_path, files, test=0.34).read()
    assert dataset.class_names == ("1 class", "2 class") and len(dataset.train) + len(dataset.test) == 12


@pytest.mark.parametrize("key", ["fit", "test", "group", "skip_unreadable"])
def test_arrays_have_no_files_to_be_read_otherwise(key: str) -> None:
    how = {"fit": "crop", "test": 0.2, "group": "x", "skip_unreadable": True}[key]
    with pytest.raises(DataError, match=f"`data.{key}` must be left out for .*: it is for data sets of image"):
        prepare(DataConfig.model_validate({"name": "digits", "size": 8, key: how}))


def test_configurations_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match=r'`data.fit = "crop"` needs `data.size`'):
        DataConfig(name="x", fit="crop")
    with pytest.raises(ConfigError, match=rf'must be a regular expression or "{NUMBERING}", but got `\(`'):
        DataConfig(name="x", group="(")


def test_cropping_keeps_proportions_and_the_middle() -> None:
    pixels = np.zeros((40, 100, 3), np.uint8)
    pixels[:, 30:70] = (200, 100, 50)
    assert (decode(picture(pixels), 20, "crop")[:, 2:18] == (200, 100, 50)).all()
    squashed = decode(picture(pixels), 20, "squash")
    assert (squashed[:, 0] == 0).all() and (squashed[:, 10] == (200, 100, 50)).all()


def jpeg(pixels: npt.NDArray[np.uint8], **options: Any) -> bytes:
    return picture(pixels, "jpeg", quality=92, **options)


def scene(side: int) -> npt.NDArray[np.uint8]:
    rows, columns = np.mgrid[0:side, 0:side] / side
    waves = [np.sin(9 * rows + k) * np.cos(7 * columns + 2 * k) for k in range(3)]
    return (127 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)


@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_a_huge_jpeg_is_decoded_at_reduced_scale_and_looks_the_same(fit: Any) -> None:
    content = jpeg(scene(2400))
    whole = Image.open(io.BytesIO(content)).convert("RGB").resize((96, 96), Image.Resampling.BICUBIC)
    difference = np.abs(decode(content, 96, fit).astype(int) - np.asarray(whole).astype(int))
    assert difference.mean() < 1 and difference.max() < 12
    start = time.process_time()
    decode(content, 96, fit)
    reduced = time.process_time() - start
    start = time.process_time()
    decode(content)
    assert reduced < time.process_time() - start
