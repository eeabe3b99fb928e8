"""`paribus predict`: which files, in which form, with which exit status, and what names may not do."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import paribus
from data_files import picture
from paribus.cli import main
from paribus.cli.predict import plain
from paribus.data import load_data
from paribus.predict import files
from paribus.predict.files import classify_files, find_files
from test_predict import EASY, TUNED
from trained_models import LENET, trained

IMAGES = load_data("digits").test.images[:, 0]


@pytest.fixture(scope="module")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(trained(tmp_path_factory.mktemp("result") / "small", LENET))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three digits at the top, one below, and what is no image; the working directory."""
    monkeypatch.chdir(tmp_path)
    for name, place in (("a.png", 0), ("b.PNG", 1), ("c d.jpg", 2), ("deep/e.png", 3), (".hidden.png", 4)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture(IMAGES[place], "jpeg" if name.endswith("jpg") else "png"))
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def predicted(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["predict", *arguments])
    out, err = capsys.readouterr()
    return status, out, err


def test_a_table_has_a_line_per_image(lenet: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = predicted(capsys, lenet, "a.png", "deep", "--top", "2")
    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert [line[0] for line in lines] == ["a.png", str(Path("deep", "e.png"))]
    wanted = paribus.load(lenet).predict(["a.png", "deep/e.png"]).top(2)
    assert [[line[1], line[4]] for line in lines] == [[name for name, _ in best] for best in wanted]
    assert lines[0][2:4] == [f"{100 * wanted[0][0][1]:.2f}", "%"]


def test_json_is_for_programs(lenet: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = predicted(capsys, lenet, ".", "--json")
    told = json.loads(out)
    assert status == 0 and told["format"] == 1 and told["model"] == {"experiment": "small", "arm": "control", "seed": 0}
    assert [each["path"] for each in told["images"]] == ["a.png", "b.PNG", "c d.jpg", str(Path("deep", "e.png"))]
    wanted = paribus.load(lenet).predict([each["path"] for each in told["images"]]).top(3)
    for each, best in zip(told["images"], wanted, strict=True):
        assert [row["name"] for row in each["classes"]] == [name for name, _ in best]
        assert [row["probability"] for row in each["classes"]] == pytest.approx([share for _, share in best], rel=1e-5)
    assert told["unreadable"] == [] and told["negatives"] == 0


def test_csv_has_a_row_per_image(lenet: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = predicted(capsys, lenet, "a.png", "b.PNG", "--csv", "--top", "1")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["path"] for row in rows] == ["a.png", "b.PNG"] and list(rows[0]) == ["path", "class_1", "probability_1"]


def test_what_cannot_be_read_is_told_and_the_rest_is_done(
    lenet: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "empty.png").touch()
    (folder / "void").mkdir()
    names = ["notes.txt", "a.png", "nowhere.png", "empty.png", "void", "*.webp"]
    status, out, err = predicted(capsys, lenet, *names, "--json")
    assert status == 2
    told = json.loads(out)
    assert [each["path"] for each in told["images"]] == ["a.png"]
    reasons = {each["path"]: each["reason"] for each in told["unreadable"]}
    assert reasons.keys() == set(names) - {"a.png"}
    for text in (
        "unreadable: notes.txt: not an image of a known format\n",
        "unreadable: nowhere.png: A file must exist, but `nowhere.png` does not (looked in `",
        "unreadable: empty.png: the file is empty\n",
        "unreadable: void: the folder holds no file that ends in .bmp, .gif, ",
        "unreadable: *.webp: no file matches\n",
        "\n1 image classified; 5 names could not be read.\n",
    ):
        assert text in err
    assert predicted(capsys, lenet, "nowhere.png")[:2] == (2, "")


def test_names_come_from_stdin(
    lenet: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("c d.jpg\n\ndeep\n"))
    _, out, _ = predicted(capsys, lenet, "-", "a.png", "--csv")
    assert [row["path"] for row in csv.DictReader(io.StringIO(out))] == ["c d.jpg", "deep/e.png", "a.png"]


def test_patterns_and_folders_are_gone_through(folder: Path) -> None:
    for names, wanted in (
        (["*.png"], ["a.png"]),
        (["**/*.png"], ["a.png", "deep/e.png"]),
        (["*"], ["a.png", "b.PNG", "c d.jpg", "deep/e.png", "notes.txt"]),
        (["."], ["a.png", "b.PNG", "c d.jpg", "deep/e.png"]),
        (["notes.txt", "a.png", "a.png"], ["notes.txt", "a.png", "a.png"]),
    ):
        assert list(find_files(names).files) == [str(Path(name)) for name in wanted]
    (folder / "[1].png").write_bytes(b"")
    assert find_files(["[1].png"]).files == ("[1].png",)


def test_negatives_are_warned_of_and_never_changed_in_silence(
    lenet: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "n.png").write_bytes(picture(255 - IMAGES[0]))
    status, out, err = predicted(capsys, lenet, "n.png", "a.png", "--json")
    assert status == 0 and json.loads(out)["negatives"] == 1
    assert err.startswith("warning: 1 of 2 images is dark on light, but the network was trained on light on dark")
    assert "with --invert (`invert=True`)" in err
    _, plainly, _ = predicted(capsys, lenet, "a.png", "--json")
    _, inverted, err = predicted(capsys, lenet, "n.png", "--invert", "--json")
    assert err == ""
    one, other = (json.loads(text)["images"][0]["classes"][0] for text in (inverted, plainly))
    assert one["name"] == other["name"] and one["probability"] == pytest.approx(other["probability"], abs=0.01)


def test_batches_are_put_together_again(lenet: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = paribus.load(lenet)
    names = ["a.png", "nowhere.png", "b.PNG", "c d.jpg", "deep/e.png"]
    whole = list(classify_files(model, names))
    assert len(whole) == 1
    for at_once in (1, 2, 4):
        monkeypatch.setattr(files, "BATCH", at_once)
        parts = list(classify_files(model, names))
        assert len(parts) == -(-len(names) // at_once)
        assert [name for part in parts for name in part.files] == list(whole[0].files)
        found = np.concatenate([part.classified.probabilities for part in parts])
        np.testing.assert_allclose(found, whole[0].classified.probabilities, atol=1e-6)
        assert {name for part in parts for name in part.unreadable} == {"nowhere.png"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--json", "--csv"], "error: One form at a time can be printed, but got both --json and --csv."),
        (["--top", "11"], "error: At least 1 and at most 10 classes can be told, as many as there are, but got 11."),
        (["--top", "0"], "but got 0. Ask for fewer."),
    ],
)
def test_options_that_make_no_sense(
    lenet: str, folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], text: str
) -> None:
    status, out, err = predicted(capsys, lenet, "a.png", *options)
    assert (status, out) == (2, "") and text in err


def test_names_do_nothing_to_terminals_and_spreadsheets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ('=cmd|"x"!A1', "a\nb,c", "\u202e\x1b[31mred", "日本")
    recipe = TUNED | {"model": {"name": "lenet5"}}
    model = str(trained(tmp_path / "small", recipe, "torch", dataclasses.replace(EASY, class_names=names)))
    monkeypatch.chdir(tmp_path)
    odd = "\x1b[2J\n.png"
    Path(odd).write_bytes(picture(EASY.test.images[0, 0]))
    _, table, _ = predicted(capsys, model, odd, "--top", "4")
    assert len(table.splitlines()) == 1 and table.rstrip("\n").isprintable()
    assert "\\u202e\\x1b[31mred" in table and "日本" in table and "\\x1b[2J\\n.png" in table
    _, out, _ = predicted(capsys, model, odd, "--top", "4", "--csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert {row[f"class_{place}"] for place in range(1, 5)} == {
        '\'=cmd|"x"!A1', "a\\nb,c", "\\u202e\\x1b[31mred", "日本",
    }  # fmt: skip
    _, out, _ = predicted(capsys, model, odd, "--top", "4", "--json")
    assert {each["name"] for each in json.loads(out)["images"][0]["classes"]} == set(names) and out.isascii()


@pytest.mark.skipif(os.name != "posix", reason="only there may names of files be no text")
def test_a_file_whose_name_is_no_text(lenet: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(b"\xff.png")
    Path(name).write_bytes(picture(IMAGES[0]))
    for form in ([], ["--csv"], ["--json"]):
        status, out, _ = predicted(capsys, lenet, name, *form)
        assert status == 0 and "\\udcff.png" in out


@given(st.text())
def test_a_plain_text_is_printable_and_tells_texts_apart(text: str) -> None:
    assert plain(text).isprintable()
    assert plain(text) == text or not text.isprintable()
