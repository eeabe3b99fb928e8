"""The local launcher: worker processes on this machine, one thread per run."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from paribus import processes
from paribus.errors import ConfigError, StoreError
from paribus.experiment import RunSpec
from paribus.launch.launcher import EpochDone, Launcher, News, Pack, RunDone, RunFailed
from paribus.launch.messages import encode_pack
from paribus.store import Results

Inbox: TypeAlias = "queue.SimpleQueue[tuple[_Worker, dict[str, Any]]]"


class LocalLauncher(Launcher):
    """Runs `workers` processes; None means as many as there are cores to use.

    `ahead` says by a process's number, from 0, which modules it imports before it has anything to do.
    """

    def __init__(self, workers: int | None = None, ahead: Callable[[int], Sequence[str]] = lambda _: ()) -> None:
        if workers is not None and workers < 1:
            raise ConfigError(f"`workers` must be at least 1, but got {workers}. Leave it out to use every core.")
        self.workers = workers or processes.available_cores()
        self._ahead = ahead
        self._inbox: Inbox = queue.SimpleQueue()  # Unlike Queue, an interrupt cannot leave it locked.
        self._processes: list[_Worker] = []

    def start(self, runs: int) -> None:
        """Begin as many processes as that many runs will use; they import while the caller prepares the runs."""
        numbers = range(len(self._processes), min(self.workers, runs))
        self._processes += [_Worker(self._inbox, self._ahead(number)) for number in numbers]

    def launch(self, packs: Sequence[Pack], results: Results, *, one_first: bool = False) -> Iterator[News]:
        """Train the packs; see `Launcher.launch`. The workers wait for more until `close`; leaving early ends them.

        With `one_first` the first process begins alone, and the others as soon as there is news of it: it computes what
        all have need of.
        """
        waiting = deque(packs)
        workers = self._processes
        try:
            self.start(len(packs))
            for worker in workers[: 1 if one_first else len(packs)]:
                worker.give(waiting.popleft(), results)
            while any(worker.pack for worker in workers):
                worker, message = self._inbox.get()
                yield from worker.news(message, results)
                if message["kind"] == "gone":
                    _replace(worker, workers, self._inbox)
                for idle in [each for each in workers if each.pack is None][: len(waiting)]:
                    idle.give(waiting.popleft(), results)
        except BaseException:  # Also where the caller leaves the iterator.
            self.close()
            raise

    def close(self) -> None:
        """End every process, in the middle of an epoch if need be."""
        for worker in self._processes:
            worker.end()
        self._processes.clear()


def _replace(worker: _Worker, workers: list[_Worker], inbox: Inbox) -> None:
    """Put a new process in the place of one that died."""
    worker.end()
    workers[workers.index(worker)] = _Worker(inbox)


class _Worker:
    """One process, the pack that it trains, and the runs of it that are not done."""

    def __init__(self, inbox: Inbox, ahead: Sequence[str] = ()) -> None:
        self.pack: Pack | None = None
        self.open: dict[str, RunSpec] = {}  # By digest.
        self.process = processes.start("paribus.launch.worker", *ahead)
        self.listener = threading.Thread(target=self._listen, args=(inbox,), daemon=True)
        self.listener.start()

    def give(self, pack: Pack, results: Results) -> None:
        self.pack = pack
        self.open = {spec.digest: spec for spec in pack.specs}
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # The process has died: `_listen` says so.
            self.process.stdin.write(encode_pack(pack, results.folder))
            self.process.stdin.flush()

    def news(self, message: dict[str, Any], results: Results) -> Iterator[News]:
        kind = message["kind"]
        if kind == "idle":
            self.pack = None
        elif kind == "epoch":
            spec = self.open[message["digest"]]
            yield EpochDone(spec, message["epoch"], message["seconds"], message["val_accuracy"])
        elif kind == "done":
            spec = self.open.pop(message["digest"])
            yield RunDone(spec, message["status"], message["test_accuracy"])
        elif kind == "failed":
            spec = self.open.pop(message["digest"])
            yield RunFailed(spec, message["message"])
        elif kind == "fatal":
            raise StoreError(message["message"])
        else:
            yield from self._died(results)

    def _died(self, results: Results) -> Iterator[News]:
        """Record the runs that a dead process left; whatever it had stored is kept."""
        self.pack = None
        for spec in self.open.values():
            text = (
                f"The worker process ended ({_how_it_ended(self.process.wait())}) while it trained this run. "
                "Its finished epochs are kept; run again to go on, with fewer --workers if memory ran out."
            )
            results.begin(spec).fail(text)
            yield RunFailed(spec, text)

    def _listen(self, inbox: Inbox) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            inbox.put((self, json.loads(line)))
        inbox.put((self, {"kind": "gone"}))

    def end(self) -> None:
        processes.end(self.process)
        self.listener.join(timeout=5)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _how_it_ended(returncode: int) -> str:
    if returncode < 0:
        return f"signal {signal.Signals(-returncode).name}"
    return f"exit status {returncode}"
