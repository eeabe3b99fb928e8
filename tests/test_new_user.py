"""A folder tried as a new user would: what works, and what the first error says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from audit_files import Files, photo, saved
from data_files import write_files
from paribus.checks import Finding
from paribus.config import DataConfig
from paribus.data import Drawn, draw, load_prepared, prepare
from paribus.errors import DataError
from paribus.experiment import Experiment
from paribus.launch import conduct
from paribus.launch.conduct import RunOptions
from paribus.launch.planned import Plan, PlannedArm, show
from paribus.power import Detectable
from paribus.terminal import show_findings

pytestmark = pytest.mark.usefixtures("fresh_cache")
EXPERIMENT = """
[experiment]
name = "first"
seeds = 1
margin = 0.1
[control]
data = {{ name = '{name}', size = 28 }}
model = {{ name = "lenet5" }}
optim = {{ lr = 0.05 }}
train = {{ epochs = 1, batch_size = 2 }}
"""


def photos(classes: list[str], each: int, folder: str = "") -> Files:
    """Return so many photos of each class, of two forms and with endings in mixed case."""
    seeds = np.random.default_rng(len(folder)).permutation(1000).tolist()
    return {
        f"{folder}{name}/DSC {index}.{ending}": saved(photo(seeds.pop(), 30), form)
        for name in classes
        for index in range(each)
        for ending, form in [(("JPG", "jpeg"), ("Png", "png"))[index % 2]]
    }


def drawn(root: Path, **keys: object) -> Drawn:
    config = DataConfig.parse({"name": str(root), "size": 8, **keys}, "data")
    return draw(load_prepared(prepare(config).folder), config, seed=0)


def test_any_names_hidden_files_and_two_images_of_each_class_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files: dict[str, bytes] = {}
    for folder in ("Train/", "VALID/", "test/"):
        files |= photos(["chat noir", "बिल्ली", "犬 & co"], 2, folder)
        files |= {
            f"{folder}.DS_Store": b"x",
            f"{folder}chat noir/.hidden.jpg": b"x",
            f"{folder}犬 & co/Thumbs.db": b"x",
        }
    write_files(tmp_path / "Größe, été", files)
    results = conduct.run(Experiment.parse(EXPERIMENT.format(name="Größe, été")), RunOptions(workers=1))
    (run,) = results.runs("control")
    counts = (run.result.train_examples, run.result.val_examples, run.result.test_examples)
    assert counts == (6, 6, 6)
    report = (results.folder / "report.md").read_text(encoding="utf-8")
    assert "Größe, été" in report
    fired = {each["code"] for each in results.read_json("verdicts.json")["checks"] if each["outcome"] == "fired"}
    assert {"P021", "P022"} <= fired, "so few images are told"


def test_two_images_of_each_class_in_one_folder_can_be_split(tmp_path: Path) -> None:
    root = write_files(tmp_path / "photos", photos(["cat", "dog"], 2))
    found = drawn(root, test=0.5, val="test")
    assert (len(found.train_indices), found.val.labels.tolist(), found.val_is_test) == (2, [0, 1], True)


FAULTS: dict[str, tuple[Files, dict[str, object], str]] = {
    "one class only": (photos(["cat"], 6), {"test": 0.5}, "at least two classes to tell apart, but .* has 1"),
    "no class folders": ({"a.jpg": b"", "b.jpg": b""}, {"test": 0.2}, "but it has none. Put the images of each class"),
    "a class missing from test": (
        photos(["cat", "dog"], 2, "train/") | photos(["cat"], 2, "test/"),
        {},
        "must have the same classes, but test lacks dog",
    ),
    "too few for a test split": (photos(["cat", "dog"], 2), {"test": 0.2}, "leaves test of .* without dog. Give these"),
    "too few for the usual val": (
        photos(["cat", "dog"], 2, "train/") | photos(["cat", "dog"], 2, "test/"),
        {},
        r"a tenth of train, where nothing is set\) makes 0 validation images, .* Set the number higher",
    ),
    "too few to train": (
        photos(["cat", "dog"], 2, "train/") | photos(["cat", "dog"], 2, "test/"),
        {"val": 3},
        "leaves train images that hold none of class `cat`. Set the number lower",
    ),
    "notes among the images": (
        photos(["cat", "dog"], 4) | {"cat/notes.txt": b"hello"},
        {"test": 0.5},
        r"1 of the 9 files .* are not.*skip_unreadable = true`:\n  cat/notes.txt: not an image of a known format",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_says_what_to_do(name: str, tmp_path: Path) -> None:
    files, keys, text = FAULTS[name]
    with pytest.raises(DataError, match=text):
        drawn(write_files(tmp_path / "photos", files), **keys)


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    root = write_files(tmp_path / "photos", photos(["cat", "dog"], 4))
    (root / "fish").mkdir()
    with pytest.raises(DataError, match=r"there are none in fish\. Add images or remove the folder from every split"):
        drawn(root, test=0.5)


def test_what_fires_can_be_had_explained_errors_first(capsys: pytest.CaptureFixture[str]) -> None:
    show_findings([Finding("P001", "fired", "control", "few"), Finding("P035", "fired", "relu", "broken")])
    assert "`paribus explain P035` says why a check matters and what to do.\n" in capsys.readouterr().out
    show_findings([Finding("P001", "fired", "control", "few"), Finding("P035", "passed", "relu", "")])
    assert "`paribus explain P001` says" in capsys.readouterr().out


def test_a_plan_says_that_it_looked_at_the_design_only(capsys: pytest.CaptureFixture[str]) -> None:
    found = Detectable({12: 0.012}, 360, 7, "Assumed: this and that.")
    show(Plan([PlannedArm("control", "torch-1", 3, 3, 3, 1.0)], 1, 1.0, [], found))
    last = "That was the design; `paribus check` looks at the data and the networks as well.\n"
    assert capsys.readouterr().out.endswith(f"No check fires.\n{last}")
