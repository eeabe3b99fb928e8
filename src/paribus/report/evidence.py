"""What a report is made from: the verdicts, and the runs that the store holds, each read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus import arms
from paribus.arms import ArmRuns
from paribus.experiment import Experiment
from paribus.report import words
from paribus.store import Results, Run

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """A result folder and its verdicts. `arms` holds every arm of the experiment, without runs where none is there."""

    results: Results
    verdicts: Mapping[str, Any]
    arms: Mapping[str, ArmRuns]

    @classmethod
    def gather(cls, results: Results, verdicts: Mapping[str, Any]) -> Evidence:
        """Read the finished and diverged runs of every arm."""
        return cls(results, verdicts, arms.load(results))

    def runs(self, arm: str) -> tuple[Run, ...]:
        """Return the finished and diverged runs of an arm."""
        return self.arms[arm].runs

    @property
    def experiment(self) -> Experiment:
        """The design."""
        return self.results.experiment

    @property
    def all_runs(self) -> tuple[Run, ...]:
        """The runs of all arms."""
        return tuple(run for arm in self.arms.values() for run in arm.runs)

    @property
    def digits(self) -> int:
        """How many decimals of a percentage the test set can carry."""
        return words.digits_for(max((run.result.test_examples for run in self.all_runs), default=0))

    @property
    def val_is_test(self) -> bool:
        """Whether some run validated on the test set."""
        return any(run.result.val_is_test for run in self.all_runs)

    def arm(self, name: str) -> Mapping[str, Any] | None:
        """Return the verdicts' entry of an arm, or None where no run of it has ended."""
        entry: Mapping[str, Any] | None = self.verdicts["arms"].get(name)
        return entry if entry and entry["runs"] else None

    def question(self, identity: str) -> Mapping[str, Any]:
        """Return the verdicts' entry of a question, empty where there is none."""
        return next((entry for entry in self.verdicts["questions"] if entry["id"] == identity), {})

    def checks(self) -> list[Mapping[str, Any]]:
        """Return the checks that fired."""
        return [check for check in self.verdicts.get("checks", []) if check["outcome"] == "fired"]

    def curve(self, run: Run, key: str) -> Floats:
        """Return one figure of the epoch records by epoch, NaN where it is None, accuracies in percent."""
        values = [getattr(record, key) for record in run.epochs]
        curve = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        return 100 * curve if key.endswith("accuracy") else curve

    def val_accuracy(self, arm: str) -> float | None:
        """Return the mean over runs of the kept epoch's validation accuracy, or None without."""
        return arms.val_accuracy(self.arms[arm])


def check_lines(checks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return fired checks in one line each; places that a check says the same of share a line."""
    places: dict[tuple[str, str], list[str]] = {}
    for check in checks:
        level = f" ({check['level']})" if check.get("level") else ""
        places.setdefault((f"{check['code']}{level}", check["message"]), []).append(check["where"])
    return [f"{code}, {words.listed(where)}: {message}" for (code, message), where in places.items()]


def missing_runs(evidence: Evidence) -> list[str]:
    """Say of every arm which of its runs are not there or failed; a check speaks of those that diverged."""
    said, silent = [], []
    for arm, found in evidence.arms.items():
        failures = {seed: text for seed, text in evidence.results.failures(arm).items() if seed not in found.seeds}
        absent = [str(seed) for seed in evidence.experiment.seeds if seed not in (*found.seeds, *failures)]
        if not found.runs and not failures:
            silent.append(arm)
        elif absent:
            noun, verb = ("seed", "is") if len(absent) == 1 else ("seeds", "are")
            said.append(f"Arm {arm} is not complete: {noun} {words.listed(absent)} {verb} missing.")
        said += [
            f"Arm {arm}, seed {seed} failed: {text.strip().partition(chr(10))[0]}" for seed, text in failures.items()
        ]
    if silent:
        said.append(f"No run has finished of {words.listed(silent)}, so nothing is said there.")
    return said
