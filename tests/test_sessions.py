"""What a result keeps of the calls that made it: their wall time, their machines, and verdicts of their design only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from paribus import verdicts
from paribus.experiment import Experiment
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
    again = Results.create(results.folder, results.experiment, {"python": "4"})
    again.begin_session()
    assert again.environment == {"python": "4"} and again.former_environments() == [before]
    again.end_session(1.0, 1)
    wall = again.wall_time()
    assert wall is not None and not wall.all_ended


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
