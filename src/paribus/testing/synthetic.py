"""Result folders with known truth, written without training: for tests of statistics, checks, prose and reports."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from paribus.errors import ConfigError, one_of
from paribus.experiment import CONTROL, Experiment, RunSpec
from paribus.metrics import cross_entropy
from paribus.store import EpochRecord, LayerProbe, Predictions, Probes, Results, RunResult, TestSet

ENGINE = "synthetic-1"
_TRAIN_EXAMPLES = 2000
_SHARED = 0.8  # Correlation of an example's difficulty with what one run makes of it, in probit units.
_SEED_SPREAD = 0.05  # Standard deviation of a run's ability over seeds, in probit units.


@dataclass(frozen=True)
class _Truth:
    """What every run shares: the test set, how hard each example is and what it is mistaken for, (N,) each."""

    test: TestSet
    difficulty: npt.NDArray[np.float64]
    mistaken_for: npt.NDArray[np.int64]

    @property
    def num_classes(self) -> int:
        return len(self.test.class_names)


def example_experiment(seeds: int = 5, epochs: int = 6) -> Experiment:
    """Return a small experiment: control, `relu`, `max`, `relu-max`, a sweep over `optim.lr`, and `long`.

    Args:
        seeds: How many repeats.
        epochs: Epochs of the control; the arm `long` trains twice as many.
    """
    text = _EXAMPLE.replace("@seeds", str(seeds)).replace("@epochs", str(epochs)).replace("@long", str(2 * epochs))
    return Experiment.parse(text)


class Options(TypedDict, total=False):
    """What `write_results` can be told besides; nothing diverges or is missing unless it is named.

    `test_examples` (200) and `num_classes` (10) size the test set, `seed` (0) draws it and everything else. `diverged`
    and `missing` name runs as (arm, seed): those diverge half-way, these are not there. `probes` (True) says whether
    mechanisms are measured: probes of the runs that finish, and gradient norms by layer of every epoch.
    """

    test_examples: int
    num_classes: int
    diverged: Collection[tuple[str, int]]
    missing: Collection[tuple[str, int]]
    seed: int
    probes: bool


def write_results(
    folder: Path, experiment: Experiment, accuracy: Mapping[str, float], **options: Unpack[Options]
) -> Results:
    """Write a plausible result folder whose true accuracies are known.

    A run gets an example right where its ability exceeds the example's difficulty, which all runs share in part, so
    that errors of different seeds and arms fall on the same examples. Over test sets and seeds an arm's accuracy is
    the one asked for, to within 0.001.

    Args:
        folder: Where to write.
        experiment: The design.
        accuracy: True accuracy by arm, above 0 and below 1; an arm that is not named has the control's.
        options: See `Options`.

    Returns:
        The folder, opened.

    Raises:
        ConfigError: If `accuracy` names no control, an unknown arm, or is not a fraction between 0 and 1.
    """
    _require_valid(experiment, accuracy)
    seed, size, classes = options.get("seed", 0), options.get("test_examples", 200), options.get("num_classes", 10)
    truth = _truth(np.random.default_rng(seed), size, classes)
    fingerprint = hashlib.sha256(f"synthetic/{seed}/{size}/{classes}".encode()).hexdigest()
    results = Results.create(folder, experiment, _ENVIRONMENT)
    results.write_test_set(fingerprint, truth.test)
    for arm in experiment.arms.values():
        for run_seed in experiment.seeds:
            if (arm.name, run_seed) in options.get("missing", ()):
                continue
            target = accuracy.get(arm.name, accuracy[CONTROL])
            spec = RunSpec(arm.name, run_seed, arm.recipe, fingerprint, ENGINE)
            rng = np.random.default_rng([seed, run_seed, *arm.name.encode()])
            is_diverged = (arm.name, run_seed) in options.get("diverged", ())
            _write_run(results, spec, truth, rng, None if is_diverged else target, options.get("probes", True))
    return Results.open(folder)


def _require_valid(experiment: Experiment, accuracy: Mapping[str, float]) -> None:
    if CONTROL not in accuracy:
        raise ConfigError(f"`accuracy` must name `{CONTROL}`, but names {', '.join(accuracy) or 'nothing'}. Add it.")
    for arm, value in accuracy.items():
        if arm not in experiment.arms:
            raise ConfigError(one_of("An arm of `accuracy`", experiment.arms, arm))
        if not 0 < value < 1:
            raise ConfigError(
                f"`accuracy` must be above 0 and below 1, but got {value} for `{arm}`. Use 0.9 to start with."
            )


def _truth(rng: np.random.Generator, test_examples: int, num_classes: int) -> _Truth:
    labels = rng.permutation(np.arange(test_examples, dtype=np.int64) % num_classes)
    shapes = rng.integers(0, 2, (num_classes, 8, 8)) * 200.0
    coarse = shapes[labels] + rng.normal(20, 15, (test_examples, 8, 8))
    images = np.kron(coarse, np.ones((1, 4, 4))).clip(0, 255).astype(np.uint8)[:, np.newaxis]
    names = tuple(str(index) for index in range(num_classes))
    steps = rng.choice([-2, -1, 1, 2] if num_classes > 2 else [1], test_examples)
    return _Truth(
        TestSet(images, labels, names, "synthetic"),
        rng.normal(size=test_examples),
        ((labels + steps) % num_classes).astype(np.int64),
    )


def _write_run(
    results: Results,
    spec: RunSpec,
    truth: _Truth,
    rng: np.random.Generator,
    accuracy: float | None,
    is_probed: bool,
) -> None:
    """Write one run; an accuracy of None means that it diverges."""
    recipe, writer = spec.recipe, results.begin(spec)
    steps = -(-_TRAIN_EXAMPLES // recipe.train.batch_size)
    records = _epochs(rng, spec, steps, accuracy, truth.num_classes)
    if is_probed:
        records = [replace(record, layer_gradient_norms=_by_layer(record.gradient_norm)) for record in records]
    seconds = [0.5 + 0.1 * rng.random() for _ in records]
    for record, spent in zip(records, seconds, strict=True):
        writer.epoch(record, spent, {})
    logits = np.full((len(truth.difficulty), truth.num_classes), np.nan, np.float32)
    if accuracy is not None:
        logits = _logits(rng, truth, accuracy)
    predictions = Predictions(logits, truth.test.labels)
    val = recipe.data.val
    result = RunResult(
        arm=spec.arm,
        seed=spec.seed,
        digest=spec.digest,
        status="diverged" if accuracy is None else "finished",
        engine=ENGINE,
        epochs=len(records),
        epoch_kept=len(records),
        steps=steps * len(records),
        parameters=61706,
        train_examples=_TRAIN_EXAMPLES,
        val_examples=val if isinstance(val, int) else _TRAIN_EXAMPLES // 10,
        val_is_test=val == "test",
        test_examples=len(logits),
        test_loss=None if accuracy is None else float(cross_entropy(logits, truth.test.labels).mean()),
        test_accuracy=float(predictions.correct.mean()),
        seconds=round(sum(seconds), 4),
    )
    # Draws of its own: with probes or without, all else is the same.
    probes = _probes(rng.spawn(1)[0], spec, result, records[-1]) if is_probed and accuracy is not None else None
    writer.finish(result, predictions, {"weight": np.zeros(1, np.float32)}, probes)


def _logits(rng: np.random.Generator, truth: _Truth, accuracy: float) -> npt.NDArray[np.float32]:
    size, spread = len(truth.difficulty), float(np.hypot(1, _SEED_SPREAD))
    ability = NormalDist().inv_cdf(accuracy) * spread + rng.normal(0, _SEED_SPREAD)
    own = rng.normal(size=size)
    surplus = ability - _SHARED * truth.difficulty - np.sqrt(1 - _SHARED**2) * own
    answer = np.where(surplus > 0, truth.test.labels, truth.mistaken_for)
    logits = rng.normal(size=(size, truth.num_classes))
    rows = np.arange(size)
    logits[rows, answer] = logits.max(axis=1) + 0.1 + 2 * np.abs(surplus)
    return logits.astype(np.float32)


def _epochs(
    rng: np.random.Generator, spec: RunSpec, steps: int, accuracy: float | None, num_classes: int
) -> list[EpochRecord]:
    """Learning curves that approach the accuracy; train goes on where val stops, a diverging run ends half-way."""
    epochs, chance, records = spec.recipe.train.epochs, 1 / num_classes, []
    final = accuracy if accuracy is not None else (1 + chance) / 2
    last = epochs if accuracy is not None else max(1, epochs // 2)
    for epoch in range(1, last + 1):
        gap = (final - chance) * np.exp(-4 * epoch / min(epochs, 12))
        wobble = rng.normal(0, 0.02 * (1 - final), 2)
        val = float(np.clip(final - gap + wobble[0], 0, 1))
        train = float(np.clip(final - gap + (1 - final) * 0.5 * epoch / epochs + wobble[1], 0, 1))
        lost = accuracy is None and epoch == last
        records.append(
            EpochRecord(
                epoch=epoch,
                steps=steps * epoch,
                lr=spec.recipe.optim.lr,
                train_loss=None if lost else float(-np.log(max(train, 1e-3)) * 1.5),
                train_accuracy=chance if lost else train,
                val_loss=None if lost else float(-np.log(max(val, 1e-3)) * 1.5 + 0.002 * epoch),
                val_accuracy=chance if lost else val,
                gradient_norm=None if lost else float(1 / epoch + 0.1 * rng.random()),
            )
        )
    return records


def _probes(rng: np.random.Generator, spec: RunSpec, result: RunResult, last: EpochRecord) -> Probes:
    """A network that is too sure of itself, loses a little by every change, and suffers from a high learning rate."""
    assert last.val_accuracy is not None
    images = min(result.val_examples, 1000)
    accuracy = round(last.val_accuracy * images) / images
    confidence = accuracy + (1 - accuracy) * rng.uniform(0.2, 0.6)
    harm = min(0.8, 0.02 + 0.08 * spec.recipe.optim.lr) * rng.uniform(0.8, 1.2, len(_UNITS))
    activation = str(spec.recipe.model.options.get("activation", "relu")).removeprefix("scaled-")
    is_bounded = activation in ("tanh", "sigmoid")
    return Probes(
        images=images,
        accuracy=accuracy,
        confidence=confidence,
        calibration_error=min(1.0, confidence - accuracy + rng.uniform(0, 0.01)),
        accuracy_shifted_1=accuracy * rng.uniform(0.95, 0.99),
        accuracy_shifted_2=accuracy * rng.uniform(0.8, 0.9),
        accuracy_rotated_10=accuracy * rng.uniform(0.9, 0.97),
        layers=tuple(
            LayerProbe(name, activation, units, None, float(share))
            if is_bounded
            else LayerProbe(name, activation, units, int(rng.binomial(units, share)), None)
            for (name, units), share in zip(_UNITS.items(), harm, strict=True)
        ),
        gradient_norms_at_start=_by_layer(rng.uniform(0.3, 0.6)),
    )


def _by_layer(gradient_norm: float | None) -> dict[str, float] | None:
    """Share out a norm so that the squares of the shares sum to its square."""
    return None if gradient_norm is None else {name: share * gradient_norm for name, share in _SHARES.items()}


_UNITS = {"act1": 6, "act2": 16, "act3": 120, "act4": 84}
_SHARES = {"conv1": 0.25, "conv2": 0.45, "fc1": 0.7, "fc2": 0.35, "fc3": 0.35}
_ENVIRONMENT = {
    "python": "3.11.0",
    "packages": {"paribus": "0.1.0", "torch": "2.14.0", "numpy": "2.4.0"},
    "system": "Linux x86_64",
    "processor": "none: made up",
    "cores": 1,
    "engine": ENGINE,
    "workers": 1,
    "threads_per_run": 1,
    "git_commit": None,
}

_EXAMPLE = """
[experiment]
name   = "example"
title  = "LeNet-5 on made-up images: which changes matter?"
seeds  = @seeds
margin = 0.01

[control]
data  = { name = "digits", size = 32, val = 200 }
model = { name = "lenet5", activation = "tanh", pooling = "avg" }
optim = { name = "sgd", lr = 0.1 }
train = { epochs = @epochs, batch_size = 128 }

[[question]]
id   = "relu"
asks = "ReLU instead of tanh: what happens to accuracy and loss?"
arms.relu = { "model.activation" = "relu" }

[[question]]
id   = "max"
asks = "Max pooling instead of average pooling?"
arms.max = { "model.pooling" = "max" }

[[question]]
id   = "both"
asks = "Both changes at once?"
arms.relu-max = { "model.activation" = "relu", "model.pooling" = "max" }
together = [["model.activation", "model.pooling"]]

[[question]]
id     = "lr"
asks   = "Which learning rate?"
kind   = "sweep"
factor = "optim.lr"
values = [0.001, 0.01, 0.1, 1.0, 10.0]

[[question]]
id   = "epochs"
asks = "Twice as many epochs: does it over-fit?"
arms.long = { "train.epochs" = @long }
"""
