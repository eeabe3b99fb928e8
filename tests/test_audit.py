"""`paribus audit`: every kind of finding on small made-up folders, with a case that has it and one that has not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from audit_files import Files, audited, clean, kinds, photo, saved, the
from data_files import arrays, class_files, write_files, write_idx, write_zip
from paribus.audit import Audit, Exhibit, Finding, Options, examine, find_files, to_html
from paribus.audit.duplicates import copies, joined, near_copies
from paribus.audit.page import MOST_IMAGES
from paribus.cli import main
from paribus.cli.audit import lines
from paribus.errors import ConfigError, DataError


def test_a_clean_folder_has_no_findings(tmp_path: Path) -> None:
    audit = audited(tmp_path, clean())
    assert audit.findings == ()
    assert not audit.has_errors
    assert audit.counts == {"train": {"cat": 6, "dog": 6}, "test": {"cat": 6, "dog": 6}}
    assert [each.partition(":")[0] for each in audit.unseen] == [
        "Groups by name",
        "Neighbours in the features of a backbone, and doubtful labels",
    ]
    assert lines(audit)[-1] == "Nothing was found."


def test_unreadable_files_are_listed_with_their_reasons(tmp_path: Path) -> None:
    broken = {"train/cat/empty.png": b"", "train/dog/text.jpg": b"no image", "test/dog/cut.png": saved(photo(1))[:400]}
    found = the(audited(tmp_path, clean() | broken), "unreadable")
    assert found.severity == "error"
    assert found.sentence.startswith("3 of 27 files cannot be decoded")
    assert set(found.paths) == set(broken)
    notes = {image.path: image.note for image in found.images}
    assert notes["train/cat/empty.png"] == "the file is empty"
    assert notes["train/dog/text.jpg"] == "not an image of a known format"


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    files = {f"{split}/{name}/a.png": b"x" for split in ("train", "test") for name in ("cat", "dog")}
    with pytest.raises(DataError, match=r"must hold images that can be read, but there is none\. Add some"):
        audited(tmp_path, files)


def test_an_entry_that_cannot_be_read_is_unreadable(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", clean())
    content = bytearray(path.read_bytes())
    place = content.find(b"test/dog/f.png") + len("test/dog/f.png") + 60  # In its data, which the checksum covers.
    content[place] ^= 255
    path.write_bytes(content)
    found = the(examine(str(path)), "unreadable")
    assert found.paths == ("test/dog/f.png",)
    assert found.images[0].note.startswith("damaged in the zip")


def test_an_ending_that_lies_is_told_and_one_that_is_true_is_not(tmp_path: Path) -> None:
    wrong = {"train/cat/w.jpg": saved(photo(50)), "train/dog/w.dat": saved(photo(51))}
    right = {
        "train/cat/x.JPEG": saved(photo(52), "jpeg"),
        "train/dog/y.jpg": saved(photo(53), "mpo", save_all=True, append_images=[photo(54)]),
    }
    found = the(audited(tmp_path, clean() | wrong | right), "extension")
    assert set(found.paths) == set(wrong)
    assert found.severity == "warning"
    assert "by content are PNG" in found.sentence


def test_copies_across_splits_and_classes_and_within(tmp_path: Path) -> None:
    files = clean()
    files["test/cat/z.png"] = files["train/cat/a.png"]
    files["train/dog/z.png"] = files["train/cat/b.png"]
    files["train/dog/y.png"] = files["train/dog/c.png"]
    audit = audited(tmp_path, files)
    expected = {
        "copies-across-splits": ("error", {"train/cat/a.png", "test/cat/z.png"}),
        "copies-across-classes": ("error", {"train/cat/b.png", "train/dog/z.png"}),
        "copies": ("warning", {"train/dog/c.png", "train/dog/y.png"}),
    }
    assert {each.kind: (each.severity, set(each.paths)) for each in audit.findings} == expected
    assert {image.set for finding in audit.findings for image in finding.images} == {0}
    assert audit.has_errors


@pytest.mark.parametrize(
    "change",
    [
        lambda image: saved(image, "jpeg", quality=40),
        lambda image: saved(image.resize((40, 40))),
        lambda image: saved(ImageEnhance.Contrast(image).enhance(0.7)),
        lambda image: saved(image.convert("L")),
    ],
    ids=["compressed", "smaller", "flatter", "grey"],
)
def test_a_picture_saved_otherwise_is_a_near_copy(tmp_path: Path, change: object) -> None:
    assert callable(change)
    audit = audited(tmp_path, clean() | {"test/cat/z.png": change(photo(0))})
    found = the(audit, "near-copies-across-splits")
    assert found.paths == ("train/cat/a.png", "test/cat/z.png")
    assert found.severity == "warning"
    assert not [kind for kind in kinds(audit) if kind.startswith("copies")]


def test_a_mirrored_picture_is_no_near_copy(tmp_path: Path) -> None:
    audit = audited(tmp_path, clean() | {"test/cat/z.png": saved(ImageOps.mirror(photo(0)))})
    assert audit.findings == ()


def test_pictures_of_one_shade_resemble_nothing() -> None:
    small = np.stack([np.full((32, 32), shade, dtype=np.uint8) for shade in (0, 90, 90, 255)])
    assert len(near_copies(small, ["a", "b", "c", "d"])) == 0


def test_the_hash_alone_makes_no_near_copy() -> None:
    """Pictures whose low frequencies agree and whose details do not."""
    steps = np.arange(32)
    low = 128 + 60 * np.cos(np.pi * (2 * steps + 1) / 64)[None] * np.ones((32, 1))
    detail = 60 * (-1.0) ** (steps[:, None] + steps[None])
    small = np.stack([low, low + detail]).clip(0, 255).astype(np.uint8)
    assert len(near_copies(small, ["a", "b"])) == 0
    assert near_copies(np.stack([small[0], small[0]]), ["a", "b"]).tolist() == [[0, 1]]


def test_blocks_lose_no_near_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.stack([np.asarray(photo(seed % 7, 32).convert("L")) for seed in range(20)])
    whole = near_copies(pixels, [str(index) for index in range(20)]).tolist()
    monkeypatch.setattr("paribus.audit.duplicates._BLOCK", 3)
    parts = near_copies(pixels, [str(index) for index in range(20)]).tolist()
    assert sorted(parts) == sorted(whole)
    assert sorted(whole) == [[a, b] for a in range(20) for b in range(a + 1, 20) if a % 7 == b % 7]


@given(st.lists(st.sampled_from("abcd"), max_size=20))
def test_copies_are_the_files_with_equal_digests(digests: list[str]) -> None:
    sets = [members.tolist() for members in copies(digests)] if digests else []
    expected = [[i for i, each in enumerate(digests) if each == digest] for digest in dict.fromkeys(digests)]
    assert sets == [members for members in expected if len(members) > 1]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=15))
def test_joined_pairs_are_apart_and_hold_every_pair(pairs: list[tuple[int, int]]) -> None:
    pairs = [pair for pair in pairs if pair[0] != pair[1]]
    sets = [set(each.tolist()) for each in joined(np.array(pairs, dtype=np.int64).reshape(-1, 2), 10)]
    assert sum(map(len, sets)) == len(set().union(*sets))
    assert all(any({a, b} <= each for each in sets) for a, b in pairs)
    assert set().union(*sets) == {index for pair in pairs for index in pair}


def roll(people: int, classes: str, test: dict[int, str]) -> Files:
    """Return a camera roll: each person shows every class in order; `test` says which classes of whom are for test."""
    files = {}
    for person in range(people):
        for label, name in enumerate(classes):
            split = "test" if name in test.get(person, "") else "train"
            number = person * len(classes) + label
            files[f"{split}/{name}/IMG_{number:04}.png"] = saved(photo(number, 16))
    return files


def test_people_in_two_splits_are_named_by_their_group(tmp_path: Path) -> None:
    files = roll(12, "abcde", {3: "abcde", 5: "ab", 7: "cde"})
    found = the(audited(tmp_path, files), "groups-in-train-and-test")
    assert found.severity == "error"
    assert found.sentence.startswith(
        "2 of the 3 groups of test have images in train too, 5 of 10 images of test: 5, 7."
    )
    assert {image.note for image in found.images} == {f"group {n}, {s}" for n in (5, 7) for s in ("train", "test")}
    assert set(found.paths) == {path for path in files if 25 <= int(path[-8:-4]) < 30 or 35 <= int(path[-8:-4]) < 40}


def test_people_in_one_split_each_are_no_finding(tmp_path: Path) -> None:
    audit = audited(tmp_path, roll(12, "abcde", {3: "abcde", 5: "abcde"}))
    assert kinds(audit) == ["few-images"]
    assert not [each for each in audit.unseen if each.startswith("Groups")]


def test_numbers_in_an_order_by_chance_name_no_groups(tmp_path: Path) -> None:
    order = np.random.default_rng(3).permutation(60)
    files = {
        f"{'test' if place % 4 == 0 else 'train'}/{'abcde'[label % 5]}/IMG_{place:04}.png": saved(photo(place, 16))
        for place, label in enumerate(order)
    }
    audit = audited(tmp_path, files)
    assert not [kind for kind in kinds(audit) if kind.startswith("groups")]
    assert audit.unseen[0].startswith("Groups by name: no numbering tells")


def test_groups_may_be_named_by_an_expression(tmp_path: Path) -> None:
    files = clean() | {"train/cat/x-anna.png": saved(photo(70)), "test/dog/y-anna.png": saved(photo(71))}
    files = {
        path.replace("png", "png") if "-" in path else path.replace(".", "-other."): v for path, v in files.items()
    }
    found = the(audited(tmp_path, files, Options(group=r"-(\w+)\.")), "groups-in-train-and-test")
    assert "anna, other" in found.sentence
    with pytest.raises(DataError, match=r"`data\.group` must match the path of every image"):
        audited(tmp_path, files, Options(group="-(anna)"))
    with pytest.raises(DataError, match="needs a number in every file's name"):
        audited(tmp_path, files, Options(group="numbering"))


def test_a_table_gives_its_own_groups(tmp_path: Path) -> None:
    write_files(tmp_path, {path.replace("/", "-"): content for path, content in clean().items()})
    rows = [
        f"{path.replace('/', '-')},{path.split('/')[1]},{path.split('/')[0]},p{i % 5}" for i, path in enumerate(clean())
    ]
    (tmp_path / "table.csv").write_text("path,label,split,group\n" + "\n".join(rows), encoding="utf-8")
    found = the(examine(str(tmp_path / "table.csv")), "groups-in-train-and-test")
    assert "p0, p1, p2, p3, p4" in found.sentence


def test_class_folders_without_splits_can_be_audited(tmp_path: Path) -> None:
    files = {path.removeprefix("train/"): content for path, content in clean().items() if path.startswith("train")}
    audit = audited(tmp_path, files | {"cat/z.png": files["dog/a.png"]})
    assert audit.counts == {"": {"cat": 7, "dog": 6}}
    assert kinds(audit) == ["copies-across-classes"]
    assert "no split 13" in lines(audit)[0]
    assert "none" in to_html(audit, find_files(str(tmp_path / "photos")))


def test_few_and_uneven_classes(tmp_path: Path) -> None:
    more = {f"train/dog/{'x' * n}.png": saved(photo(200 + n, 16)) for n in range(1, 15)}
    audit = audited(tmp_path, clean() | more)
    assert (
        "Class dog has 3.3 times as many train images as cat, 20 against 6." in the(audit, "class-imbalance").sentence
    )
    assert the(audit, "class-imbalance").severity == "note"
    few = {path: content for path, content in clean().items() if not path.startswith("test/dog/") or "a.png" in path}
    assert "test dog (1)" in the(audited(tmp_path / "few", few), "few-images").sentence


def test_odd_sizes_long_images_modes_and_turned_ones(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    odd = {
        "train/cat/large.png": saved(photo(80, 300)),
        "train/cat/long.png": saved(photo(81).resize((120, 40))),
        "train/dog/grey.png": saved(photo(82).convert("L")),
        "train/dog/turned.jpg": saved(photo(83), "jpeg", exif=exif),
    }
    audit = audited(tmp_path, clean() | odd)
    paths = {"odd-sizes": "cat/large.png", "long-images": "cat/long.png", "colour-modes": "dog/grey.png"}
    paths |= {"turned": "dog/turned.jpg"}
    assert {each.kind: each.paths for each in audit.findings} == {k: (f"train/{v}",) for k, v in paths.items()}
    assert {each.severity for each in audit.findings} == {"note"}


def test_worst_comes_first(tmp_path: Path) -> None:
    files = clean() | {"test/cat/z.jpg": clean()["train/cat/a.png"], "train/dog/w.png": saved(photo(9, 400))}
    assert [each.severity for each in audited(tmp_path, files).findings] == ["error", "warning", "note"]


def test_arrays_have_no_files_to_audit(tmp_path: Path) -> None:
    write_idx(tmp_path / "idx", arrays())
    with pytest.raises(DataError, match=r"An audit is of image files, .* holds arrays\. Copies, counts"):
        examine(str(tmp_path / "idx"))


# What is written


def test_the_page_needs_no_other_file_and_escapes(tmp_path: Path) -> None:
    name = "a&<b>.png"
    files = clean() | {f"train/cat/{name}": clean()["test/dog/a.png"], "train/cat/broken.png": b"x"}
    audit = audited(tmp_path, files)
    html = to_html(audit, find_files(str(tmp_path / "photos")))
    assert "a&amp;&lt;b&gt;.png" in html
    assert name not in html
    assert html.count("data:image/jpeg;base64,") == 2 * len(the(audit, "copies-across-splits").paths)
    assert 'src="http' not in html and "<script" not in html
    assert "not an image of a known format" in html
    assert "Not looked at" in html


def test_the_page_shows_whole_sets_and_says_what_is_left(tmp_path: Path) -> None:
    files = {f"train/cat/{'c' * n}.png": saved(photo(0)) for n in range(1, MOST_IMAGES + 11)}
    audit = audited(tmp_path, clean() | files)
    html = to_html(audit, find_files(str(tmp_path / "photos")))
    left = len(the(audit, "copies").paths) - MOST_IMAGES
    assert f"{left} more images in the file that --json writes." in html


def test_the_command_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = clean()
    files["test/cat/z.png"] = files["train/cat/a.png"]
    folder = write_files(tmp_path / "mes photos é", files)
    out = (tmp_path / "a.json", tmp_path / "a.html")
    assert main(["audit", str(folder), "--json", str(out[0]), "--html", str(out[1])]) == 2
    printed = capsys.readouterr().out
    content = json.loads(out[0].read_text(encoding="utf-8"))
    assert content["format"] == 1
    assert [each["kind"] for each in content["findings"]] == ["copies-across-splits"]
    assert content["findings"][0]["images"][0] == {"path": "train/cat/a.png", "note": "train, cat", "set": 0}
    assert content["findings"][0]["sentence"] in printed
    assert "test/cat/z.png" in printed
    assert out[1].read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_the_exit_status_is_0_without_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(write_files(tmp_path / "photos", clean()))]) == 0
    assert "Nothing was found." in capsys.readouterr().out


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_files(tmp_path / "photos", clean())
    for option in ("--json", "--html"):
        assert main(["audit", str(folder), option, str(tmp_path / "no" / "file")]) == ConfigError.exit_status
        assert f"{option} must name a file that can be written, but" in capsys.readouterr().err


def test_many_files_are_cut_short_in_the_text() -> None:
    images = tuple(Exhibit(f"{index}.png") for index in range(8))
    text = lines(Audit("x", {"train": {"a": 8}}, (Finding("turned", "note", "Turned.", images),), ()))
    assert "    and 3 more files, which --json lists" in text
    assert text[0] == "x: 1 class, readable images: train 8"
    assert text[-1] == "1 finding."


def test_class_files_of_other_tests_are_clean(tmp_path: Path) -> None:
    audit = audited(tmp_path, class_files(arrays()))
    assert [kind for kind in kinds(audit) if kind.startswith(("copies", "near"))] == []
