"""Learning-rate range tests, as `ranges/<arm>.json` keeps them: the loss of one short training by its growing rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paribus.config import RATE, Recipe
from paribus.experiment import Experiment
from paribus.store import files


@dataclass(frozen=True)
class RangeTest:
    """`ranges/<arm>.json`: the training loss of single batches (nats) as the rate grows, step by step.

    `planned` are all the rates, `losses` those of the batches before each update, until the loss was lost or not
    finite; `smoothed` are theirs. `falls_from` is the rate from which on the smoothed loss falls, `steepest` that at
    which it falls most, both None without a clear fall; `diverges_at` is the last rate, None where the test went
    through all of them. `recipe` is the arm's at the first rate, `seed` one that the experiment does not use, `digest`
    what `RunSpec` makes of both.
    """

    arm: str
    digest: str
    recipe: Mapping[str, Any]
    seed: int
    planned: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    falls_from: float | None
    steepest: float | None
    diverges_at: float | None

    @property
    def rates(self) -> tuple[float, ...]:
        """The rates that have a loss."""
        return self.planned[: len(self.losses)]

    def is_for(self, recipe: Recipe) -> bool:
        """Whether it was made with a recipe, at whatever rate that has."""
        if recipe.is_solved:
            return False
        return self.recipe == recipe.with_factors({RATE: self.planned[0]}).identity()

    @classmethod
    def from_json(cls, content: Mapping[str, Any], path: Path) -> RangeTest:
        """Return what `asdict` and JSON made of one; `path` is named where the keys are not these.

        Raises:
            StoreError: If they are not.
        """
        lists = {key: tuple(content[key]) for key in ("planned", "losses", "smoothed")}
        return files.typed(cls, {**content, **lists}, path)


def read(folder: Path, arm: str) -> RangeTest | None:
    """Read an arm's range test, None without.

    Raises:
        StoreError: If the file is damaged or of another version.
    """
    path = _path(folder, arm)
    if not path.exists():
        return None
    content = files.read_json(path)
    with files.reading(path):
        return RangeTest.from_json(content, path)


def write(folder: Path, test: RangeTest) -> None:
    """Write an arm's range test, atomically; one that is there and was made for something else is kept aside."""
    path = _path(folder, test.arm)
    files.make_folder(path.parent)
    files.set_aside(folder, path)
    files.write_json(path, asdict(test))


def of_experiment(folder: Path, experiment: Experiment) -> dict[str, RangeTest]:
    """Read the range tests of an experiment's arms by arm; what was made for other recipes is left out."""
    found = {name: read(folder, name) for name in experiment.arms}
    return {
        name: each for name, each in found.items() if each is not None and each.is_for(experiment.arms[name].recipe)
    }


def _path(folder: Path, arm: str) -> Path:
    return folder / "ranges" / f"{arm}.json"
