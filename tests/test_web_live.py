"""Runs are followed as they train: their states, their curves, and only files that have changed are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paribus.report.figures import looks
from paribus.stats import wilson
from paribus.store import Results, files
from paribus.testing.synthetic import example_experiment, write_results
from paribus.web import curves, live, phrases
from paribus.web.memory import Memory
from paribus.web.schema import ArmProgress, RunProgress
from web_results import add_epoch, age, write_finished, write_training
from web_server import serving


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results: one finished, with verdicts and a report, and one that is damaged."""
    return write_finished(tmp_path_factory.mktemp("results"))


@pytest.fixture
def training(tmp_path: Path) -> Results:
    """A result whose control has ended, with one run of each other kind in `relu`."""
    return write_training(tmp_path / "training")


def states(results: Results, arm: str) -> list[str]:
    return [run.state for run in live.watch(results, Memory()) if run.arm == arm]


def test_every_state_of_a_run_is_told(training: Results) -> None:
    assert states(training, "control") == ["finished"] * 6
    assert states(training, "relu") == ["finished", "diverged", "training", "stopped", "failed", "waiting"]
    assert states(training, "max") == ["waiting"] * 6
    found = live.progress(training, Memory())
    assert (found.state, found.ended, found.failed, found.planned) == ("running", 8, 1, 54)
    relu = next(arm for arm in found.arms if arm.arm == "relu")
    assert [run.epochs for run in relu.runs] == [6, 3, 3, 2, 1, 0]
    assert relu.runs[4].failure == "The disk is full."
    assert phrases.state_text(found) == "running: 8 of 54 runs done"
    assert phrases.arm_text(relu) == (
        "1 finished, 1 diverged, 1 training (epoch 3 of 6), 1 stopped (epoch 2 of 6), 1 failed, 1 waiting"
    )


def test_a_run_of_another_recipe_waits(training: Results) -> None:
    path = training.run_folder("control", 0) / "config.json"
    config = json.loads(path.read_text())
    config["recipe"]["optim"]["lr"] = 0.2
    path.write_text(json.dumps(config))
    assert states(training, "control") == ["waiting"] + ["finished"] * 5
    config["recipe"]["optim"]["no_such_key"] = 1
    path.write_text(json.dumps(config))
    assert states(training, "control")[0] == "waiting"


def test_the_state_of_an_experiment_follows_its_files(training: Results, tmp_path: Path) -> None:
    age(training.folder, 1000)
    assert live.progress(training, Memory()).state == "stopped"
    tuning = training.folder / "tuning" / "relu" / "0.1" / "90"
    tuning.mkdir(parents=True)
    (tuning / "epochs.jsonl").write_text("")
    assert live.progress(training, Memory()).state == "running"
    nothing = Results.create(tmp_path / "new", example_experiment(), {})
    assert live.progress(nothing, Memory()).state == "waiting"
    assert phrases.state_text(live.progress(nothing, Memory())) == "not started"


def test_a_long_epoch_is_waited_for(training: Results) -> None:
    run = training.run_folder("relu", 2)
    age(run, 200)
    assert states(training, "relu")[2] == "stopped"
    (run / "times.jsonl").write_text('{"epoch": 1, "seconds": 90.0}\n')
    age(run, 200)
    assert states(training, "relu")[2] == "training"


def test_the_control_is_measured_as_in_the_report(finished: Path, tmp_path: Path) -> None:
    results = Results.open(finished / "example")
    told = results.read_json("verdicts.json")["arms"]["control"]["test_accuracy"]
    found = live.progress(results, Memory()).control
    assert found is not None
    assert found.mean == pytest.approx(told["mean"])
    assert found.ci95 == pytest.approx(tuple(told["ci95"]))
    one = write_results(tmp_path / "one", example_experiment(seeds=1), {"control": 0.9})
    single = live.accuracy([run.result for run in one.runs("control")])
    assert single is not None
    assert single.ci95 == wilson(round(single.mean * 200), 200)
    assert live.accuracy([]) is None


def test_curves_are_mean_and_band_of_what_has_ended_and_lines_of_the_rest(training: Results) -> None:
    runs = live.watch(training, Memory())
    found = curves.of_question(training.experiment, runs, "relu")
    assert [panel.key for panel in found.panels] == ["val_accuracy", "val_loss", "train_accuracy", "train_loss"]
    control, relu = found.panels[1].arms
    stored = np.array([[record.val_loss for record in run.epochs] for run in training.runs("control")], np.float64)
    assert control.mean == pytest.approx(stored.mean(axis=0), rel=1e-4)
    assert control.low == pytest.approx(stored.min(axis=0), rel=1e-4)
    assert control.high == pytest.approx(stored.max(axis=0), rel=1e-4)
    assert control.lines == []
    # Run 1 diverged in epoch 3: the mean ends at 2, run 0 goes on as a line, and run 1 shows where it was lost.
    assert (relu.runs, len(relu.mean)) == (2, 2)
    lines = {line.seed: line for line in relu.lines}
    assert {seed: (line.state, line.start, len(line.values)) for seed, line in lines.items()} == {
        0: ("finished", 2, 5),
        1: ("diverged", 2, 2),
        2: ("training", 1, 3),
        3: ("stopped", 1, 2),
        4: ("failed", 1, 1),
    }
    assert lines[1].values[-1] is None


def test_curves_have_the_colours_of_the_report(finished: Path) -> None:
    results = Results.open(finished / "example")
    found = curves.of_question(results.experiment, live.watch(results, Memory()), "lr")
    arms = [curve.arm for curve in found.panels[0].arms]
    assert arms == ["control", "lr-0.001", "lr-0.01", "lr-1", "lr-10"]
    expected = looks(arms, "control", is_ordered=True)
    assert [(c.colour, c.dash) for c in found.panels[0].arms] == [(expected[a].colour, expected[a].dash) for a in arms]
    assert len({curve.colour for curve in found.panels[0].arms}) == 5


def test_without_a_question_the_control_is_drawn(finished: Path) -> None:
    results = Results.open(finished / "example")
    (arm,) = curves.of_question(results.experiment, live.watch(results, Memory()), None).panels[0].arms
    assert arm.arm == "control"


def test_memory_reads_a_file_again_when_it_has_changed(tmp_path: Path) -> None:
    memory, path, reads = Memory(), tmp_path / "file", []

    def read(where: Path) -> str:
        reads.append(where)
        return where.read_text()

    assert memory.recall(path, read) is None
    assert memory.changed(path) is None
    path.write_text("one")
    assert [memory.recall(path, read) for _ in range(3)] == ["one"] * 3
    assert len(reads) == 1
    path.write_text("three")
    assert memory.recall(path, read) == "three"


def test_an_epoch_that_is_written_is_seen_at_once(training: Results) -> None:
    with serving(training.folder) as server:
        address = "/api/experiments/training"
        before, tag = server.get(f"{address}/curves?question=relu"), server.get(f"{address}/progress").headers["etag"]
        add_epoch(training.run_folder("relu", 2), 0.876)
        after = server.get(f"{address}/curves?question=relu")
        assert server.get(f"{address}/progress", If_None_Match=tag).status == 200
    assert before.headers["etag"] != after.headers["etag"]
    (line,) = [line for line in after.json["panels"][0]["arms"][1]["lines"] if line["seed"] == 2]
    assert line["values"][-1] == 0.876
    assert len(line["values"]) == 4


def test_files_that_have_not_changed_are_not_read_again(training: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, read = Memory(), files.read_lines
    opened: list[Path] = []

    def counted(path: Path) -> list[dict[str, Any]]:
        opened.append(path)
        return read(path)

    monkeypatch.setattr(files, "read_lines", counted)
    live.progress(training, memory)
    assert len(opened) == 2 * (6 + 5)  # Epochs and times of the runs that there are.
    opened.clear()
    live.progress(training, memory)
    assert opened == []
    add_epoch(training.run_folder("relu", 2), 0.5)
    live.progress(training, memory)
    assert {path.parent.name for path in opened} == {"2"}


def test_words_for_arms() -> None:
    run = RunProgress(seed=0, state="waiting", epochs=0, epochs_planned=3, seconds=0, test_accuracy=None)
    assert phrases.arm_text(ArmProgress(arm="a", runs=[run, run])) == "2 waiting"
