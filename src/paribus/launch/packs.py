"""From an arm and a seed to a pack, and from packs to trained runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paribus import data, engines
from paribus.config import Recipe
from paribus.errors import ConfigError
from paribus.experiment import Experiment, RunSpec
from paribus.launch.launcher import Pack, RunDone, RunFailed
from paribus.launch.local import LocalLauncher
from paribus.launch.progress import display
from paribus.store import Results


@dataclass(frozen=True)
class Supplies:
    """What runs need besides their recipes: the prepared data sets, and which engine was asked for."""

    prepared: Mapping[str, data.Prepared]
    engine: str

    @classmethod
    def gather(cls, experiment: Experiment, data_dir: Path | None, engine: str, *, download: bool = True) -> Supplies:
        """Prepare the data of every arm; sets that are prepared already are taken as they are.

        Raises:
            DataError: If a data set is missing or damaged.
            ConfigError: If an arm changes the colours of grey images.
        """
        configs = {arm.recipe.data.images_key: arm.recipe.data for arm in experiment.arms.values()}
        prepared = {
            key: data.prepare(config, data_dir, download=download, in_experiment=True)
            for key, config in configs.items()
        }
        require_colours(experiment, {key: each.folder for key, each in prepared.items()})
        return cls(prepared, engine)

    def data_of(self, recipe: Recipe) -> data.Prepared:
        """Return the prepared data set of a recipe."""
        return self.prepared[recipe.data.images_key]

    def engine_of(self, recipe: Recipe) -> engines.Choice:
        """Return which engine trains a recipe, and why.

        Raises:
            ConfigError: If the engine that is asked for cannot.
        """
        dataset = data.load_prepared(self.data_of(recipe).folder)
        return engines.choose(recipe, dataset.image_shape, dataset.num_classes, self.engine)

    def pack(self, arm: str, recipe: Recipe, seed: int, *, is_tuning: bool = False) -> Pack:
        """Return one run as a pack of its own."""
        from paribus.models import model_code_digest

        entry, prepared = self.engine_of(recipe).entry, self.data_of(recipe)
        code = model_code_digest(recipe.model)
        spec = RunSpec(arm, seed, recipe, prepared.fingerprint, entry.identity_of(recipe), code, is_tuning)
        return Pack((spec,), entry.name, prepared.folder)


def require_colours(experiment: Experiment, folders: Mapping[str, Path]) -> None:
    """Refuse arms that change the colours of grey images.

    Args:
        experiment: The design.
        folders: Prepared data sets by `DataConfig.images_key`, as far as there are any.

    Raises:
        ConfigError: With the first such arm.
    """
    for name, arm in experiment.arms.items():
        asked = [key for key in ("saturation", "hue") if getattr(arm.recipe.augment, key)]
        folder = folders.get(arm.recipe.data.images_key)
        if asked and folder is not None and data.load_prepared(folder).image_shape[0] == 1:
            raise ConfigError(
                f"`augment.{asked[0]}` needs images in colour, but those of `{arm.recipe.data.name}`, with which the "
                f"arm `{name}` is trained, are grey. Take it out; brightness and contrast can be changed."
            )


@dataclass(frozen=True)
class Failure:
    """What failed of an arm: `label` names it in words, and `file`, where there is one, says all."""

    arm: str
    label: str
    message: str
    file: Path | None = None


class Trainer:
    """Trains packs with a launcher into a result folder, shows how far it is, and keeps count of what failed.

    `note` is told of each run of which the store has something new. `ended` counts runs that did, tuning runs not among
    them, and `made` has the digests of all of which something was stored. The first that is launched begins a session
    of the result folder, made on `environment`, and `has_begun` says so.
    """

    def __init__(
        self,
        launcher: LocalLauncher,
        results: Results,
        note: Callable[[RunSpec], None],
        environment: Mapping[str, Any],
    ) -> None:
        self.launcher, self.results, self.note, self.environment = launcher, results, note, environment
        self.launched = self.ended = 0
        self.made: set[str] = set()
        self.has_begun = False
        self.failed: list[Failure] = []

    def lose(self, arm: str, message: str) -> None:
        """Count an arm as failed of which no run could even be launched."""
        self.launched += 1
        self.failed.append(Failure(arm, arm, message))

    def train(self, packs: Sequence[Pack], *, one_first: bool = False) -> None:
        """Train those of the packs that are not finished; what belongs to other recipes is set aside first.

        `one_first` is as in `LocalLauncher.launch`.
        """
        open_ = missing(self.results, packs)
        specs = [spec for pack in open_ for spec in pack.specs]
        if not specs:
            return
        for spec in specs:
            self.results.set_aside(spec)  # All at once, so that a report never mixes old runs of an arm with new ones.
        if not self.has_begun:
            self.results.begin_session(self.environment)
            self.has_begun = True
        self.launched += len(open_)
        shown = display(specs, min(self.launcher.workers, len(open_)))
        try:
            for news in self.launcher.launch(open_, self.results, one_first=one_first):
                shown.show(news)
                self.note(news.spec)
                if isinstance(news, RunFailed):
                    file = self.results.folder_of(news.spec) / "failure.txt"
                    self.failed.append(Failure(news.spec.arm, news.spec.label, news.message, file))
                else:
                    self.made.add(news.spec.digest)
                self.ended += isinstance(news, RunDone) and not news.spec.is_tuning
        finally:
            shown.close()


def missing(results: Results, packs: Sequence[Pack]) -> list[Pack]:
    """Return the packs with a run that is not finished."""
    return [pack for pack in packs if any(results.state(spec) != "finished" for spec in pack.specs)]
