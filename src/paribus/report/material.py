"""What a report is made from: the verdicts, and the runs that the store holds, each read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus import arms
from paribus.experiment import Experiment
from paribus.store import Results, Run
from paribus.wording import listed

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Material:
    """A result folder, its verdicts, and the finished and diverged runs of every arm, empty where there is none."""

    results: Results
    verdicts: Mapping[str, Any]
    runs: Mapping[str, tuple[Run, ...]]

    @classmethod
    def gather(cls, results: Results, verdicts: Mapping[str, Any]) -> Material:
        """Read the runs."""
        return cls(results, verdicts, {arm: tuple(results.runs(arm)) for arm in results.experiment.arms})

    @property
    def experiment(self) -> Experiment:
        """The design."""
        return self.results.experiment

    @property
    def all_runs(self) -> tuple[Run, ...]:
        """The runs of all arms."""
        return tuple(run for runs in self.runs.values() for run in runs)

    @property
    def val_is_test(self) -> bool:
        """Whether some run validated on the test set."""
        return any(run.result.val_is_test for run in self.all_runs)

    def arm(self, name: str) -> Mapping[str, Any] | None:
        """Return the verdicts' entry of an arm, or None where no run of it has ended."""
        entry: Mapping[str, Any] = self.verdicts["arms"][name]
        return entry if entry["runs"] else None

    def question(self, identity: str) -> Mapping[str, Any]:
        """Return the verdicts' entry of a question."""
        entry: Mapping[str, Any] = next(each for each in self.verdicts["questions"] if each["id"] == identity)
        return entry

    def checks(self) -> list[Mapping[str, Any]]:
        """Return the checks that fired."""
        return [check for check in self.verdicts["checks"] if check["outcome"] == "fired"]

    def curve(self, run: Run, key: str) -> Floats:
        """Return one figure of the epoch records by epoch, NaN where it is None, accuracies in percent."""
        values = [getattr(record, key) for record in run.epochs]
        curve = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        return 100 * curve if key.endswith("accuracy") else curve

    def val_accuracy(self, arm: str) -> float | None:
        """Return the mean over runs of the kept epoch's validation accuracy, or None without."""
        return arms.val_accuracy(self.runs[arm])


def check_lines(checks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return fired checks in one line each; places that a check says the same of share a line."""
    places: dict[tuple[str, str], list[str]] = {}
    for check in checks:
        places.setdefault((f"{check['code']} ({check['level']})", check["message"]), []).append(check["where"])
    return [f"{code}, {listed(where)}: {message}" for (code, message), where in places.items()]


def missing_runs(material: Material) -> list[str]:
    """Say which runs are not there or failed, arms that lack the same in one line.

    A check speaks of runs that diverged.
    """
    failed, silent = [], []
    lacking: dict[tuple[str, ...], list[str]] = {}
    for arm, runs in material.runs.items():
        there = [run.result.seed for run in runs]
        failures = {seed: text for seed, text in material.results.failures(arm).items() if seed not in there}
        absent = tuple(str(seed) for seed in material.experiment.seeds_of(arm) if seed not in (*there, *failures))
        if not runs and not failures:
            silent.append(arm)
        elif absent:
            lacking.setdefault(absent, []).append(arm)
        failed += [
            f"Arm {arm}, seed {seed} failed: {text.strip().partition(chr(10))[0]}" for seed, text in failures.items()
        ]
    said = [_incomplete(arms, absent) for absent, arms in lacking.items()] + failed
    if silent:
        said.append(f"No run has finished of {listed(silent)}, so nothing is said there.")
    return said


def _incomplete(arms: Sequence[str], absent: Sequence[str]) -> str:
    noun, is_ = ("Arm", "is") if len(arms) == 1 else ("Arms", "are")
    seeds, verb = ("seed", "is") if len(absent) == 1 else ("seeds", "are")
    return f"{noun} {listed(arms)} {is_} not complete: {seeds} {listed(absent)} {verb} missing."
