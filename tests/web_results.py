"""Result folders in the middle of training, for tests of the page."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path

from paribus.launch import conduct
from paribus.store import EpochRecord, Results, files
from paribus.testing.synthetic import example_experiment, write_results

ACCURACY = {"control": 0.8, "relu": 0.9, "max": 0.8, "lr-10": 0.3, "lr-0.001": 0.5}
OF_A_RUN_THAT_ENDED = ("result.json", "predictions.npz", "model.safetensors", "probes.json")


def write_finished(parent: Path) -> Path:
    """Write two results: `example`, with verdicts and a report, and `damaged`."""
    conduct.rebuild(write_results(parent / "example", example_experiment(seeds=4, epochs=4), ACCURACY))
    (parent / "damaged").mkdir()
    (parent / "damaged" / "experiment.toml").write_text("x = [")
    return parent


def write_training(folder: Path) -> Results:
    """Write a result whose control has ended, with one run of each other kind in `relu`."""
    experiment = example_experiment(seeds=6, epochs=6)
    others = [(arm, seed) for arm in experiment.arms if arm not in ("control", "relu") for seed in range(6)]
    results = write_results(
        folder, experiment, {"control": 0.9}, diverged=[("relu", 1)], missing=[*others, ("relu", 5)]
    )
    relu = folder / "runs" / "relu"
    reopen_run(relu / "2", 3)
    reopen_run(relu / "3", 2)
    age(relu / "3", 1000)
    reopen_run(relu / "4", 1)
    (relu / "4" / "failure.txt").write_text("The disk is full.\nMore of it.")
    return results


def reopen_run(folder: Path, epochs: int) -> None:
    """Make a finished run one that has come as far as this many epochs."""
    for name in OF_A_RUN_THAT_ENDED:
        (folder / name).unlink(missing_ok=True)
    for name in ("epochs.jsonl", "times.jsonl"):
        lines = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(lines[:epochs]))


def add_epoch(folder: Path, accuracy: float) -> None:
    """Append one more epoch to a run, as its engine would."""
    epoch = len(files.read_lines(folder / "epochs.jsonl")) + 1
    record = EpochRecord(epoch, 16 * epoch, 0.1, 1 - accuracy, accuracy, 1.1 - accuracy, accuracy, 0.5)
    files.append(folder / "epochs.jsonl", asdict(record))
    files.append(folder / "times.jsonl", {"epoch": epoch, "seconds": 0.1})


def age(folder: Path, seconds: float) -> None:
    """Let the files of a folder be this old."""
    then = time.time() - seconds
    for path in folder.rglob("*"):
        os.utime(path, (then, then))
