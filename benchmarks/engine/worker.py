"""One way to train, in a process of its own that is bound to some processors.

A line of JSON asks, a line of JSON answers: {"net": ..., "batch_size": ...} builds and trains the warm-up epoch, {} one
more epoch. The answer holds the wall seconds, the processor seconds of all threads, and the mean training loss.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any


class Worker:
    """The asking side."""

    def __init__(self, way: str, processors: Sequence[int], folder: Path, images: int) -> None:
        self.way = way
        program = [sys.executable, __file__, way, ",".join(map(str, processors)), str(folder), str(images)]
        self._process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def build(self, net: str, batch_size: int) -> dict[str, float]:
        """Take another network or batch size, and return what the warm-up epoch gave."""
        self.ask({"net": net, "batch_size": batch_size})
        return self.answer()

    def epoch(self) -> dict[str, float]:
        """Train for one epoch."""
        self.ask({})
        return self.answer()

    def ask(self, what: dict[str, Any]) -> None:
        """Send a question without waiting for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, float]:
        """Wait for the answer to the last question."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"`{self.way}` ended without an answer; its last words are above.")
        found: dict[str, float] = json.loads(line)
        return found

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@contextmanager
def crew(ways: dict[str, tuple[str, Sequence[int]]], folder: Path, images: int) -> Iterator[dict[str, Worker]]:
    """Start a worker per name, each with its way and its processors, and end them all."""
    with ExitStack() as stack:
        workers = {}
        for name, (way, processors) in ways.items():
            workers[name] = Worker(way, processors, folder, images)
            stack.callback(workers[name].close)
        yield workers


def processors() -> list[int]:
    """Return the processors that this process may use."""
    return sorted(os.sched_getaffinity(0))


def missing(way: str) -> str | None:
    """Return a package that a way needs and that is not installed, None if there is none."""
    return next((package for package in NEEDS.get(way, ()) if importlib.util.find_spec(package) is None), None)


def serve(way: str, chosen: list[int], folder: Path, images: int) -> None:
    """Answer until nobody asks any more."""
    os.sched_setaffinity(0, chosen)  # Before any library counts the processors.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What libraries print must not be taken for an answer.
    import torch

    from paribus.data import load_prepared

    torch.set_num_threads(len(chosen))
    torch.manual_seed(0)
    train = load_prepared(folder).train
    module, function = WAYS[way]
    build = getattr(importlib.import_module(module), function)
    epoch: Callable[[], float] | None = None
    for line in sys.stdin:
        question = json.loads(line)
        if question:
            epoch = None  # Frees the last one's memory first.
            epoch = build(question["net"], question["batch_size"], train.images[:images], train.labels[:images])
        assert epoch is not None
        print(json.dumps(timed(epoch)), file=answers, flush=True)


def timed(epoch: Callable[[], float]) -> dict[str, float]:
    """Return what one epoch took and gave."""
    start, start_processor = time.perf_counter(), time.process_time()
    loss = epoch()
    return {
        "seconds": time.perf_counter() - start,
        "processor_seconds": time.process_time() - start_processor,
        "loss": loss,
    }


WAYS = {
    "native": ("ours", "native"),
    "torch": ("ours", "torch_engine"),
    "tuned": ("loops", "tuned"),
    "tuned-channels-last": ("loops", "tuned_channels_last"),
    "tutorial": ("loops", "tutorial"),
    "keras-jax": ("peer_keras", "on_jax"),
    "keras-torch": ("peer_keras", "on_torch"),
    "jax": ("peer_jax", "channels_last"),
    "jax-channels-first": ("peer_jax", "channels_first"),
    "lightning": ("peer_lightning", "build"),
    "skorch": ("peer_skorch", "build"),
}
"""Module and function of each way; the function takes net, batch size, images, labels, and returns `epoch()`."""

NEEDS = {
    "keras-jax": ("keras", "jax"),
    "keras-torch": ("keras",),
    "jax": ("jax",),
    "jax-channels-first": ("jax",),
    "lightning": ("lightning",),
    "skorch": ("skorch",),
}
"""Packages beside this one's own dependencies; peers.txt has their versions."""

if __name__ == "__main__":
    serve(sys.argv[1], [int(each) for each in sys.argv[2].split(",")], Path(sys.argv[3]), int(sys.argv[4]))
