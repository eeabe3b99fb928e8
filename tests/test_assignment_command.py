"""`paribus assignment` as a command: what it refuses, its quick form, from command to document."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paribus import data
from paribus.assignment import Options, quick, run
from paribus.assignment.build import build
from paribus.assignment.conduct import is_finished
from paribus.assignment.requests import EXPERIMENTS
from paribus.assignment.stored import Stored
from paribus.assignment.write import to_html, to_markdown
from paribus.cli import main
from paribus.engines import ENGINES
from paribus.errors import ConfigError, DataError, ParibusError, RunError, StoreError
from paribus.experiment import CONTROL, CONTROL_RETUNED, Experiment
from paribus.launch import conduct as launch
from paribus.launch.packs import Supplies
from paribus.report.build import build as build_report
from paribus.store import Results, config_of
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


def test_what_was_found_need_not_be_kept_with_the_verdicts(tmp_path: Path) -> None:
    """Once its own rate was found to be the control's best, there was no arm `control-retuned`."""
    kept = Path(__file__).parents[1] / "docs" / "gallery" / "lenet-digits"
    shutil.copytree(kept, tmp_path / "lenet-mnist")
    verdicts = json.loads((kept / "verdicts.json").read_text(encoding="utf-8"))
    assert CONTROL_RETUNED in Results.open(kept).experiment.arms and CONTROL_RETUNED not in verdicts["arms"]
    stored = Stored.gather(tmp_path, is_quick=False)
    document = build(stored)
    assert f"{sum(arm['runs'] for arm in verdicts['arms'].values())}" == dict(document.facts)["Runs"]
    assert build_report(stored.materials["lenet-mnist"]).title


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
    assert "No hub has it: docs/how-to/assignment.md says what it was made of, and what will do instead." in said
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


@pytest.mark.parametrize("error", [RunError, StoreError])
def test_a_failed_experiment_keeps_none_from_running(
    error: type[ParibusError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fail(experiment: Experiment, options: launch.RunOptions) -> Results:
        asked.append(options.folder(experiment))
        raise error(f"{experiment.name} failed.")

    monkeypatch.setattr(launch, "run", fail)
    monkeypatch.setattr("paribus.assignment.conduct.require_supplies", lambda *_, **__: None)
    with pytest.raises(RunError, match=r"^lenet-mnist failed. lenet-dhcd failed.\nThe document tells what there is: `"):
        run(Options(out=tmp_path, only=("lenet-dhcd", "lenet-mnist")))
    assert asked == [tmp_path / "lenet-mnist", tmp_path / "lenet-dhcd"]
    assert (tmp_path / "assignment" / "assignment.html").is_file()


def test_a_result_that_cannot_be_read_keeps_none_from_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    (tmp_path / "lenet-mnist").mkdir()
    (tmp_path / "lenet-mnist" / "verdicts.json").write_text("{", encoding="utf-8")
    (tmp_path / "lenet-mnist" / "experiment.toml").write_text(shipped("lenet-mnist").to_toml(), encoding="utf-8")
    monkeypatch.setattr(launch, "run", lambda experiment, _: asked.append(experiment.name))
    monkeypatch.setattr("paribus.assignment.conduct.require_supplies", lambda *_, **__: None)
    with pytest.raises(StoreError, match=r"verdicts.json` is damaged"):
        run(Options(out=tmp_path, only=("lenet-dhcd", "lenet-mnist")))
    assert asked == ["lenet-mnist", "lenet-dhcd"]


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


def made_today(folder: Path, experiment: Experiment) -> Results:
    """Results whose runs say that today's engines made them with today's data."""
    results, supplies = write_results(folder, experiment, {"control": 0.9}), Supplies.gather(experiment, None, "auto")
    (made_up,) = (folder / "data").iterdir()
    for arm in experiment.arms.values():
        for seed in experiment.seeds_of(arm.name):
            (spec,) = supplies.pack(arm.name, arm.recipe, seed).specs
            config = {"digest": spec.digest, **config_of(spec)}
            (results.folder_of(spec) / "config.json").write_text(json.dumps(config), encoding="utf-8")
    made_up.rename(made_up.with_stem(spec.data_fingerprint))
    return results


def test_only_whole_results_of_today_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = example_experiment(seeds=2)
    results = made_today(tmp_path / "whole", experiment)
    assert is_finished(results.folder, experiment)
    for name in ("runs/relu/1/predictions.npz", "runs/control/0/model.safetensors", "data", "experiment.toml"):
        folder = tmp_path / name.replace("/", "-")
        shutil.copytree(results.folder, folder)
        (shutil.rmtree if (folder / name).is_dir() else os.unlink)(folder / name)
        assert not is_finished(folder, experiment), name
    shutil.copytree(results.folder, tmp_path / "damaged")
    (tmp_path / "damaged" / "runs" / "relu" / "1" / "result.json").write_text("{", encoding="utf-8")
    assert not is_finished(tmp_path / "damaged", experiment)
    with monkeypatch.context() as patch:
        patch.setattr(data, "prepare", raise_missing)
        assert is_finished(results.folder, experiment), "without its data nothing could be trained anew"
    for name, entry in ENGINES.items():
        monkeypatch.setitem(ENGINES, name, replace(entry, version=entry.version + 1))
    assert not is_finished(results.folder, experiment), "paribus run would train it anew"
    (results.folder / "experiment.toml").write_text("[experiment]\nnew_key = 1\n", encoding="utf-8")
    assert not is_finished(results.folder, experiment)


def raise_missing(*_: Any, **__: Any) -> Any:
    raise DataError("It is not here.")


def flat(recipe: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{table}.{key}": value for table, options in recipe.items() for key, value in options.items()}
