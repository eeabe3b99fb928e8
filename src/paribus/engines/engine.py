"""What an engine is: something that trains a pack of runs on one prepared data set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from paribus.data.dataset import Dataset
from paribus.experiment import RunSpec
from paribus.store import Arrays, Checkpoint, EpochRecord, Predictions, Probes, RunResult, TuningResult, Usage


@dataclass(frozen=True)
class EpochEnd:
    """An epoch of one run is done; `state` is what `Checkpoint.arrays` must hold to go on from here."""

    spec: RunSpec
    record: EpochRecord
    seconds: float
    state: Arrays


@dataclass(frozen=True)
class RunEnd:
    """A run is done: its result, its predictions on the test set, the kept weights by name, what was probed.

    `usage` is what it takes to use the network; without it `paribus.load` refuses the weights.
    """

    spec: RunSpec
    result: RunResult
    predictions: Predictions
    weights: Arrays
    probes: Probes | None = None
    usage: Usage | None = None


@dataclass(frozen=True)
class TuningEnd:
    """A tuning run is done. There is nothing to tell of the test set, which it must not see."""

    spec: RunSpec
    result: TuningResult


Event = EpochEnd | RunEnd | TuningEnd


class Engine(ABC):
    """Trains packs of runs. Which recipes an engine serves is told by `paribus.engines.ENGINES`, without torch."""

    @abstractmethod
    def fit(self, pack: Sequence[RunSpec], dataset: Dataset, checkpoints: Mapping[str, Checkpoint]) -> Iterator[Event]:
        """Train every run of the pack.

        Args:
            pack: The runs; all of them use `dataset`.
            dataset: The prepared images; for tuning runs one `without_test`, which raises if its test is looked at.
            checkpoints: By the spec's digest, where to go on; runs without one begin.

        Yields:
            One `EpochEnd` after each epoch of each run and one `RunEnd` per run, or `TuningEnd` where it `is_tuning`.

        Raises:
            ModelError: If the model cannot be built or does not fit the images.
        """

    @abstractmethod
    def seconds_per_example(self, spec: RunSpec, dataset: Dataset) -> float:
        """Return about how long a run like this trains for each image of an epoch, from a short trial.

        Raises:
            ModelError: As `fit` does.
        """
