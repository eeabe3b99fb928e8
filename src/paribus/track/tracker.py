"""Brings what the store holds to sinks, in a thread of its own, so that a slow sink never holds up training."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from paribus.errors import TrackError
from paribus.experiment import RunSpec
from paribus.launch.progress import say
from paribus.store import Results
from paribus.track import Held, Sink, open_sink

Task = Callable[[Sink], None]


class Tracker:
    """Follows one result folder; a sink that fails is told on stderr and left alone from then on."""

    def __init__(self, results: Results, sinks: Mapping[str, Sink]) -> None:
        self.results, self.sinks = results, dict(sinks)
        self.failures: dict[str, str] = {}
        self._held: dict[tuple[str, str], Held] = {}  # By sink and key.
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        for arm in results.experiment.arms:
            for seed in results.experiment.seeds_of(arm):
                self._tasks.put(self._bring(arm, seed))

    def note(self, spec: RunSpec) -> None:
        """Take account that the store has something new of a run; tuning runs are not shown."""
        if not spec.is_tuning:
            self._tasks.put(self._bring(spec.arm, spec.seed))

    def finish(self, verdicts: Mapping[str, Any]) -> None:
        """Bring all that is left, and the verdicts; say where to look."""
        self._tasks.put(lambda sink: sink.verdicts(verdicts))
        self._end()
        for name, sink in self.sinks.items():
            if name not in self.failures:
                say(f"{name}: {sink.where}")

    def require_whole(self) -> None:
        """Raise TrackError if a sink failed on the way."""
        if self.failures:
            failed = ",".join(self.failures)
            raise TrackError(
                f"Every sink must take what it is brought, but {' and '.join(self.failures)} did not, for the reason "
                f"told above. The result in `{self.results.folder}` is whole. Mend the cause, then bring what is "
                f"missing: paribus log {self.results.folder} --to {failed}"
            )

    def leave(self) -> None:
        """Stop at once; what has not been brought yet is brought the next time."""
        self._left.set()
        self._end(_PATIENCE_S)

    def _end(self, timeout_s: float | None = None) -> None:
        self._tasks.put(None)
        self._thread.join(timeout_s)

    def _work(self) -> None:
        for task in iter(self._tasks.get, None):
            self._for_each_sink(task)
        self._for_each_sink(lambda sink: sink.close(), at_end=True)

    def _for_each_sink(self, task: Task, *, at_end: bool = False) -> None:
        for name, sink in self.sinks.items():
            if not at_end and (name in self.failures or self._left.is_set()):
                continue
            try:
                task(sink)
            except Exception as error:  # noqa: BLE001 - Whatever a sink does wrong must cost no run.
                if name not in self.failures:
                    self.failures[name] = f"{type(error).__name__}: {error}"
                    say(f"{name} cannot be written any more, the runs go on without it. {self.failures[name]}")

    def _bring(self, arm: str, seed: int) -> Task:
        def task(sink: Sink) -> None:
            run = self.results.run_so_far(arm, seed)
            if run is None:
                return
            key = (type(sink).__name__, run.key)
            held = self._held.get(key) or sink.held(run)
            found = Held(max(held.epochs, len(run.epochs)), held.end or run.result is not None)
            if found != held:
                sink.bring(run, held)
            self._held[key] = found

        return task


@contextlib.contextmanager
def following(results: Results, names: Sequence[str]) -> Iterator[Tracker]:
    """Follow a result folder with these sinks, from what it holds already to `Tracker.finish`.

    Raises:
        TrackError: If a sink cannot be opened.
    """
    tracker = Tracker(results, {name: _opened(name, results) for name in names})
    try:
        yield tracker
    finally:
        tracker.leave()


def log(results: Results, names: Sequence[str]) -> None:
    """Bring what a result folder holds to sinks, after the fact.

    Raises:
        StoreError: If runs are being trained into the folder, or it has no verdicts.
        TrackError: If a sink cannot be opened or written.
    """
    verdicts = results.verdicts()
    with results.lock(), following(results, names) as tracker:
        tracker.finish(verdicts)
    tracker.require_whole()


def _opened(name: str, results: Results) -> Sink:
    try:
        return open_sink(name, results)
    except Exception as error:
        raise TrackError(
            f"The sink {name} must open before anything is trained, but it does not: {type(error).__name__}: {error}. "
            "Mend that, or leave it out of --log."
        ) from error


_PATIENCE_S = 5.0
"""How long an interrupted experiment waits for a sink to close."""
