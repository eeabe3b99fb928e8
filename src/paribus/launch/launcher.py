"""What a launcher is: something that places packs of runs on workers and reports what they do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from paribus.experiment import RunSpec
from paribus.store import Results


@dataclass(frozen=True)
class Pack:
    """Runs that one worker trains together, with one engine on one prepared data set."""

    specs: tuple[RunSpec, ...]
    engine: str
    dataset: Path


@dataclass(frozen=True)
class EpochDone:
    """A run finished an epoch, which is in the store by now."""

    spec: RunSpec
    epoch: int
    seconds: float
    val_accuracy: float | None


@dataclass(frozen=True)
class RunDone:
    """A run finished or diverged, and its result is in the store; a tuning run has no test accuracy."""

    spec: RunSpec
    status: str
    test_accuracy: float | None


@dataclass(frozen=True)
class RunFailed:
    """A run could not be trained; the store holds the message."""

    spec: RunSpec
    message: str


News = EpochDone | RunDone | RunFailed


class Launcher(ABC):
    """Places packs on workers. The workers write to the store themselves."""

    @abstractmethod
    def launch(self, packs: Sequence[Pack], results: Results) -> Iterator[News]:
        """Train every pack, in this order where workers are free.

        Yields:
            News of every run; the last news of each is `RunDone` or `RunFailed`.

        Raises:
            StoreError: If the result folder can no longer be written; nothing goes on then.
        """
