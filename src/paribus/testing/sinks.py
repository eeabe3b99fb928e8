"""The suite that every sink passes; a sink's author calls `check_sink` in a test."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from paribus import verdicts
from paribus.store import Results, RunSoFar
from paribus.testing.synthetic import example_experiment, write_results
from paribus.track import Held, Sink

_DONE = 2


def check_sink(open_sink: Callable[[Results], Sink], folder: Path) -> None:
    """Bring a run in two parts, with the sink closed and opened between, and see that nothing is there twice.

    Args:
        open_sink: Opens the sink for a result folder.
        folder: An empty folder, for made-up results.

    Raises:
        AssertionError: Naming the promise that does not hold.
    """
    diverged = ("max", 1)
    results = write_results(folder / "results", example_experiment(2, 4), {"control": 0.7}, diverged=[diverged])
    run = _run(results, "relu", 0)
    half = dataclasses.replace(run, epochs=run.epochs[:_DONE], epoch_seconds=run.epoch_seconds[:_DONE], result=None)
    first = open_sink(results)
    assert first.held(half) == Held(), "a sink that was given nothing must hold nothing"
    first.bring(half, Held())
    first.close()

    second = open_sink(results)
    held = second.held(run)
    assert not held.end, "a run that was left must not count as ended"
    assert held.epochs in (0, _DONE), f"of {_DONE} epochs it must hold these or begin anew, but it holds {held.epochs}"
    second.bring(run, held)
    for other in (_run(results, "control", 1), _run(results, *diverged)):
        second.bring(other, second.held(other))
    second.close()
    _check_whole(open_sink(results), results, run)


def _check_whole(sink: Sink, results: Results, run: RunSoFar) -> None:
    assert sink.held(run) == Held(len(run.epochs), end=True), "a run that was brought whole must be held whole"
    elsewhere = dataclasses.replace(run, config={**run.config, "arm": "max"})
    assert sink.held(elsewhere) == Held(), "a run of the same recipe in another arm must be another run"
    for _ in range(2):
        sink.verdicts(verdicts.compute(results))
    assert sink.held(run).end, "verdicts must leave the runs as they are"
    changed = dataclasses.replace(run, config={**run.config, "digest": "0" * len(run.digest)})
    assert sink.held(changed) == Held(), "a run of another recipe in the same place must be another run"
    assert sink.where, "a sink must say how to look at it"
    sink.close()


def _run(results: Results, arm: str, seed: int) -> RunSoFar:
    run = results.run_so_far(arm, seed)
    assert run is not None, f"the suite made a run {arm}/{seed}"
    return run
