"""TensorBoard: event files in ``<results>/tensorboard/<arm>/<seed>``, written without TensorFlow."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from paribus import notebook
from paribus.config import Recipe
from paribus.store import Results, RunSoFar
from paribus.track.sink import Held, Sink

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

_FOLDER = "tensorboard"
_PREFIX = "events.out.tfevents"
_END = "test/accuracy"


class TensorBoard(Sink):
    """One folder per run, so that TensorBoard's filter picks arms (``^relu/``) and its colours tell runs apart.

    The event file of a run names its digest and no host. A run whose file has no end is written anew, from its first
    epoch: a process that was killed may have left half a record.
    """

    def __init__(self, results: Results) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.folder = results.folder / _FOLDER
        self.factors = sorted({factor for arm in results.experiment.arms.values() for factor in arm.factors})
        self._record_writer = RecordWriter
        self._files: dict[str, BinaryIO] = {}  # By `RunSoFar.key`.

    @property
    def where(self) -> str:
        """The command that shows the folder."""
        return f"tensorboard --logdir {self.folder}"

    def held(self, run: RunSoFar) -> Held:
        """Count the epochs of a whole file; one without an end counts as nothing, and goes."""
        place = self._place(run)
        found = Held()
        for path in sorted(place.glob(f"{_PREFIX}.*")):
            held = _read(path) if path.name.endswith(f".{run.digest}") else Held()
            if held.end:
                found = held
            else:
                path.unlink()
        return found

    def bring(self, run: RunSoFar, held: Held) -> None:
        """Append to the run's file, which the first call makes."""
        if run.key not in self._files:
            self._files[run.key] = self._begin(self._place(run), run.digest)
            self._write(run.key, 0, run.ended_at(0), self._settings(run))
        for record in run.epochs[held.epochs :]:
            values = {tag: getattr(record, key) for tag, key in _SCALARS.items()}
            self._write(run.key, record.epoch, run.ended_at(record.epoch), _scalars(values))
        if run.result is not None:
            values = {_END: run.result.test_accuracy, "test/loss": run.result.test_loss}
            self._write(run.key, run.result.epoch_kept, run.ended_at(len(run.epochs)), _scalars(values))
        self._files[run.key].flush()
        if run.result is not None:
            self._files.pop(run.key).close()

    def verdicts(self, verdicts: Mapping[str, Any]) -> None:
        """Show the table of verdicts among the texts."""
        from tensorboard.plugins.text.summary_v2 import text_pb

        place = self.folder / "verdicts"
        for path in place.glob(f"{_PREFIX}.*"):
            path.unlink()
        self._files["verdicts"] = self._begin(place, "verdicts")
        self._write("verdicts", 0, time.time(), text_pb("verdicts", notebook.as_markdown(verdicts)))
        self._files.pop("verdicts").close()

    def close(self) -> None:
        """Close the files of runs that have not ended."""
        while self._files:
            self._files.popitem()[1].close()

    def _place(self, run: RunSoFar) -> Path:
        return self.folder / run.arm / str(run.seed)

    def _begin(self, place: Path, name: str) -> BinaryIO:
        """Open a new file, with a number that puts it behind those that TensorBoard may have read and that are gone."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        place.mkdir(parents=True, exist_ok=True)
        file = (place / f"{_PREFIX}.{time.time_ns()}.{name}").open("wb")
        writer = self._record_writer(file)
        writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        # What a TensorBoard that is running has read of the run before is void.
        start = Event(wall_time=time.time(), session_log=SessionLog(status=SessionLog.START))
        writer.write(start.SerializeToString())
        return file

    def _write(self, name: str, step: int, wall_time: float, summary: Summary) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        event = Event(wall_time=wall_time, step=step, summary=summary)
        self._record_writer(self._files[name]).write(event.SerializeToString())

    def _settings(self, run: RunSoFar) -> Summary:
        """What the hyperparameter view shows: the factors of all arms, the seeds of an arm as one group."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        recipe = Recipe.parse(run.config["recipe"])
        values = {factor: _setting(recipe, factor) for factor in self.factors}
        return hparams_pb({key: value for key, value in values.items() if value is not None}, trial_id=run.arm)


def _setting(recipe: Recipe, factor: str) -> str | int | float | bool | None:
    table, _, key = factor.partition(".")
    value = recipe.model_dump()[table].get(key)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _read(path: Path) -> Held:
    """Read what one event file holds."""
    tags = [(value.tag, event.step) for event in _events(path) for value in event.summary.value]
    epochs = max((step for tag, step in tags if tag in _SCALARS), default=0)
    return Held(epochs, any(tag == _END for tag, _ in tags))


def _events(path: Path) -> Iterator[Any]:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    yield from EventFileLoader(str(path)).Load()


def _scalars(values: Mapping[str, float | None]) -> Summary:
    from tensorboard.compat.proto.summary_pb2 import Summary

    known = {tag: value for tag, value in values.items() if value is not None}
    return Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in known.items()])


_SCALARS = {
    "loss/train": "train_loss",
    "loss/val": "val_loss",
    "accuracy/train": "train_accuracy",
    "accuracy/val": "val_accuracy",
    "optim/lr": "lr",
    "optim/gradient_norm": "gradient_norm",
}
"""TensorBoard's name, which puts train and val beside each other, and the key of `EpochRecord`."""
