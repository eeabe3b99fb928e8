"""Commands with wrong arguments, and with result folders that are damaged: one sentence, and nothing changed."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paribus.cli import main
from paribus.errors import ConfigError, StoreError
from paribus.launch import conduct
from paribus.paths import expanded
from paribus.store import Results
from paribus.store.run import epoch_seconds
from paribus.testing.synthetic import example_experiment, write_results
from paribus.web import live
from paribus.web.memory import Memory
from paribus.web.overview import overview

Change = Callable[[bytes], bytes]
NOBODY = "~nobody-of-this-name"


def cut(content: bytes) -> bytes:
    """The first half."""
    return content[: len(content) // 2]


def put(key: str, value: Any) -> Change:
    """Give a key of a JSON object another value."""
    return lambda content: json.dumps(json.loads(content) | {key: value}).encode()


def without(key: str) -> Change:
    """Take a key out of a JSON object."""
    return lambda content: json.dumps(
        {name: value for name, value in json.loads(content).items() if name != key}
    ).encode()


def instead(text: str) -> Change:
    """Replace the whole file."""
    return lambda _: text.encode()


def no_verdict(content: bytes) -> bytes:
    """Take the first comparison's verdict out."""
    verdicts = json.loads(content)
    del verdicts["questions"][0]["comparisons"][0]["verdict"]
    return json.dumps(verdicts).encode()


def other_arrays(content: bytes) -> bytes:
    """Predictions whose labels belong to other images."""
    file = io.BytesIO()
    np.savez(file, logits=np.zeros((4, 3), np.float32), labels=np.array([0, 1, 2, 3]))
    return file.getvalue()


REPORT = ("report", "example")
GATE = ("gate", "example", "--question", "relu", "--expect", "better")
LOG = ("log", "example", "--to", "tensorboard")
DELETE = "Delete this file and run the experiment again."
ANEW = "Write it anew, without training: paribus report example"
DAMAGES: dict[str, tuple[str, Change, tuple[str, ...], tuple[str, ...]]] = {
    "a result cut in half": ("runs/relu/0/result.json", cut, REPORT, ("result.json` is damaged and cannot", DELETE)),
    "a result that is empty": ("runs/relu/0/result.json", instead(""), REPORT, ("result.json` is damaged", DELETE)),
    "a result with a word for a number": (
        "runs/relu/0/result.json",
        put("test_accuracy", "good"),
        REPORT,
        ("result.json` is damaged and cannot be read: `test_accuracy` is 'good'.", DELETE),
    ),
    "a result without a key": (
        "runs/relu/0/result.json",
        without("steps"),
        REPORT,
        ("result.json` must hold the keys of this version of paribus, but does not:", "'steps'"),
    ),
    "a result of a status that there is not": (
        "runs/relu/0/result.json",
        put("status", "done"),
        REPORT,
        ("`status` is 'done'.", DELETE),
    ),
    "NaN among the epochs": (
        "runs/relu/0/epochs.jsonl",
        lambda content: content.replace(b'"train_loss": ', b'"train_loss": NaN, "x": ', 1),
        REPORT,
        ("epochs.jsonl` is damaged and cannot be read: it holds NaN, which is no number.", DELETE),
    ),
    "an epoch cut off before its end": (
        "runs/relu/0/epochs.jsonl",
        lambda content: content[:40] + b"\n",
        REPORT,
        ("epochs.jsonl` is damaged and cannot be read: ", DELETE),
    ),
    "an epoch that is a word": (
        "runs/relu/0/epochs.jsonl",
        lambda content: content.replace(b'"epoch": 1', b'"epoch": "one"', 1),
        REPORT,
        ("epochs.jsonl` is damaged and cannot be read: `epoch` is 'one'.", DELETE),
    ),
    "predictions cut in half": ("runs/relu/0/predictions.npz", cut, REPORT, ("predictions.npz` is damaged", DELETE)),
    "predictions of other images": (
        "runs/relu/0/predictions.npz",
        other_arrays,
        REPORT,
        (
            "predictions.npz` is damaged and cannot be read: logits (4, 3) and labels (4,) do not belong together.",
            DELETE,
        ),
    ),
    "a configuration without its data": (
        "runs/control/0/config.json",
        without("data_fingerprint"),
        REPORT,
        ("config.json` is damaged and cannot be read: 'data_fingerprint'.", DELETE),
    ),
    "probes with a word for a number": (
        "runs/relu/0/probes.json",
        put("accuracy", "good"),
        REPORT,
        ("probes.json` is damaged and cannot be read: `accuracy` is 'good'.", DELETE),
    ),
    "probes whose layers are a number": (
        "runs/relu/0/probes.json",
        put("layers", 3),
        REPORT,
        ("probes.json` is damaged and cannot be read:", DELETE),
    ),
    "test images cut in half": ("data/*.npz", cut, REPORT, (".npz` is damaged and cannot be read:", DELETE)),
    "an environment that is a list": (
        "environment.json",
        instead("[]"),
        REPORT,
        ("environment.json` is damaged", DELETE),
    ),
    "facts of another form": ("facts.json", instead('{"data": 5}'), REPORT, ("facts.json` is damaged", DELETE)),
    "a range test of another form": (
        "ranges/relu.json",
        instead('{"arm": 3}'),
        REPORT,
        ("relu.json` is damaged", DELETE),
    ),
    "an experiment cut in half": (
        "experiment.toml",
        cut,
        REPORT,
        ("experiment.toml` must be valid TOML, but it is not",),
    ),
    "verdicts of another format": (
        "verdicts.json",
        put("format", 2),
        GATE,
        ("verdicts.json` must be of format 1, but is of format 2: another version of paribus wrote it.", ANEW),
    ),
    "verdicts without a format": ("verdicts.json", without("format"), LOG, ("but is of format None", ANEW)),
    "verdicts cut in half": ("verdicts.json", cut, GATE, ("verdicts.json` is damaged and cannot be read:", ANEW)),
    "verdicts without questions": ("verdicts.json", without("questions"), LOG, ("read: 'questions'.", ANEW)),
    "verdicts whose questions are a number": ("verdicts.json", put("questions", 5), GATE, ("`questions` is 5.", ANEW)),
    "a comparison without its verdict": ("verdicts.json", no_verdict, GATE, ("cannot be read: 'verdict'.", ANEW)),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole result with its report."""
    folder = tmp_path_factory.mktemp("whole") / "example"
    conduct.rebuild(write_results(folder, example_experiment(seeds=2, epochs=2), {"control": 0.8, "relu": 0.9}))
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it as `example` in the working directory, beside `empty` and `notes.txt`."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole, tmp_path / "example")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("notes\n")
    return tmp_path / "example"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def damage(folder: Path, name: str, change: Change) -> Path:
    """Change a file, or write one that was not there; the first of those that a pattern names."""
    path = next(iter(sorted(folder.glob(name))), folder / name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(change(path.read_bytes() if path.exists() else b""))
    return path


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_named_and_nothing_is_touched(kind: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, change, command, sentences = DAMAGES[kind]
    damage(folder, name, change)
    before = contents(folder)
    assert main(list(command)) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "bug in paribus" not in said and "Traceback" not in said
    for sentence in sentences:
        assert sentence in said
    assert contents(folder) == before


def test_what_is_made_of_the_store_is_made_anew(folder: Path) -> None:
    """Half a figure, half a report: the command that writes them writes them whole."""
    made = ("figures/relu-seeds.svg", "report.html", "report.md", "verdicts.json")
    wanted = {name: (folder / name).read_bytes() for name in made}
    for name in made:
        damage(folder, name, cut)
    assert main(["report", "example"]) == 0
    assert {name: (folder / name).read_bytes() for name in made} == wanted


def test_the_page_names_verdicts_of_another_format(folder: Path) -> None:
    damage(folder, "verdicts.json", put("format", 2))
    results = Results.open(folder)
    for look in (lambda: live.progress(results, Memory()), lambda: overview("example", results, Memory())):
        with pytest.raises(StoreError, match=r"must be of format 1, but is of format 2: .* paribus report "):
            look()


def test_times_without_seconds_are_damaged(folder: Path) -> None:
    path = damage(folder, "runs/relu/0/times.jsonl", instead('{"epoch": 1}\n'))
    with pytest.raises(StoreError, match=r"times.jsonl` is damaged and cannot be read: 'seconds'. Delete this file"):
        epoch_seconds(path.parent)


def test_test_images_without_labels_are_damaged(folder: Path) -> None:
    def fewer(content: bytes) -> bytes:
        with np.load(io.BytesIO(content)) as arrays:
            kept = {name: arrays[name] for name in arrays.files}
        file = io.BytesIO()
        np.savez(file, **kept | {"labels": kept["labels"][:1]})
        return file.getvalue()

    path = damage(folder, "data/*.npz", fewer)
    with pytest.raises(StoreError, match=r"images \(200, .*\) and labels \(1,\) do not belong together. Delete"):
        Results.open(folder).test_set(path.stem)


def test_an_experiment_that_is_a_number_does_not_lock_its_folder(folder: Path) -> None:
    experiment = Results.open(folder).experiment
    damage(folder, "experiment.toml", instead("experiment = 1\n"))
    with (
        pytest.raises(StoreError, match=r"experiment.toml` is damaged and cannot be read: "),
        Results(folder, experiment).lock(),
    ):
        pass


def test_nobody_has_no_home() -> None:
    with pytest.raises(
        ConfigError, match=r"`~` must stand for the home folder of somebody, but there is none for `~no"
    ):
        expanded(f"{NOBODY}/photos")
    assert expanded("~") == Path.home()


X = ("--to", "tensorboard")
ARGUMENTS: dict[str, tuple[int, str]] = {
    "predict": (2, "MODEL must be given, but is not. Add it: a run's folder, or an exported file. See: paribus"),
    "predict example": (2, "PATH must be given, but is not. Add it: image files, folders, patterns"),
    "predict nothing a.png": (
        2,
        "A model must exist, but `nothing` does not (looked in `",
    ),
    "predict empty a.png": (2, "`empty` must be the folder of a finished run, but it holds no `result.json`."),
    "predict example a.png": (
        2,
        "A model must be one run, but `example` is a whole result. Give a run's folder, such as",
    ),
    "predict notes.txt a.png": (
        2,
        "A model must be a run's folder, or a .safetensors or .onnx file that paribus wrote",
    ),
    f"predict {NOBODY}/x a.png": (2, f"there is none for `{NOBODY}` in `{NOBODY}/x`. Write the whole path."),
    "predict example/runs/relu/0 a.png": (2, "must say in its metadata how its network is to be used, but does not"),
    "predict example/runs/relu/0 a.png --json --csv": (2, "but got both --json and --csv. Leave one out."),
    "export example/runs/relu/0": (2, "--to must be given, but is not. Add `--to onnx|safetensors`: the format."),
    "export nothing --to onnx": (2, "A model must exist, but `nothing` does not"),
    "export nothing --to onx": (
        2,
        "The format of an export must be one of onnx, safetensors, but got `onx`. Did you mean `onnx`?",
    ),
    "report": (2, "RESULTS must be given, but is not. Add it: "),
    "report nothing": (2, "A result folder must hold `experiment.toml`, but there is none in `nothing`."),
    "report notes.txt": (2, "A result folder must hold `experiment.toml`, but there is none in `notes.txt`."),
    "log example": (2, "--to must be given, but is not. Add `--to SINKS`: such as tensorboard,mlflow."),
    "log empty --to tensorboard": (2, "A result folder must hold `experiment.toml`, but there is none in `empty`."),
    "log example --to tensorbord": (2, "A sink must be one of tensorboard, mlflow, but got `tensorbord`. Did you mean"),
    "log example --to ,": (2, "A sink must be one of tensorboard, mlflow, but got ``."),
    "gate example --question relu": (2, "--expect must be given, but is not. Add `--expect VERDICTS`: such as"),
    "gate empty --question relu --expect better": (2, "there is none in `empty`."),
    "gate example --question rely --expect better": (2, "but got `rely`. Did you mean `relu`?"),
    "gate example --question relu --expect good": (2, "--expect must be one of better, worse, equivalent, "),
    "serve": (2, "RESULTS must be given, but is not. Add it: "),
    "serve nothing": (2, "A result folder, or a folder of them, must exist, but `nothing` does not (looked in `"),
    "serve notes.txt": (2, "but `notes.txt` is a file (looked in `"),
    "serve example --port 99999": (2, "--port must be at most 65535, but got `99999`. Correct it."),
    "audit": (2, "DATA must be given, but is not. Add it: a known data set"),
    "audit nothing": (2, "but got `nothing`. There is nothing of that name in `"),
    "audit empty": (2, "`empty` must hold class folders with images, but it has none."),
    "audit notes.txt": (2, "but `notes.txt` is none of them."),
    "probe empty": (2, "--weights must be given, but is not. Add `--weights WEIGHTS`: a backbone's sidecar"),
    "probe nothing --weights none": (2, 'Weights must be a sidecar or "hub:NAME", but got "none".'),
    "probe empty --weights no-such-weights": (2, "`no-such-weights` must be the path of a weights file's JSON sidecar"),
    "check nothing": (2, "or the path of a TOML file, but got `nothing`."),
    "check empty": (2, "A result folder must hold `experiment.toml`, but there is none in `empty`."),
    "plan empty": (2, "or the path of a TOML file, but got `empty`."),
    "serve example --port many": (2, "--port must be a whole number, but got `many`. Correct it."),
    "serve example --open=yes": (2, "--open must stand alone, but got a value. Leave the value out. See:"),
    "export example --to": (2, "--to must be followed by a value, but is not. Add one. See: paribus export --help"),
    "probe empty --size=1.5 --weights x": (2, "--size must be a whole number, but got `1.5`."),
    "plann lenet-digits": (2, "but got `plann`. Did you mean `plan`? See: paribus --help"),
    "run lenet-digits --sets a": (2, "but got `--sets`. Did you mean `--set`? See: paribus run --help"),
    "list data models": (2, "`paribus list` must be given no more than its help says, but got `models` besides."),
    "run lenet-digits --engine quantum": (2, "quantum"),
    "run lenet-digits --log tensorbord": (2, "Did you mean `tensorboard`?"),
    "run lenet-digits --data-dir nothing": (2, "The data folder must exist, but `nothing` does not (looked in `"),
    "run lenet-digits --out notes.txt": (2, "notes.txt"),
    "run lenet-digits --out example": (
        2,
        "A result folder must belong to one experiment, but `example` holds `example`",
    ),
}


@pytest.mark.parametrize("command", ARGUMENTS)
def test_arguments_that_cannot_be(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, sentence = ARGUMENTS[command]
    before = contents(folder.parent)
    assert main(command.split()) == status
    said = capsys.readouterr().err
    assert sentence in " ".join(said.split())
    assert "bug in paribus" not in said and "Traceback" not in said
    assert contents(folder.parent) == before, "nothing is written"
