"""What was found before the runs, as `tuning/<arm>.json` keeps it: a rate from its grid, epochs from measured times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paribus.config import EPOCHS, RATE
from paribus.errors import ConfigError
from paribus.experiment import CONTROL, Experiment, Found
from paribus.store import files


@dataclass(frozen=True)
class TriedRate:
    """One learning rate of a grid: mean val accuracy (fraction) and val loss (nats) at the kept epochs.

    A diverged run counts with accuracy 0; a mean over its infinite loss is None. `val_accuracies` has one for each
    seed, in their order; records of old have none.
    """

    lr: float
    val_accuracy: float
    val_loss: float | None
    diverged: int
    val_accuracies: tuple[float, ...] = ()


@dataclass(frozen=True)
class RateChoice:
    """A learning rate chosen on val: from which grid, extended how, over which seeds.

    `grid` is what was begun with, `tried` what it became, in rising order. `at_edge`: the chosen one is the smallest or
    largest tried, because the grid met the limit of its extensions.
    """

    lr: float
    at_edge: bool
    seeds: tuple[int, ...]
    engine: str
    grid: tuple[float, ...]
    tried: tuple[TriedRate, ...]


@dataclass(frozen=True)
class EpochsChoice:
    """As many epochs as fit in the control's training time, from epochs of both timed in turn.

    Seconds are medians over `rounds`, which hold (control, arm) each; `ratio` is the median over rounds of control by
    arm. `epochs` is `control_epochs` times it, rounded down, and 1 where not even one fits. `engine` trained the
    control, `arm_engine` the arm; records of old do not tell the latter.
    """

    epochs: int
    control_epochs: int
    ratio: float
    seconds_per_epoch: float
    control_seconds_per_epoch: float
    rounds: tuple[tuple[float, float], ...]
    engine: str
    processor: str
    arm_engine: str = ""


@dataclass(frozen=True)
class MadeFor:
    """What a choice holds for: both recipes before anything was found, the data and the user's model code of both."""

    recipe: Mapping[str, Any]
    control: Mapping[str, Any]
    data_fingerprint: str
    model_code: str | None
    control_model_code: str | None = None

    def is_for(self, experiment: Experiment, arm: str) -> bool:
        """Whether an arm of an experiment that has nothing found yet is the one that this was made for."""
        own, control = experiment.arms[arm].recipe, experiment.arms[CONTROL].recipe
        return self.recipe == own.identity() and self.control == control.identity()


@dataclass(frozen=True)
class Tuning:
    """`tuning/<arm>.json`: what was found for one arm; None where it was not asked for, or is not found yet."""

    arm: str
    made_for: MadeFor
    epochs: EpochsChoice | None = None
    rate: RateChoice | None = None

    @property
    def found(self) -> dict[str, Found]:
        """The found values by factor."""
        values = {} if self.epochs is None else {EPOCHS: Found(self.epochs.epochs)}
        return values if self.rate is None else values | {RATE: Found(self.rate.lr, self.rate.at_edge)}


def rate_name(lr: float) -> str:
    """Return a rate as a folder's name: in six digits where they say it exactly, else in as many as it takes."""
    return f"{lr:g}" if float(f"{lr:g}") == lr else repr(lr)


def read(folder: Path, arm: str) -> Tuning | None:
    """Read what was found for an arm, None without.

    Raises:
        StoreError: If the file is damaged or of another version.
    """
    path = _path(folder, arm)
    if not path.exists():
        return None
    content = files.read_json(path)
    with files.reading(path):
        epochs, rate = content["epochs"], content["rate"]
        if epochs is not None:
            epochs = files.typed(EpochsChoice, epochs | {"rounds": tuple(map(tuple, epochs["rounds"]))}, path)
        if rate is not None:
            tried = tuple(_tried(each, path) for each in rate["tried"])
            lists = {"seeds": tuple(rate["seeds"]), "grid": tuple(rate["grid"]), "tried": tried}
            rate = files.typed(RateChoice, rate | lists, path)
        return Tuning(content["arm"], files.typed(MadeFor, content["made_for"], path), epochs, rate)


def write(folder: Path, tuning: Tuning) -> None:
    """Write what was found for an arm, atomically."""
    path = _path(folder, tuning.arm)
    files.make_folder(path.parent)
    files.write_json(path, asdict(tuning))


def set_aside(folder: Path, arm: str) -> None:
    """Move what was found for another recipe, data set or model code to `superseded/`, if there is anything."""
    files.set_aside(folder, _path(folder, arm))


def of_experiment(folder: Path, experiment: Experiment) -> dict[str, Tuning]:
    """Read what was found for the arms of an experiment as it is written; what was made for other recipes is left out.

    Raises:
        ConfigError: If a seed of the experiment has served to choose a rate.
    """
    written = experiment.resolve({})
    read_ = {name: read(folder, name) for name, arm in written.arms.items() if arm.to_find}
    tunings = {name: each for name, each in read_.items() if each is not None and each.made_for.is_for(written, name)}
    for name, each in tunings.items():
        reused = set() if each.rate is None else set(each.rate.seeds) & set(experiment.seeds)
        if reused:
            raise ConfigError(
                f"A seed must not choose and be compared, but {min(reused)} chose the rate of `{name}`. Leave it out "
                "of `experiment.seeds`, or choose another folder with --out."
            )
    return tunings


def _tried(content: Mapping[str, Any], path: Path) -> TriedRate:
    return files.typed(TriedRate, {**content, "val_accuracies": tuple(content.get("val_accuracies", ()))}, path)


def _path(folder: Path, arm: str) -> Path:
    return folder / "tuning" / f"{arm}.json"
