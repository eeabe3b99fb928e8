"""The result folder: what runs wrote, atomically, and everything that later steps read.

    results/<name>/
      experiment.toml  environment.json  verdicts.json  report.md  report.html
      data/<fingerprint>.npz                         the test set: labels, class names, images
      runs/<arm>/<seed>/  config.json epochs.jsonl times.jsonl result.json predictions.npz model.safetensors
      superseded/<arm>/<seed>-<digest>/              runs of an earlier recipe, kept but not read

`epochs.jsonl` and `predictions.npz` are the same, bit for bit, however often a run was interrupted; wall times are in
`times.jsonl` and `result.json`.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import filelock
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as safetensors_load
from safetensors.numpy import save as safetensors_save

from paribus.errors import StoreError
from paribus.experiment import Experiment, RunSpec

T = TypeVar("T")
State = Literal["missing", "partial", "finished", "failed", "superseded"]
Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class EpochRecord:
    """One line of `epochs.jsonl`: what one epoch did.

    Losses are mean cross-entropies in nats without label smoothing's penalty on val, with it on train; train figures
    are means over the whole epoch while the weights move. `steps` counts from the start of the run. `lr` is the rate
    of the epoch's last step, `gradient_norm` the mean over steps of the L2 norm of all gradients. None where a figure
    is not finite or there is no val.
    """

    epoch: int
    steps: int
    lr: float
    train_loss: float | None
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    gradient_norm: float | None


@dataclass(frozen=True)
class RunResult:
    """`result.json`: how one run ended.

    `epochs` were trained, `epoch_kept` is the one whose weights were tested. A diverged run met a loss that is not
    finite; it is tested with its kept weights like any other, and logits that are not finite count as a wrong answer
    with `test_loss` None. `seconds` is training time without start-up, over all interruptions.
    """

    arm: str
    seed: int
    digest: str
    status: Literal["finished", "diverged"]
    engine: str
    epochs: int
    epoch_kept: int
    steps: int
    parameters: int
    train_examples: int
    val_examples: int
    val_is_test: bool
    test_examples: int
    test_loss: float | None
    test_accuracy: float
    seconds: float


@dataclass(frozen=True)
class Predictions:
    """`predictions.npz`: `logits` float32 (N, num_classes) and `labels` int64 (N,), in the test set's order."""

    logits: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    @property
    def classes(self) -> npt.NDArray[np.int64]:
        """Predicted class (N,), -1 where a logit is not finite."""
        return np.where(np.isfinite(self.logits).all(axis=1), self.logits.argmax(axis=1), -1).astype(np.int64)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether each example was classified right (N,)."""
        return np.asarray(self.classes == self.labels)


@dataclass(frozen=True)
class Checkpoint:
    """Where an interrupted run goes on: `epoch` epochs are done, `arrays` is the engine's state after them."""

    epoch: int
    arrays: Arrays


@dataclass(frozen=True)
class TestSet:
    """The test images of a result: uint8 (N, C, H, W), labels int64 (N,) and the names of the classes."""

    __test__ = False  # Not a test class for pytest.

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Run:
    """One finished or diverged run as the store holds it."""

    folder: Path
    result: RunResult
    epochs: tuple[EpochRecord, ...]

    def predictions(self) -> Predictions:
        """Read the run's test predictions."""
        with _reading_npz(self.folder / "predictions.npz") as arrays:
            return Predictions(arrays["logits"], arrays["labels"])

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Read the weights of the kept epoch, by parameter or buffer name."""
        return _read_arrays(self.folder / "model.safetensors")

    def config(self) -> dict[str, Any]:
        """Read `config.json`: digest, recipe and what else decided the result."""
        return _read_json(self.folder / "config.json")

    @property
    def epoch_seconds(self) -> tuple[float, ...]:
        """Wall seconds of each epoch."""
        return tuple(line["seconds"] for line in _read_lines(self.folder / "times.jsonl"))


class RunWriter:
    """Writes one run's folder; every method leaves it whole if the process dies inside."""

    def __init__(self, folder: Path, spec: RunSpec) -> None:
        self.folder = folder
        self.spec = spec

    def resume(self) -> Checkpoint | None:
        """Return where to go on, or None to begin; cuts records that are newer than the checkpoint."""
        path = self.folder / "checkpoint.safetensors"
        parts = (path, self.folder / "epochs.jsonl", self.folder / "times.jsonl")
        if not all(part.exists() for part in parts):
            for part in parts:
                part.unlink(missing_ok=True)
            return None
        arrays = _read_arrays(path)
        epoch = int(arrays.pop("epoch"))
        for name in ("epochs.jsonl", "times.jsonl"):
            lines = _read_lines(self.folder / name)[:epoch]
            if len(lines) < epoch:
                raise StoreError(
                    f"`{self.folder / name}` must hold the {epoch} epochs of the checkpoint, but holds {len(lines)}. "
                    "Delete the run's folder and run the experiment again."
                )
            _write(self.folder / name, "".join(_line(line) for line in lines).encode())
        return Checkpoint(epoch, arrays)

    def epoch(self, record: EpochRecord, seconds: float, arrays: Arrays) -> None:
        """Append an epoch's record, then make it the one to go on from."""
        _append(self.folder / "epochs.jsonl", asdict(record))
        _append(self.folder / "times.jsonl", {"epoch": record.epoch, "seconds": round(seconds, 4)})
        whole = {**arrays, "epoch": np.asarray(record.epoch)}
        _write(self.folder / "checkpoint.safetensors", safetensors_save(whole))

    def finish(self, result: RunResult, predictions: Predictions, weights: Arrays) -> None:
        """Write predictions and weights, then the result, which makes the run finished."""
        buffer = io.BytesIO()
        np.savez(buffer, logits=predictions.logits, labels=predictions.labels)
        _write(self.folder / "predictions.npz", buffer.getvalue())
        _write(self.folder / "model.safetensors", safetensors_save(dict(weights)))
        _write_json(self.folder / "result.json", asdict(result))
        (self.folder / "checkpoint.safetensors").unlink(missing_ok=True)
        (self.folder / "failure.txt").unlink(missing_ok=True)

    def fail(self, message: str) -> None:
        """Record why a run could not be trained; it is tried again by the next `paribus run`."""
        _write(self.folder / "failure.txt", message.encode())


class Results:
    """One result folder. `create` before training, `open` to read what is there."""

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        self.folder = folder
        self.experiment = experiment

    @classmethod
    def create(cls, folder: str | Path, experiment: Experiment, environment: Mapping[str, Any]) -> Results:
        """Make the folder, or take the one that is there, and write the experiment and the environment into it."""
        results = cls(Path(folder), experiment)
        _make_folder(results.folder)
        _write(results.folder / "experiment.toml", experiment.to_toml().encode())
        _write_json(results.folder / "environment.json", dict(environment))
        return results

    @classmethod
    def open(cls, folder: str | Path) -> Results:
        """Read a folder that `paribus run` wrote.

        Raises:
            StoreError: If there is no experiment in it.
        """
        path = Path(folder) / "experiment.toml"
        if not path.is_file():
            raise StoreError(
                f"A result folder must hold `experiment.toml`, but there is none in `{folder}`. "
                "Give the folder that `paribus run` wrote, for example results/lenet-digits."
            )
        return cls(Path(folder), Experiment.load(path))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for writing.

        Raises:
            StoreError: At once, if another process holds it, or if it holds something else.
        """
        self._require_own()
        _make_folder(self.folder)
        lock = filelock.FileLock(self.folder / ".lock", timeout=0)
        with _writing(self.folder):
            try:
                lock.acquire()
            except filelock.Timeout:  # An OSError too, hence inside.
                raise StoreError(
                    f"Only one process may write to a result folder, but another one is writing to `{self.folder}`. "
                    "Wait for it, or choose another folder with --out."
                ) from None
        try:
            yield
        finally:
            lock.release()

    def _require_own(self) -> None:
        """Refuse a folder that holds another experiment, or files that are no result."""
        path = self.folder / "experiment.toml"
        if path.is_file():
            with _reading(path):
                name = tomllib.loads(path.read_text(encoding="utf-8"))["experiment"]["name"]
            if name != self.experiment.name:
                raise StoreError(
                    f"A result folder must belong to one experiment, but `{self.folder}` holds `{name}`, not "
                    f"`{self.experiment.name}`. Choose another folder with --out."
                )
        elif self.folder.is_dir() and not (self.folder / "runs").exists():
            others = sorted(each.name for each in self.folder.iterdir() if not each.name.startswith("."))
            if others:
                raise StoreError(
                    f"A result folder must be new, empty or hold a result, but `{self.folder}` holds `{others[0]}`. "
                    "Choose another folder with --out."
                )

    @property
    def environment(self) -> dict[str, Any]:
        """What `environment.json` says of versions, processor, threads, engine and commit."""
        return _read_json(self.folder / "environment.json")

    def run_folder(self, arm: str, seed: int) -> Path:
        """Return where a run is kept."""
        return self.folder / "runs" / arm / str(seed)

    def state(self, spec: RunSpec) -> State:
        """Return how far a run is; `superseded` means that the folder holds a run of another recipe."""
        folder = self.run_folder(spec.arm, spec.seed)
        if not (folder / "config.json").exists():
            return "missing"
        if _read_json(folder / "config.json").get("digest") != spec.digest:
            return "superseded"
        if all((folder / name).exists() for name in _WHOLE):
            return "finished"
        return "failed" if (folder / "failure.txt").exists() else "partial"

    def count_unfinished(self) -> int:
        """Return how many runs of the experiment have no result yet, of whatever recipe."""
        folders = [self.run_folder(arm, seed) for arm in self.experiment.arms for seed in self.experiment.seeds]
        return sum(not (folder / "result.json").exists() for folder in folders)

    def begin(self, spec: RunSpec) -> RunWriter:
        """Open a run for writing; a run of another recipe is moved to `superseded/` first."""
        folder = self.run_folder(spec.arm, spec.seed)
        self.set_aside(spec)
        state = self.state(spec)
        if state != "finished":
            (folder / "result.json").unlink(missing_ok=True)  # Left over where somebody deleted files beside it.
        if state == "missing":
            _make_folder(folder)
            content = {
                "digest": spec.digest,
                "arm": spec.arm,
                "seed": spec.seed,
                "recipe": spec.recipe.model_dump(mode="json"),
                "data_fingerprint": spec.data_fingerprint,
                "engine": spec.engine,
                "model_code": spec.model_code,
            }
            _write_json(folder / "config.json", content)
        return RunWriter(folder, spec)

    def set_aside(self, spec: RunSpec) -> None:
        """Move a run of another recipe, data set, engine or model code out of the way, to `superseded/`."""
        if self.state(spec) != "superseded":
            return
        folder = self.run_folder(spec.arm, spec.seed)
        digest = str(_read_json(folder / "config.json").get("digest"))[:8]
        target = self.folder / "superseded" / folder.parent.name / f"{folder.name}-{digest}"
        with _writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                shutil.rmtree(target)
            os.replace(folder, target)

    def runs(self, arm: str) -> list[Run]:
        """Return the arm's finished and diverged runs of the experiment's recipe, in the order of its seeds."""
        recipe = self.experiment.arms[arm].recipe.model_dump(mode="json")
        found = []
        for seed in self.experiment.seeds:
            folder = self.run_folder(arm, seed)
            if (folder / "result.json").exists() and _read_json(folder / "config.json").get("recipe") == recipe:
                result = _typed(RunResult, _read_json(folder / "result.json"), folder / "result.json")
                lines = _read_lines(folder / "epochs.jsonl")
                epochs = tuple(_typed(EpochRecord, line, folder / "epochs.jsonl") for line in lines)
                found.append(Run(folder, result, epochs))
        return found

    def failures(self, arm: str) -> dict[int, str]:
        """Return the message of each seed whose run failed."""
        paths = {seed: self.run_folder(arm, seed) / "failure.txt" for seed in self.experiment.seeds}
        return {seed: path.read_text(encoding="utf-8") for seed, path in paths.items() if path.exists()}

    def write_test_set(self, fingerprint: str, test: TestSet) -> None:
        """Keep the test images, once, so that a report can show them."""
        path = self.folder / "data" / f"{fingerprint}.npz"
        if path.exists():
            return
        _make_folder(path.parent)
        buffer = io.BytesIO()
        names = np.asarray(test.class_names, dtype=np.str_)
        np.savez_compressed(buffer, images=test.images, labels=test.labels, class_names=names, source=test.source)
        _write(path, buffer.getvalue())

    def test_set(self, fingerprint: str) -> TestSet:
        """Read the test images of a data set that runs of this experiment used."""
        with _reading_npz(self.folder / "data" / f"{fingerprint}.npz") as arrays:
            names = tuple(str(name) for name in arrays["class_names"])
            return TestSet(arrays["images"], arrays["labels"], names, str(arrays["source"]))

    def write_text(self, name: str, text: str) -> Path:
        """Write a file of the result, such as `report.md`, atomically; return its path."""
        _write(self.folder / name, text.encode())
        return self.folder / name

    def write_bytes(self, name: str, content: bytes) -> Path:
        """Write a file of the result, such as `figures/relu-seeds.svg`, atomically; return its path."""
        path = self.folder / name
        _make_folder(path.parent)
        _write(path, content)
        return path

    def write_json(self, name: str, value: Any) -> Path:
        """Write a JSON file of the result, such as `verdicts.json`, atomically; return its path."""
        _write_json(self.folder / name, value)
        return self.folder / name

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON file of the result."""
        return _read_json(self.folder / name)


def _typed(kind: type[T], content: Mapping[str, Any], path: Path) -> T:
    try:
        return kind(**content)
    except TypeError as error:
        raise StoreError(
            f"`{path}` must hold the keys of this version of paribus, but does not: {error}. Delete this file and run "
            "the experiment again."
        ) from None


def _read_json(path: Path) -> dict[str, Any]:
    with _reading(path):
        return _json_object(path.read_text(encoding="utf-8"))


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines; a last line without its newline was cut off by a crash and does not count."""
    with _reading(path):
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        return [_json_object(line) for line in lines]


def _json_object(text: str) -> dict[str, Any]:
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError(f"it must hold an object, but holds {type(content).__name__}")
    return content


def _read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    with _reading(path):
        return dict(safetensors_load(path.read_bytes()))


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, allow_nan=False) + "\n"


def _append(path: Path, content: Mapping[str, Any]) -> None:
    with _writing(path), path.open("a", encoding="utf-8") as file:
        file.write(_line(content))


def _write_json(path: Path, content: Any) -> None:
    _write(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def _write(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves either the old content or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _make_folder(path: Path) -> None:
    with _writing(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn the system's refusals into what the user can do about them."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "The disk is full. Free some space and run the same command again: finished epochs are kept."
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            advice = "The folder may not be written to. Choose another with --out, or change its permissions."
        else:
            advice = f"The system says: {error.strerror}."
        raise StoreError(f"`{path}` could not be written. {advice}") from error


@contextmanager
def _reading(path: Path) -> Iterator[Path]:
    try:
        yield path
    except FileNotFoundError:
        raise StoreError(f"`{path}` must exist, but it does not. Run `paribus run` again to make it.") from None
    except (OSError, ValueError, KeyError, EOFError, SafetensorError, zipfile.BadZipFile) as error:
        raise StoreError(
            f"`{path}` is damaged and cannot be read: {error}. Delete this file and run the experiment again."
        ) from error


@contextmanager
def _reading_npz(path: Path) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
    # From memory, because numpy leaves a file open that turns out not to be an archive.
    with _reading(path), np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
        yield arrays


_WHOLE = ("result.json", "predictions.npz", "model.safetensors", "epochs.jsonl", "times.jsonl")
"""What a finished run holds; one that lacks a part is trained again."""
