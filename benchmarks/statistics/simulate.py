"""Measure what verdicts promise, on experiments with known truth: coverage, false differences, equivalence, power.

A run classifies an image right where its ability exceeds the image's difficulty: in probit units
    ability of the arm + seed effect - difficulty shared by all - difficulty for this arm - noise of this run.
Kinds of experiment, by standard deviation of the seed effect, its correlation between arm and control, and standard
deviation of an arm's own difficulty: see `KINDS`. All of it goes through `paribus.stats`, as verdicts do.

Run with: python benchmarks/statistics/simulate.py [--repeats 2000] (about half an hour)
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from scipy.stats import t as student

from paribus.launch import environment
from paribus.stats import LEVEL, POWER, Variances, crossed, equivalence, holm, power_to_find

HERE = Path(__file__).parent
Floats = npt.NDArray[Any]
SHARED = 0.8  # Standard deviation of the difficulty that all runs share; all but the seed effect adds up to variance 1.
COMPARISONS = 7
SLIPS = 0.005  # Of the images that a run gets wrong by itself, where rare kinds are looked at.
FEW_ERRORS = 10  # Below that many wrong answers per run, too few images differ for any normal approximation.


@dataclass(frozen=True)
class Kind:
    """How runs vary: seed effect, its correlation between arm and control, an arm's own difficulties."""

    seed: float
    correlation: float
    own: float


KINDS = {
    "same arm": Kind(0.0, 0.0, 0.0),
    "independent seeds": Kind(0.05, 0.0, 0.2),
    "correlated seeds": Kind(0.1, 0.7, 0.2),
    "very different seeds": Kind(0.3, 0.0, 0.2),
}
SEEDS = (3, 5, 10, 20)
IMAGES = (50, 300, 2000, 10_000)
ACCURACIES = (0.6, 0.9, 0.99, 0.999)


@dataclass(frozen=True)
class Case:
    """One kind of experiment: seeds, test images, true accuracy of the control."""

    seeds: int
    images: int
    accuracy: float
    kind: str

    @property
    def row(self) -> dict[str, Any]:
        return {"seeds": self.seeds, "images": self.images, "accuracy": self.accuracy, "kind": self.kind}

    @property
    def errors(self) -> float:
        """Wrong answers to expect of one run."""
        return self.images * (1 - self.accuracy)


def experiment(rng: np.random.Generator, case: Case, accuracies: list[float]) -> Iterator[Floats]:
    """Yield correctness (seeds, images) of the control and of arms with these true accuracies, on new images."""
    kind, shape = KINDS[case.kind], (case.seeds, case.images)
    difficulty = SHARED * rng.standard_normal(case.images, dtype=np.float32)
    common = rng.standard_normal((case.seeds, 1), dtype=np.float32)
    noise = np.float32(math.sqrt(1 - SHARED**2 - kind.own**2))
    for accuracy in accuracies:
        own = np.float32(kind.own) * rng.standard_normal(case.images, dtype=np.float32)
        seed = math.sqrt(kind.correlation) * common
        seed = seed + math.sqrt(1 - kind.correlation) * rng.standard_normal((case.seeds, 1), dtype=np.float32)
        ability = np.float32(norm.ppf(accuracy) * math.hypot(1, kind.seed)) + np.float32(kind.seed) * seed
        surplus = ability - difficulty - own - noise * rng.standard_normal(shape, dtype=np.float32)
        yield (surplus > 0).astype(np.float64)


def coverage(rng: np.random.Generator, case: Case, repeats: int) -> dict[str, Any]:
    """Share of the intervals that hold the truth, and of experiments in which nothing varied."""
    hits, there = 0, 0
    for _ in range(repeats):
        control, arm = experiment(rng, case, [case.accuracy] * 2)
        ends = crossed(arm, control).ci95
        if ends is not None:
            there += 1
            hits += ends[0] <= 0 <= ends[1]
    return case.row | {"repeats": repeats, "coverage": hits / max(there, 1), "no_interval": 1 - there / repeats}


def false_differences(rng: np.random.Generator, case: Case, repeats: int) -> dict[str, Any]:
    """Share of experiments with any better or worse among equal arms; with Satterthwaite's degrees of freedom too."""
    false, satterthwaite = 0, 0
    for _ in range(repeats):
        control, *arms = experiment(rng, case, [case.accuracy] * (COMPARISONS + 1))
        found = [crossed(arm, control) for arm in arms]
        false += min(holm([1.0 if each.p is None else each.p for each in found])) <= LEVEL
        satterthwaite += min(holm([_satterthwaite(arm - control) for arm in arms])) <= LEVEL
    return case.row | {"repeats": repeats, "any": false / repeats, "any_satterthwaite": satterthwaite / repeats}


def _satterthwaite(d: Floats) -> float:
    """The textbook's p: mean squares as they are, Satterthwaite's degrees of freedom."""
    n, m = d.shape
    rows, columns = d.mean(axis=1, keepdims=True), d.mean(axis=0, keepdims=True)
    seed = m * rows.var(ddof=1)
    example = n * columns.var(ddof=1)
    residual = ((d - rows - columns + d.mean()) ** 2).sum() / ((n - 1) * (m - 1))
    beyond = max(0.0, example - residual)
    if seed + beyond == 0:
        return 1.0
    df = (seed + beyond) ** 2 / (seed**2 / (n - 1) + beyond**2 / (m - 1))
    return float(2 * student.sf(abs(d.mean()) / math.sqrt((seed + beyond) / (n * m)), df))


def false_equivalence(rng: np.random.Generator, case: Case, repeats: int) -> dict[str, Any]:
    """Share of experiments that call arms equivalent whose true difference is the margin, 3 standard errors."""
    margin = min(3 * _standard_error(rng, case), 0.5 * (1 - case.accuracy))
    false = 0
    for _ in range(repeats):
        control, arm = experiment(rng, case, [case.accuracy, case.accuracy + margin])
        found = crossed(arm, control)
        false += found.ci95 is not None and equivalence(found, margin) <= LEVEL
    return case.row | {"repeats": repeats, "margin": margin, "equivalent": false / repeats}


def rare(rng: np.random.Generator, seeds: int, images: int, expected: int, repeats: int) -> dict[str, Any]:
    """Share of intervals that hold the truth, and of false equivalences, where the arm alone gets a rare kind wrong.

    Of so many images, `expected` of that kind are to be expected. Runs are otherwise nearly alike, the hardest case:
    twelve images are wrong in all of them, and each run gets one in 200 of the others wrong by itself. The margin is
    the true difference.
    """
    margin = expected / images * (images - FEW_ERRORS - 2) / images * (1 - SLIPS)
    held, equivalent = 0, 0
    for _ in range(repeats):
        hard = np.arange(images) < FEW_ERRORS + 2
        kind = (rng.random(images) < expected / images) & ~hard
        control, arm = ((rng.random((seeds, images)) >= SLIPS) & ~hard for _ in range(2))
        found = crossed(arm & ~kind, control)
        assert found.ci95 is not None
        held += found.ci95[0] <= -margin <= found.ci95[1]
        equivalent += equivalence(found, margin) <= LEVEL
    row = {"seeds": seeds, "images": images, "expected": expected, "repeats": repeats}
    return row | {"coverage": held / repeats, "equivalent": equivalent / repeats}


def power(rng: np.random.Generator, case: Case, repeats: int) -> dict[str, Any]:
    """Share of experiments that find a true difference of twice the margin, planned for 80 %.

    The difference is the one that `power_to_find` says these seeds and images find with that chance, from variances
    measured on other experiments.
    """
    alpha = LEVEL / COMPARISONS
    variances = _variances(rng, case)
    low, high = 0.0, 1 - case.accuracy
    if power_to_find(high, variances, (case.seeds, case.images), alpha) < POWER:
        return case.row | {"repeats": 0, "difference": None, "found": None}
    for _ in range(30):
        middle = (low + high) / 2
        is_enough = power_to_find(middle, variances, (case.seeds, case.images), alpha) >= POWER
        low, high = (low, middle) if is_enough else (middle, high)
    found = 0
    for _ in range(repeats):
        control, arm = experiment(rng, case, [case.accuracy, case.accuracy + high])
        p = crossed(arm, control).p
        found += p is not None and p <= alpha
    return case.row | {"repeats": repeats, "difference": high, "found": found / repeats}


def _variances(rng: np.random.Generator, case: Case) -> Variances:
    pilot = Case(50, 2000, case.accuracy, case.kind)
    found = [crossed(arm, control) for control, arm in (experiment(rng, pilot, [case.accuracy] * 2) for _ in range(20))]
    return Variances(
        float(np.mean([each.variances.seed for each in found])),
        float(np.mean([each.variances.example for each in found])),
        float(np.mean([each.variances.residual for each in found])),
        of_shares=True,
    )


def _standard_error(rng: np.random.Generator, case: Case) -> float:
    means = []
    for _ in range(200):
        control, arm = experiment(rng, case, [case.accuracy] * 2)
        means.append(arm.mean() - control.mean())
    return float(np.std(means))


def cases(accuracies: tuple[float, ...] = ACCURACIES) -> list[Case]:
    """Every combination, those with too few errors too."""
    return [Case(n, m, a, kind) for n in SEEDS for m in IMAGES for a in accuracies for kind in KINDS]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=2000)
    repeats = parser.parse_args().repeats
    rng = np.random.default_rng(2026)
    plans = {
        "coverage": (coverage, cases(), repeats),
        "differences": (false_differences, [c for c in cases((0.9, 0.99)) if c.images in (300, 2000)], repeats // 2),
        "equivalence": (false_equivalence, [c for c in cases((0.9, 0.99)) if c.images in (300, 2000)], repeats // 2),
        "power": (power, [c for c in cases((0.9, 0.99)) if c.images in (300, 2000)], repeats // 2),
    }
    kinds = [(n, m, expected) for n in SEEDS for m in (100, 300, 2000) for expected in (1, 2, 3)]
    _write("rare", [rare(rng, *design, repeats) for design in kinds])
    for name, (measure, todo, times) in plans.items():
        rows = [measure(rng, case, times if case.images < 10_000 else times // 2) for case in todo]
        _write(name, rows)
        print(name, len(rows), "cases", flush=True)
    (HERE / "simulate.json").write_text(json.dumps(environment.describe("none", 1, 1), indent=1) + "\n")


def _write(name: str, rows: list[dict[str, Any]]) -> None:
    with (HERE / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _short(value) for key, value in row.items()} for row in rows)


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


if __name__ == "__main__":
    main()
