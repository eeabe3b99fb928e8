"""Conduct an experiment: from the file to trained runs, verdicts and the report."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paribus import checks, data, engines, verdicts
from paribus.errors import DataError, RunError
from paribus.experiment import Arm, Experiment, RunSpec
from paribus.facts import Facts
from paribus.launch import environment
from paribus.launch.launcher import Pack, RunFailed
from paribus.launch.local import THREADS_PER_RUN, LocalLauncher
from paribus.launch.progress import display, warn
from paribus.launch.survey_process import data_key, survey_apart
from paribus.store import Results, TestSet


@dataclass(frozen=True)
class RunOptions:
    """Where and how to run: `out` None means ``results/<name>``, `workers` None as many as there are cores."""

    out: Path | None = None
    data_dir: Path | None = None
    workers: int | None = None
    engine: str = "auto"

    def folder(self, experiment: Experiment) -> Path:
        """Return the result folder of an experiment."""
        return self.out if self.out is not None else Path("results") / experiment.name


@dataclass(frozen=True)
class PlannedArm:
    """What is ahead for one arm."""

    name: str
    engine: str
    runs: int
    missing: int
    epochs: int
    seconds_per_run: float


@dataclass(frozen=True)
class Plan:
    """What `run` would do; `seconds` is the expected wall time of the missing runs."""

    arms: list[PlannedArm]
    workers: int
    seconds: float
    findings: list[checks.Finding]


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
    """
    launcher = LocalLauncher(options.workers)
    names = sorted({engines.choose(arm.recipe, options.engine).identity for arm in experiment.arms.values()})
    results = Results(options.folder(experiment), experiment)
    with results.lock(), contextlib.closing(launcher):
        launcher.start(results.count_unfinished())
        prepared = _prepare(experiment, options.data_dir)
        _require_splits(experiment, prepared)
        about = environment.describe(", ".join(names), launcher.workers, THREADS_PER_RUN)
        results = Results.create(results.folder, experiment, about)
        _keep_test_sets(results, prepared)
        packs = _missing(results, _packs(experiment, prepared, options.engine))
        for spec in (spec for pack in packs for spec in pack.specs):
            results.set_aside(spec)  # All at once, so that a report never mixes old runs of an arm with new ones.
        if packs or results.facts() is None:
            results.write_facts(_survey(experiment, prepared))
        failed = _train(launcher, packs, results)
        rebuild(results)
    if failed:
        first = failed[0]
        raise RunError(
            f"Every run must end, but {len(failed)} of {len(packs)} failed. The first is {first.spec.arm}, seed "
            f"{first.spec.seed}: {first.message.strip()}\nThe other runs are kept and reported in `{results.folder}`, "
            f"`runs/{first.spec.arm}/{first.spec.seed}/failure.txt` there says all. Mend the cause and run the same "
            "command again."
        )
    return results


def plan(experiment: Experiment, options: RunOptions = RunOptions()) -> Plan:
    """Tell what `run` would do, without training: runs, engines, expected time, checks on the design.

    The time comes from finished runs of the same result folder where there are any, else from a short trial of each
    kind of run on this machine.
    """
    from paribus.launch.trial import seconds_per_epoch

    launcher = LocalLauncher(options.workers)
    prepared = _prepare(experiment, options.data_dir)
    results = Results(options.folder(experiment), experiment)
    packs = _packs(experiment, prepared, options.engine)
    missing = {(spec.arm, spec.seed) for pack in _missing(results, packs) for spec in pack.specs}
    arms = []
    measured: dict[str, float] = {}
    for arm in experiment.arms.values():
        seconds = [each.result.seconds for each in results.runs(arm.name)]
        folder = prepared[data_key(arm.recipe.data)].folder
        per_run = (
            sum(seconds) / len(seconds)
            if seconds
            else seconds_per_epoch(arm.recipe, data.load_prepared(folder), measured) * arm.recipe.train.epochs
        )
        count = sum((arm.name, seed) in missing for seed in experiment.seeds)
        engine = engines.choose(arm.recipe, options.engine).identity
        arms.append(PlannedArm(arm.name, engine, len(experiment.seeds), count, arm.recipe.train.epochs, per_run))
    work = sum(arm.missing * arm.seconds_per_run for arm in arms)
    longest = max((arm.seconds_per_run for arm in arms if arm.missing), default=0.0)
    return Plan(arms, launcher.workers, max(work / launcher.workers, longest), checks.design(experiment))


def look(experiment: Experiment, data_dir: Path | None = None) -> Facts:
    """Measure what checks need, without training and without a result folder.

    Data sets that are not on this machine are not downloaded, but named among what could not be looked at.

    Raises:
        DataError: If `data_dir` is no folder.
    """
    data.search_folders(data_dir)
    folders, refusals = {}, {}
    for config in (arm.recipe.data for arm in experiment.arms.values()):
        try:
            folders[data_key(config)] = data.prepare(config, data_dir, download=False).folder
        except DataError as error:
            refusals[data_key(config)] = str(error)
    return survey_apart(experiment, folders, refusals)


def rebuild(results: Results) -> dict[str, Any]:
    """Write verdicts.json, report.md and report.html from what the store holds; return the verdicts."""
    from paribus.report import write_report

    content = verdicts.compute(results)
    results.write_json("verdicts.json", content)
    write_report(results, content)
    return content


def _prepare(experiment: Experiment, data_dir: Path | None) -> dict[str, data.Prepared]:
    configs = {data_key(arm.recipe.data): arm.recipe.data for arm in experiment.arms.values()}
    return {key: data.prepare(config, data_dir) for key, config in configs.items()}


def _require_splits(experiment: Experiment, prepared: dict[str, data.Prepared]) -> None:
    """Draw one split of each kind, so that impossible ones are refused before anything is trained."""
    for config in {arm.recipe.data for arm in experiment.arms.values()}:
        data.draw(data.load_prepared(prepared[data_key(config)].folder), config, experiment.seeds[0])


def _survey(experiment: Experiment, prepared: dict[str, data.Prepared]) -> Facts:
    """Measure data and networks, and say on stderr what checks find in them: nothing is trained yet."""
    facts = survey_apart(experiment, {key: each.folder for key, each in prepared.items()}, {})
    warn(checks.measured(experiment, facts), facts.unseen)
    return facts


def _keep_test_sets(results: Results, prepared: dict[str, data.Prepared]) -> None:
    for each in prepared.values():
        dataset = data.load_prepared(each.folder)
        test = TestSet(dataset.test.images, dataset.test.labels, dataset.class_names, dataset.name)
        results.write_test_set(each.fingerprint, test)


def _packs(experiment: Experiment, prepared: dict[str, data.Prepared], engine: str) -> list[Pack]:
    """Return one pack per run: seed by seed, the longest runs of a seed first, so that no core is idle at the end."""
    packs = []
    for seed in experiment.seeds:
        for arm in sorted(experiment.arms.values(), key=lambda arm: -arm.recipe.train.epochs):
            packs.append(_pack(arm, seed, prepared[data_key(arm.recipe.data)], engine))
    return packs


def _pack(arm: Arm, seed: int, prepared: data.Prepared, engine: str) -> Pack:
    from paribus.models import model_code_digest

    entry = engines.choose(arm.recipe, engine)
    code = model_code_digest(arm.recipe.model)
    spec = RunSpec(arm.name, seed, arm.recipe, prepared.fingerprint, entry.identity, code)
    return Pack((spec,), entry.name, prepared.folder)


def _missing(results: Results, packs: Sequence[Pack]) -> list[Pack]:
    return [pack for pack in packs if any(results.state(spec) != "finished" for spec in pack.specs)]


def _train(launcher: LocalLauncher, packs: Sequence[Pack], results: Results) -> list[RunFailed]:
    if not packs:
        return []
    specs = [spec for pack in packs for spec in pack.specs]
    shown = display(specs, min(launcher.workers, len(packs)))
    failed = []
    try:
        for news in launcher.launch(packs, results):
            shown.show(news)
            if isinstance(news, RunFailed):
                failed.append(news)
    finally:
        shown.close()
    return failed
