"""The engine for heads on frozen features: nothing is trained step by step, so there is one record.

Where features are kept, neither torch nor timm is imported, which would take longer than a head.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from paribus import temperature
from paribus.config import AugmentConfig, PretrainedOptions, Recipe
from paribus.data import Dataset, Split, draw
from paribus.engines.engine import Engine, EpochEnd, Event, RunEnd
from paribus.experiment import RunSpec
from paribus.metrics import cross_entropy
from paribus.store import Arrays, Checkpoint, EpochRecord, Predictions, RunResult, Usage
from paribus.transfer import (
    Features,
    LogisticHead,
    Wanted,
    Weights,
    backbone_digest,
    cached,
    choose_strength,
    find_weights,
    fit_logistic,
    imagenet_classes,
    in_rows,
    majority,
    nearest_neighbour,
)
from paribus.transfer.feature_cache import has_any
from paribus.transfer.weights import HUB

if TYPE_CHECKING:
    from paribus.transfer import Extractor, View

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Features, or what else a head reads, float32 (N, num_features), with the classes (N,) of the images.

    `views` are features of changed images, float32 (V, N, num_features), where heads are fitted to these.
    """

    features: Array
    labels: Labels
    views: Array | None = None

    def some(self, indices: Labels) -> Rows:
        """Return the rows at some indices (M,)."""
        return Rows(self.features[indices], self.labels[indices])


@dataclass(frozen=True)
class Parts:
    """What a head is solved for on, looked at on, and tested on; `seconds` is what computing the features took."""

    train: Rows
    val: Rows
    test: Rows
    seconds: float


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

    def fit(self, pack: Sequence[RunSpec], dataset: Dataset, checkpoints: Mapping[str, Checkpoint]) -> Iterator[Event]:
        """Solve for each run; see `Engine.fit`. Whoever has its record already, but no result, is solved for again."""
        for spec in pack:
            assert not spec.is_tuning, "a head has no learning rate to be tuned"
            parts = _parts(spec, dataset)
            start = time.perf_counter()  # Features are told apart: one run computes them, and all have need of them.
            solved = _solve(spec, dataset, parts)
            record = _record(solved, parts)
            seconds = time.perf_counter() - start
            if spec.digest not in checkpoints:
                yield EpochEnd(spec, record, seconds, {})
            result = _result(spec, record, solved, parts, seconds)
            predictions = Predictions(solved.test, parts.test.labels)
            yield RunEnd(spec, result, predictions, solved.weights, usage=_usage(spec, dataset, solved, parts))

    def seconds_per_example(self, spec: RunSpec, dataset: Dataset) -> float:
        """Time the backbone, if the head looks at images; see `Engine` and `Extractor.seconds_per_image`."""
        options = _options(spec)
        return 0.0 if options.head == "majority" else _extractor(options).seconds_per_image(dataset.train.images)


def lacks_features(recipe: Recipe) -> bool:
    """Return whether a head reads features of a backbone of which none are kept.

    Raises:
        WeightsError: If its weights are not at hand.
    """
    options = PretrainedOptions.model_validate(recipe.model.options)
    if options.head == "majority":
        return False
    # Which of the hub's weights are meant is told by timm alone, which takes as long to import as it would save.
    return options.weights == HUB or not has_any(_digest(options))


def solved_head(spec: RunSpec, dataset: Dataset) -> LogisticHead:
    """Solve for the head from which a run's fine-tuning begins, on the backbone that it begins with."""
    options = _options(spec)
    features = _features(options, dataset.train.images, f"{dataset.fingerprint}/train").values
    indices = draw(dataset, spec.recipe.data, spec.seed).train_indices
    rows = Rows(features[indices], dataset.train.labels[indices])
    return _logistic(rows, dataset.num_classes, options, spec.seed)


def _options(spec: RunSpec) -> PretrainedOptions:
    return PretrainedOptions.model_validate(spec.recipe.model.options)


def _features(
    options: PretrainedOptions, images: npt.NDArray[np.uint8], source: str, view: View | None = None
) -> Features:
    """Return the features of images, see `Extractor.features`; the backbone is built only if they are not kept."""
    wanted = Wanted(_digest(options), source, images.shape, None if view is None else view.name)
    return cached(wanted, lambda: _extractor(options).computed(images, view))


def _digest(options: PretrainedOptions) -> str:
    weights = find_weights(options.weights, options.backbone)
    return backbone_digest(weights, _SEED, own_head=options.head == "imagenet", size=options.input)


def _extractor(options: PretrainedOptions) -> Extractor:
    weights = find_weights(options.weights, options.backbone)
    return _extractor_of(weights, options.input, own_head=options.head == "imagenet")


@lru_cache(maxsize=2)
def _extractor_of(weights: Weights, size: int | None, *, own_head: bool) -> Extractor:
    """Build a backbone that runs share, one after another; weights are loaded, so that no seed draws any."""
    from paribus.transfer import Extractor, build_backbone

    return Extractor(build_backbone(weights, _SEED, own_head=own_head, size=size))


def _parts(spec: RunSpec, dataset: Dataset) -> Parts:
    """Return what a run reads; features of a split of the source are computed once for all seeds."""
    options, drawn = _options(spec), draw(dataset, spec.recipe.data, spec.seed)
    seconds = 0.0

    def rows(split: Split, name: str) -> Rows:
        nonlocal seconds
        if options.head == "majority":
            return Rows(np.zeros((len(split), 1), dtype=np.float32), split.labels)
        found = _features(options, split.images, f"{dataset.fingerprint}/{name}")
        seconds += found.seconds
        return Rows(found.values, split.labels)

    source, test = rows(dataset.train, "train"), rows(dataset.test, "test")
    if drawn.val_indices is not None:
        val = source.some(drawn.val_indices)
    else:
        val = test if drawn.val_is_test else rows(drawn.val, "val")
    train = source.some(drawn.train_indices)
    seen = [_view(spec, dataset, epoch) for epoch in range(1, spec.recipe.train.epochs + 1)]
    views = [each for each in seen if each is not None]
    if views:
        train = replace(train, views=np.stack([each.values[drawn.train_indices] for each in views]))
    return Parts(train, val, test, seconds + sum(each.seconds for each in views))


def _view(spec: RunSpec, dataset: Dataset, epoch: int) -> Features | None:
    """Return features of the source's training images as an epoch of training would see them, None if unchanged."""
    augment = spec.recipe.augment
    if augment == AugmentConfig():
        return None
    from paribus.augment import Augmenter
    from paribus.transfer import View

    options, images = _options(spec), dataset.train.images
    size = find_weights(options.weights, options.backbone).size_at(options.input)
    augmenter = Augmenter(augment, spec.seed, epoch, len(images), size=size)
    view = View(f"{augment.model_dump_json()}, seed {spec.seed}, epoch {epoch}", augmenter.change)
    return _features(options, images, f"{dataset.fingerprint}/train", view)


def _result(spec: RunSpec, record: EpochRecord, solved: Solved, parts: Parts, seconds: float) -> RunResult:
    train, val, test = parts.train, parts.val, parts.test
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
        features_seconds=round(parts.seconds, 3),
    )


def _usage(spec: RunSpec, dataset: Dataset, solved: Solved, parts: Parts) -> Usage | None:
    """Tell what it takes to use a head; None for a baseline, which is there to be compared with."""
    options = _options(spec)
    if options.head != "logistic":
        return None
    weights = find_weights(options.weights, options.backbone)
    val_is_test = spec.recipe.data.val == "test"
    found = temperature.choose(solved.val, parts.val.labels, val_is_test=val_is_test)
    return Usage(
        class_names=dataset.class_names,
        image_shape=dataset.image_shape,
        mean=_in_bytes(weights.mean),
        std=_in_bytes(weights.std),
        temperature=found.value,
        temperature_reason=found.reason,
        backbone=weights.to_json(),
    )


def _in_bytes(values: tuple[float, ...]) -> tuple[float, ...]:
    """Return what is given for pixels from 0 to 1 for those from 0 to 255, as networks are given them."""
    return tuple((np.asarray(values, dtype=np.float32) * 255).tolist())


def _logistic(rows: Rows, num_classes: int, options: PretrainedOptions, seed: int) -> LogisticHead:
    chosen = options.strength or choose_strength(rows.features, rows.labels, num_classes, seed, views=rows.views).value
    seen = rows.features[None] if rows.views is None else rows.views
    return fit_logistic(*in_rows(seen, rows.labels), num_classes, chosen)


def _solve(spec: RunSpec, dataset: Dataset, parts: Parts) -> Solved:
    options, count = _options(spec), dataset.num_classes
    train, val, test = parts.train, parts.val, parts.test
    if options.head == "logistic":
        head = _logistic(train, count, options, spec.seed)
        weights = {"head.weight": head.weight, "head.bias": head.bias}
        logits_of = [head.logits(rows.features) for rows in (train, val, test)]
        return Solved(logits_of[0], logits_of[1], logits_of[2], head.steps, weights)

    def logits(rows: Rows) -> Array:
        if options.head == "nearest":
            return nearest_neighbour(train.features, train.labels, count, rows.features)
        if options.head == "majority":
            return majority(train.labels, count, len(rows.labels))
        labels = find_weights(options.weights, options.backbone).labels
        return imagenet_classes(rows.features, labels, dataset.class_names)

    return Solved(logits(train), logits(val), logits(test), 0, {})


def _record(solved: Solved, parts: Parts) -> EpochRecord:
    return EpochRecord(
        epoch=1,
        steps=solved.steps,
        lr=1.0,
        train_loss=float(cross_entropy(solved.train, parts.train.labels).mean()),
        train_accuracy=_accuracy(solved.train, parts.train.labels),
        val_loss=float(cross_entropy(solved.val, parts.val.labels).mean()),
        val_accuracy=_accuracy(solved.val, parts.val.labels),
        gradient_norm=None,
        layer_gradient_norms=None,
    )


def _accuracy(logits: Array, labels: Labels) -> float:
    return float((logits.argmax(axis=1) == labels).mean())


_SEED = 0
"""Draws no weight of a backbone that is built here, as all are loaded."""
