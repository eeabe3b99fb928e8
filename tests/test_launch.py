"""Launching: workers, killing and continuing, the lock, failures, progress. Real processes on the embedded digits."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_files import picture, write_files
from paribus import data, engines, processes
from paribus.errors import ConfigError, DataError, ModelError, RunError, StoreError
from paribus.experiment import Experiment, RunSpec
from paribus.launch import conduct, environment, tune
from paribus.launch.conduct import RunOptions
from paribus.launch.launcher import EpochDone, News, Pack, RunDone, RunFailed
from paribus.launch.local import LocalLauncher
from paribus.launch.messages import decode_pack, encode_pack
from paribus.launch.packs import Supplies
from paribus.launch.progress import Estimate, Lines
from paribus.store import Results
from paribus.testing.launchers import check_launcher
from paribus.testing.synthetic import write_results

TINY = """
[experiment]
name = "tiny"
seeds = 2
margin = 0.01
[control]
data = { name = "digits", size = 28, val = 200, train_size = 300 }
model = { name = "lenet5" }
optim = { lr = 0.05, momentum = 0.9 }
train = { epochs = 4, batch_size = 32 }
[[question]]
id = "relu"
asks = "ReLU?"
arms.relu = { "model.activation" = "relu" }
[[question]]
id = "dropout"
asks = "Dropout?"
arms.dropout = { "model.dropout" = 0.2 }
"""

RUN = """
import signal
import sys
from pathlib import Path
from paribus.experiment import Experiment
from paribus.launch.conduct import RunOptions, run
signal.signal(signal.SIGINT, signal.default_int_handler)  # Behind a shell's `&` it would be ignored.
run(Experiment.load(sys.argv[1]), RunOptions(out=Path(sys.argv[2]), workers=int(sys.argv[3])))
"""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARIBUS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("experiment") / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def uninterrupted(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "whole"
    conduct.run(Experiment.load(tiny), RunOptions(out=out, workers=2))
    return out


def packs_of(experiment: Experiment) -> list[Pack]:
    prepared = data.prepare(experiment.control.data)
    dataset = data.load_prepared(prepared.folder)
    engine = engines.choose(experiment.control, dataset.image_shape, dataset.num_classes).entry
    return [
        Pack(
            (RunSpec(arm.name, seed, arm.recipe, prepared.fingerprint, engine.identity),), engine.name, prepared.folder
        )
        for seed in experiment.seeds
        for arm in experiment.arms.values()
    ]


def require_same_bits(one: Path, other: Path) -> None:
    """Both folders hold the same runs, with equal epochs, predictions and weights."""
    folders = sorted(path.parent.relative_to(one) for path in one.glob("runs/*/*/result.json"))
    assert folders == sorted(path.parent.relative_to(other) for path in other.glob("runs/*/*/result.json"))
    assert len(folders) == 6
    for folder in folders:
        for name in ("epochs.jsonl", "predictions.npz", "model.safetensors"):
            assert (one / folder / name).read_bytes() == (other / folder / name).read_bytes(), f"{folder}/{name}"


def test_local_launcher_conforms(tiny: Path, tmp_path: Path) -> None:
    experiment = Experiment.load(tiny, ["control.train.epochs=1", "experiment.seeds=1"])
    results = Results.create(tmp_path, experiment, {})
    check_launcher(LocalLauncher(2), packs_of(experiment), results)


def test_one_can_begin_alone_until_there_is_news_of_it(tiny: Path, tmp_path: Path) -> None:
    experiment = Experiment.load(tiny)
    results = Results.create(tmp_path / "out", experiment, {})
    packs = packs_of(experiment)
    asked: list[int] = []

    def ahead(process: int) -> tuple[str, ...]:
        asked.append(process)
        return ("torch",)

    launcher = LocalLauncher(2, ahead)
    seen = []
    for _ in launcher.launch(packs, results, one_first=True):
        seen.append([process.pack is not None for process in launcher._processes])
    launcher.close()
    assert asked == [0, 1] and seen[0] == [True, False] and [True, True] in seen
    assert all(results.state(spec) == "finished" for pack in packs for spec in pack.specs)


def test_one_worker_equals_two(uninterrupted: Path, tiny: Path, tmp_path: Path) -> None:
    conduct.run(Experiment.load(tiny), RunOptions(out=tmp_path / "one", workers=1))
    require_same_bits(uninterrupted, tmp_path / "one")


@pytest.mark.slow
def test_killed_three_times_equals_uninterrupted(uninterrupted: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    generator = random.Random(7)
    kills = 0
    for _ in range(3):
        before = lines_written(out)
        process = start(tiny, out)
        wait_for(lambda b=before: lines_written(out) > b)
        time.sleep(generator.uniform(0.0, 0.15))
        os.killpg(process.pid, signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills == 3, "every attempt must have been killed before it was done"
    conduct.run(Experiment.load(tiny), RunOptions(out=out, workers=2))
    require_same_bits(uninterrupted, out)


def test_workers_end_with_their_launcher(tiny: Path, tmp_path: Path) -> None:
    experiment = tmp_path / "long.toml"
    experiment.write_text(TINY.replace("epochs = 4", "epochs = 4000"), encoding="utf-8")
    process = start(experiment, tmp_path / "out")
    wait_for(lambda: lines_written(tmp_path / "out") > 0)
    os.kill(process.pid, signal.SIGKILL)  # The launcher alone, not its workers.
    process.wait()
    time.sleep(1.0)
    before = lines_written(tmp_path / "out")
    time.sleep(1.0)
    assert lines_written(tmp_path / "out") == before


def test_ctrl_c_leaves_whole_epochs(tiny: Path, tmp_path: Path) -> None:
    experiment = tmp_path / "long.toml"
    experiment.write_text(TINY.replace("epochs = 4", "epochs = 4000"), encoding="utf-8")
    process = start(experiment, tmp_path / "out")
    wait_for(lambda: lines_written(tmp_path / "out") > 3)
    os.killpg(process.pid, signal.SIGINT)
    try:
        assert process.wait(timeout=120) != 0  # A machine that is busy with other things takes its time.
    finally:
        process.kill()
    for path in (tmp_path / "out").glob("runs/*/*/epochs.jsonl"):
        assert path.read_text(encoding="utf-8").endswith("}\n")
    with Results.open(tmp_path / "out").lock():
        pass  # The lock is free again.


def test_running_again_trains_nothing(uninterrupted: Path, tiny: Path) -> None:
    kept = [uninterrupted / "environment.json", uninterrupted / "sessions.jsonl", *uninterrupted.glob("runs/*/*/*")]
    (uninterrupted / "environment.json").write_text('{"processor": "that of the runs", "packages": {}}', "utf-8")
    times = {path: path.stat().st_mtime_ns for path in kept}
    conduct.run(Experiment.load(tiny), RunOptions(out=uninterrupted, workers=1))
    assert times == {path: path.stat().st_mtime_ns for path in kept}
    for damage in ("[]", None):
        (uninterrupted / "environment.json").unlink()
        if damage:
            (uninterrupted / "environment.json").write_text(damage, encoding="utf-8")
        conduct.run(Experiment.load(tiny), RunOptions(out=uninterrupted, workers=1))
        assert Results.open(uninterrupted).environment["packages"]["torch"]


def test_what_runs_were_made_on_stays_until_others_are_made(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = write_results(tmp_path / "out", Experiment.load(tiny), {"control": 0.9})
    before = results.environment
    monkeypatch.setattr(LocalLauncher, "start", lambda *_: None)
    monkeypatch.setattr(tune, "find_epochs", interrupt)
    with pytest.raises(KeyboardInterrupt):
        conduct.run(results.experiment, RunOptions(out=results.folder))
    assert results.environment == before and not (results.folder / "sessions.jsonl").exists()


def test_what_was_not_looked_at_is_looked_at_by_the_next_call(tiny: Path, tmp_path: Path) -> None:
    settings = ["control.train.epochs=1", "experiment.seeds=1"]
    results = conduct.run(Experiment.load(tiny, settings), RunOptions(out=tmp_path / "out"))
    found = results.facts()
    assert found is not None and found.unseen == () and len(found.models) == 3
    content = json.loads((results.folder / "facts.json").read_text(encoding="utf-8"))
    former = content | {"models": content["models"][:1], "of": "of a former design"}
    (results.folder / "facts.json").write_text(json.dumps(former), encoding="utf-8")
    assert conduct.run(Experiment.load(tiny, settings), RunOptions(out=tmp_path / "out")).facts() == found


def test_another_recipe_sets_the_old_run_aside(tiny: Path, tmp_path: Path) -> None:
    one = Experiment.load(tiny, ["control.train.epochs=1", "experiment.seeds=1"])
    conduct.run(one, RunOptions(out=tmp_path))
    conduct.run(Experiment.load(tiny, ["control.train.epochs=2", "experiment.seeds=1"]), RunOptions(out=tmp_path))
    for arm in one.arms:
        assert len(list(tmp_path.glob(f"superseded/{arm}/0-*/result.json"))) == 1
    assert len(list(tmp_path.glob("superseded/verdicts-*.json"))) == 1
    assert len(list(tmp_path.glob("superseded/sessions-*.jsonl"))) == 1
    wall = Results.open(tmp_path).wall_time()
    assert wall is not None and (wall.runs, wall.all_ended) == (3, True)
    assert len((tmp_path / "runs/control/0/epochs.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_a_second_process_is_refused(tiny: Path, tmp_path: Path) -> None:
    results = Results(tmp_path, Experiment.load(tiny))
    with results.lock(), pytest.raises(StoreError, match="Only one process may write to a result folder"):
        conduct.run(results.experiment, RunOptions(out=tmp_path))


def test_a_failing_model_costs_only_its_own_runs(tiny: Path, tmp_path: Path) -> None:
    model = tmp_path / "broken.py"
    model.write_text(
        "from torch import nn\n"
        "class Broken(nn.Module):\n"
        "    def __init__(self, image_shape, num_classes):\n"
        "        super().__init__()\n"
        "        raise RuntimeError('this model is broken')\n",
        encoding="utf-8",
    )
    text = TINY + f'[[question]]\nid = "mine"\nasks = "Mine?"\narms.mine = {{ "model.name" = "{model}:Broken" }}\n'
    experiment = Experiment.parse(text, ["control.train.epochs=1", "experiment.seeds=1"])
    with pytest.raises(RunError, match=r"1 of 4 failed. The first is mine, seed 0: [\s\S]*this model is broken"):
        conduct.run(experiment, RunOptions(out=tmp_path / "out"))
    results = Results.open(tmp_path / "out")
    assert len(results.runs("control")) == len(results.runs("relu")) == 1
    assert "this model is broken" in results.failures("mine")[0]
    assert (tmp_path / "out" / "report.html").exists()


def test_a_dying_worker_is_named(tiny: Path, tmp_path: Path) -> None:
    model = tmp_path / "dying.py"
    model.write_text(
        "import os, signal\nfrom torch import nn\n"
        "class Dying(nn.Module):\n"
        "    def __init__(self, image_shape, num_classes):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n",
        encoding="utf-8",
    )
    settings = ["control.train.epochs=1", "experiment.seeds=1"]
    text = TINY + f'[[question]]\nid = "mine"\nasks = "?"\narms.mine = {{ "model.name" = "{model}:Dying" }}\n'
    with pytest.raises(RunError, match="worker process ended \\(signal SIGKILL\\)"):
        conduct.run(Experiment.parse(text, settings), RunOptions(out=tmp_path / "out", workers=1))
    results = Results.open(tmp_path / "out")
    assert len(results.runs("dropout")) == 1
    facts = results.facts()
    assert facts is not None and "ended (signal SIGKILL)" in facts.unseen[0]


@pytest.mark.parametrize("begin", [conduct.look, conduct.plan, conduct.run])
@pytest.mark.parametrize("key", ["hue", "saturation"])
def test_colours_of_grey_images_are_refused_before_anything_trains(
    begin: Any, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    question = f'[[question]]\nid = "q"\nasks = "?"\narms.colours = {{ "augment.{key}" = 0.1 }}\n'
    with pytest.raises(ConfigError, match=f"`augment.{key}` needs images in colour, .* `digits`, .*`colours` is train"):
        begin(Experiment.parse(TINY + question))


def test_a_network_that_prints_asks_or_dies_cannot_harm_the_survey(
    tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It runs in a process of its own, as training does."""
    model = tmp_path / "network.py"
    head = TINY.partition("[[question]]")[0].replace('"lenet5"', f'"{model}:Network"')
    code = (
        "import os, signal\nfrom torch import nn\nclass Network(nn.Module):\n"
        "    def __init__(self, num_classes):\n        super().__init__()\n"
        "        self.layer = nn.LazyLinear(num_classes)\n        @\n"
        "    def forward(self, x):\n        return self.layer(x.flatten(1))\n"
    )
    model.write_text(code.replace("@", "print('hello from the network')"), encoding="utf-8")
    seen = conduct.look(Experiment.parse(head))
    assert (len(seen.data), len(seen.models), seen.unseen) == (1, 1, ())
    assert "hello from the network" in capfd.readouterr().err
    model.write_text(code.replace("@", "input('which?')"), encoding="utf-8")
    (broken,) = conduct.look(Experiment.parse(head)).broken
    assert "EOFError" in broken.why
    model.write_text(code.replace("@", "os.kill(os.getpid(), signal.SIGKILL)"), encoding="utf-8")
    (reason,) = conduct.look(Experiment.parse(head)).unseen
    assert reason == ("Data and networks: the process that looks at them ended (signal SIGKILL); a network may end it.")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("raise ValueError([os.environ[key] for key in ('OMP_NUM_THREADS', 'MALLOC_MMAP_MAX_')])", r"\['1', '0'\]"),
        ("input('which?')", "EOFError: EOF when"),
        ("sys.exit('no')", "SystemExit: no"),
        ("os._exit(3)", "its process ended with status 3"),
    ],
)
def test_a_plan_tries_networks_in_a_process_like_a_workers(line: str, why: str, tiny: Path, tmp_path: Path) -> None:
    model = tmp_path / "network.py"
    code = "import os, sys\nfrom torch import nn\nclass Network(nn.Module):\n    def __init__(self, num_classes):\n"
    model.write_text(f"{code}        super().__init__()\n        {line}\n", encoding="utf-8")
    head = TINY.partition("[[question]]")[0].replace('"lenet5"', f'"{model}:Network"')
    with pytest.raises(ModelError, match=f"a few steps .*, but that of control did not: (.*\n)?.*{why}"):
        conduct.plan(Experiment.parse(head))


def test_ctrl_c_does_not_wait_for_the_survey(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "network.py").write_text("import time\ntime.sleep(600)\n", encoding="utf-8")
    settings = [f"control.model.name={tmp_path / 'network.py'}:Network", "control.train.engine=torch"]
    experiment = Experiment.load(tiny, settings)
    monkeypatch.setattr(tune, "find_rates", interrupt)
    monkeypatch.setattr(Supplies, "pack", lambda *_, **__: Pack((), "torch", tmp_path))
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        conduct.run(experiment, RunOptions(out=tmp_path / "out"))
    assert time.monotonic() - start < 300
    assert Results.open(tmp_path / "out").facts() is None


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_impossible_split_is_refused_before_anything_is_trained(tiny: Path, tmp_path: Path) -> None:
    experiment = Experiment.load(tiny, ["control.data.val=1500"])
    with pytest.raises(DataError, match="must leave images to train on, but digits has only 1437"):
        conduct.run(experiment, RunOptions(out=tmp_path / "out"))
    assert not (tmp_path / "out" / "experiment.toml").exists()


def test_workers_find_a_model_that_asks_for_input_failing_and_no_modules_of_the_working_directory(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "asking.py"
    model.write_text(
        "from torch import nn\nclass Asking(nn.Module):\n    def __init__(self):\n        input('how many layers? ')\n",
        encoding="utf-8",
    )
    (tmp_path / "torch.py").write_text("raise SystemExit('not torch')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    head = TINY.partition("[[question]]")[0].replace('"lenet5"', '"asking.py:Asking"')
    experiment = Experiment.parse(head, ["experiment.seeds=1"])
    with pytest.raises(
        RunError, match=r"The first is control, seed 0: `asking.py:Asking` must .* EOFError: EOF"
    ) as got:
        conduct.run(experiment, RunOptions(out=tmp_path / "out", workers=1))
    assert "Traceback" not in str(got.value) and "`runs/control/0/failure.txt` there says all" in str(got.value)


def test_a_worker_never_gets_ctrl_c() -> None:
    code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    with processes.interrupts_held():
        held = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    free = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (held.stdout, free.stdout) == ("True\n", "False\n")


def test_files_that_were_left_out_are_told_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        f"{name}/{i}.png": picture(np.full((32, 32), 9 * i + ord(name), np.uint8)) for name in "ab" for i in range(9)
    }
    write_files(tmp_path / "mine", files | {"a/broken.png": b"junk"})
    head = TINY.partition("[[question]]")[0]
    given = f'name = "{tmp_path / "mine"}", size = 32, test = 0.3, val = 4, skip_unreadable = true'
    text = head.replace('name = "digits", size = 28, val = 200, train_size = 300', given)
    experiment = Experiment.parse(text, ["experiment.seeds=1", "control.train.epochs=1"])
    results = conduct.run(experiment, RunOptions(out=tmp_path / "out", workers=1))
    assert (
        "1 file left out, as `data.skip_unreadable` asks; the first is `mine/a/broken.png`: not an"
        in capsys.readouterr().err
    )
    about = json.loads((results.folder / "environment.json").read_text(encoding="utf-8"))
    assert about["left_out"] == {"mine/a/broken.png": "not an image of a known format"}
    assert "image files left out" in (results.folder / "report.md").read_text(encoding="utf-8")


def test_zero_workers_are_refused() -> None:
    with pytest.raises(ConfigError, match="`workers` must be at least 1, but got 0"):
        LocalLauncher(0)


def test_packs_survive_the_wire(tiny: Path) -> None:
    pack = packs_of(Experiment.load(tiny))[1]
    decoded, folder = decode_pack(__import__("json").loads(encode_pack(pack, Path("results/x"))))
    assert decoded == pack
    assert decoded.specs[0].digest == pack.specs[0].digest
    assert folder == Path("results/x")


def test_plan_counts_what_is_missing(uninterrupted: Path, tiny: Path, tmp_path: Path) -> None:
    done = conduct.plan(Experiment.load(tiny), RunOptions(out=uninterrupted))
    assert [arm.missing for arm in done.arms] == [0, 0, 0]
    assert done.seconds == 0.0
    ahead = conduct.plan(Experiment.load(tiny), RunOptions(out=tmp_path / "none", workers=1))
    assert [(arm.name, arm.runs, arm.missing) for arm in ahead.arms] == [
        ("control", 2, 2),
        ("relu", 2, 2),
        ("dropout", 2, 2),
    ]
    assert ahead.seconds > 0


def test_environment_names_what_computes_features_but_nothing_that_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"timm", "onnxruntime"} <= environment.describe("torch-1", 2, 1)["packages"].keys()
    monkeypatch.setattr(environment, "PACKAGES", ("torch", "no-such-package"))
    assert environment.describe("torch-1", 2, 1)["packages"].keys() == {"torch"}


def test_environment_names_no_host_or_path() -> None:
    about = environment.describe("torch-1", workers=2, threads_per_run=1)
    assert about["packages"]["torch"] and about["processor"]
    assert os.uname().nodename not in str(about)
    assert str(Path.home()) not in str(about)


def test_estimate_and_lines(tiny: Path) -> None:
    specs = [pack.specs[0] for pack in packs_of(Experiment.load(tiny))]
    estimate = Estimate(specs, workers=2)
    assert estimate.seconds_left is None
    stream = io.StringIO()
    lines = Lines(estimate, len(specs), stream, every_s=0.0)
    first: list[News] = [EpochDone(specs[0], 1, 10.0, 0.5), EpochDone(specs[0], 2, 10.0, 0.5)]
    for news in first:
        lines.show(news)
    assert estimate.seconds_left == pytest.approx(22 * 10.0 / 2)
    assert estimate.done == pytest.approx(2 / 24)
    lines.show(RunDone(specs[0], "finished", 0.9))
    lines.show(RunFailed(specs[1], "because of this\nand that"))
    assert "0 of 6 runs, 8 % of the epochs, about 1 min 50 s left" in stream.getvalue()
    assert "relu, seed 0 failed: because of this" in stream.getvalue()
    assert stream.getvalue().splitlines()[-1].startswith("2 of 6 runs, 33 %")


def start(experiment: Path, out: Path) -> subprocess.Popen[bytes]:
    """Start a run in a process group of its own."""
    command = [sys.executable, "-c", RUN, str(experiment), str(out), "2"]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)


def lines_written(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in out.glob("runs/*/*/epochs.jsonl"))


def wait_for(condition: object, timeout_s: float = 180.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.01)
