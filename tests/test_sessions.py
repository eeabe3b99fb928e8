"""What a result keeps of the calls that made it: their wall time, their machines, and verdicts of their design only."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from paribus import verdicts
from paribus.errors import StoreError
from paribus.experiment import Experiment, RunSpec
from paribus.launch import conduct
from paribus.report.build import build
from paribus.report.material import Material
from paribus.report.render import to_markdown
from paribus.store import Results, WallTime
from paribus.testing.synthetic import write_results

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


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return write_results(tmp_path / "small", Experiment.parse(EXPERIMENT), {"control": 0.9})


def later(results: Results, arm: str, seed: int) -> RunSpec:
    """A run by an engine of another version."""
    return RunSpec(arm, seed, results.experiment.arms[arm].recipe, "f00d", "synthetic-2")


def digests(results: Results, arm: str) -> set[str]:
    return {run.result.digest for run in results.runs(arm)}


def test_sessions_survive_a_line_that_was_cut_off(results: Results) -> None:
    assert results.wall_time() is None
    results.begin_session()
    path = results.folder / "sessions.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + '{"seconds": 12', encoding="utf-8")
    results.begin_session()
    results.end_session(5.04, 2)
    assert results.wall_time() == WallTime(5.0, 2, all_ended=False)
    assert results.former_environments() == []


def test_runs_of_before_sessions_were_kept_keep_their_environment(results: Results) -> None:
    before = results.environment
    again = Results.create(results.folder, results.experiment, None)
    again.begin_session({"python": "4"})
    assert again.environment == {"python": "4"} and again.former_environments() == [before]
    again.end_session(1.0, 1)
    wall = again.wall_time()
    assert wall is not None and not wall.all_ended


def test_calls_count_by_what_they_made_of_what_is_here(results: Results) -> None:
    results.write_json("environment.json", {"cores": 0})
    calls = [(10.0, "control"), (20.0, "relu")]
    for cores, (seconds, arm) in enumerate(calls):
        results.begin_session({"cores": cores})
        results.end_session(seconds, 2, digests(results, arm))
    assert results.wall_time() == WallTime(30.0, 4, all_ended=True)
    assert results.former_environments() == [{"cores": 0}]
    results.set_aside(later(results, "relu", 0))
    assert results.wall_time() == WallTime(30.0, 3, all_ended=True), "one run of the second call is still here"
    results.set_aside(later(results, "relu", 1))
    results.begin_session({"cores": 2})
    results.end_session(5.0, 0, ())
    assert results.wall_time() == WallTime(10.0, 2, all_ended=True)
    assert results.former_environments() == [{"cores": 0}]
    results.begin_session({"cores": 3})
    results.begin(later(results, "relu", 0)).epoch(results.runs("control")[0].epochs[0], 0.5, {})
    results.end_session(7.0, 0, {later(results, "relu", 0).digest})
    results.begin_session({"cores": 4})
    results.end_session(1.0, 0, ())
    assert results.former_environments() == [{"cores": 0}, {"cores": 3}], "an epoch of a run counts as well"
    assert results.wall_time() == WallTime(17.0, 2, all_ended=True), "but the run only once it has ended"


def test_where_only_the_report_is_kept_calls_count_by_what_they_say(results: Results) -> None:
    results.write_json("environment.json", {"cores": 0})
    for cores, (seconds, arm) in enumerate([(10.0, "control"), (20.0, "relu")]):
        results.begin_session({"cores": cores})
        results.end_session(seconds, 2, digests(results, arm))
    told, former = results.wall_time(), results.former_environments()
    shutil.rmtree(results.folder / "runs")
    assert results.wall_time() == told == WallTime(30.0, 4, all_ended=True)
    assert results.former_environments() == former


def test_with_the_last_run_go_the_calls_that_made_it(results: Results) -> None:
    results.begin_session()  # Killed.
    results.begin_session()
    results.end_session(10.0, 4)
    for arm, seed in (("control", 0), ("control", 1), ("relu", 0)):
        results.set_aside(later(results, arm, seed))
    assert results.wall_time() == WallTime(10.0, 4, all_ended=False)
    results.set_aside(later(results, "relu", 1))
    assert results.wall_time() is None
    assert len(list((results.folder / "superseded").glob("sessions-*.jsonl"))) == 1
    results.begin_session({"cores": 1})
    assert results.former_environments() == []


def test_a_call_of_old_that_ended_no_run_is_no_earlier_call(results: Results) -> None:
    results.write_json("environment.json", {"cores": 0})
    for cores, runs in enumerate((2, 0)):
        results.begin_session({"cores": cores})
        results.end_session(1.0, runs)
    results.begin_session({"cores": 2})
    assert results.former_environments() == [{"cores": 0}]


def test_a_call_that_ends_without_having_begun_is_damage(results: Results) -> None:
    results.end_session(1.0, 1)
    with pytest.raises(StoreError, match=r"sessions.jsonl` is damaged .*a call ends that has not begun"):
        results.wall_time()


def test_verdicts_go_with_the_first_run_that_they_counted(results: Results) -> None:
    conduct.rebuild(results)
    results.set_aside(replace(later(results, "relu", 0), is_tuning=True))
    assert results.has_verdicts()
    results.set_aside(later(results, "relu", 0))
    assert not results.has_verdicts()
    (kept,) = (results.folder / "superseded").glob("verdicts-*.json")
    assert json.loads(kept.read_text(encoding="utf-8"))["arms"]["relu"]["runs"] == 2
    assert conduct.rebuild(results)["arms"]["relu"]["runs"] == 1


@pytest.mark.parametrize("is_begun", [False, True])
def test_verdicts_are_not_overwritten_where_no_run_is_left(is_begun: bool, results: Results) -> None:
    conduct.rebuild(results)
    before = (results.folder / "verdicts.json").read_bytes()
    shutil.rmtree(results.folder / "runs")
    (results.folder / "runs").mkdir()
    if is_begun:
        results.begin(later(results, "relu", 0))
    with pytest.raises(StoreError, match=r"only verdicts and report are kept, which stay as they are\. Put its"):
        conduct.rebuild(results)
    assert (results.folder / "verdicts.json").read_bytes() == before


def test_runs_of_several_machines_say_so(results: Results) -> None:
    def report() -> str:
        return to_markdown(build(Material.gather(results, verdicts.compute(results))))

    told, now = "Not all runs were made on one machine", dict(results.environment)
    for environment, is_told in ((now, False), (now | {"git_commit": "f00d"}, False), (now | {"cores": 96}, True)):
        results.write_json("environment.json", environment)
        results.begin_session()
        results.write_json("environment.json", now)
        assert (told in report()) is is_told
    text = report()
    assert "git commit f00d" in text and "cores 96" in text and text.count("earlier calls") == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("margin = 0.01", "margin = 0.02"),
        ('asks = "ReLU?"', 'asks = "ReLU?"\nmetric = "test_loss"'),
        ("= 0.1", "= 0.2"),
    ],
)
def test_verdicts_of_another_design_are_none(old: str, new: str, results: Results) -> None:
    conduct.rebuild(results)
    assert results.has_verdicts()
    changed = Experiment.parse(EXPERIMENT.replace(old, new))
    assert changed.to_toml() != results.experiment.to_toml() and not Results(results.folder, changed).has_verdicts()
    more = Experiment.parse(EXPERIMENT, ["experiment.seeds=5"])
    assert Results(results.folder, more).has_verdicts(), "they say of how many runs they are"
    assert not Results(results.folder, replace(more, seeds=(100, 101))).has_verdicts()


def test_verdicts_without_an_arm_that_now_answers_a_second_question_are_none(tmp_path: Path) -> None:
    max_pooling = 'arms.max = { "model.pooling" = "max" }\n'
    second = f'[[question]]\nid = "max"\nasks = "Max pooling?"\n{max_pooling}'
    results = write_results(tmp_path / "small", Experiment.parse(EXPERIMENT + second), {"control": 0.9})
    conduct.rebuild(results)
    assert results.has_verdicts()
    changed = Experiment.parse(EXPERIMENT + max_pooling + second)
    assert changed.arms == results.experiment.arms and not Results(results.folder, changed).has_verdicts()
