"""The result folder: whole after every crash, clear about every damage, one writer at a time."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paribus.errors import StoreError
from paribus.experiment import Experiment, RunSpec
from paribus.store import Checkpoint, EpochRecord, Predictions, Results, RunResult, TestSet, files

EXPERIMENT = """
[experiment]
name = "small"
seeds = 2
margin = 0.01

[control]
data = { name = "digits" }
model = { name = "lenet5" }
optim = { lr = 0.1 }
train = { epochs = 3 }

[[question]]
id = "relu"
asks = "ReLU?"
arms.relu = { "model.activation" = "relu" }
"""
WEIGHTS = {"fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "fc.bias": np.zeros(2, dtype=np.float32)}
PREDICTIONS = Predictions(np.eye(3, dtype=np.float32), np.array([0, 1, 1]))


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results.create(tmp_path / "results" / "small", Experiment.parse(EXPERIMENT), {"python": "3"})


def spec_of(results: Results, arm: str = "control", seed: int = 0, engine: str = "torch-1") -> RunSpec:
    return RunSpec(arm, seed, results.experiment.arms[arm].recipe, "f00d", engine)


def record_of(epoch: int) -> EpochRecord:
    return EpochRecord(epoch, 10 * epoch, 0.1, 1.0 / epoch, 0.5, None, None, 2.0)


def result_of(spec: RunSpec) -> RunResult:
    return RunResult(
        arm=spec.arm, seed=spec.seed, digest=spec.digest, status="finished", engine=spec.engine, epochs=3, epoch_kept=3,
        steps=30, parameters=8, train_examples=5, val_examples=2, val_is_test=False, test_examples=3, test_loss=None,
        test_accuracy=2 / 3, seconds=1.5,
    )  # fmt: skip


def finish(results: Results, spec: RunSpec) -> Path:
    writer = results.begin(spec)
    for epoch in (1, 2, 3):
        writer.epoch(record_of(epoch), 0.25, {"w": np.full(2, epoch)})
    writer.finish(result_of(spec), PREDICTIONS, WEIGHTS)
    return writer.folder


def test_create_and_open_give_the_same_experiment(results: Results) -> None:
    opened = Results.open(results.folder)
    assert opened.experiment == results.experiment
    assert opened.environment == {"python": "3"}


def test_open_refuses_a_folder_without_an_experiment(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"must hold `experiment.toml`, but there is none in .*Give the folder"):
        Results.open(tmp_path)


def test_a_finished_run_reads_back_as_written(results: Results) -> None:
    spec = spec_of(results)
    finish(results, spec)
    (run,) = results.runs("control")
    assert run.result == result_of(spec)
    assert run.epochs == tuple(record_of(epoch) for epoch in (1, 2, 3))
    assert run.epoch_seconds == (0.25, 0.25, 0.25)
    assert np.array_equal(run.predictions().logits, PREDICTIONS.logits)
    assert np.array_equal(run.predictions().labels, PREDICTIONS.labels)
    assert {name: array.tolist() for name, array in run.weights().items()} == {
        name: array.tolist() for name, array in WEIGHTS.items()
    }
    assert run.config()["digest"] == spec.digest
    assert run.config()["recipe"] == spec.recipe.model_dump(mode="json")


def test_runs_come_in_the_order_of_the_seeds_and_only_when_finished(results: Results) -> None:
    for seed in (1, 0):
        finish(results, spec_of(results, seed=seed))
    results.begin(spec_of(results, arm="relu"))
    assert [run.result.seed for run in results.runs("control")] == [0, 1]
    assert results.runs("relu") == []


def test_runs_of_another_recipe_are_not_read(results: Results) -> None:
    finish(results, spec_of(results))
    other = Results(results.folder, Experiment.parse(EXPERIMENT, ["control.optim.lr=0.2"]))
    assert other.runs("control") == []


def test_predictions_that_are_not_finite_are_wrong() -> None:
    logits = np.array([[0.0, 1.0], [np.nan, 1.0], [np.inf, 0.0]], dtype=np.float32)
    predictions = Predictions(logits, np.array([1, 1, 0]))
    assert predictions.classes.tolist() == [1, -1, -1]
    assert predictions.correct.tolist() == [True, False, False]


def test_state_follows_a_run_through_its_life(results: Results) -> None:
    spec = spec_of(results)
    assert results.state(spec) == "missing"
    writer = results.begin(spec)
    assert results.state(spec) == "partial"
    writer.fail("out of memory")
    assert results.state(spec) == "failed"
    assert results.failures("control") == {0: "out of memory"}
    finish(results, spec)
    assert results.state(spec) == "finished"
    assert results.failures("control") == {}
    assert results.state(spec_of(results, engine="torch-2")) == "superseded"


def test_setting_aside_leaves_a_run_of_this_recipe(results: Results) -> None:
    spec = spec_of(results)
    results.set_aside(spec)
    assert results.state(spec) == "missing"
    results.begin(spec)
    results.set_aside(spec)
    assert results.state(spec) == "partial"
    assert not (results.folder / "superseded").exists()


def test_a_run_of_another_recipe_is_set_aside_and_kept(results: Results) -> None:
    old = spec_of(results)
    finish(results, old)
    new = spec_of(results, engine="torch-2")
    for _ in range(2):  # The second time, the same run is set aside again.
        results.begin(new)
        assert results.state(new) == "partial"
        kept = results.folder / "superseded" / "control" / f"0-{old.digest[:8]}"
        assert (kept / "result.json").is_file()
        results.begin(old)
        finish(results, old)


def test_a_finished_run_that_was_set_aside_is_never_replaced(results: Results) -> None:
    old, new = spec_of(results), spec_of(results, engine="torch-2")
    finish(results, old)
    results.begin(new)
    results.begin(old)  # Interrupted at once, and set aside again.
    results.begin(new)
    kept = sorted((results.folder / "superseded" / "control").glob(f"0-{old.digest[:8]}*"))
    assert [(each / "result.json").is_file() for each in kept] == [True, False]


def test_what_is_tried_again_has_not_failed(results: Results) -> None:
    results.begin(spec_of(results)).fail("out of memory")
    assert results.state(spec_of(results)) == "failed"
    results.begin(spec_of(results))
    assert results.state(spec_of(results)) == "partial" and results.failures("control") == {}


def test_a_run_that_is_set_aside_while_it_is_read_is_none(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(results)
    results.begin(spec).epoch(record_of(1), 0.5, {})
    so_far = results.run_so_far("control", 0)
    assert so_far is not None and len(so_far.epochs) == 1
    read = files.read_lines

    def set_aside(path: Path) -> list[dict[str, Any]]:
        if path.name == "epochs.jsonl":
            results.set_aside(spec_of(results, engine="torch-2"))
        return read(path)

    monkeypatch.setattr(files, "read_lines", set_aside)
    assert results.run_so_far("control", 0) is None


def test_a_run_without_a_checkpoint_begins_anew(results: Results) -> None:
    writer = results.begin(spec_of(results))
    (writer.folder / "epochs.jsonl").write_text('{"epoch": 1}\n')
    assert writer.resume() is None
    assert not (writer.folder / "epochs.jsonl").exists()


def test_resume_goes_on_from_the_checkpoint_and_cuts_what_is_newer(results: Results) -> None:
    writer = results.begin(spec_of(results))
    for epoch in (1, 2):
        writer.epoch(record_of(epoch), 0.25, {"w": np.full(2, epoch)})
    with (writer.folder / "epochs.jsonl").open("a") as file:
        file.write('{"epoch": 3, "steps": 30}\n{"epoch": 4, "st')  # Killed between record and checkpoint, then inside.
    checkpoint = results.begin(spec_of(results)).resume()
    assert isinstance(checkpoint, Checkpoint)
    assert checkpoint.epoch == 2
    assert {name: array.tolist() for name, array in checkpoint.arrays.items()} == {"w": [2, 2]}
    assert len((writer.folder / "epochs.jsonl").read_text().splitlines()) == 2
    writer.epoch(record_of(3), 0.25, {"w": np.full(2, 3)})
    writer.finish(result_of(writer.spec), PREDICTIONS, WEIGHTS)
    assert results.runs("control")[0].epochs == tuple(record_of(epoch) for epoch in (1, 2, 3))


@pytest.mark.parametrize("lost", ["epochs.jsonl", "times.jsonl"])
def test_a_run_whose_records_are_deleted_begins_anew(results: Results, lost: str) -> None:
    writer = results.begin(spec_of(results))
    writer.epoch(record_of(1), 0.25, {"w": np.zeros(1)})
    (writer.folder / lost).unlink()
    assert writer.resume() is None
    assert [path.name for path in writer.folder.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    "lost", ["result.json", "predictions.npz", "model.safetensors", "epochs.jsonl", "times.jsonl", "config.json"]
)
def test_a_run_that_lost_a_part_is_trained_again(results: Results, lost: str) -> None:
    spec = spec_of(results)
    folder = finish(results, spec)
    (folder / lost).unlink()
    assert results.state(spec) != "finished"
    writer = results.begin(spec)
    assert not (folder / "result.json").exists(), "an old result must not pass for that of the new training"
    assert writer.resume() is None
    finish(results, spec)
    assert results.state(spec) == "finished"


def test_a_config_without_a_recipe_is_not_of_this_experiment(results: Results) -> None:
    (finish(results, spec_of(results)) / "config.json").write_text("{}")
    assert results.runs("control") == []
    assert results.state(spec_of(results)) == "superseded"


def test_a_run_older_than_a_key_was_trained_by_its_default(results: Results) -> None:
    path = finish(results, spec_of(results)) / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["recipe"]["train"]["shuffle"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert len(results.runs("control")) == 1
    content["recipe"]["train"]["shuffle"] = False
    path.write_text(json.dumps(content), encoding="utf-8")
    assert results.runs("control") == []


def test_a_folder_of_another_experiment_is_refused(results: Results) -> None:
    other = Experiment.parse(EXPERIMENT.replace('name = "small"', 'name = "other"', 1))
    refused = pytest.raises(StoreError, match=r"belong to one experiment, but .* holds `small`, not `other`. Choose")
    with refused, Results(results.folder, other).lock():
        pass
    (results.folder / "experiment.toml").write_text("[experiment\n")
    damaged = pytest.raises(StoreError, match=r"experiment.toml` is damaged and cannot be read: .* Delete this file")
    with damaged, results.lock():
        pass


def test_a_folder_with_other_files_is_refused_and_left_alone(results: Results, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".profile").write_text("")
    with Results(home, results.experiment).lock():
        pass  # Hidden files are no content.
    (home / ".lock").unlink(missing_ok=True)
    (home / "letters").mkdir()
    refused = pytest.raises(StoreError, match=r"must be new, empty or hold a result, but .*home` holds `letters`.")
    with refused, Results(home, results.experiment).lock():
        pass
    assert sorted(path.name for path in home.iterdir()) == [".profile", "letters"]


def test_a_result_that_lost_its_experiment_file_goes_on(results: Results) -> None:
    finish(results, spec_of(results))
    (results.folder / "experiment.toml").unlink()
    with results.lock():
        assert results.state(spec_of(results)) == "finished"


def test_resume_refuses_a_checkpoint_whose_epochs_are_lost(results: Results) -> None:
    writer = results.begin(spec_of(results))
    for epoch in (1, 2):
        writer.epoch(record_of(epoch), 0.25, {"w": np.zeros(1)})
    lines = (writer.folder / "epochs.jsonl").read_text().splitlines(keepends=True)
    (writer.folder / "epochs.jsonl").write_text(lines[0])
    with pytest.raises(StoreError, match=r"must hold the 2 epochs of the checkpoint, but holds 1. Delete the run's"):
        writer.resume()


def test_interrupted_and_uninterrupted_runs_leave_the_same_bytes(results: Results, tmp_path: Path) -> None:
    whole = finish(results, spec_of(results))
    other = Results.create(tmp_path / "other", results.experiment, {})
    writer = other.begin(spec_of(other))
    writer.epoch(record_of(1), 9.0, {"w": np.full(2, 1)})
    (writer.folder / ".result.json.1.tmp").write_text("left by a crash")
    writer = other.begin(spec_of(other))
    assert writer.resume() is not None
    for epoch in (2, 3):
        writer.epoch(record_of(epoch), 9.0, {"w": np.full(2, epoch)})
    writer.finish(result_of(writer.spec), PREDICTIONS, WEIGHTS)
    for name in ("epochs.jsonl", "predictions.npz", "model.safetensors", "config.json", "result.json"):
        assert (whole / name).read_bytes() == (writer.folder / name).read_bytes(), name


def test_a_crash_while_writing_leaves_the_old_content(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    results.write_json("verdicts.json", {"format": 1})

    def killed(source: object, target: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        results.write_json("verdicts.json", {"format": 2})
    assert results.read_json("verdicts.json") == {"format": 1}
    assert sorted(path.name for path in results.folder.iterdir()) == [
        "environment.json",
        "experiment.toml",
        "verdicts.json",
    ]


def test_text_is_written_where_it_says(results: Results) -> None:
    assert results.write_text("report.md", "# Grüße\n").read_text(encoding="utf-8") == "# Grüße\n"


def test_json_refuses_what_json_cannot_say(results: Results) -> None:
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        results.write_json("verdicts.json", {"loss": float("nan")})


def test_the_test_set_is_kept_once(results: Results) -> None:
    test = TestSet(np.zeros((2, 1, 4, 4), dtype=np.uint8), np.array([0, 1]), ("क", "ख"), "dhcd")
    results.write_test_set("f00d", test)
    results.write_test_set("f00d", replace(test, source="another"))
    read = results.test_set("f00d")
    assert (read.class_names, read.source) == (("क", "ख"), "dhcd")
    assert np.array_equal(read.images, test.images)
    assert np.array_equal(read.labels, test.labels)


def test_test_images_are_compressed_where_that_pays(results: Results) -> None:
    rng = np.random.default_rng(0)
    kinds = {"drawn": np.zeros((9, 3, 32, 32), np.uint8), "photos": rng.integers(0, 256, (9, 3, 32, 32), np.uint8)}
    for name, images in kinds.items():
        results.write_test_set(name, TestSet(images, np.zeros(9, np.int64), ("a", "b"), name))
        assert np.array_equal(results.test_set(name).images, images)
    sizes = {name: (results.folder / "data" / f"{name}.npz").stat().st_size for name in kinds}
    assert sizes["drawn"] < kinds["drawn"].nbytes / 10 < kinds["photos"].nbytes < sizes["photos"]


def test_what_is_not_there_says_how_to_make_it(results: Results) -> None:
    with pytest.raises(StoreError, match=r"verdicts.json` must exist, but it does not. Run `paribus run` again"):
        results.read_json("verdicts.json")
    with pytest.raises(StoreError, match=r"f00d.npz` must exist"):
        results.test_set("f00d")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("predictions.npz", b""),
        ("predictions.npz", b"PK\x03\x04 and then nothing"),
        ("predictions.npz", b"no archive at all"),
        ("model.safetensors", b""),
        ("model.safetensors", b"\xff" * 64),
        ("times.jsonl", b'{"epoch": 1, "seconds": \n'),
        ("config.json", b"\xff\xfe"),
        ("config.json", b"[1]"),
        ("times.jsonl", b"3\n"),
    ],
)
def test_a_damaged_file_is_named(results: Results, name: str, content: bytes) -> None:
    finish(results, spec_of(results))
    (run,) = results.runs("control")
    (run.folder / name).write_bytes(content)
    reads: dict[str, Any] = {
        "predictions.npz": run.predictions,
        "model.safetensors": run.weights,
        "times.jsonl": lambda: run.epoch_seconds,
        "config.json": run.config,
    }
    with pytest.raises(StoreError, match=rf"{name}` is damaged and cannot be read: .* Delete this file and run"):
        reads[name]()


def test_predictions_without_labels_are_damaged(results: Results) -> None:
    folder = finish(results, spec_of(results))
    np.savez(folder / "predictions.npz", logits=PREDICTIONS.logits)
    with pytest.raises(StoreError, match=r"predictions.npz` is damaged"):
        results.runs("control")[0].predictions()


def test_a_result_of_another_version_says_so(results: Results) -> None:
    folder = finish(results, spec_of(results))
    (folder / "result.json").write_text('{"arm": "control", "flavour": 1}')
    with pytest.raises(
        StoreError, match=r"result.json` must hold the keys of this version of paribus, .*flavour.*Delete this"
    ):
        results.runs("control")


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "The disk is full. Free some space and run the same command again"),
        (errno.EDQUOT, "The disk is full."),
        (errno.EROFS, "The folder may not be written to. Choose another with --out"),
        (errno.EACCES, "The folder may not be written to."),
        (errno.EIO, "The system says: Input/output error."),
    ],
)
def test_refusals_of_the_system_say_what_to_do(
    results: Results, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError, match=rf"verdicts.json` could not be written. {advice}"):
        results.write_json("verdicts.json", {})
    assert not list(results.folder.glob(".*tmp"))


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StoreError, match=r"taken` could not be written. The system says: File exists"):
        Results.create(tmp_path / "taken", Experiment.parse(EXPERIMENT), {})


def hold_lock(folder: Path, held: Any, release: Any) -> None:
    with Results.open(folder).lock():
        held.set()
        release.wait(30)


def test_only_one_process_writes(results: Results) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=hold_lock, args=(results.folder, held, release))
    other.start()
    try:
        assert held.wait(30)
        refused = pytest.raises(StoreError, match=r"Only one process .* another one is writing to .*Wait for it")
        with refused, results.lock():
            pass
    finally:
        release.set()
        other.join(30)
    with results.lock():
        assert other.exitcode == 0


def test_the_lock_of_a_killed_process_is_free(results: Results) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=hold_lock, args=(results.folder, held, release))
    other.start()
    assert held.wait(30)
    other.kill()
    other.join(30)
    with results.lock():
        pass


def test_a_lock_that_cannot_be_made_says_so(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreError, match="The folder may not be written to"), results.lock():
        pass
