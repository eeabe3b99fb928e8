"""The result folder as a whole."""

from __future__ import annotations

import io
import os
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import filelock
import numpy as np

from paribus.config import Recipe
from paribus.errors import ConfigError, StoreError
from paribus.experiment import Experiment, RunSpec
from paribus.facts import Facts
from paribus.store import files
from paribus.store.records import EpochRecord, RunResult, TestSet
from paribus.store.run import Run, RunWriter

State = Literal["missing", "partial", "finished", "failed", "superseded"]


class Results:
    """One result folder. `create` before training, `open` to read what is there."""

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        self.folder = folder
        self.experiment = experiment

    @classmethod
    def create(cls, folder: str | Path, experiment: Experiment, environment: Mapping[str, Any]) -> Results:
        """Make the folder, or take the one that is there, and write the experiment and the environment into it."""
        results = cls(Path(folder), experiment)
        files.make_folder(results.folder)
        files.write(results.folder / "experiment.toml", experiment.to_toml().encode())
        files.write_json(results.folder / "environment.json", dict(environment))
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
        files.make_folder(self.folder)
        lock = filelock.FileLock(self.folder / ".lock", timeout=0)
        with files.writing(self.folder):
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
            with files.reading(path):
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
        return files.read_json(self.folder / "environment.json")

    def run_folder(self, arm: str, seed: int) -> Path:
        """Return where a run is kept."""
        return self.folder / "runs" / arm / str(seed)

    def state(self, spec: RunSpec) -> State:
        """Return how far a run is; `superseded` means that the folder holds a run of another recipe."""
        folder = self.run_folder(spec.arm, spec.seed)
        if not (folder / "config.json").exists():
            return "missing"
        if files.read_json(folder / "config.json").get("digest") != spec.digest:
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
            files.make_folder(folder)
            content = {
                "digest": spec.digest,
                "arm": spec.arm,
                "seed": spec.seed,
                "recipe": spec.recipe.model_dump(mode="json"),
                "data_fingerprint": spec.data_fingerprint,
                "engine": spec.engine,
                "model_code": spec.model_code,
            }
            files.write_json(folder / "config.json", content)
        return RunWriter(folder, spec)

    def set_aside(self, spec: RunSpec) -> None:
        """Move a run of another recipe, data set, engine or model code out of the way, to `superseded/`."""
        if self.state(spec) != "superseded":
            return
        folder = self.run_folder(spec.arm, spec.seed)
        digest = str(files.read_json(folder / "config.json").get("digest"))[:8]
        target = self.folder / "superseded" / folder.parent.name / f"{folder.name}-{digest}"
        with files.writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                shutil.rmtree(target)
            os.replace(folder, target)

    def runs(self, arm: str) -> list[Run]:
        """Return the arm's finished and diverged runs of the experiment's recipe, in the order of its seeds."""
        recipe = self.experiment.arms[arm].recipe
        found = []
        for seed in self.experiment.seeds:
            folder = self.run_folder(arm, seed)
            if (folder / "result.json").exists() and _recipe_in(folder) == recipe:
                result = files.typed(RunResult, files.read_json(folder / "result.json"), folder / "result.json")
                lines = files.read_lines(folder / "epochs.jsonl")
                epochs = tuple(files.typed(EpochRecord, line, folder / "epochs.jsonl") for line in lines)
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
        files.make_folder(path.parent)
        buffer = io.BytesIO()
        names = np.asarray(test.class_names, dtype=np.str_)
        np.savez_compressed(buffer, images=test.images, labels=test.labels, class_names=names, source=test.source)
        files.write(path, buffer.getvalue())

    def test_set(self, fingerprint: str) -> TestSet:
        """Read the test images of a data set that runs of this experiment used."""
        with files.reading_npz(self.folder / "data" / f"{fingerprint}.npz") as arrays:
            images, labels, source = arrays["images"], arrays["labels"], str(arrays["source"])
        return TestSet(images, labels, self.class_names(fingerprint), source)

    def write_facts(self, facts: Facts) -> None:
        """Keep what was measured on data and networks before training."""
        files.write_json(self.folder / "facts.json", facts.to_json())

    def facts(self) -> Facts | None:
        """Read what was measured before training, None where nothing was: the folder is of old."""
        path = self.folder / "facts.json"
        if not path.exists():
            return None
        content = files.read_json(path)
        with files.reading(path):
            return Facts.from_json(content)

    def class_names(self, fingerprint: str) -> tuple[str, ...]:
        """Read the names of the classes of a data set that runs of this experiment used."""
        with files.reading_npz(self.folder / "data" / f"{fingerprint}.npz") as arrays:
            return tuple(str(name) for name in arrays["class_names"])

    def write_text(self, name: str, text: str) -> Path:
        """Write a file of the result, such as `report.md`, atomically; return its path."""
        files.write(self.folder / name, text.encode())
        return self.folder / name

    def write_bytes(self, name: str, content: bytes) -> Path:
        """Write a file of the result, such as `figures/relu-seeds.svg`, atomically; return its path."""
        path = self.folder / name
        files.make_folder(path.parent)
        files.write(path, content)
        return path

    def write_json(self, name: str, value: Any) -> Path:
        """Write a JSON file of the result, such as `verdicts.json`, atomically; return its path."""
        files.write_json(self.folder / name, value)
        return self.folder / name

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON file of the result."""
        return files.read_json(self.folder / name)


def _recipe_in(folder: Path) -> Recipe | None:
    """Read a run's recipe; keys younger than the run have their defaults, by which it was trained. None if unknown."""
    try:
        return Recipe.parse(files.read_json(folder / "config.json").get("recipe", {}))
    except ConfigError:
        return None


_WHOLE = ("result.json", "predictions.npz", "model.safetensors", "epochs.jsonl", "times.jsonl")
"""What a finished run holds; one that lacks a part is trained again."""
