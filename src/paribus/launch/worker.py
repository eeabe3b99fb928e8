"""One worker process: ``python -m paribus.launch.worker`` reads packs from stdin and writes news to stdout.

It writes to the store itself, and ends when stdin ends, so that no worker outlives its launcher. Its arguments are
modules that it imports while it waits for the first pack.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import TextIO

from paribus import engines, processes
from paribus.data import load_prepared
from paribus.errors import ParibusError, StoreError, told_of_machine
from paribus.experiment import RunSpec
from paribus.launch.launcher import Pack
from paribus.launch.messages import decode_pack, encode
from paribus.store import Results, RunWriter


def main() -> None:
    """Serve packs until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the launcher's to handle.
    packs, news = _take_stdin(), processes.take_stdout()
    processes.import_beside(sys.argv[1:])
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(packs, requests), daemon=True).start()
    while True:
        pack, results = decode_pack(json.loads(requests.get()))
        try:
            _train(pack, results, news)
        except StoreError as error:
            _say(news, encode("fatal", message=str(error)))
            return
        _say(news, encode("idle"))


def _train(pack: Pack, folder: Path, news: TextIO) -> None:
    results = Results.open(folder)
    writers = {spec.digest: results.begin(spec) for spec in pack.specs}
    try:
        _fit(pack, writers, news)
    except StoreError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001
        # Whatever a user's model or data does wrong must cost its own runs only, with the reason kept in the store.
        is_ours = isinstance(error, ParibusError)
        message = str(error) if is_ours else told_of_machine(error) or f"{type(error).__name__}: {error}"
        told = message if is_ours else f"{message}\n\n{traceback.format_exc()}"
        for spec in pack.specs:
            if results.state(spec) != "finished":
                writers[spec.digest].fail(told)
                _say(news, encode("failed", **_key(spec), message=message))


def _fit(pack: Pack, writers: dict[str, RunWriter], news: TextIO) -> None:
    found = {digest: writer.resume() for digest, writer in writers.items()}
    checkpoints = {digest: checkpoint for digest, checkpoint in found.items() if checkpoint is not None}
    dataset = load_prepared(pack.dataset)
    if any(spec.is_tuning for spec in pack.specs):
        dataset = dataset.without_test()
    for event in engines.load(pack.engine).fit(pack.specs, dataset, checkpoints):
        writer = writers[event.spec.digest]
        if isinstance(event, engines.EpochEnd):
            writer.epoch(event.record, event.seconds, event.state)
            val_accuracy = event.record.val_accuracy
            known = {"epoch": event.record.epoch, "seconds": event.seconds, "val_accuracy": val_accuracy}
            _say(news, encode("epoch", **_key(event.spec), **known))
        elif isinstance(event, engines.TuningEnd):
            writer.finish_tuning(event.result)
            _say(news, encode("done", **_key(event.spec), status=event.result.status, test_accuracy=None))
        else:
            writer.finish(event.result, event.predictions, event.weights, event.probes, event.usage)
            ended = {"status": event.result.status, "test_accuracy": event.result.test_accuracy}
            _say(news, encode("done", **_key(event.spec), **ended))


def _key(spec: RunSpec) -> dict[str, str]:
    return {"digest": spec.digest}


def _say(news: TextIO, line: str) -> None:
    news.write(line)
    news.flush()


def _take_stdin() -> TextIO:
    """Keep the real stdin for packs; a model that asks for input finds none, and fails instead of waiting."""
    packs = os.fdopen(os.dup(0), encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return packs


def _listen(packs: TextIO, requests: queue.Queue[str]) -> None:
    for line in packs:
        requests.put(line)
    os._exit(0)  # The launcher is gone: end now, in the middle of an epoch if need be.


if __name__ == "__main__":
    main()
