"""Which learning rates are tried for an arm, and which of them is chosen on val; no training, no test set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from paribus.arms import val_figures
from paribus.config import Recipe
from paribus.errors import ConfigError
from paribus.experiment import Arm, Experiment
from paribus.store import RateChoice, TriedRate, TuningRun

GRID = (-2, -1, 0, 1, 2)
"""The steps of half a decade around the centre that every search begins with."""
MOST_EXTENSIONS = 8
SEEDS = 3
FIRST_SEED = 10_000
USUAL_RATES = {"sgd": 0.01, "adam": 0.001, "adamw": 0.001, "rmsprop": 0.001, "adagrad": 0.01}
"""Around which a rate is searched for where the control has none."""


def center(arm: Arm, control: Recipe) -> float:
    """Return the rate around which an arm's is searched: the control's, or where that is solved for and has none the
    usual one of the arm's optimiser.
    """
    return USUAL_RATES[arm.recipe.optim.name] if control.is_solved else control.optim.lr


def rate(center: float, step: int) -> float:
    """Return the rate that lies `step` half decades from a rate, in the style of 0.01, 0.03, 0.1, 0.3, 1."""
    if step == 0:
        return center
    decades, is_half = divmod(step, 2)
    return float(f"{center * (3 if is_half else 1) * 10.0**decades:.12g}")


def seeds(experiment: Experiment) -> tuple[int, ...]:
    """Return the seeds that choose: the first from `FIRST_SEED` on which the experiment does not use itself."""
    free = (seed for seed in range(FIRST_SEED, FIRST_SEED + SEEDS + len(experiment.seeds)))
    return tuple(seed for seed in free if seed not in experiment.seeds)[:SEEDS]


def summarise(lr: float, runs: Sequence[TuningRun]) -> TriedRate:
    """Return how a rate did over its runs, by the figures that choose the best value of a sweep.

    Raises:
        ConfigError: If a run has no val figures.
    """
    figures = val_figures(runs)
    if not figures:
        raise ConfigError(
            f"A learning rate can only be chosen on val, but `{runs[0].folder}` has no val figures. Give `data.val` a "
            "number of training images, for example 5000."
        )
    accuracy, loss = (float(mean) for mean in np.mean(figures, axis=0))
    diverged = sum(run.result.status == "diverged" for run in runs)
    accuracies = tuple(float(each) for each, _ in figures)
    return TriedRate(lr, accuracy, loss if math.isfinite(loss) else None, diverged, accuracies)


def best(tried: Mapping[int, TriedRate]) -> int:
    """Return the best step: the highest val accuracy, ties to the lowest val loss, then to the lowest rate."""
    return min(
        tried,
        key=lambda step: (
            -tried[step].val_accuracy,
            math.inf if (loss := tried[step].val_loss) is None else loss,
            step,
        ),
    )


def wanted(tried: Mapping[int, TriedRate]) -> tuple[int, ...]:
    """Return the steps to be tried next: the grid, then one more as long as the best is at an edge; none at the end.

    Args:
        tried: What was tried so far, by step.
    """
    if not tried:
        return GRID
    if len(tried) - len(GRID) >= MOST_EXTENSIONS or not is_at_edge(tried):
        return ()
    found = best(tried)
    return (found - 1,) if found == min(tried) else (found + 1,)


def good_range(accuracies: Sequence[float], chosen: int, margin: float) -> tuple[int, int]:
    """Return the first and the last of the neighbours of the best value that are within the margin of it.

    Args:
        accuracies: On val, in the order of the values.
        chosen: The place of the best.
        margin: A fraction.
    """
    is_good = [accuracies[chosen] - each <= margin for each in accuracies]
    first = last = chosen
    while first > 0 and is_good[first - 1]:
        first -= 1
    while last < len(accuracies) - 1 and is_good[last + 1]:
        last += 1
    return first, last


def is_at_edge(tried: Mapping[int, TriedRate]) -> bool:
    """Whether the best is the smallest or the largest rate tried, so that a better one may lie beyond."""
    return best(tried) in (min(tried), max(tried))


def choose(center: float, tried: Mapping[int, TriedRate], by: Sequence[int], engine: str) -> RateChoice:
    """Return the choice with its evidence.

    Args:
        center: The rate around which it was searched.
        tried: Every rate tried, by step.
        by: The seeds that chose.
        engine: What trained them.
    """
    return RateChoice(
        lr=tried[best(tried)].lr,
        at_edge=is_at_edge(tried),
        seeds=tuple(by),
        engine=engine,
        grid=tuple(rate(center, step) for step in GRID),
        tried=tuple(tried[step] for step in sorted(tried)),
    )
