"""Finding values with real tuning runs: test unseen, resumed, spread over workers, kept, on the embedded digits."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from paribus import tuning
from paribus.config import Recipe
from paribus.data import Dataset
from paribus.engines import Event
from paribus.engines.torch_engine import TorchEngine
from paribus.errors import RunError
from paribus.experiment import CONTROL, CONTROL_RETUNED, Experiment, RunSpec
from paribus.launch import conduct, equal_seconds
from paribus.launch.conduct import RunOptions
from paribus.launch.launcher import Pack
from paribus.launch.local import LocalLauncher
from paribus.launch.packs import Supplies
from paribus.store import Checkpoint, EpochsChoice, Results
from paribus.testing.engines import DATASET, check_engine, spec_for

TINY = """
[experiment]
name = "fair"
seeds = 1
margin = 0.05
[control]
data = { name = "digits", size = 28, val = 150, train_size = 150 }
model = { name = "lenet5", activation = "relu" }
optim = { lr = 0.1 }
train = { epochs = 2, batch_size = 32 }
[[question]]
id = "momentum"
asks = "Momentum?"
arms.momentum = { "optim.momentum" = 0.9 }
arms.momentum-retuned = { "optim.momentum" = 0.9, "optim.lr" = "retune" }
together = [["optim.momentum", "optim.lr"]]
"""
EQUAL_SECONDS = '"train.epochs" = "equal-seconds"'
RUN = """
import sys
from pathlib import Path
from paribus.experiment import Experiment
from paribus.launch.conduct import RunOptions, run
run(Experiment.load(sys.argv[1]), RunOptions(out=Path(sys.argv[2]), workers=2))
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The experiment run by two workers, never interrupted."""
    out = tmp_path_factory.mktemp("results") / "whole"
    return conduct.run(parse(), RunOptions(out=out, workers=2))


def parse(*settings: str) -> Experiment:
    return Experiment.parse(TINY, settings)


def require_same_bits(one: Path, other: Path) -> None:
    """Both folders hold the same choices, tuning runs and runs."""
    names = ("epochs.jsonl", "predictions.npz", "model.safetensors")
    files = [
        path.relative_to(one)
        for pattern in ("tuning/*.json", "ranges/*.json", "*/*/**/*")
        for path in one.glob(pattern)
    ]
    kept = [path for path in files if path.name in names or path.parent.name in ("tuning", "ranges")]
    assert len([path for path in kept if path.parts[0] == "ranges"]) == 2
    assert len([path for path in kept if path.parts[0] == "tuning"]) >= 2 + 2 * 15
    assert [path for path in kept if (one / path).read_bytes() != (other / path).read_bytes()] == []


def test_rates_are_found_on_val_and_trained(whole: Results) -> None:
    experiment = Results.open(whole.folder).experiment
    for name in ("momentum-retuned", CONTROL_RETUNED):
        rate = whole.tunings[name].rate
        assert rate is not None
        assert rate.seeds == (10_000, 10_001, 10_002)
        assert {run.result.engine for run in whole.runs(name)} == {rate.engine}
        assert rate.grid == (0.01, 0.03, 0.1, 0.3, 1.0)
        means = {}
        for each in rate.tried:
            runs = sorted((whole.folder / "tuning" / name / f"{each.lr:g}").iterdir())
            assert [run.name for run in runs] == ["10000", "10001", "10002"]
            last = [json.loads((run / "epochs.jsonl").read_text(encoding="utf-8").splitlines()[-1]) for run in runs]
            means[each.lr] = float(np.mean([record["val_accuracy"] for record in last]))
            assert each.val_accuracy == pytest.approx(means[each.lr])
        assert means[rate.lr] == max(means.values())
        assert experiment.arms[name].recipe.optim.lr == rate.lr if name in experiment.arms else rate.lr == 0.1
    assert len(whole.runs("momentum-retuned")) == 1
    assert whole.runs("momentum-retuned")[0].config()["recipe"]["optim"]["lr"] != "retune"
    verdict = whole.read_json("verdicts.json")["questions"][0]["comparisons"][1]
    assert verdict["control"] == experiment.baseline("momentum-retuned")


def test_verdicts_are_of_the_design_with_what_was_found_or_without(whole: Results, tmp_path: Path) -> None:
    assert whole.has_verdicts()
    for name in ("experiment.toml", "verdicts.json"):
        (tmp_path / name).write_bytes((whole.folder / name).read_bytes())
    kept = Results.open(tmp_path)
    assert kept.experiment.arms["momentum-retuned"].recipe.unfound and kept.has_verdicts()
    file = tmp_path / "experiment.toml"
    file.write_text(file.read_text(encoding="utf-8").replace("batch_size = 32", "batch_size = 8"), encoding="utf-8")
    assert not Results.open(tmp_path).has_verdicts()


def test_range_tests_are_made_and_told(whole: Results) -> None:
    tests = whole.ranges()
    assert set(tests) == {CONTROL, "momentum-retuned"}
    for name, tuned in ((CONTROL, CONTROL_RETUNED), ("momentum-retuned", "momentum-retuned")):
        rate = whole.tunings[tuned].rate
        assert rate is not None
        assert tests[name].planned[0] == pytest.approx(rate.tried[0].lr / 100)
        assert tests[name].planned[-1] == pytest.approx(rate.tried[-1].lr * 10)
        assert tests[name].seed == rate.seeds[0]
        assert all(len(each.val_accuracies) == 3 for each in rate.tried)
    report = (whole.folder / "report.md").read_text(encoding="utf-8")
    assert "(figures/momentum-rates.svg)" in report and "In the range test, one short training" in report


def test_tuning_runs_keep_nothing_of_test(whole: Results) -> None:
    names = {path.name for path in whole.folder.glob("tuning/*/*/*/*")}
    assert names == {"config.json", "epochs.jsonl", "times.jsonl", "result.json"}
    for path in whole.folder.glob("tuning/*/*/*/result.json"):
        assert "test" not in path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_killed_while_tuning_and_gone_on_with_one_worker_equals_uninterrupted_with_two(
    whole: Results, tmp_path: Path
) -> None:
    file, out = tmp_path / "fair.toml", tmp_path / "killed"
    file.write_text(TINY, encoding="utf-8")
    command = [sys.executable, "-c", RUN, str(file), str(out)]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    while len(list(out.glob("tuning/*/*/*/result.json"))) < 5:
        assert time.monotonic() < deadline, "no tuning run came to its end"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not list(out.glob("runs/*/*/result.json")), "nothing is compared before everything is found"
    times = {path: path.stat().st_mtime_ns for path in out.glob("tuning/*/*/*/result.json")}
    assert Results.open(out).experiment.arms["momentum-retuned"].recipe.unfound == ("optim.lr",)
    conduct.run(parse(), RunOptions(out=out, workers=1))
    require_same_bits(whole.folder, out)
    assert times == {path: path.stat().st_mtime_ns for path in times}, "what was done is not done again"


def test_what_was_found_stays_found(whole: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    """More seeds train only more runs, and another grid would not matter any more."""
    before = {path: path.stat().st_mtime_ns for path in whole.folder.glob("tuning/**/*")}
    monkeypatch.setattr(tuning, "GRID", (-4, 4))
    ahead = conduct.plan(parse("experiment.seeds=2"), RunOptions(out=whole.folder, workers=2))
    assert list(ahead.tuning) == []
    assert {arm.missing for arm in ahead.arms} == {1}
    more = conduct.run(parse("experiment.seeds=2"), RunOptions(out=whole.folder, workers=2))
    assert before == {path: path.stat().st_mtime_ns for path in whole.folder.glob("tuning/**/*")}
    assert [run.result.seed for run in more.runs("momentum-retuned")] == [0, 1]


def test_what_was_found_for_another_recipe_is_set_aside(whole: Results, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(whole.folder), str(folder)], check=True)
    stale = {"momentum-retuned": {"data_fingerprint": "x"}, CONTROL_RETUNED: {"control_model_code": "x"}}
    for name, change in stale.items():
        path = folder / "tuning" / f"{name}.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(content | {"made_for": content["made_for"] | change}), "utf-8")
    results = conduct.run(parse("experiment.seeds=1"), RunOptions(out=folder, workers=2))
    for name in stale:
        assert len(list(folder.glob(f"superseded/tuning/{name}-*.json"))) == 1
        assert results.tunings[name] == whole.tunings[name]


def test_the_plan_counts_tuning_runs(whole: Results, tmp_path: Path) -> None:
    ahead = conduct.plan(parse(), RunOptions(out=tmp_path / "none", workers=1))
    assert [(arm.name, arm.missing, arm.epochs) for arm in ahead.tuning] == [
        (CONTROL_RETUNED, 15, 2),
        ("momentum-retuned", 15, 2),
    ]
    assert [(arm.name, arm.missing) for arm in ahead.arms] == [
        (CONTROL, 1),
        (CONTROL_RETUNED, 1),
        ("momentum", 1),
        ("momentum-retuned", 1),
    ]
    per_run = {arm.name: arm.seconds_per_run for arm in ahead.arms}
    assert ahead.seconds == pytest.approx(
        15 * (per_run[CONTROL_RETUNED] + per_run["momentum-retuned"]) + sum(per_run.values())
    )


def test_an_arm_that_cannot_be_tuned_costs_only_itself(tmp_path: Path) -> None:
    model = tmp_path / "broken.py"
    model.write_text(
        "from torch import nn\nclass Broken(nn.Module):\n    def __init__(self):\n        raise RuntimeError('no')\n",
        encoding="utf-8",
    )
    arm = f'arms.mine = {{ "model.name" = "{model}:Broken", "optim.lr" = "retune" }}\n'
    text = TINY.partition("arms.momentum ")[0] + arm + 'together = [["model.name", "optim.lr"]]\n'
    with pytest.raises(
        RunError, match=r"15 of \d+ failed. The first is mine, tuning at rate 0.01, seed 1000[012]: "
    ) as got:  # Two workers train them: any of the three may be the first to fail.
        conduct.run(Experiment.parse(text, ["control.train.epochs=1"]), RunOptions(out=tmp_path / "out", workers=2))
    first = re.search(r"seed (\d+): ", str(got.value))
    assert first
    assert f"`tuning/mine/0.01/{first[1]}/failure.txt` there says all" in str(got.value)
    results = Results.open(tmp_path / "out")
    assert len(results.runs(CONTROL)) == 1 and results.runs("mine") == []
    assert CONTROL_RETUNED in results.tunings


def test_equal_seconds_are_measured_and_rounded_down() -> None:
    choice = equal_seconds.choice_from(((1.0, 0.5), (3.0, 1.0), (1.0, 0.4)), 3, ("torch-1", "torch-1"))
    assert (choice.ratio, choice.epochs) == (2.5, 7)
    assert (choice.control_seconds_per_epoch, choice.seconds_per_epoch) == (1.0, 0.5)
    assert equal_seconds.choice_from(((1.0, 10.0),), 3, ("torch-1", "torch-1")).epochs == 1


def test_epochs_of_both_are_timed_in_turn(tmp_path: Path) -> None:
    """An arm with a tenth of the images has epochs that are much shorter."""
    experiment = parse("control.data.train_size=400")
    supplies = Supplies.gather(experiment, None, "auto")
    short = equal_seconds.for_timing(experiment.control.with_factors({"data.train_size": 40}))
    assert short.train.epochs == equal_seconds.MOST_ROUNDS + 1
    control, arm = (
        supplies.pack(name, recipe, 0, is_tuning=True)
        for name, recipe in (("control", equal_seconds.for_timing(experiment.control)), ("short", short))
    )
    choice = equal_seconds.choose(control, arm, control_epochs=10)
    assert equal_seconds.LEAST_ROUNDS <= len(choice.rounds) <= equal_seconds.MOST_ROUNDS
    assert choice.ratio > 1.5
    assert choice.epochs == int(10 * choice.ratio)
    broken = dataclasses.replace(arm, dataset=tmp_path / "nowhere")
    with pytest.raises(
        RunError, match=r"Epochs of `short` and of the control must be timed .* but this failed: .*nowhere.*\nMend the"
    ):
        equal_seconds.choose(control, broken, control_epochs=10)


def test_an_arm_in_equal_seconds_end_to_end(tmp_path: Path) -> None:
    arm = 'arms.sigmoid = { "model.activation" = "sigmoid", "train.epochs" = "equal-seconds" }\n'
    text = TINY.partition("arms.momentum ")[0] + arm + 'together = [["model.activation", "train.epochs"]]\n'
    planned = conduct.plan(Experiment.parse(text), RunOptions(out=tmp_path / "out"))
    assert [(each.name, each.epochs) for each in planned.arms] == [(CONTROL, 2), ("sigmoid", None)]
    results = conduct.run(Experiment.parse(text), RunOptions(out=tmp_path / "out", workers=1))
    choice = results.tunings["sigmoid"].epochs
    assert choice is not None and results.tunings["sigmoid"].rate is None
    assert results.runs("sigmoid")[0].result.epochs == choice.epochs
    again = Results.open(tmp_path / "out").experiment.arms["sigmoid"]
    assert again.recipe.train.epochs == choice.epochs and again.recipe.unfound == ()


class Peeking(TorchEngine):
    """Looks at the test images in the end, as a careless engine would."""

    def fit(self, pack: Sequence[RunSpec], dataset: Dataset, checkpoints: Mapping[str, Checkpoint]) -> Iterator[Event]:
        yield from super().fit(pack, dataset, checkpoints)
        dataset.test.images.mean()


class Testing(TorchEngine):
    """Takes a tuning run for any other."""

    def fit(self, pack: Sequence[RunSpec], dataset: Dataset, checkpoints: Mapping[str, Checkpoint]) -> Iterator[Event]:
        plain = {dataclasses.replace(spec, is_tuning=False).digest: spec.digest for spec in pack}
        known = {own: checkpoints[given] for own, given in plain.items() if given in checkpoints}
        seen = DATASET if any(spec.is_tuning for spec in pack) else dataset
        yield from super().fit([dataclasses.replace(spec, is_tuning=False) for spec in pack], seen, known)


@pytest.mark.parametrize(
    ("engine", "text"),
    [
        (Peeking(), "must not look at the test images"),
        (Testing(), "a tuning run must end with TuningEnd"),
    ],
)
def test_an_engine_that_looks_at_test_while_tuning_does_not_conform(engine: TorchEngine, text: str) -> None:
    recipe = Recipe.parse(
        {
            "data": {"name": "easy", "val": 40},
            "model": {"name": "lenet5"},
            "optim": {"lr": 0.05, "momentum": 0.9},
            "train": {"epochs": 3, "batch_size": 32},
        }
    )
    with pytest.raises(AssertionError, match=text):
        check_engine(engine, recipe)


def test_epochs_are_timed_before_anything_else_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def note(what: str) -> None:
        done.append(what)
        time.sleep(0.2)
        raise RunError(what)

    monkeypatch.setattr(equal_seconds, "choose", lambda *_: note("timed"))
    monkeypatch.setattr(conduct, "SurveyProcess", lambda *_: note("surveyed"))
    monkeypatch.setattr(LocalLauncher, "start", lambda *_: note("started"))
    text = TINY.replace("momentum-retuned", "momentum-seconds").replace('"optim.lr" = "retune"', EQUAL_SECONDS)
    with pytest.raises(RunError, match="surveyed"):
        conduct.run(Experiment.parse(text.replace('"optim.lr"]', '"train.epochs"]')), RunOptions(out=tmp_path / "out"))
    assert done == ["timed", "surveyed"]


NETS = {
    "Printing": "        print('.', end='')\n        return self.fc(x.flatten(1))\n",
    "Leaving": "        raise SystemExit(0)\n",
}
SECONDS = """
[experiment]
name = "seconds"
seeds = 1
margin = 0.01
[control]
data = { name = "digits", size = 28, val = 50, train_size = 100 }
model = { name = "lenet5" }
optim = { lr = 0.1 }
train = { epochs = 2 }
"""


def test_an_arm_that_cannot_be_timed_costs_only_its_own_runs(tmp_path: Path) -> None:
    asked = []
    for name, body in NETS.items():
        (tmp_path / f"{name}.py").write_text(
            f"from torch import nn\nclass {name}(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
            f"        self.fc = nn.Linear(784, 10)\n    def forward(self, x):\n{body}",
            encoding="utf-8",
        )
        factors = f'"model.name" = "{tmp_path / name}.py:{name}", {EQUAL_SECONDS}'
        asked.append(f'[[question]]\nid = "{name}"\nasks = "?"\ntogether = [["model.name", "train.epochs"]]\n')
        asked.append(f"arms.{name.lower()} = {{ {factors} }}\n")
    why = "Epochs of `leaving` and of the control must be timed .* but this failed: SystemExit: 0\n"
    with pytest.raises(RunError, match=rf"1 of 3 failed. The first is leaving: {why}") as told:
        conduct.run(Experiment.parse(SECONDS + "".join(asked)), RunOptions(out=tmp_path / "out"))
    assert "failure.txt" not in str(told.value)
    results = Results.open(tmp_path / "out")
    assert len(results.runs("control")) == len(results.runs("printing")) == 1
    assert results.experiment.arms["leaving"].recipe.unfound == ("train.epochs",)
    assert "No run has finished of leaving" in (results.folder / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("print('hello'); input('which?')", r".*its forward raised EOFError: EOF when .*\nMend"),
        ("print('first'); print('last', flush=True); os._exit(0)", r"its process ended with status 0\nfirst\nlast\n"),
        ("os._exit(3)", r"its process ended with status 3\nMend"),
        ("return self.fc(x.flatten(1)) * float('nan')", "the loss of mine was no longer finite before enough epochs"),
    ],
)
def test_why_an_arm_cannot_be_timed_is_told(line: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "network.py").write_text(
        "import os\nfrom torch import nn\nclass Network(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.fc = nn.Linear(784, 10)\n"
        f"    def forward(self, x):\n        {line}\n",
        encoding="utf-8",
    )
    experiment = Experiment.parse(SECONDS)
    supplies = Supplies.gather(experiment, None, "auto")
    recipe = equal_seconds.for_timing(experiment.control)
    broken = recipe.with_factors({"model.name": f"{tmp_path / 'network.py'}:Network"})
    control, mine = (
        supplies.pack("control", recipe, 0, is_tuning=True),
        supplies.pack("mine", broken, 0, is_tuning=True),
    )
    with pytest.raises(RunError, match=rf"Epochs of `mine` and of .* but this failed: {why}"):
        equal_seconds.choose(control, mine, control_epochs=2)


def test_epochs_are_found_anew_for_another_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = []

    def choose(control: Pack, arm: Pack, epochs: int) -> EpochsChoice:
        timed.append((control.engine, arm.engine))
        engines = control.specs[0].engine, arm.specs[0].engine
        return equal_seconds.choice_from(((1.0, 1.0),), epochs, engines)

    monkeypatch.setattr(equal_seconds, "choose", choose)
    question = '[[question]]\nid = "relu"\nasks = "?"\ntogether = [["model.activation", "train.epochs"]]\n'
    arm = f'arms.relu = {{ "model.activation" = "relu", {EQUAL_SECONDS} }}\n'
    experiment = Experiment.parse(SECONDS + question + arm)
    for engine in ("torch", "torch", "native"):
        conduct.run(experiment, RunOptions(out=tmp_path / "out", engine=engine))
    assert timed == [("torch", "torch"), ("native", "native")]


def test_a_data_set_without_test_is_whole_otherwise() -> None:
    blind = DATASET.without_test()
    assert blind.train is DATASET.train and blind.fingerprint == DATASET.fingerprint
    assert len(DATASET.test) > 0
    tuned = dataclasses.replace(spec_for(Recipe.parse(SMALL)), is_tuning=True)
    with pytest.raises(AssertionError, match="A run that chooses something must not look"):
        list(TorchEngine().fit([dataclasses.replace(tuned, is_tuning=False)], blind, {}))
    with pytest.raises(AssertionError, match="A run that chooses something must not count"):
        len(blind.test)
    assert len(list(TorchEngine().fit([tuned], blind, {}))) == 2


SMALL = {
    "data": {"name": "easy", "val": 40},
    "model": {"name": "lenet5"},
    "optim": {"lr": 0.05},
    "train": {"epochs": 1},
}
