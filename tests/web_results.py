"""Result folders in the middle of training, for tests of the page."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path

from paribus.store import EpochRecord, files

OF_A_RUN_THAT_ENDED = ("result.json", "predictions.npz", "model.safetensors", "probes.json")


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
