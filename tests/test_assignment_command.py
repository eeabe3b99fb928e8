"""`paribus assignment` as a command: what it refuses, its quick form, from command to document."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paribus.assignment import Options, quick, run
from paribus.assignment.build import build
from paribus.assignment.conduct import is_finished
from paribus.assignment.requests import EXPERIMENTS
from paribus.assignment.stored import Stored
from paribus.assignment.write import to_html, to_markdown
from paribus.cli import main
from paribus.errors import ConfigError, DataError, RunError
from paribus.experiment import CONTROL, Experiment
from paribus.launch import conduct as launch
from paribus.store import Results
from paribus.testing.synthetic import example_experiment, write_results
from paribus.wording import duration
from test_assignment import contents, shipped, table_of

quick_experiment = quick.experiment
SIZES = {"data.train_size", "data.val", "train.epochs"}
TINY = (
    "experiment.seeds=2",
    "control.data={ name = 'digits', size = 28, pad = 2, val = 200, train_size = 100 }",
    "control.train.epochs=2",
    "question.batch-size.arms.b512-same-steps.train.epochs=3",
    "question.batch-size.arms.b512-retuned.optim.lr=0.3",
    "question.many-epochs.arms.epochs-100.train.epochs=3",
    "question.optimiser.arms.momentum-retuned.optim.lr=0.03",
    "question.optimiser.arms.adam-retuned.optim.lr=0.001",
)
"""`lenet-mnist` on digits that come with scikit-learn, with rates that need not be found, in seconds."""


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_quick_changes_sizes_and_nothing_else(name: str) -> None:
    whole, small = shipped(name), quick.experiment(name)
    assert small.name == f"{name}-quick"
    assert small.title == f"Quick look, settles nothing: {whole.title}"
    assert small.published is None
    assert Experiment.parse(small.to_toml()) == small
    assert list(small.arms) == list(whole.arms)
    assert [(each.id, each.asks, each.arms) for each in small.questions] == [
        (each.id, each.asks, each.arms) for each in whole.questions
    ]
    assert len(small.seeds) < len(whole.seeds)
    for arm, design in small.arms.items():
        other = whole.arms[arm]
        assert list(design.factors) == list(other.factors)
        assert {key for key, value in design.factors.items() if value != other.factors[key]} <= SIZES
        new, old = flat(design.recipe.model_dump()), flat(other.recipe.model_dump())
        assert {key for key in new if new[key] != old[key]} <= SIZES
        assert new["train.epochs"] <= old["train.epochs"]
        assert new["data.train_size"] is None or old["data.train_size"] is None


def test_quick_says_so_in_every_heading(tmp_path: Path) -> None:
    document = build(Stored.gather(tmp_path, is_quick=True))
    page, text = to_html(document), to_markdown(document)
    headings = re.findall(r"<h[12][^>]*>.*?</h[12]>", page, re.DOTALL)
    assert len(headings) > 20
    assert [each for each in headings if "quick, settles nothing" not in each] == []
    assert [each for each in re.findall(r"^##? .*$", text, re.MULTILINE) if "settles nothing" not in each] == []
    assert quick.WARNING.replace("`--quick`", "<code>--quick</code>") in page
    assert quick.WARNING in text
    assert document.summary.caption.endswith("quick, settles nothing")
    assert document.command == "paribus assignment --quick"


@pytest.fixture
def _nothing_there(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PARIBUS_DATA", "PARIBUS_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PARIBUS_OFFLINE", "1")


@pytest.mark.usefixtures("_nothing_there")
def test_all_that_is_missing_is_told_at_once_before_anything_trains(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        run(Options(out=tmp_path / "results"))
    said = str(refused.value)
    assert said.startswith("Data and weights must be there before anything is trained, but 6 things are missing")
    assert "\n- for lenet-mnist: MNIST handwritten digits must be in one of the folders that are searched" in said
    assert "\n- for lenet-dhcd: Devanagari Handwritten Character Dataset must be in" in said
    assert "\n- for sign-digits and sign-digits-people: Sign language digits must be in one" in said
    assert "\n- for dogs-vs-cats, sign-digits and sign-digits-people: `mobilenetv2_100.tf_in1k` must be" in said
    assert "Put `mobilenetv1_100.tf_in1k.json` and the file it names into a folder" in said
    assert "--set" not in said and "timm" not in said
    assert said.endswith("Put them there and run the same command again.")
    assert not (tmp_path / "results").exists()


@pytest.mark.usefixtures("_nothing_there")
def test_what_is_there_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(quick.SETTINGS, "lenet-mnist", TINY)
    with pytest.raises(DataError, match=r"or begin with the rest: `paribus assignment --quick --only lenet-mnist`.$"):
        run(Options(out=tmp_path, is_quick=True, only=("lenet-mnist", "lenet-dhcd")))


def test_wrong_names_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`--only` must name .* but got `lenet-mnits`. Did you mean `lenet-mnist`\?"):
        run(Options(out=tmp_path, only=("lenet-mnits",)))
    with pytest.raises(DataError, match=r"The data folder must exist, but .* does not. Correct --data-dir."):
        run(Options(out=tmp_path, data_dir=tmp_path / "none", only=("lenet-mnist",)))


def test_a_failed_experiment_keeps_none_from_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fail(experiment: Experiment, options: launch.RunOptions) -> Results:
        asked.append(options.folder(experiment))
        raise RunError(f"{experiment.name} failed.")

    monkeypatch.setattr(launch, "run", fail)
    monkeypatch.setattr("paribus.assignment.conduct.require_supplies", lambda *_, **__: None)
    with pytest.raises(RunError, match=r"^lenet-mnist failed. lenet-dhcd failed.\nThe document tells what there is: `"):
        run(Options(out=tmp_path, only=("lenet-dhcd", "lenet-mnist")))
    assert asked == [tmp_path / "lenet-mnist", tmp_path / "lenet-dhcd"]
    assert (tmp_path / "assignment" / "assignment.html").is_file()


def tiny(name: str) -> Experiment:
    """The quick form, with two of its questions."""
    whole = quick_experiment(name)
    asked = tuple(each for each in whole.questions if each.id in ("relu", "batch-size"))
    arms = {arm: whole.arms[arm] for arm in (CONTROL, *(arm for question in asked for arm in question.arms))}
    return replace(whole, questions=asked, arms=arms)


@pytest.mark.slow
def test_from_command_to_document_and_again_without_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(quick.SETTINGS, "lenet-mnist", TINY)
    monkeypatch.setattr(quick, "experiment", tiny)
    command = ["assignment", "--quick", "--only", "lenet-mnist", "--out", str(tmp_path)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("This is a quick look")
    assert f"document: {tmp_path / 'assignment-quick' / 'assignment.html'}" in printed
    assert re.search(r"^2\. Replace tanh by ReLU\.\n   \w+: lenet-mnist, relu$", printed, re.MULTILINE)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["assignment-quick", "lenet-mnist-quick"]
    assert is_finished(tmp_path / "lenet-mnist-quick", quick.experiment("lenet-mnist"))
    assert not is_finished(tmp_path / "lenet-mnist-quick", shipped("lenet-mnist"))
    title = "Quick look, settles nothing: LeNet-5 on MNIST"
    assert title in (tmp_path / "lenet-mnist-quick" / "report.html").read_text(encoding="utf-8")

    stored = Stored.gather(tmp_path, is_quick=True)
    wall = stored.materials["lenet-mnist"].results.wall_time()
    assert wall is not None and wall.seconds > 0 and wall.runs == 2 * len(stored.materials["lenet-mnist"].runs)
    document = build(stored)
    (batches,) = [answer for answer in document.answers if answer.id == "batch-size"]
    updates = {row[0].text: row[5].text for row in table_of(batches)}
    assert updates == {"control": "2", "b512": "2", "b512-same-steps": "3", "b512-retuned": "2"}
    assert dict(document.facts)["Wall time"] == document.environments.rows[0][3].text == duration(wall.seconds)

    before = contents(tmp_path / "assignment-quick")

    def train(*_: Any) -> None:
        raise AssertionError("Nothing is missing, so nothing may be trained.")

    monkeypatch.setattr(launch, "run", train)
    assert main(command) == 0
    assert contents(tmp_path / "assignment-quick") == before
    shutil.rmtree(tmp_path / "lenet-mnist-quick" / "runs" / "relu" / "1")
    assert not is_finished(tmp_path / "lenet-mnist-quick", quick.experiment("lenet-mnist"))


def test_only_whole_results_are_finished(tmp_path: Path) -> None:
    experiment = example_experiment(seeds=2)
    results = write_results(tmp_path / "whole", experiment, {"control": 0.9})
    assert is_finished(results.folder, experiment)
    for name in ("runs/relu/1/predictions.npz", "runs/control/0/model.safetensors", "data", "experiment.toml"):
        folder = tmp_path / name.replace("/", "-")
        shutil.copytree(results.folder, folder)
        (shutil.rmtree if (folder / name).is_dir() else os.unlink)(folder / name)
        assert not is_finished(folder, experiment), name
    (results.folder / "experiment.toml").write_text("[experiment]\nnew_key = 1\n", encoding="utf-8")
    assert not is_finished(results.folder, experiment)


def flat(recipe: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{table}.{key}": value for table, options in recipe.items() for key, value in options.items()}
