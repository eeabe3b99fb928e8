"""Conduct an experiment: from the file to trained runs, verdicts and the report."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from paribus import arms as stored_arms
from paribus import checks, data, engines, power, processes, track, tuning, verdicts
from paribus.config import EPOCHS, Recipe
from paribus.engines.native import build
from paribus.errors import DataError, RunError
from paribus.experiment import CONTROL, Arm, Experiment, RunSpec
from paribus.facts import Facts, looked_at
from paribus.launch import ahead, environment, tune
from paribus.launch.launcher import Pack
from paribus.launch.local import LocalLauncher
from paribus.launch.packs import Supplies, Trainer, missing, require_colours
from paribus.launch.planned import Plan, PlannedArm
from paribus.launch.progress import say, warn
from paribus.launch.range_process import make_range_tests
from paribus.launch.survey_process import SurveyProcess, survey_apart
from paribus.launch.trial_process import seconds_per_epoch
from paribus.store import Results, TestSet
from paribus.track.tracker import following
from paribus.wording import count


@dataclass(frozen=True)
class RunOptions:
    """Where and how to run: `out` None means ``results/<name>``, `workers` None as many as there are cores.

    `log` names sinks that are brought every epoch: keys of `paribus.track.SINKS`.
    """

    out: Path | None = None
    data_dir: Path | None = None
    workers: int | None = None
    engine: str = "auto"
    log: tuple[str, ...] = ()

    def folder(self, experiment: Experiment) -> Path:
        """Return the result folder of an experiment."""
        return self.out if self.out is not None else Path("results") / experiment.name


def run(experiment: Experiment, options: RunOptions = RunOptions()) -> Results:
    """Train what is missing, then write verdicts and report.

    Progress goes to stderr. An interrupted experiment goes on from the last whole epoch of each run.

    Args:
        experiment: What to run.
        options: Where and how.

    Returns:
        The result folder, whole.

    Raises:
        ConfigError, DataError: If the experiment does not fit its data, before anything is trained.
        StoreError: If the folder is locked by another process or cannot be written.
        RunError: After everything else is done and reported, if a run failed.
        TrackError: If a sink cannot be opened, before anything is trained; or at the end, if one failed on the way.
    """
    began = time.monotonic()
    launcher = LocalLauncher(options.workers, partial(ahead.modules, experiment))
    engines.require_known(options.engine)
    track.require_known(options.log)
    results = Results(options.folder(experiment), experiment)
    with results.lock(), contextlib.closing(launcher):
        one_first = ahead.lacks_features(experiment)
        if not any(EPOCHS in arm.recipe.unfound for arm in results.experiment.arms.values()):
            # Else epochs are timed first, beside nothing else.
            launcher.start(results.count_unfinished())
        supplies = Supplies.gather(experiment, options.data_dir, options.engine)
        _require_splits(experiment, supplies)
        names = _engines_of(experiment, supplies)
        about = environment.describe(", ".join(names), launcher.workers, processes.THREADS)
        about |= _left_out(supplies)
        # What is there stays that of its runs until the first of this call begins.
        results = Results.create(results.folder, experiment, None if results.has_environment() else about)
        _keep_test_sets(results, supplies)
        processes.import_beside(ahead.REPORT)
        with (
            following(results, options.log) as tracker,
            _timed(Trainer(launcher, results, tracker.note, about), began) as trainer,
        ):
            tune.find_epochs(supplies, trainer)
            with _surveying(results, supplies):
                tune.find_rates(supplies, trainer)
                make_range_tests(results, supplies)
                trainer.train(_packs(results.experiment, supplies), one_first=one_first)
            tracker.finish(_report(results))
    if trainer.failed:
        _raise_failed(trainer)
    tracker.require_whole()
    return results


def plan(experiment: Experiment, options: RunOptions = RunOptions()) -> Plan:
    """Tell what `run` would do, without training: runs, engines, expected time, checks on the design.

    The time comes from finished runs of the same result folder where there are any, else from a short trial of each
    kind of run on this machine.
    """
    launcher = LocalLauncher(options.workers)
    supplies = Supplies.gather(experiment, options.data_dir, options.engine)
    results = Results(options.folder(experiment), experiment)
    experiment = results.experiment
    lacking = {(spec.arm, spec.seed) for pack in missing(results, _packs(experiment, supplies)) for spec in pack.specs}
    per_run = _seconds_per_run(results, supplies)
    tuned = [_planned_tuning(arm, results, supplies, per_run[arm.name]) for arm in experiment.arms.values()]
    arms = []
    for arm in experiment.arms.values():
        known = not arm.recipe.unfound
        seeds = experiment.seeds_of(arm.name)
        count = sum(not known or (arm.name, seed) in lacking for seed in seeds)
        engine = supplies.engine_of(arm.recipe)
        epochs = None if EPOCHS in arm.recipe.unfound else arm.recipe.train.epochs
        arms.append(
            PlannedArm(arm.name, engine.entry.identity, len(seeds), count, epochs, per_run[arm.name], engine.reason)
        )
    searches = [each for each in tuned if each is not None]
    untried = [each for each in arms if _shares_features(experiment.arms[each.name]) and not results.runs(each.name)]
    alone = [each.missing * each.seconds_per_run for each in untried]
    seconds = _wall_seconds(searches, launcher.workers) + max(_wall_seconds(arms, launcher.workers), *alone, 0.0)
    images = len(data.load_prepared(supplies.data_of(experiment.control).folder).test.labels)
    detectable = power.detectable(experiment, images, stored_arms.load(results))
    return Plan(arms, launcher.workers, seconds, checks.design(experiment), detectable, searches)


def _seconds_per_run(results: Results, supplies: Supplies) -> dict[str, float]:
    """Return the expected seconds of one run of each arm; one whose epochs are to be found takes the control's."""
    arms = results.experiment.arms
    seconds = {name: [run.result.seconds for run in results.runs(name)] for name in arms}
    expected = {name: sum(each) / len(each) for name, each in seconds.items() if each}
    tried = [arm for name, arm in arms.items() if name not in expected and EPOCHS not in arm.recipe.unfound]
    per_epoch = seconds_per_epoch({arm.name: _trial(arm, supplies) for arm in tried})
    for arm in tried:
        share = len(results.experiment.seeds_of(arm.name)) if _shares_features(arm) else 1
        expected[arm.name] = per_epoch[arm.name] * arm.recipe.train.epochs / share
    return {name: expected.get(name, expected[CONTROL]) for name in arms}


def _trial(arm: Arm, supplies: Supplies) -> Pack:
    prepared, engine = supplies.data_of(arm.recipe), supplies.engine_of(arm.recipe).entry
    recipe = Recipe.parse(arm.recipe.model_dump())  # What is still to be found stands at the control's.
    spec = RunSpec(arm.name, 0, recipe, prepared.fingerprint, engine.identity_of(recipe))
    return Pack((spec,), engine.name, prepared.folder)


def _shares_features(arm: Arm) -> bool:
    """Whether all runs of an arm read the same features, which one process computes once."""
    return arm.recipe.is_solved and not arm.recipe.has_own_views


def _planned_tuning(arm: Arm, results: Results, supplies: Supplies, seconds_per_run: float) -> PlannedArm | None:
    """Return the tuning runs that an arm's search begins with, None where nothing is to be tuned."""
    if not tune.needs_rate(arm):
        return None
    engine, runs = supplies.engine_of(arm.recipe).entry.identity, len(tuning.GRID) * tuning.SEEDS
    if EPOCHS in arm.recipe.unfound:
        return PlannedArm(arm.name, engine, runs, runs, None, seconds_per_run)
    lacking = len(missing(results, tune.grid_packs(arm, results, supplies)))
    return PlannedArm(arm.name, engine, runs, lacking, arm.recipe.train.epochs, seconds_per_run)


def _wall_seconds(arms: Sequence[PlannedArm], workers: int) -> float:
    work = sum(arm.missing * arm.seconds_per_run for arm in arms)
    longest = max((arm.seconds_per_run for arm in arms if arm.missing), default=0.0)
    return max(work / workers, longest)


def look(experiment: Experiment, data_dir: Path | None = None) -> Facts:
    """Measure what checks need, without training and without a result folder.

    Data sets that are not on this machine are not downloaded, but named among what could not be looked at.

    Raises:
        DataError: If `data_dir` is no folder.
        ConfigError: If an arm changes the colours of grey images.
    """
    data.search_folders(data_dir)
    folders, refusals = {}, {}
    for config in (arm.recipe.data for arm in experiment.arms.values()):
        try:
            prepared = data.prepare(config, data_dir, download=False, in_experiment=True)
            folders[config.images_key] = prepared.folder
        except DataError as error:
            refusals[config.images_key] = str(error)
    require_colours(experiment, folders)
    return survey_apart(experiment, folders, refusals)


def rebuild(results: Results) -> dict[str, Any]:
    """Write verdicts.json, report.md and report.html from what the store holds; return the verdicts.

    Raises:
        StoreError: If a file is damaged, or verdicts are all that is left of runs that are gone.
    """
    results.require_runs()
    return _report(results)


def is_done(experiment: Experiment, options: RunOptions = RunOptions()) -> bool:
    """Whether `run` would find every run there, of this recipe, data set, engine and model code; nothing is downloaded.

    Raises:
        DataError, WeightsError: If data or weights are not on this machine, so that nobody can tell.
    """
    supplies = Supplies.gather(experiment, options.data_dir, options.engine, download=False)
    return not _lacks_runs(Results(options.folder(experiment), experiment), supplies)


def _report(results: Results) -> dict[str, Any]:
    from paribus.report import write_report

    content = verdicts.compute(results)
    results.write_json("verdicts.json", content)
    write_report(results, content)
    return content


def _raise_failed(trainer: Trainer) -> NoReturn:
    first, folder = trainer.failed[0], trainer.results.folder
    is_told = first.file is not None and first.file.exists()
    where = f", `{first.file.relative_to(folder)}` there says all" if first.file and is_told else ""
    raise RunError(
        f"Every run must end, but {len(trainer.failed)} of {trainer.launched} failed. The first is "
        f"{first.label}: {first.message.strip()}\nThe other runs are kept and reported in `{folder}`{where}. Mend "
        "the cause and run the same command again."
    )


def _engines_of(experiment: Experiment, supplies: Supplies) -> list[str]:
    """Return the engines that will train, and say once if there are no kernels where they could have served."""
    chosen = [supplies.engine_of(arm.recipe) for arm in experiment.arms.values()]
    missing_kernels = build.missing()
    if missing_kernels and any(missing_kernels in each.reason for each in chosen):
        say(f"The torch engine trains; the native one, which is faster, cannot, as {missing_kernels}.")
    return sorted({each.entry.identity for each in chosen})


def _left_out(supplies: Supplies) -> dict[str, dict[str, str]]:
    """Say which image files were left out by wish, and return why by path for environment.json."""
    skipped: dict[str, str] = {}
    for prepared in supplies.prepared.values():
        found = data.load_prepared(prepared.folder).skipped
        skipped |= {f"{prepared.name}/{path}": reason for path, reason in found.items()}
    if not skipped:
        return {}
    first, reason = next(iter(skipped.items()))
    say(f"{count(len(skipped), 'file')} left out, as `data.skip_unreadable` asks; the first is `{first}`: {reason}.")
    return {"left_out": skipped}


def _require_splits(experiment: Experiment, supplies: Supplies) -> None:
    """Draw one split of each kind, so that impossible ones are refused before anything is trained."""
    for recipe in {arm.recipe.data: arm.recipe for arm in experiment.arms.values()}.values():
        data.draw(data.load_prepared(supplies.data_of(recipe).folder), recipe.data, experiment.seeds[0])


@contextlib.contextmanager
def _timed(trainer: Trainer, began: float) -> Iterator[Trainer]:
    """Keep how long this call has worked, however it ends, if it trained anything."""
    try:
        yield trainer
    finally:
        if trainer.has_begun:
            trainer.results.end_session(time.monotonic() - began, trainer.ended, trainer.made)


@contextlib.contextmanager
def _surveying(results: Results, supplies: Supplies) -> Iterator[None]:
    """Measure data and networks beside the first runs, and say what checks find in them.

    Training does not wait for it: on a large data set it takes seconds. What it finds is in the folder at the end.
    Where no run is to come and everything has been looked at, nothing is measured anew.
    """
    experiment, known = results.experiment, results.facts()
    is_known = known is not None and not (known.unseen or known.broken) and known.of == looked_at(experiment)
    if is_known and not _lacks_runs(results, supplies):
        yield
        return
    process = SurveyProcess(experiment, {key: each.folder for key, each in supplies.prepared.items()}, {})

    def look_and_tell() -> None:
        facts = process.facts()
        results.write_facts(facts)
        warn(checks.measured(experiment, facts), facts.unseen)

    # Whatever ends the runs ends the process first, so that nothing waits for it.
    with futures.ThreadPoolExecutor(1) as pool, contextlib.closing(process):
        told = pool.submit(look_and_tell)
        yield
        told.result()


def _lacks_runs(results: Results, supplies: Supplies) -> bool:
    experiment = results.experiment
    is_found = not any(arm.recipe.unfound for arm in experiment.arms.values())
    return not is_found or bool(missing(results, _packs(experiment, supplies)))


def _keep_test_sets(results: Results, supplies: Supplies) -> None:
    for each in supplies.prepared.values():
        dataset = data.load_prepared(each.folder)
        test = TestSet(dataset.test.images, dataset.test.labels, dataset.class_names, dataset.name)
        results.write_test_set(each.fingerprint, test)


def _packs(experiment: Experiment, supplies: Supplies) -> list[Pack]:
    """Return one pack per run: seed by seed, the longest runs of a seed first, so that no core is idle at the end.

    An arm whose values could not be found has none.
    """
    found = [arm for arm in experiment.arms.values() if not arm.recipe.unfound]
    longest_first = sorted(found, key=lambda arm: -arm.recipe.train.epochs)
    return [
        supplies.pack(arm.name, arm.recipe, seed)
        for seed in experiment.seeds
        for arm in longest_first
        if seed in experiment.seeds_of(arm.name)
    ]
