"""Sinks: what TensorBoard and MLflow hold, read back by their own readers, is what the store holds, once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from paribus import track, verdicts
from paribus.cli import main
from paribus.errors import ConfigError, StoreError, TrackError
from paribus.experiment import Experiment, RunSpec
from paribus.launch import conduct
from paribus.store import Results, RunSoFar
from paribus.testing.sinks import check_sink
from paribus.testing.synthetic import example_experiment, write_results
from paribus.track import Held, Sink, SinkEntry, mlflow, tracker

EPOCHS = 3
METRICS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "gradient_norm")
TAGS = ("loss/train", "accuracy/train", "loss/val", "accuracy/val", "optim/lr", "optim/gradient_norm")


@pytest.fixture(autouse=True)
def _no_server_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Made-up runs of six arms, one of them diverged, one missing."""
    experiment = example_experiment(2, EPOCHS)
    made = write_results(
        tmp_path / "results", experiment, {"control": 0.7, "relu": 0.9}, diverged=[("max", 1)], missing=[("long", 1)]
    )
    made.write_json("verdicts.json", verdicts.compute(made))
    return made


def stored(results: Results) -> dict[tuple[str, int], RunSoFar]:
    every = [(arm, seed) for arm in results.experiment.arms for seed in results.experiment.seeds_of(arm)]
    found = {place: results.run_so_far(*place) for place in every}
    return {place: run for place, run in found.items() if run is not None}


def boards(results: Results) -> dict[tuple[str, int], Any]:
    """TensorBoard's own reader of each run's folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for folder in (results.folder / "tensorboard").glob("*/[0-9]*"):
        found[folder.parent.name, int(folder.name)] = EventAccumulator(str(folder)).Reload()
    return found


def mlflow_runs(results: Results, uri: str | None = None) -> list[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri or (results.folder / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("example")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


@pytest.mark.parametrize("name", track.SINKS)
def test_sinks_conform(name: str, tmp_path: Path) -> None:
    check_sink(lambda results: track.open_sink(name, results), tmp_path)


def test_tensorboard_shows_what_the_store_holds(results: Results) -> None:
    tracker.log(results, ["tensorboard"])
    runs, shown = stored(results), boards(results)
    assert set(shown) == set(runs)
    assert len(runs) > 10
    for place, run in runs.items():
        for tag, key in zip(TAGS, METRICS, strict=True):
            expected = [(each.epoch, getattr(each, key)) for each in run.epochs if getattr(each, key) is not None]
            scalars = shown[place].Scalars(tag) if expected else []
            assert [each.step for each in scalars] == [epoch for epoch, _ in expected], (place, tag)
            assert [each.value for each in scalars] == pytest.approx([value for _, value in expected])
        assert run.result is not None
        (test,) = shown[place].Scalars("test/accuracy")
        assert test.value == pytest.approx(run.result.test_accuracy)
        times = [each.wall_time for each in shown[place].Scalars("accuracy/train")]
        assert times == pytest.approx([run.ended_at(each.epoch) for each in run.epochs])
        assert times == sorted(times)


def test_tensorboard_groups_seeds_and_shows_verdicts(results: Results) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    tracker.log(results, ["tensorboard"])
    for (arm, _), board in boards(results).items():
        content = board.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        info = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
        assert info.group_name == arm
        assert info.hparams["model.activation"].string_value == ("relu" if arm.startswith("relu") else "tanh")
    board = EventAccumulator(str(results.folder / "tensorboard" / "verdicts")).Reload()
    (text,) = board.Tensors("verdicts")
    shown = text.tensor_proto.string_val[0].decode()
    for row in results.to_rows():
        assert f"| {row['question']} | {row['arm']} |" in shown
        assert row["verdict"] in shown


def test_a_run_that_was_cut_off_is_written_anew(results: Results) -> None:
    """A process that was killed may have left half a record."""
    tracker.log(results, ["tensorboard"])
    (path,) = (results.folder / "tensorboard" / "relu" / "0").iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    tracker.log(results, ["tensorboard"])
    board = boards(results)["relu", 0]
    assert [each.step for each in board.Scalars("accuracy/train")] == [1, 2, 3]
    assert len(board.Scalars("test/accuracy")) == 1


def test_a_run_of_an_earlier_recipe_leaves_tensorboard(results: Results) -> None:
    tracker.log(results, ["tensorboard"])
    (old,) = (results.folder / "tensorboard" / "relu" / "0").iterdir()
    name = old.with_name(f"{old.name[:-8]}00000000")
    old.rename(name)
    tracker.log(results, ["tensorboard"])
    (new,) = (results.folder / "tensorboard" / "relu" / "0").iterdir()
    assert new.name.endswith(stored(results)["relu", 0].digest)


def test_mlflow_shows_what_the_store_holds(results: Results) -> None:
    from mlflow.tracking import MlflowClient

    tracker.log(results, ["mlflow"])
    client, runs = MlflowClient((results.folder / "mlruns").as_uri()), stored(results)
    found = mlflow_runs(results)
    parents = {run.info.run_id: run for run in found if "mlflow.parentRunId" not in run.data.tags}
    children = [run for run in found if run.info.run_id not in parents]
    assert sorted(run.info.run_name for run in parents.values()) == sorted({arm for arm, _ in runs})
    assert len(children) == len(runs)
    for child in children:
        arm, _, seed = child.info.run_name.partition("/")
        run = runs[arm, int(seed)]
        assert run.result is not None
        assert parents[child.data.tags["mlflow.parentRunId"]].info.run_name == arm
        assert child.data.params["model.activation"] == run.config["recipe"]["model"]["activation"]
        assert child.data.params["seed"] == seed
        assert (child.info.status, child.data.tags["paribus.status"]) == ("FINISHED", run.result.status)
        assert child.data.metrics["test_accuracy"] == run.result.test_accuracy
        for key in METRICS:
            history = client.get_metric_history(child.info.run_id, key)
            expected = [(each.epoch, getattr(each, key)) for each in run.epochs if getattr(each, key) is not None]
            assert [(each.step, each.value) for each in history] == expected
    content = results.read_json("verdicts.json")
    for parent in parents.values():
        arm = parent.info.run_name
        assert parent.data.metrics["mean_test_accuracy"] == content["arms"][arm]["test_accuracy"]["mean"]
        told = {key: value for key, value in parent.data.tags.items() if key.startswith("paribus.verdict.")}
        rows = [row for row in results.to_rows() if row["arm"] == arm]
        assert told == {f"paribus.verdict.{row['question']}": row["verdict"] for row in rows}


def test_nothing_is_logged_twice(results: Results) -> None:
    for _ in range(3):
        tracker.log(results, ["tensorboard", "mlflow"])
    for place, run in stored(results).items():
        assert [each.step for each in boards(results)[place].Scalars("accuracy/train")] == [e.epoch for e in run.epochs]
    found = mlflow_runs(results)
    assert len(found) == len(stored(results)) + len(results.experiment.arms)
    for path in (results.folder / "mlruns").glob("*/*/metrics/test_accuracy"):
        assert len(path.read_text(encoding="utf-8").splitlines()) == 1
    for path in (results.folder / "mlruns").glob("*/*/metrics/mean_test_accuracy"):
        assert len(path.read_text(encoding="utf-8").splitlines()) == 1


def test_mlflow_goes_where_told(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = (tmp_path / "elsewhere").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    tracker.log(results, ["mlflow"])
    assert len(mlflow_runs(results, uri)) == len(stored(results)) + len(results.experiment.arms)
    assert not (results.folder / "mlruns").exists()


class Recorder(Sink):
    """Remembers what it was brought; fails or waits where it is told to."""

    brought: list[tuple[str, int, int, bool]]
    fails_at = ""
    gate: threading.Event | None = None

    def __init__(self, results: Results) -> None:
        if self.fails_at == "open":
            raise OSError("no such server")
        type(self).brought = []
        self.told: list[Mapping[str, Any]] = []
        self.closed = 0

    @property
    def where(self) -> str:
        return "in memory"

    def held(self, run: RunSoFar) -> Held:
        return Held()

    def bring(self, run: RunSoFar, held: Held) -> None:
        if self.gate is not None:
            self.gate.wait()
        if self.fails_at == "bring":
            raise OSError("the disk of the sink is full")
        self.brought.append((run.arm, run.seed, len(run.epochs), run.result is not None))

    def verdicts(self, verdicts: Mapping[str, Any]) -> None:
        self.told.append(verdicts)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Recorder]]:
    class Ours(Recorder):
        pass

    monkeypatch.setattr(sys.modules[__name__], "Ours", Ours, raising=False)
    monkeypatch.setitem(track.SINKS, "recorder", SinkEntry("pytest", f"{__name__}:Ours"))
    yield Ours


def wait_for(condition: Any) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.005)


def test_each_epoch_is_brought_when_it_is_stored(results: Results, tmp_path: Path, recorder: type[Recorder]) -> None:
    """Epochs of a made-up run are stored one by one while the tracker follows."""
    source = results.runs("relu")[0]
    live = Results.create(tmp_path / "live", results.experiment, {})
    spec = RunSpec("relu", 0, live.experiment.arms["relu"].recipe, "fingerprint", "synthetic-1")
    writer = live.begin(spec)
    with tracker.following(live, ["recorder"]) as follower:
        for record in source.epochs:
            writer.epoch(record, 0.5, {})
            follower.note(spec)
            wait_for(lambda epoch=record.epoch: ("relu", 0, epoch, False) in recorder.brought)
        writer.finish(source.result, source.predictions(), source.weights())
        follower.note(spec)
        follower.note(spec)
        follower.finish({})
    assert recorder.brought == [
        ("relu", 0, 1, False),
        ("relu", 0, 2, False),
        ("relu", 0, 3, False),
        ("relu", 0, 3, True),
    ]


def test_tuning_runs_are_not_shown(results: Results, recorder: type[Recorder]) -> None:
    recipe = results.experiment.control
    with tracker.following(results, ["recorder"]) as follower:
        follower.note(RunSpec("control", 9, recipe, "fingerprint", "synthetic-1", is_tuning=True))
        follower.finish({})
    assert {seed for _, seed, _, _ in recorder.brought} == {0, 1}


def test_a_sink_that_fails_is_told_and_costs_nothing(
    results: Results, recorder: type[Recorder], capsys: pytest.CaptureFixture[str]
) -> None:
    recorder.fails_at = "bring"
    told = r"(?s)Every sink must take what it is brought, but recorder did not.*is whole\. Mend the cause, then bring "
    with pytest.raises(TrackError, match=told + r"what is missing: paribus log .*results --to recorder$"):
        tracker.log(results, ["recorder", "tensorboard"])
    said = capsys.readouterr().err
    assert said.count("recorder cannot be written any more, the runs go on without it. OSError: the disk of the") == 1
    assert "tensorboard: tensorboard --logdir" in said
    assert set(boards(results)) == set(stored(results))


def test_a_sink_that_hangs_does_not_hold_an_interrupted_experiment(
    results: Results, recorder: type[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "_PATIENCE_S", 0.05)
    recorder.gate = threading.Event()
    with pytest.raises(KeyboardInterrupt), tracker.following(results, ["recorder"]) as follower:
        sink = follower.sinks["recorder"]
        raise KeyboardInterrupt
    recorder.gate.set()
    wait_for(lambda: getattr(sink, "closed", 0) == 1)
    assert len(recorder.brought) <= 1


def test_a_sink_that_does_not_open_stops_before_training(results: Results, recorder: type[Recorder]) -> None:
    recorder.fails_at = "open"
    with pytest.raises(
        TrackError, match=r"The sink recorder must open before .* OSError: no such server\. Mend that, or "
    ):
        tracker.log(results, ["recorder"])


def test_what_cannot_be_asked_for(
    results: Results, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert track.names(None) == ()
    assert track.names("mlflow, tensorboard,mlflow") == ("mlflow", "tensorboard")
    with pytest.raises(ConfigError, match=r"A sink must be one of tensorboard, mlflow, but got `mlfow`\. Did you mean"):
        track.names("mlfow")
    monkeypatch.setattr(track, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs the package tensorboard, .*: pip install 'paribus\[track\]'$"):
        track.names("tensorboard")
    assert main(["log", str(results.folder), "--to", "mlflow"]) == 2
    assert "pip install 'paribus[track]'" in capsys.readouterr().err
    (results.folder / "verdicts.json").unlink()
    with pytest.raises(StoreError, match=r"verdicts.json` must exist"):
        tracker.log(results, [])


TINY = """
[experiment]
name = "tiny"
seeds = 2
margin = 0.01
[control]
data = { name = "digits", size = 28, val = 200, train_size = 100 }
model = { name = "lenet5" }
optim = { lr = 0.05 }
train = { epochs = 2, batch_size = 32 }
[[question]]
id = "relu"
asks = "ReLU?"
arms.relu = { "model.activation" = "relu" }
"""


def test_a_run_brings_its_epochs_and_goes_on_where_it_was(
    tmp_path: Path, recorder: type[Recorder], capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole command, on real digits; then again with a sink that fails, which the exit status tells."""
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")
    out = tmp_path / "out"
    command = ["run", str(tmp_path / "tiny.toml"), "--out", str(out), "--workers", "1"]
    assert main([*command, "--log", "tensorboard"]) == 0
    assert f"tensorboard: tensorboard --logdir {out}" in capsys.readouterr().err
    results = Results.open(out)
    assert len(stored(results)) == 4
    assert set(boards(results)) == set(stored(results))
    before = {path: path.stat().st_mtime_ns for path in (out / "tensorboard").glob("*/[0-9]*/*")}

    recorder.fails_at = "bring"
    (out / "verdicts.json").unlink()
    assert main([*command, "--log", "tensorboard,recorder"]) == 1
    assert "error: Every sink must take what it is brought" in capsys.readouterr().err
    assert (out / "verdicts.json").exists()
    assert {path: path.stat().st_mtime_ns for path in (out / "tensorboard").glob("*/[0-9]*/*")} == before


def test_an_unknown_sink_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    options = conduct.RunOptions(out=tmp_path / "out", log=("tensorbord",))
    with pytest.raises(ConfigError, match="Did you mean `tensorboard`"):
        conduct.run(Experiment.parse(TINY), options)
    assert not (tmp_path / "out").exists()


def test_sinks_are_imported_only_when_asked_for_and_nothing_phones_home(tmp_path: Path) -> None:
    """In a process that does not look like a test, where MLflow would send figures of its use."""
    code = f"""
import sys
import paribus.launch.conduct
print(sorted({{"mlflow", "tensorboard"}} & set(sys.modules)))
from pathlib import Path
from paribus import track
from paribus.store import Results
from paribus.testing.synthetic import example_experiment
track.open_sink("mlflow", Results(Path({str(tmp_path)!r}), example_experiment()))
from mlflow.telemetry.client import get_telemetry_client
from mlflow.telemetry.utils import is_telemetry_disabled
print(get_telemetry_client(), is_telemetry_disabled(), "tensorboard" in sys.modules)
"""
    marks = ("CI", "PYTEST_CURRENT_TEST", "GITHUB_ACTIONS", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    environment = {key: value for key, value in os.environ.items() if key not in marks}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["[]", "None True False"], done.stderr


def test_the_numbers_of_the_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES

    page = (Path(__file__).parents[1] / "docs" / "decisions" / "sinks.md").read_text(encoding="utf-8")
    assert tracker._PATIENCE_S == 5
    assert "waits five seconds for it" in page
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    default = MLFLOW_HTTP_REQUEST_MAX_RETRIES.get()
    mlflow._keep_quiet()
    assert f"({MLFLOW_HTTP_REQUEST_MAX_RETRIES.get()} instead of {default}, " in page
