"""Runs as they train: how far each one is and its curves, read from the files that `paribus run` appends to."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paribus.config import Recipe
from paribus.errors import ConfigError
from paribus.experiment import CONTROL
from paribus.stats import t_interval, wilson
from paribus.store import Results, RunResult, files, is_of, read_verdicts
from paribus.verdicts import VERDICTS, Verdict
from paribus.web.memory import Memory
from paribus.web.schema import ArmProgress, Level, Progress, RunProgress, RunState, State

Series = tuple[float | None, ...]
PATIENCE_S = 60.0
EPOCHS_OF_PATIENCE = 3


@dataclass(frozen=True)
class Watched:
    """One run of the experiment as its folder holds it now.

    `curves` are by key of `CURVES`. `changed` is when it was last written to, None for one that is waiting.
    """

    arm: str
    seed: int
    state: RunState
    epochs_planned: int
    epochs: int = 0
    seconds: float = 0.0
    curves: Mapping[str, Series] | None = None
    result: RunResult | None = None
    failure: str | None = None
    changed: float | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it is finished or diverged."""
        return self.result is not None


def watch(results: Results, memory: Memory) -> list[Watched]:
    """Return every run of the experiment, by arm and seed.

    Raises:
        StoreError: If a file is damaged.
    """
    now = time.time()
    experiment = results.experiment
    return [_watched(results, memory, arm, seed, now) for arm in experiment.arms for seed in experiment.seeds_of(arm)]


def _watched(results: Results, memory: Memory, arm: str, seed: int, now: float) -> Watched:
    recipe, folder = results.experiment.arms[arm].recipe, results.run_folder(arm, seed)
    planned = recipe.train.epochs
    if recipe.unfound or memory.recall(folder / "config.json", _recipe) != recipe:
        return Watched(arm, seed, "waiting", planned)  # Also a run of another recipe, which will be trained anew.
    curves = memory.recall(folder / "epochs.jsonl", _curves) or {}
    times = memory.recall(folder / "times.jsonl", _times) or ()
    result = memory.recall(folder / "result.json", _result)
    failure = None if result else memory.recall(folder / "failure.txt", _text)
    written = [memory.changed(folder / name) for name in ("config.json", "epochs.jsonl", "result.json", "failure.txt")]
    changed = max(each for each in (*written, 0.0) if each is not None)
    state: RunState = (
        "training" if abs(now - changed) < max(PATIENCE_S, EPOCHS_OF_PATIENCE * max(times, default=0)) else "stopped"
    )
    if failure is not None:
        state = "failed"
    if result is not None:
        state = result.status
    return Watched(
        arm=arm,
        seed=seed,
        state=state,
        epochs_planned=planned,
        epochs=len(curves.get("train_loss", ())),
        seconds=sum(times),
        curves=curves,
        result=result,
        failure=failure,
        changed=changed,
    )


def progress(results: Results, memory: Memory) -> Progress:
    """Return how far the experiment is.

    Raises:
        StoreError: If a file is damaged.
    """
    runs = watch(results, memory)
    ended = sum(run.has_ended for run in runs)
    counts = current_verdicts(results, memory)
    changed = max((run.changed for run in runs if run.changed is not None), default=None)
    return Progress(
        name=results.experiment.name,
        title=results.experiment.title,
        state=_state(results, runs, memory),
        ended=ended,
        failed=sum(run.state == "failed" for run in runs),
        planned=len(runs),
        changed=changed,
        control=accuracy([run.result for run in runs if run.arm == CONTROL and run.result is not None]),
        verdicts=None if counts is None else _verdicts(counts),
        verdicts_of=None if counts is None else sum(arm["runs"] for arm in counts["arms"].values()),
        arms=[
            ArmProgress(arm=arm, runs=[_run_progress(run) for run in runs if run.arm == arm])
            for arm in results.experiment.arms
        ],
    )


def current_verdicts(results: Results, memory: Memory) -> dict[str, Any] | None:
    """Return the verdicts, None where there are none of what the experiment is now.

    Raises:
        StoreError: If `verdicts.json` is damaged.
    """
    verdicts = memory.recall(results.folder / "verdicts.json", read_verdicts)
    return verdicts if verdicts is not None and is_of(verdicts, results.experiment) else None


def accuracy(ended: Sequence[RunResult]) -> Level | None:
    """Return the test accuracy of runs of one arm: t interval over seeds, Wilson's for one or for all alike."""
    if not ended:
        return None
    values = [result.test_accuracy for result in ended]
    images = ended[0].test_examples
    ci95 = t_interval(values) or wilson(round(values[0] * images), images)
    return Level(mean=sum(values) / len(values), ci95=ci95)


def _state(results: Results, runs: Sequence[Watched], memory: Memory) -> State:
    if all(run.has_ended for run in runs):
        return "finished"
    if any(run.state == "training" for run in runs) or _is_fresh(_beside(results.folder), memory):
        return "running"
    newest = max((run.changed for run in runs if run.changed is not None), default=None)
    if newest is None:
        return "waiting"
    return (
        "running"
        if abs(time.time() - newest) < PATIENCE_S and not any(run.state == "failed" for run in runs)
        else "stopped"
    )


def _beside(folder: Path) -> Iterable[Path]:
    """What is written before the runs, while values are looked for."""
    return (folder / "tuning").glob("*/*/*/epochs.jsonl")


def _is_fresh(paths: Iterable[Path], memory: Memory) -> bool:
    now = time.time()
    # Once a clock has been set back, old files seem to be of the future, which makes none of them new.
    return any(abs(now - (memory.changed(path) or 0)) < PATIENCE_S for path in paths)


def _run_progress(run: Watched) -> RunProgress:
    return RunProgress(
        seed=run.seed,
        state=run.state,
        epochs=run.epochs,
        epochs_planned=run.epochs_planned,
        seconds=round(run.seconds, 3),
        test_accuracy=None if run.result is None else run.result.test_accuracy,
        failure=run.failure,
    )


def _verdicts(content: Mapping[str, Any]) -> dict[Verdict, int]:
    said = [each["verdict"] for question in content["questions"] for each in question["comparisons"]]
    return {verdict: said.count(verdict) for verdict in VERDICTS if verdict in said}


def _recipe(path: Path) -> Recipe | None:
    try:
        return Recipe.parse(files.read_json(path).get("recipe", {}))
    except ConfigError:  # Of a version with other keys: `paribus run` would train it anew.
        return None


def _curves(path: Path) -> Mapping[str, Series]:
    lines = files.read_lines(path)
    return {key: tuple(line.get(key) for line in lines) for key in CURVES}


def _times(path: Path) -> tuple[float, ...]:
    return tuple(float(line["seconds"]) for line in files.read_lines(path))


def _result(path: Path) -> RunResult:
    return files.typed(RunResult, files.read_json(path), path)


def _text(path: Path) -> str:
    with files.reading(path):
        return path.read_text(encoding="utf-8").strip().partition("\n")[0]


CURVES = {
    "val_accuracy": "Validation accuracy",
    "val_loss": "Validation loss",
    "train_accuracy": "Training accuracy",
    "train_loss": "Training loss",
}
