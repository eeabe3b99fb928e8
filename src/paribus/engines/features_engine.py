"""The engine for heads on frozen features: nothing is trained step by step, so there is one epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paribus.config import PretrainedOptions
from paribus.data import Dataset, Split, draw
from paribus.engines.engine import Engine, EpochEnd, Event, RunEnd
from paribus.experiment import RunSpec
from paribus.metrics import cross_entropy
from paribus.store import Arrays, Checkpoint, EpochRecord, Predictions, RunResult
from paribus.transfer import (
    Backbone,
    Extractor,
    LogisticHead,
    build_backbone,
    choose_strength,
    find_weights,
    fit_logistic,
    imagenet_classes,
    majority,
    nearest_neighbour,
)

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Features, or what else a head reads, float32 (N, num_features), with the classes (N,) of the images."""

    features: Array
    labels: Labels


@dataclass(frozen=True)
class Solved:
    """Logits for train, val and test, how many steps it took, and the weights of the head where it has any."""

    train: Array
    val: Array
    test: Array
    steps: int
    weights: Arrays


class FeaturesEngine(Engine):
    """Solves for heads on the features of frozen backbones, and answers for the baselines that need no training."""

    def __init__(self) -> None:
        self._latest: tuple[tuple[object, ...], tuple[Backbone, Extractor]] | None = None

    def fit(self, pack: Sequence[RunSpec], dataset: Dataset, checkpoints: Mapping[str, Checkpoint]) -> Iterator[Event]:
        """Solve for each run; see `Engine.fit`. There is nothing to go on from but the end."""
        for spec in pack:
            assert not spec.is_tuning, "a head has no learning rate to be tuned"
            start = time.perf_counter()
            train, val, test = self._rows(spec, dataset)
            solved = _solve(spec, dataset, train, val, test)
            record = _record(solved, train, val)
            seconds = time.perf_counter() - start
            yield EpochEnd(spec, record, seconds, {})
            result = self._result(spec, record, solved, (train, val, test), seconds)
            yield RunEnd(spec, result, Predictions(solved.test, test.labels), solved.weights)

    def seconds_per_example(self, spec: RunSpec, dataset: Dataset) -> float:
        """Time a batch through the backbone; see `Engine.seconds_per_example`. Kept features cost nothing."""
        _, extractor = self._extractor(spec)
        images = dataset.train.images[: extractor.batch_size]
        extractor.features(images)
        start = time.perf_counter()
        extractor.features(images)
        return (time.perf_counter() - start) / len(images)

    def _extractor(self, spec: RunSpec) -> tuple[Backbone, Extractor]:
        options = PretrainedOptions.model_validate(spec.recipe.model.options)
        own_head = options.head == "imagenet"
        key = (options.weights, options.backbone, options.input, own_head)
        if self._latest is None or self._latest[0] != key:
            self._latest = None  # Frees its memory first.
            weights = find_weights(options.weights, options.backbone)
            backbone = build_backbone(weights, spec.seed, own_head=own_head, size=options.input)
            self._latest = key, (backbone, Extractor(backbone))
        return self._latest[1]

    def _rows(self, spec: RunSpec, dataset: Dataset) -> tuple[Rows, Rows, Rows]:
        """Return train, val and test; features of a split of the source are computed once for all seeds."""
        drawn = draw(dataset, spec.recipe.data, spec.seed)

        def features(split: Split, name: str) -> Array:
            if spec.recipe.model.options["head"] == "majority":
                return np.zeros((len(split), 1), dtype=np.float32)
            return self._extractor(spec)[1].features(split.images, f"{dataset.fingerprint}/{name}").values

        source = Rows(features(dataset.train, "train"), dataset.train.labels)
        test = Rows(features(dataset.test, "test"), dataset.test.labels)
        train = Rows(source.features[drawn.train_indices], source.labels[drawn.train_indices])
        if drawn.val_indices is not None:
            val = Rows(source.features[drawn.val_indices], source.labels[drawn.val_indices])
        else:
            val = test if drawn.val_is_test else Rows(features(drawn.val, "val"), drawn.val.labels)
        return train, val, test

    def _result(
        self, spec: RunSpec, record: EpochRecord, solved: Solved, rows: tuple[Rows, Rows, Rows], seconds: float
    ) -> RunResult:
        train, val, test = rows
        loss = float(cross_entropy(solved.test, test.labels).mean())
        return RunResult(
            arm=spec.arm,
            seed=spec.seed,
            digest=spec.digest,
            status="finished",
            engine=spec.engine,
            epochs=1,
            epoch_kept=1,
            steps=record.steps,
            parameters=sum(array.size for array in solved.weights.values()),
            train_examples=len(train.labels),
            val_examples=len(val.labels),
            val_is_test=spec.recipe.data.val == "test",
            test_examples=len(test.labels),
            test_loss=loss if math.isfinite(loss) else None,
            test_accuracy=_accuracy(solved.test, test.labels),
            seconds=round(seconds, 3),
        )


def solved_head(spec: RunSpec, dataset: Dataset) -> LogisticHead:
    """Solve for the head from which a run's fine-tuning begins, on the backbone that it begins with."""
    options = PretrainedOptions.model_validate(spec.recipe.model.options)
    weights = find_weights(options.weights, options.backbone)
    extractor = Extractor(build_backbone(weights, spec.seed, size=options.input))
    features = extractor.features(dataset.train.images, f"{dataset.fingerprint}/train").values
    indices = draw(dataset, spec.recipe.data, spec.seed).train_indices
    rows = Rows(features[indices], dataset.train.labels[indices])
    return _logistic(rows, dataset.num_classes, options, spec.seed)


def _logistic(rows: Rows, num_classes: int, options: PretrainedOptions, seed: int) -> LogisticHead:
    strength = options.strength or choose_strength(rows.features, rows.labels, num_classes, seed).value
    return fit_logistic(rows.features, rows.labels, num_classes, strength)


def _solve(spec: RunSpec, dataset: Dataset, train: Rows, val: Rows, test: Rows) -> Solved:
    options, count = PretrainedOptions.model_validate(spec.recipe.model.options), dataset.num_classes
    if options.head == "logistic":
        head = _logistic(train, count, options, spec.seed)
        weights = {"head.weight": head.weight, "head.bias": head.bias}
        parts = [head.logits(rows.features) for rows in (train, val, test)]
        return Solved(parts[0], parts[1], parts[2], head.steps, weights)

    def logits(rows: Rows) -> Array:
        if options.head == "nearest":
            return nearest_neighbour(train.features, train.labels, count, rows.features)
        if options.head == "majority":
            return majority(train.labels, count, len(rows.labels))
        labels = find_weights(options.weights, options.backbone).labels
        return imagenet_classes(rows.features, labels, dataset.class_names)

    return Solved(logits(train), logits(val), logits(test), 0, {})


def _record(solved: Solved, train: Rows, val: Rows) -> EpochRecord:
    return EpochRecord(
        epoch=1,
        steps=solved.steps,
        lr=1.0,
        train_loss=float(cross_entropy(solved.train, train.labels).mean()),
        train_accuracy=_accuracy(solved.train, train.labels),
        val_loss=float(cross_entropy(solved.val, val.labels).mean()),
        val_accuracy=_accuracy(solved.val, val.labels),
        gradient_norm=None,
        layer_gradient_norms=None,
    )


def _accuracy(logits: Array, labels: Labels) -> float:
    return float((logits.argmax(axis=1) == labels).mean())
