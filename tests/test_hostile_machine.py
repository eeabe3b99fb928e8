"""A machine that refuses: Ctrl-C at every phase, no disk, no memory, no permission, a clock that is wrong.

Each ends in one sentence and the right exit status, and the same command goes on. docs/decisions/hostile.md lists these
and what other files test.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from paribus import assignment, checks, engines, experiments, report, tuning, verdicts
from paribus.cli import main
from paribus.config import DataConfig
from paribus.data import prepare
from paribus.data.digits import Digits
from paribus.errors import DataError, told_of_machine
from paribus.experiment import Experiment, RunSpec
from paribus.launch import conduct, packs, worker
from paribus.launch.launcher import EpochDone, News, Pack, RunDone
from paribus.launch.progress import Display
from paribus.models import model_code_digest
from paribus.store import Results
from paribus.testing.synthetic import example_experiment, write_results
from paribus.web import live
from paribus.web.memory import Memory

ROOT = Path(__file__).parent.parent
TUNED = """
[experiment]
name = "tuned"
seeds = 1
margin = 0.01
[control]
data = { name = "digits", size = 28, val = 100, train_size = 200 }
model = { name = "lenet5" }
optim = { lr = 0.05, momentum = 0.9 }
train = { epochs = 2, batch_size = 64 }
[[question]]
id = "batch-size"
asks = "Batches half as large, each at its best rate?"
arms.small = { "train.batch_size" = 32, "optim.lr" = "retune" }
together = [["train.batch_size", "optim.lr"]]
"""
FULL_DISK = """
import errno, os
sync = os.fsync
def refuse(descriptor):
    if os.path.exists(@marker):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    sync(descriptor)
os.fsync = refuse
"""
GOES_ON = "interrupted: finished epochs are kept, and the same command goes on from there.\n"


def interrupt(*_: object, **__: object) -> None:
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


class Pressing(Display):
    """A display that presses Ctrl-C at the first news of a kind."""

    def __init__(self, at: Callable[[News], bool]) -> None:
        self.at = at

    def show(self, news: News) -> None:
        if self.at(news):
            interrupt()

    def close(self) -> None:
        pass


def pressing(at: Callable[[News], bool]) -> Callable[[Sequence[RunSpec], int], Display]:
    return lambda *_: Pressing(at)


PHASES: dict[str, tuple[Any, str, Any]] = {
    "before training": (checks, "design", interrupt),
    "preparing data": (Digits, "read", interrupt),
    "tuning": (packs, "display", pressing(lambda news: isinstance(news, RunDone) and news.spec.is_tuning)),
    "training": (packs, "display", pressing(lambda news: isinstance(news, EpochDone) and not news.spec.is_tuning)),
    "report": (report, "write_report", interrupt),
}
"""By phase: of what the attribute presses Ctrl-C as the phase is at work."""


@pytest.fixture
def tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_cache: Path) -> Iterator[list[str]]:
    """The command that runs a small experiment with a rate to be found, in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tuning, "GRID", tuning.GRID[:2])
    monkeypatch.setattr(tuning, "SEEDS", 1)
    # What goes on beside the runs, in processes of its own, has tests of its own.
    monkeypatch.setattr(conduct, "_surveying", lambda *_: nullcontext())
    monkeypatch.setattr(conduct, "make_range_tests", lambda *_: None)
    Path("tuned.toml").write_text(TUNED, encoding="utf-8")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # Behind a shell's `&` it would be ignored.
    yield ["run", "tuned.toml", "--workers", "1"]
    signal.signal(signal.SIGINT, before)


def left_over(*folders: Path) -> list[str]:
    """Files and folders that somebody began and did not put in place."""
    return [path.name for folder in folders for path in folder.rglob(".*") if path.name != ".lock"]


def ended(out: Path) -> dict[Path, int]:
    """Every run that has ended, and when it was written."""
    return {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}


def test_ctrl_c_at_every_phase_and_a_full_disk_lose_nothing(
    tuned: list[str], tmp_path: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    out = tmp_path / "results" / "tuned"
    for phase, (owner, name, pressed) in PHASES.items():
        done = ended(out)
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, pressed)
            assert main(tuned) == 130, phase
        assert capfd.readouterr().err.endswith(GOES_ON), phase
        assert left_over(tmp_path / "results", fresh_cache) == [], phase
        assert ended(out).items() >= done.items(), f"{phase}: what had ended stays as it was"
        if phase == "tuning":
            assert ended(out), "a tuning run has ended"
            fill_the_disk(tuned, tmp_path, monkeypatch, capfd)
    assert len(list(out.glob("runs/*/0/result.json"))) == len(Results.open(out).experiment.arms)
    done = ended(out)
    assert main(tuned) == 0
    assert ended(out) == done, "nothing is trained again"
    assert (out / "report.html").exists()


def fill_the_disk(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """Let every write of the workers fail for want of space: the command stops, and what there is stays."""
    marker, done = tmp_path / "full", ended(tmp_path)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(FULL_DISK.replace("@marker", repr(str(marker))))
    marker.touch()
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path / "site"))  # The workers import from where this process does.
        assert main(command) == 2
    said = capfd.readouterr().err
    assert "could not be written. The disk is full. Free some space and run the same command again" in said
    assert "Traceback" not in said
    assert ended(tmp_path) == done


def refused(error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says where an error comes up that nothing takes care of."""

    def refuse(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(conduct, "run", refuse)
    assert main(["run", "lenet-digits"]) == 1
    said = capsys.readouterr().err
    assert "bug in paribus" not in said
    return said.splitlines()[-1]  # Checks may have fired before.


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free some space, and run the same command again."),
        (errno.EDQUOT, "Free some space"),
        (errno.EROFS, "Change its permissions, or name another place."),
        (errno.EACCES, "Change its permissions"),
        (errno.EFBIG, "Raise the limit of file sizes"),
        (errno.EMFILE, "End other programs, or raise the limit"),
        (errno.ENAMETOOLONG, "Give a shorter name."),
        (errno.EIO, "Check the disk."),
    ],
)
def test_what_the_system_refuses_is_no_bug_of_ours(
    number: int, advice: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(OSError(number, os.strerror(number), "there.txt"), monkeypatch, capsys)
    wanted = f"error: The system must allow what a command needs, but `there.txt` failed: {os.strerror(number)}. "
    assert said.startswith(wanted) and advice in said


def test_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)), monkeypatch, capsys)
    assert "but a file or process failed: Resource temporarily unavailable. End other programs" in said


def test_no_memory(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(MemoryError("Unable to allocate 9 TiB"), monkeypatch, capsys)
    assert said.startswith("error: There must be enough memory, but it ran out (Unable to allocate 9 TiB). Give fewer")
    assert "it ran out. Give" in str(told_of_machine(MemoryError()))
    unloaded = ImportError("libtorch_cpu.so: failed to map segment from shared object")
    assert str(told_of_machine(unloaded)).startswith("There must be enough memory, but it ran out (libtorch_cpu.so")
    assert told_of_machine(ValueError("can't")) is None
    assert told_of_machine(FileNotFoundError(errno.ENOENT, "No such file")) is None


def test_a_run_that_needs_more_memory_than_there_is(tmp_path: Path) -> None:
    """The run fails with the reason, which the report tells in one line; the worker goes on with the next."""
    (tmp_path / "greedy.py").write_text(
        "import torch\nfrom torch import nn\nclass Greedy(nn.Module):\n"
        "    def __init__(self, num_classes):\n        super().__init__()\n"
        "        self.layer = nn.LazyLinear(num_classes)\n"
        "    def forward(self, x):\n"
        "        if self.training:\n            torch.empty(10**15)\n"
        "        return self.layer(x.flatten(1))\n"
    )
    text = TUNED.partition("[[question]]")[0].replace('"lenet5"', f'"{tmp_path / "greedy.py"}:Greedy"')
    experiment = Experiment.parse(text)
    results = Results.create(tmp_path / "out", experiment, {})
    prepared, recipe = prepare(experiment.control.data), experiment.control
    entry = engines.choose(recipe, (1, 28, 28), 10, "torch").entry
    spec = RunSpec("control", 0, recipe, prepared.fingerprint, entry.identity, model_code_digest(recipe.model))
    news = io.StringIO()
    worker._train(Pack((spec,), entry.name, prepared.folder), results.folder, news)
    told = json.loads(news.getvalue().splitlines()[-1])
    assert told["kind"] == "failed"
    assert told["message"].startswith("There must be enough memory, but it ran out (")
    first, _, rest = results.failures("control")[0].partition("\n")
    assert first == told["message"] and "Traceback" in rest


def test_arrays_that_fit_into_no_memory(tmp_path: Path) -> None:
    header = np.lib.format.header_data_from_array_1_0(np.zeros((1, 4, 4), np.uint8)) | {"shape": (10**15, 4, 4)}
    start = io.BytesIO()
    np.lib.format.write_array_header_1_0(start, header)
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("x_train.npy", start.getvalue() + bytes(16))
    with pytest.raises(
        DataError, match=r"huge.npz` must fit into memory, but do not: Unable to .* Write smaller images"
    ):
        prepare(DataConfig.parse({"name": str(tmp_path / "huge.npz")}))


def test_a_cache_into_which_numpy_writes_half_an_array(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError("1126608 requested and 1048448 written")

    monkeypatch.setattr(np, "save", refuse)
    with pytest.raises(
        DataError, match=r"The cache must be writable, but .* cannot be written: the disk is full. Name"
    ):
        prepare(DataConfig.parse({"name": "digits"}))
    assert list((fresh_cache / "prepared").iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is needed")
def test_output_that_cannot_be_written() -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "paribus", "list", "checks"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr.startswith(
        "error: The system must allow what a command needs, but a file or process failed: No"
    )
    assert "Traceback" not in ended.stderr and "Exception" not in ended.stderr


def test_output_that_nobody_reads_ends_the_command_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-m", "paribus", "list", "checks"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = write_results(tmp_path_factory.mktemp("whole") / "example", example_experiment(seeds=2), {"control": 0.8})
    results.write_json("verdicts.json", verdicts.compute(results))
    return results.folder


@pytest.mark.parametrize("seconds", [0, 4_000_000_000])
def test_a_clock_that_is_wrong_changes_nothing(whole: Path, seconds: int) -> None:
    """Files of 1970, or of the future once a clock has been set back: the same verdicts, and nothing seems to train."""
    before = Results.open(whole).verdicts()
    last = whole / "runs" / "long" / "1" / "result.json"
    kept = last.read_bytes()
    last.unlink()
    try:
        for path in whole.rglob("*"):
            os.utime(path, (seconds, seconds))
        assert live.progress(Results.open(whole), Memory()).state == "stopped"
    finally:
        last.write_bytes(kept)
    assert verdicts.compute(Results.open(whole)) == before


def test_a_result_that_may_not_be_read_is_not_called_damaged(
    whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = Path.read_text

    def refuse(path: Path, *given: Any, **options: Any) -> str:
        if path.name == "result.json":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path, *given, **options)

    monkeypatch.setattr(Path, "read_text", refuse)
    assert main(["report", str(whole)]) == 2
    said = capsys.readouterr().err
    assert "result.json` cannot be read, though it is there: Permission denied. Check its permissions" in said
    assert "Delete" not in said


def test_commands_that_train_nothing_promise_no_epochs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(experiments, "names", interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main(["list", "experiments"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "interrupted: nothing is half written, and the same command begins anew.\n"


@pytest.mark.parametrize("command", [["run", "lenet-digits"], ["assignment", "--only", "lenet-mnist"]])
def test_commands_that_train_say_that_they_go_on(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(conduct, "run", interrupt)
    monkeypatch.setattr(assignment.conduct, "require_supplies", lambda *_, **__: None)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main([*command, "--out", str(tmp_path)]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    goes_on = "interrupted: finished epochs are kept, and the same command goes on from there.\n"
    assert capsys.readouterr().err.endswith(goes_on)


def test_a_report_of_runs_that_are_gone_leaves_what_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = write_results(tmp_path / "result", example_experiment(seeds=2), {"control": 0.9})
    assert main(["report", str(results.folder)]) == 0
    shutil.rmtree(results.folder / "runs")
    before = {path: path.read_bytes() for path in results.folder.rglob("*") if path.is_file()}
    assert main(["report", str(results.folder)]) == 2
    assert "only verdicts and report are kept, which stay as they are" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in results.folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("where", ["", "    def __init__(self):\n        "])
def test_a_network_that_ends_the_program_is_an_error(
    where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends, net = 'raise SystemExit("needs a GPU")\n', "class Net(nn.Module):\n"
    text = f"{net}{where}{ends}" if where else f"{ends}{net}    pass\n"
    (tmp_path / "net.py").write_text(f"from torch import nn\n{text}", encoding="utf-8")
    file = tmp_path / "exp.toml"
    file.write_text(TUNED.replace('"lenet5"', f'"{tmp_path / "net.py"}:Net"'), encoding="utf-8")
    assert main(["plan", str(file)]) == 2
    assert "raised SystemExit: needs a GPU" in capsys.readouterr().err


def test_the_page_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "decisions" / "hostile.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+)\.py::(test_\w+)`", page)
    assert len(named) > 30
    for module, test in named:
        source = (ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8")
        assert f"def {test}(" in source, f"{module}.py has no {test}"
    rows = [row for row in page.splitlines() if row.startswith("| ") and "::" in row]
    assert all(re.search(r"\| (0|1|2|3|130) \|", row) for row in rows), "every row has its exit status"
