"""Find what the arms of an experiment leave to be found: epochs from measured times, then rates from tuning runs."""

from __future__ import annotations

from dataclasses import replace

from paribus import tuning
from paribus.config import EPOCHS, RATE
from paribus.errors import RunError
from paribus.experiment import CONTROL, Arm
from paribus.launch import equal_seconds
from paribus.launch.launcher import Pack
from paribus.launch.packs import Supplies, Trainer
from paribus.store import MadeFor, Results, TriedRate, Tuning


def find_epochs(supplies: Supplies, trainer: Trainer) -> None:
    """Find the epochs that fit in equal seconds, with nothing else going on, and keep them in the result folder.

    What was found for another recipe, data set or model code is set aside first, rates too; epochs that other engines
    were timed for as well. An arm that cannot be timed stays without, and `trainer.failed` says why.
    """
    results = trainer.results
    for name, arm in results.experiment.resolve({}).arms.items():
        known = results.tunings.get(name)
        if arm.to_find and (known is None or not _holds(known, results, supplies, name)):
            results.set_tuning_aside(name)
    for name in [name for name, arm in results.experiment.arms.items() if EPOCHS in arm.recipe.unfound]:
        control, own = _timing_packs(results, supplies, name)
        try:
            choice = equal_seconds.choose(control, own, results.experiment.control.train.epochs)
        except RunError as error:
            trainer.lose(name, str(error))
        else:
            results.write_tuning(Tuning(name, _made_for(results, supplies, name), epochs=choice))


def find_rates(supplies: Supplies, trainer: Trainer) -> None:
    """Find every rate that is still to be found, once epochs are, and keep it, so that it stays as it is.

    An arm with a tuning run that fails stays without its rate, and `trainer.failed` says why.
    """
    results = trainer.results
    searches = [_Search(arm, results, supplies) for arm in results.experiment.arms.values() if _can_be_searched(arm)]
    while searches:
        trainer.train([pack for search in searches for pack in search.packs()])
        lost = {failure.arm for failure in trainer.failed}
        searches = [search for search in searches if search.name not in lost and not search.has_chosen()]


def grid_packs(arm: Arm, results: Results, supplies: Supplies) -> list[Pack]:
    """Return the tuning runs that an arm's search begins with; its epochs must be known."""
    return _Search(arm, results, supplies).packs()


def needs_rate(arm: Arm) -> bool:
    """Whether an arm's learning rate is still to be found."""
    return RATE in arm.recipe.unfound


def _can_be_searched(arm: Arm) -> bool:
    return needs_rate(arm) and EPOCHS not in arm.recipe.unfound


class _Search:
    """The search for one arm's rate, as far as it has come."""

    def __init__(self, arm: Arm, results: Results, supplies: Supplies) -> None:
        self.name, self.recipe = arm.name, arm.recipe
        self.results, self.supplies = results, supplies
        self.seeds = tuning.seeds(results.experiment)
        self.center = tuning.center(arm, results.experiment.control)
        self.tried: dict[int, TriedRate] = {}

    def packs(self) -> list[Pack]:
        return [pack for step in tuning.wanted(self.tried) for pack in self._packs_at(step)]

    def _packs_at(self, step: int) -> list[Pack]:
        recipe = self.recipe.with_factors({RATE: tuning.rate(self.center, step)})
        return [self.supplies.pack(self.name, recipe, seed, is_tuning=True) for seed in self.seeds]

    def has_chosen(self) -> bool:
        """Take note of the runs that `packs` asked for; keep the choice once there is nothing more to try."""
        for step in tuning.wanted(self.tried):
            runs = [self.results.tuning_run(pack.specs[0]) for pack in self._packs_at(step)]
            self.tried[step] = tuning.summarise(tuning.rate(self.center, step), runs)
        if tuning.wanted(self.tried):
            return False
        (spec,) = self._packs_at(0)[0].specs
        choice = tuning.choose(self.center, self.tried, self.seeds, spec.engine)
        made_for = _made_for(self.results, self.supplies, self.name)
        known = self.results.tunings.get(self.name, Tuning(self.name, made_for))
        self.results.write_tuning(replace(known, rate=choice))
        return True


def _holds(known: Tuning, results: Results, supplies: Supplies, name: str) -> bool:
    """Whether what was found for an arm is found for all that it is today."""
    if known.made_for != _made_for(results, supplies, name):
        return False
    if known.epochs is None:
        return True
    engines = [pack.specs[0].engine for pack in _timing_packs(results, supplies, name)]
    timed = [known.epochs.engine, known.epochs.arm_engine or engines[1]]  # Records of old lack the arm's.
    return timed == engines


def _timing_packs(results: Results, supplies: Supplies, name: str) -> tuple[Pack, Pack]:
    """Return a run of the control and one of an arm, to be timed beside each other."""
    arms = results.experiment.arms
    return (
        supplies.pack(CONTROL, equal_seconds.for_timing(arms[CONTROL].recipe), 0, is_tuning=True),
        supplies.pack(name, equal_seconds.for_timing(arms[name].recipe), 0, is_tuning=True),
    )


def _made_for(results: Results, supplies: Supplies, name: str) -> MadeFor:
    from paribus.models import model_code_digest

    arms = results.experiment.resolve({}).arms
    recipe, control = arms[name].recipe, arms[CONTROL].recipe
    return MadeFor(
        recipe=recipe.identity(),
        control=control.identity(),
        data_fingerprint=supplies.data_of(recipe).fingerprint,
        model_code=model_code_digest(recipe.model),
        control_model_code=model_code_digest(control.model),
    )
