"""The result folder as a whole."""

from __future__ import annotations

import io
import os
import tomllib
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import filelock
import numpy as np
import numpy.typing as npt

from paribus import notebook
from paribus.config import Recipe
from paribus.errors import ConfigError, StoreError
from paribus.experiment import Experiment, RunSpec
from paribus.facts import Facts, looked_at
from paribus.store import files, ranges, sessions, tuning
from paribus.store.ranges import RangeTest
from paribus.store.records import EpochRecord, RunResult, TestSet, TuningResult, WallTime
from paribus.store.run import Run, RunSoFar, RunWriter, TuningRun, config_of, epoch_seconds
from paribus.store.tuning import Tuning
from paribus.store.verdict_file import is_of, read_verdicts

State = Literal["missing", "partial", "finished", "failed", "superseded"]


class Results:
    """One result folder. `create` before training, `open` to read what is there.

    `tunings` holds what was found before the runs, by arm, and `experiment` has those values in their places.
    """

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        self.folder = folder
        self.tunings: Mapping[str, Tuning] = tuning.of_experiment(folder, experiment)
        self.experiment = experiment.resolve({arm: each.found for arm, each in self.tunings.items()})

    @classmethod
    def create(cls, folder: str | Path, experiment: Experiment, environment: Mapping[str, Any] | None) -> Results:
        """Make the folder, or take the one that is there, and write the experiment and the environment into it.

        None leaves the environment that is there; `begin_session` writes that of what is trained from then on.
        """
        results = cls(Path(folder), experiment)
        files.make_folder(results.folder)
        files.write(results.folder / "experiment.toml", experiment.to_toml().encode())
        if environment is not None:
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

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the verdicts as one row per comparison, for a data frame or a loop.

        Raises:
            StoreError: If there are no verdicts yet.
        """
        return notebook.rows(self.verdicts())

    def table(self, question: str) -> notebook.Shown:
        """Return the arms of a question as a table: accuracy and loss with intervals, difference, verdict.

        Raises:
            StoreError: If there is no such question, or no verdicts yet; so do `comment`, `figure` and `report`.
        """
        return notebook.table(self.verdicts(), question)

    def comment(self, question: str) -> notebook.Shown:
        """Return what the runs say on a question, in sentences."""
        return notebook.comment(self.verdicts(), question)

    def figure(self, *names: str) -> notebook.Shown:
        """Return figures of the report, such as ``"relu-seeds", "relu-val-loss"``, beside each other."""
        return notebook.figures(self.folder / "figures", names)

    def report(self) -> notebook.Shown:
        """Return the whole report."""
        path = self.folder / "report.html"
        with files.reading(path):
            return notebook.page(path)

    def __repr__(self) -> str:
        if not self.has_verdicts():
            return f"{self._title}: no verdicts yet"
        return f"{self._title}\n{notebook.as_text(self.verdicts())}"

    def _repr_html_(self) -> str | None:
        """Show a notebook the verdicts as a table; before there are any, it shows the text."""
        if not self.has_verdicts():
            return None
        return notebook.as_html(self._title, self.verdicts())

    @property
    def _title(self) -> str:
        return f"Results of {self.experiment.name} in {self.folder}"

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

    def folder_of(self, spec: RunSpec) -> Path:
        """Return where a run is kept, or a tuning run, which has a folder for its rate besides."""
        if not spec.is_tuning:
            return self.run_folder(spec.arm, spec.seed)
        return self.folder / "tuning" / spec.arm / tuning.rate_name(spec.recipe.optim.lr) / str(spec.seed)

    def state(self, spec: RunSpec) -> State:
        """Return how far a run is; `superseded` means that the folder holds a run of another recipe."""
        folder = self.folder_of(spec)
        if not (folder / "config.json").exists():
            return "missing"
        if files.read_json(folder / "config.json").get("digest") != spec.digest:
            return "superseded"
        if all((folder / name).exists() for name in (_WHOLE_TUNING if spec.is_tuning else _WHOLE)):
            return "finished"
        return "failed" if (folder / "failure.txt").exists() else "partial"

    def require_runs(self) -> None:
        """Refuse a folder of which the verdicts are kept but no run: nothing could be computed from it again.

        Raises:
            StoreError: If this is such a folder.
        """
        path = self.folder / _VERDICTS
        if self._has_ended_runs() or not path.exists():
            return
        if any(arm["runs"] for arm in read_verdicts(path)["arms"].values()):
            raise StoreError(
                f"A report is written from runs, but of `{self.folder}` only verdicts and report are kept, which stay "
                "as they are. Put its folder `runs` back, or train it again into another folder: paribus run --out."
            )

    def _has_ended_runs(self) -> bool:
        return any((self.folder / "runs").glob("*/*/result.json"))

    def is_whole(self) -> bool:
        """Whether all runs of the experiment are there with all their parts, and the test sets that they saw."""
        runs = [run for arm in self.experiment.arms for run in self.runs(arm)]
        asked = sum(len(self.experiment.seeds_of(arm)) for arm in self.experiment.arms)
        return len(runs) == asked and all(
            all((run.folder / name).exists() for name in _WHOLE) and self._test_set_of(run).exists() for run in runs
        )

    def _test_set_of(self, run: Run) -> Path:
        fingerprint = files.read_json(run.folder / "config.json").get("data_fingerprint")
        return self.folder / "data" / f"{fingerprint}.npz"

    def count_unfinished(self) -> int:
        """Return how many runs of the experiment have no result yet, of whatever recipe."""
        folders = [self.run_folder(arm, seed) for arm in self.experiment.arms for seed in self.experiment.seeds_of(arm)]
        return sum(not (folder / "result.json").exists() for folder in folders)

    def begin(self, spec: RunSpec) -> RunWriter:
        """Open a run for writing; a run of another recipe is moved to `superseded/` first."""
        folder = self.folder_of(spec)
        self.set_aside(spec)
        state = self.state(spec)
        if state != "finished":
            (folder / "result.json").unlink(missing_ok=True)  # Left over where somebody deleted files beside it.
            (folder / "failure.txt").unlink(missing_ok=True)  # It is tried again.
        if state == "missing":
            files.make_folder(folder)
            files.write_json(folder / "config.json", {"digest": spec.digest, **config_of(spec)})
        return RunWriter(folder, spec, self.experiment.name)

    def set_aside(self, spec: RunSpec) -> None:
        """Move a run of another recipe, data set, engine or model code out of the way, to `superseded/`.

        With one that had ended go the verdicts, which counted it, and with the last of all runs the sessions.
        """
        if self.state(spec) != "superseded":
            return
        folder = self.folder_of(spec)
        if not spec.is_tuning and (folder / "result.json").exists():
            files.set_aside(self.folder, self.folder / _VERDICTS)
        digest = str(files.read_json(folder / "config.json").get("digest"))[:8]
        place = folder.parent.relative_to(self.folder / ("." if spec.is_tuning else "runs"))
        target = files.unused(self.folder / "superseded" / place / f"{folder.name}-{digest}")
        with files.writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(folder, target)
        if not any(self._begun("runs/*/*", "tuning/*/*/*")):
            sessions.set_aside(self.folder)

    def _begun(self, *patterns: str) -> Iterator[Path]:
        """Find the configs of runs that are here and not set aside, in folders of these patterns."""
        return (path for pattern in patterns for path in self.folder.glob(f"{pattern}/config.json"))

    def runs(self, arm: str) -> list[Run]:
        """Return the arm's finished and diverged runs of the experiment's recipe, in the order of its seeds."""
        recipe = self.experiment.arms[arm].recipe
        if recipe.unfound:
            return []
        found = []
        for seed in self.experiment.seeds_of(arm):
            folder = self.run_folder(arm, seed)
            if (folder / "result.json").exists() and _recipe_in(folder) == recipe:
                result = files.typed(RunResult, files.read_json(folder / "result.json"), folder / "result.json")
                found.append(Run(folder, result, _epochs(folder)))
        return found

    def run_so_far(self, arm: str, seed: int) -> RunSoFar | None:
        """Return a run of the experiment's recipe as far as it has got, None where no epoch of it is done.

        It may be written to meanwhile, or be set aside.
        """
        try:
            return self._run_so_far(arm, seed)
        except StoreError:
            if (self.run_folder(arm, seed) / "times.jsonl").exists():
                raise
            return None

    def _run_so_far(self, arm: str, seed: int) -> RunSoFar | None:
        folder, design = self.run_folder(arm, seed), self.experiment.arms.get(arm)
        if design is None or design.recipe.unfound or not (folder / "times.jsonl").exists():
            return None
        config = files.read_json(folder / "config.json")
        if _recipe_in(folder) != design.recipe:
            return None
        path = folder / "result.json"  # Read first: epochs that come later do no harm, a result without its last does.
        result = files.typed(RunResult, files.read_json(path), path) if path.exists() else None
        seconds = epoch_seconds(folder)
        epochs = _epochs(folder)[: len(seconds)]
        with files.reading(folder / "times.jsonl") as times:
            return RunSoFar(config, epochs, seconds, times.stat().st_mtime, result)

    def tuning_run(self, spec: RunSpec) -> TuningRun:
        """Read a tuning run that is finished or diverged."""
        folder = self.folder_of(spec)
        result = files.typed(TuningResult, files.read_json(folder / "result.json"), folder / "result.json")
        return TuningRun(folder, result, _epochs(folder))

    def write_tuning(self, found: Tuning) -> None:
        """Keep what was found for an arm; `Results` of this folder have it from now on, this one too."""
        tuning.write(self.folder, found)
        self.tunings = {**self.tunings, found.arm: found}
        self.experiment = self.experiment.resolve({arm: each.found for arm, each in self.tunings.items()})

    def set_tuning_aside(self, arm: str) -> None:
        """Forget what was found for an arm, because it was found for something else; the file is kept."""
        tuning.set_aside(self.folder, arm)
        self.tunings = {name: each for name, each in self.tunings.items() if name != arm}
        self.experiment = self.experiment.resolve({name: each.found for name, each in self.tunings.items()})

    def write_range(self, test: RangeTest) -> None:
        """Keep an arm's range test; one that was made for something else is set aside."""
        ranges.write(self.folder, test)

    def ranges(self) -> dict[str, RangeTest]:
        """Read the range tests that were made with the recipes of the experiment's arms, by arm."""
        return ranges.of_experiment(self.folder, self.experiment)

    def failures(self, arm: str) -> dict[int, str]:
        """Return the message of each seed whose run failed."""
        paths = {seed: self.run_folder(arm, seed) / "failure.txt" for seed in self.experiment.seeds_of(arm)}
        return {seed: path.read_text(encoding="utf-8") for seed, path in paths.items() if path.exists()}

    def write_test_set(self, fingerprint: str, test: TestSet) -> None:
        """Keep the test images, once, so that a report can show them."""
        path = self.folder / "data" / f"{fingerprint}.npz"
        if path.exists():
            return
        files.make_folder(path.parent)
        buffer = io.BytesIO()
        names = np.asarray(test.class_names, dtype=np.str_)
        # Photos hardly shrink: to compress them would take longer than to train heads on their features.
        save = np.savez_compressed if _shrinks(test.images[:_SAMPLE]) else np.savez
        save(buffer, images=test.images, labels=test.labels, class_names=names, source=test.source)
        files.write(path, buffer.getvalue())

    def test_set(self, fingerprint: str) -> TestSet:
        """Read the test images of a data set that runs of this experiment used."""
        with files.reading_npz(self.folder / "data" / f"{fingerprint}.npz") as arrays:
            images, labels, source = arrays["images"], arrays["labels"], str(arrays["source"])
            if images.ndim != 4 or labels.shape != images.shape[:1]:
                raise ValueError(f"images {images.shape} and labels {labels.shape} do not belong together")
        return TestSet(images, labels, self.class_names(fingerprint), source)

    def has_environment(self) -> bool:
        """Whether `environment.json` is there and can be read."""
        try:
            return bool(self.environment)
        except StoreError:
            return False

    def begin_session(self, environment: Mapping[str, Any] | None = None) -> None:
        """Keep that a call begins to train, and on what: as `environment.json` says, which is written anew if given."""
        if environment is not None:
            is_former = self._has_ended_runs() and not sessions.read(self.folder)  # Of a version that kept none.
            if is_former and self.has_environment() and self.environment != environment:
                sessions.keep_former(self.folder, self.environment)
            files.write_json(self.folder / "environment.json", dict(environment))
        sessions.begin(self.folder, self.environment)

    def end_session(self, seconds: float, runs: int, made: Collection[str] | None = None) -> None:
        """Keep how long a call that trained has worked, in seconds of wall time, and how many runs it has ended.

        `made` are the digests of the runs, tuning runs too, of which it has stored something; None where nobody knows.
        """
        sessions.end(self.folder, seconds, runs, made)

    def former_environments(self) -> list[dict[str, Any]]:
        """Return what earlier calls were made on whose runs are here, where that is not what `environment` says.

        Where only verdicts and report are kept, of all calls.
        """
        here = _digests_in(self._begun("runs/*/*"))
        kept = [dict(each.environment) for each in sessions.read(self.folder) if not here or each.is_of_runs(here)]
        return [each for place, each in enumerate(kept) if each not in (self.environment, *kept[:place])]

    def wall_time(self) -> WallTime | None:
        """Return how long the calls that made what is here have worked, all together; None if none has kept it.

        Its `runs` are those of them that are here: what was set aside does not count. Where only verdicts and report
        are kept, it is all that the calls say of themselves.
        """
        here = _digests_in(self._begun("runs/*/*", "tuning/*/*/*"))
        calls = [each for each in sessions.read(self.folder) if not here or each.is_of(here)]
        ended = [each.seconds for each in calls if each.seconds is not None]
        if not ended:
            return None
        done = _digests_in(path for path in self._begun("runs/*/*") if (path.parent / "result.json").exists())
        made = {digest for digest in done if any(digest in (each.made or ()) for each in calls)}
        uncounted = sum(each.runs for each in calls if each.made is None or not here)
        return WallTime(sum(ended), uncounted + len(made), len(ended) == len(calls))

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
            facts = Facts.from_json(content)
        if facts.of in ("", looked_at(self.experiment)):
            return facts
        return replace(facts, unseen=(*facts.unseen, _CHANGED))

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

    def verdicts(self) -> dict[str, Any]:
        """Read `verdicts.json`.

        Raises:
            StoreError: If there is none yet, or it is damaged, of another format, or of what the experiment was before
                it was changed.
        """
        content = read_verdicts(self.folder / _VERDICTS)
        if not is_of(content, self.experiment):
            raise StoreError(
                f"`{self.folder / 'verdicts.json'}` must be of the experiment as it is now, but is of what it was "
                f"before it was changed. Run it to its end, or have what there is judged: paribus report {self.folder}"
            )
        return content

    def has_verdicts(self) -> bool:
        """Whether there are verdicts of the experiment as it is now; see `verdicts` for what it raises."""
        path = self.folder / _VERDICTS
        return path.exists() and is_of(read_verdicts(path), self.experiment)

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON file of the result."""
        return files.read_json(self.folder / name)


def _shrinks(images: npt.NDArray[np.uint8]) -> bool:
    content = images.tobytes()
    return len(zlib.compress(content)) < len(content) / 2


def _digests_in(configs: Iterable[Path]) -> frozenset[str]:
    return sessions.short(str(files.read_json(path).get("digest")) for path in configs)


def _epochs(folder: Path) -> tuple[EpochRecord, ...]:
    lines = files.read_lines(folder / "epochs.jsonl")
    return tuple(files.typed(EpochRecord, line, folder / "epochs.jsonl") for line in lines)


def _recipe_in(folder: Path) -> Recipe | None:
    """Read a run's recipe; keys younger than the run have their defaults, by which it was trained. None if unknown."""
    try:
        return Recipe.parse(files.read_json(folder / "config.json").get("recipe", {}))
    except ConfigError:
        return None


_VERDICTS = "verdicts.json"
_CHANGED = "what was changed in the experiment after data and networks had been looked at."
_SAMPLE = 8
"""Test images from which it is judged whether compressing them pays."""
_WHOLE = ("result.json", "predictions.npz", "model.safetensors", "epochs.jsonl", "times.jsonl")
"""What a finished run holds; one that lacks a part is trained again."""
_WHOLE_TUNING = ("result.json", "epochs.jsonl", "times.jsonl")
