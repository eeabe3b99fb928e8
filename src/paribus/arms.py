"""The stored runs of each arm as arrays, their summary, and the best value of a sweep on val."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus.config import DataConfig
from paribus.errors import StoreError
from paribus.experiment import CONTROL, Experiment, Metric, Question
from paribus.metrics import cross_entropy
from paribus.stats import Interval, t_interval, wilson
from paribus.store import EpochRecord, Results, Run, TuningRun

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ArmRuns:
    """The finished and diverged runs of one arm, in the order of the seeds.

    `correct` (0 or 1) and `loss` (nats, infinite where a logit is not finite) are (n, m) for n runs on m test examples;
    `labels` is (m,). Without runs they are empty. `class_names` are those of the test set, and `test_images` is the
    same for arms that were tested on the same images, at whatever size.
    """

    name: str
    runs: tuple[Run, ...]
    correct: Floats
    loss: Floats
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...] = ()
    test_images: str = ""

    def is_paired_with(self, other: ArmRuns) -> bool:
        """Whether both were tested on the same images, so that they can be compared image by image."""
        return self.test_images == other.test_images and np.array_equal(self.labels, other.labels)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that have a run."""
        return tuple(run.result.seed for run in self.runs)

    @property
    def diverged(self) -> int:
        """How many runs diverged."""
        return sum(run.result.status == "diverged" for run in self.runs)

    def scores(self, metric: Metric, seeds: Sequence[int]) -> Floats:
        """Return a metric (len(seeds), m) of these seeds, per test example."""
        rows = [self.seeds.index(seed) for seed in seeds]
        return (self.correct if metric == "test_accuracy" else self.loss)[rows]


def load(results: Results) -> dict[str, ArmRuns]:
    """Read the runs and predictions of every arm, the control first.

    Raises:
        StoreError: If runs of one arm were tested on different examples.
    """
    runs = {name: tuple(results.runs(name)) for name in results.experiment.arms}
    prints = {name: str(each[0].config()["data_fingerprint"]) for name, each in runs.items() if each}
    images = images_tested_on(results, prints)
    return {name: _load_arm(results, name, each, images.get(name, "")) for name, each in runs.items()}


def images_tested_on(results: Results, prints: Mapping[str, str]) -> dict[str, str]:
    """Say of arms which images they were tested on: the same words for the same images.

    Images are the same where one source's test split is read or drawn in the same way, at whatever size, and where they
    are the same to the last pixel: those of two arms may be found to be so by way of a third.

    Args:
        results: The result folder.
        prints: The data fingerprint of every arm that has runs.
    """
    found = {name: _words(results.experiment.arms[name].recipe.data) for name in prints}
    if len(set(found.values())) > 1:
        groups: list[set[str]] = []
        for name, words in found.items():
            alike = {words, _digest(results.folder, prints[name])}
            touched = [group for group in groups if group & alike]
            groups = [group for group in groups if group not in touched] + [alike.union(*touched)]
        found = {name: min(next(group for group in groups if words in group)) for name, words in found.items()}
    return found


def _words(config: DataConfig) -> str:
    """Groups decide on test images only where these are drawn from the others."""
    drawn = "" if config.test is None else f", test = {config.test}, group = {config.group}"
    return f"{config.name}{drawn}"


@lru_cache(maxsize=64)
def _digest(folder: Path, fingerprint: str) -> str:
    images = Results.open(folder).test_set(fingerprint).images
    return hashlib.sha256(f"{images.shape}".encode() + np.ascontiguousarray(images).tobytes()).hexdigest()


def _load_arm(results: Results, name: str, runs: tuple[Run, ...], images: str) -> ArmRuns:
    predictions = [run.predictions() for run in runs]
    if not predictions:
        return ArmRuns(name, (), np.empty((0, 0)), np.empty((0, 0)), np.empty(0, np.int64))
    labels = predictions[0].labels
    for run, each in zip(runs, predictions, strict=True):
        if not np.array_equal(each.labels, labels):
            raise StoreError(
                f"All runs of an arm must be tested on the same examples, but `{run.folder}` was tested on others than "
                f"`{runs[0].folder}`. Delete the runs made with the old data and run the experiment again."
            )
    correct = np.stack([each.correct for each in predictions]).astype(np.float64)
    loss = np.stack([cross_entropy(each.logits, each.labels) for each in predictions])
    class_names = results.class_names(runs[0].config()["data_fingerprint"])
    return ArmRuns(name, runs, correct, loss, labels, class_names, images)


def summary(arm: ArmRuns) -> dict[str, Any]:
    """Return the arm's row of `verdicts.json`; figures that there is nothing to compute from are None."""
    seconds = [run.result.seconds for run in arm.runs]
    return {
        "runs": len(arm.runs),
        "diverged": arm.diverged,
        "test_accuracy": _figure(arm, "test_accuracy"),
        "test_loss": _figure(arm, "test_loss"),
        "seconds": math.fsum(seconds),
        "seconds_per_run": float(np.median(seconds)) if seconds else None,
        "features_seconds": float(np.median([run.result.features_seconds for run in arm.runs])) if seconds else None,
    }


def _figure(arm: ArmRuns, metric: Metric) -> dict[str, Any]:
    """Mean, sd and interval over seeds; one run, or runs that are all alike, get an interval over test examples.

    A mean over an infinite loss is not a number that can be stored, so it is None.
    """
    values = [getattr(run.result, metric) for run in arm.runs]
    if not values or None in values:
        return {"mean": None, "sd": None, "ci95": None, "ci95_kind": None}
    ci95, kind = t_interval(values), "t over seeds"
    if ci95 is None:
        ci95, kind = _over_examples(arm, metric)
    return {
        "mean": float(np.mean(values)),
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "ci95": list(ci95) if ci95 else None,
        "ci95_kind": kind if ci95 else None,
    }


def _over_examples(arm: ArmRuns, metric: Metric) -> tuple[Interval | None, str]:
    if metric == "test_accuracy":
        return wilson(int(arm.correct[0].sum()), arm.correct.shape[1]), "wilson"
    return t_interval(arm.loss.mean(axis=0)), "t over examples"


def kept_epoch(run: Run | TuningRun) -> EpochRecord | None:
    """Return the record of the epoch whose weights were tested, None where a run ended before its first epoch did."""
    return next((record for record in run.epochs if record.epoch == run.result.epoch_kept), None)


def gap(run: Run) -> float | None:
    """Return train minus val accuracy at the kept epoch, None without val figures or where the two are no pair.

    They are none under mixup, as mixed images are harder than those of val, and where weights are averaged, as train
    figures are of those that move: what is left would pass for a network that over-fits less.
    """
    record, recipe = kept_epoch(run), run.config()["recipe"]
    is_pair = not recipe["augment"].get("mixup") and recipe["train"].get("average") is None
    if record is None or record.val_accuracy is None or not is_pair:
        return None
    return record.train_accuracy - record.val_accuracy


def val_accuracy(runs: Sequence[Run]) -> float | None:
    """Return the mean val accuracy of an arm's runs at their kept epochs, None without any; see `val_figures`."""
    figures = val_figures(runs)
    return float(np.mean([accuracy for accuracy, _ in figures])) if figures else None


def val_accuracy_ci95(runs: Sequence[Run]) -> Interval | None:
    """Return the 95 % interval of `val_accuracy`: t over seeds, Wilson's for one run or runs that are all alike."""
    accuracies = [accuracy for accuracy, _ in val_figures(runs)]
    if not accuracies:
        return None
    images = runs[0].result.val_examples
    return t_interval(accuracies) or wilson(round(accuracies[0] * images), images)


def val_figures(runs: Sequence[Run | TuningRun]) -> list[tuple[float, float]]:
    """Return val accuracy and loss of each run at its kept epoch, nothing where a run has no val.

    A diverged run counts with accuracy 0 and an infinite loss where it ended without them, never as absent.
    """
    figures = []
    for run in runs:
        record = kept_epoch(run)
        accuracy = record.val_accuracy if record else None
        loss = record.val_loss if record else None
        if accuracy is None and run.result.status != "diverged":
            return []
        figures.append((accuracy or 0.0, math.inf if loss is None else loss))
    return figures


def with_shared_seeds(question: Question, runs: Mapping[str, Sequence[Run]]) -> dict[str, tuple[Run, ...]]:
    """Return the runs of a sweep's values whose seed all values that ran at all have.

    A seed draws its own validation images, so means over different seeds are not of one kind.
    """
    ran = {name: runs[name] for name in question.arms if runs[name]}
    seeds = [{run.result.seed for run in each} for each in ran.values()]
    shared = set.intersection(*seeds) if seeds else set()
    return {name: tuple(run for run in each if run.result.seed in shared) for name, each in ran.items()}


def best_on_val(question: Question, arms: Mapping[str, ArmRuns]) -> str | None:
    """Return the arm of a sweep that is best on val over the seeds that all have, None where none has val figures.

    The highest mean val accuracy wins, ties go to the lowest mean val loss, then to the first value; where the
    question is about the test loss, val loss comes before val accuracy.
    """
    ranked = []
    for place, (name, runs) in enumerate(with_shared_seeds(question, _runs(arms)).items()):
        figures = val_figures(runs)
        if figures:
            accuracy, loss = (float(mean) for mean in np.mean(figures, axis=0))
            keys = (-accuracy, loss) if question.metric == "test_accuracy" else (loss, -accuracy)
            ranked.append((*keys, place, name))
    return min(ranked)[-1] if ranked else None


def _runs(arms: Mapping[str, ArmRuns]) -> dict[str, tuple[Run, ...]]:
    return {name: arm.runs for name, arm in arms.items()}


def sweep(question: Question, experiment: Experiment, arms: Mapping[str, ArmRuns]) -> dict[str, Any]:
    """Return a sweep's entry of `verdicts.json`: one row per value, which is best on val, and why none is compared."""
    assert question.factor is not None
    best = best_on_val(question, arms)
    reason = None
    shared = with_shared_seeds(question, _runs(arms))
    if best is None and any(val_figures(arms[name].runs) for name in shared):
        reason = "The values that ran have no seed in common, so none can be called the best."
    elif best is None:
        reason = "No value has a run with a validation figure, so none can be called the best."
    elif best == CONTROL:
        reason = "The control's own value is the best on val, so there is nothing to compare it with."
    rows = []
    for name in question.arms:
        row = {"value": experiment.arms[name].recipe.factor(question.factor), "arm": name}
        rows.append(row | summary(arms[name]) | {"val_accuracy": val_accuracy(shared.get(name, ()))})
    return {"factor": question.factor, "values": rows, "best": best, "chosen_on": "val", "reason": reason}
