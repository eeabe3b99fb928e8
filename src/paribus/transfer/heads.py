"""Classifiers on frozen features that are solved or looked up, not trained: no epochs, no learning rate.

Rows of features are examples. Each of these gives logits (N, num_classes), so that everything that reads a network's
predictions reads theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from paribus.errors import DataError, ModelError
from paribus.metrics import cross_entropy
from paribus.seeding import numpy_generator
from paribus.wording import count, listed, named

if TYPE_CHECKING:
    from torch import nn

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
_Exact: TypeAlias = npt.NDArray[np.float64]

FOLDS = 5
_GRID = range(-8, 1)
_WIDEST_GRID = range(-16, 9)
_NO_GAIN_FOUND = 2
"""What scipy's L-BFGS-B says of a line search that fails."""
_FLAT = 1e-6
"""The largest slope at which such an end is the minimum: about its square, 1e-12 nats, is left to gain."""
_NEAR = 1e-3
_CONVERGED = 1e-8
_COMPARABLE = 1e-5
"""Where heads of different strengths are compared: their scores are right to about 0.0005 nats at the weakest."""
_LEAST_GAIN = 64 * np.finfo(np.float64).eps
_MOST_STEPS = 10_000


@dataclass(frozen=True)
class Strength:
    """How the strength of regularisation was chosen.

    `scores` gives, by strength, weak to strong, the mean cross-entropy in nats on examples beside the fit; `value` has
    the lowest, the strongest where several have. `folds` says in how many folds. `at_edge` says that the best is the
    weakest or strongest that is ever tried, 1e-8 or 1e4.
    """

    value: float
    scores: Mapping[float, float]
    folds: int
    at_edge: bool


@dataclass(frozen=True)
class LogisticHead:
    """One linear layer on raw features: `weight` float32 (num_classes, num_features), `bias` (num_classes,).

    `steps` are those that L-BFGS took.
    """

    weight: Array
    bias: Array
    steps: int

    def logits(self, features: Array) -> Array:
        """Return logits float32 (N, num_classes) of features (N, num_features)."""
        logits: Array = features @ self.weight.T + self.bias
        return logits

    def put_into(self, layer: nn.Linear) -> None:
        """Give a layer of the same shape these weights: where fine-tuning starts from a solution."""
        import torch  # Here only: heads are solved for without it.

        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(self.weight))
            layer.bias.copy_(torch.from_numpy(self.bias))


def fit_logistic(features: Array, labels: Labels, num_classes: int, strength: float) -> LogisticHead:
    """Fit L2-regularised multinomial logistic regression by L-BFGS, until it has converged.

    It minimises the mean cross-entropy plus `strength` / 2 times the squared weights, on features standardised by
    their own mean and deviation; biases are free. The standardisation is folded into the layer that comes back.

    Args:
        features: float32 (N, num_features).
        labels: Classes (N,), each at least once.
        num_classes: Number of logits.
        strength: Above 0. As the loss is a mean, the same strength means the same on more or fewer examples.

    Raises:
        DataError: If a class has no examples, or features are not finite.
        ModelError: If L-BFGS does not converge.
    """
    with _one_thread():
        return _Solver(features, labels, num_classes).solve(strength, _CONVERGED)


def choose_strength(
    features: Array,
    labels: Labels,
    num_classes: int,
    seed: int,
    views: Array | None = None,
) -> Strength:
    """Choose the strength of a logistic head by cross-entropy on examples that it is not fitted to.

    Cross-validation is stratified, in `FOLDS` folds or as many as the smallest class has examples.

    Nine strengths are tried, from 1e-4 to 1 by factors of the root of ten, and more while the best is the first or
    last. Cross-entropy decides because accuracy on few examples moves in large steps and ties, and hides
    over-confidence.

    Args:
        features: Of the training examples, float32 (N, num_features).
        labels: Their classes (N,), each at least twice.
        num_classes: Number of logits.
        seed: The run's seed. It draws the folds, and nothing else.
        views: Features of the same examples seen in other ways, float32 (V, N, num_features), to which heads are
            fitted instead; `features` then only decide, so that no example decides about a view of itself.

    Raises:
        DataError: If a class has too few examples, or features are not finite.
        ModelError: If L-BFGS does not converge.
    """
    with _one_thread():
        seen = features[None] if views is None else views
        folds = _folds(labels, num_classes, seed)
        rest = [folds != fold for fold in range(folds.max() + 1)]
        parts = [
            (_Solver(*in_rows(seen[:, fit], labels[fit]), num_classes), features[~fit], labels[~fit]) for fit in rest
        ]
        return _search(parts, folds=len(parts))


def in_rows(views: Array, labels: Labels) -> tuple[Array, Labels]:
    """Return views (V, N, num_features) as examples (V x N, num_features), with their classes (V x N,)."""
    return views.reshape(-1, views.shape[2]), np.tile(labels, len(views))


def out_of_fold(features: Array, labels: Labels, num_classes: int, seed: int, strength: float) -> Array:
    """Return the logits that heads give to examples they were not fitted to, float32 (N, num_classes).

    The folds are those of `choose_strength`: stratified, drawn by the seed.

    Args:
        features: float32 (N, num_features).
        labels: Classes (N,), each at least twice.
        num_classes: Number of logits.
        seed: Draws the folds.
        strength: Above 0.

    Raises:
        DataError: If a class has too few examples, or features are not finite.
        ModelError: If L-BFGS does not converge.
    """
    folds = _folds(labels, num_classes, seed)
    logits = np.empty((len(labels), num_classes), dtype=np.float32)
    for fold in range(folds.max() + 1):
        held = folds == fold
        logits[held] = fit_logistic(features[~held], labels[~held], num_classes, strength).logits(features[held])
    return logits


def nearest_neighbour(features: Array, labels: Labels, num_classes: int, queries: Array) -> Array:
    """Return the highest cosine similarity to the training examples of each class, float32 (N, num_classes).

    The class with the highest is that of the nearest neighbour. Features that are all zero resemble nothing: 0.

    Args:
        features: Of the training examples, float32 (M, num_features).
        labels: Their classes (M,), each at least once.
        num_classes: How many classes there are.
        queries: Features of the examples to be classified, float32 (N, num_features).

    Raises:
        DataError: If a class has no examples.
    """
    _require_examples(labels, num_classes, 1)
    similarity = _directions(queries) @ _directions(features).T  # (N, M)
    return np.stack([similarity[:, labels == label].max(axis=1) for label in range(num_classes)], axis=1)


def majority(labels: Labels, num_classes: int, examples: int) -> Array:
    """Return the logarithm of the classes' shares among training labels, float32 (examples, num_classes).

    Raises:
        DataError: If a class has no examples.
    """
    _require_examples(labels, num_classes, 1)
    shares = np.bincount(labels, minlength=num_classes) / len(labels)
    return np.tile(np.log(shares).astype(np.float32), (examples, 1))


def imagenet_classes(logits: Array, labels: Sequence[str] | None, class_names: Sequence[str]) -> Array:
    """Return logits of a user's classes from those of ImageNet-1k's: the log of the summed exponentials of each set.

    Args:
        logits: Of a backbone with its own head, float32 (N, 1000).
        labels: The names of these 1000 classes, by which it is known that they are ImageNet's, in its order.
        class_names: The user's classes; each must be one for which ImageNet-1k has a set of its own.

    Returns:
        float32 (N, len(class_names)).

    Raises:
        ModelError: If the backbone's classes are not ImageNet's, or a class of the user's is not among them.
    """
    if (
        logits.shape[1] != 1000
        or labels is None
        or not _LANDMARKS.items() <= dict(enumerate(map(_first, labels))).items()
    ):
        raise ModelError(
            "The backbone must have a head for the 1,000 classes of ImageNet-1k, with their labels in ImageNet's "
            f"order, but has {logits.shape[1]} classes and {'no' if labels is None else 'other'} labels. Choose "
            "weights that have both."
        )
    foreign = [name for name in class_names if name.lower() not in IMAGENET_SETS]
    if foreign:
        raise ModelError(
            f"Every class must have a set of ImageNet's classes, but there is none for {named(foreign)}. "
            f"Sets are known for {named(sorted(IMAGENET_SETS))}. Leave this baseline out for these data."
        )
    sets = [logits[:, IMAGENET_SETS[name.lower()]].astype(np.float64) for name in class_names]
    return np.stack([np.logaddexp.reduce(each, axis=1) for each in sets], axis=1).astype(np.float32)


def _one_thread() -> AbstractContextManager[Any]:
    """Keep linear algebra to one thread: these matrices are small, and threads that wait for each other cost more."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1)
    return limits


class _Solver:
    """Solves for one set of examples, strength after strength, each from the solution before."""

    def __init__(self, features: Array, labels: Labels, num_classes: int) -> None:
        _require_examples(labels, num_classes, 1)
        if not np.isfinite(features).all():
            raise DataError(
                "Features must be finite, but some are not. Look at the images, or choose another backbone."
            )
        exact = features.astype(np.float64)
        self.mean, deviation = exact.mean(axis=0), exact.std(axis=0)
        self.deviation = np.where(deviation > 0, deviation, 1)  # A feature that never varies is 0 for every example.
        standard = (exact - self.mean) / self.deviation
        self.basis = _principal_axes(standard)
        self.inputs = standard @ self.basis
        self.targets = np.eye(num_classes)[labels]
        self.found = np.zeros(num_classes * (self.inputs.shape[1] + 1))

    def solve(self, strength: float, slope: float) -> LogisticHead:
        """Fit at one strength, until no slope is above `slope`: along principal axes, in units of their curvature.

        Features of a network vary together, which would cost L-BFGS several times the steps. The curvature is that at
        the solution before, and once more when the new one is near.
        """
        from scipy.optimize import minimize

        steps = 0
        for flat in (_NEAR, slope):
            scale = 1 / np.sqrt(self._curvature(strength))
            # Without `ftol`, it would go on where rounding hides what is left to gain.
            options: Any = {"maxiter": _MOST_STEPS, "maxfun": 10 * _MOST_STEPS, "gtol": flat, "ftol": _LEAST_GAIN}
            start, given = self.found / scale, (scale, strength)
            end = minimize(self._objective, start, args=given, jac=True, method="L-BFGS-B", options=options)
            self.found = end.x * scale
            steps += int(end.nit)
        # At a strong regularisation a line search may end where rounding hides what is left to gain, too.
        is_flat = end.status == _NO_GAIN_FOUND and np.abs(end.jac).max() <= _FLAT
        if not (end.success or is_flat):
            raise ModelError(
                f"L-BFGS must converge, but has not within {count(end.nit, 'step')} ({end.message}). Choose a larger "
                f"strength than {strength:.3g}, or another backbone."
            )
        weight, bias = self._parts(self.found)
        raw = weight @ self.basis.T / self.deviation
        return LogisticHead(raw.astype(np.float32), (bias - raw @ self.mean).astype(np.float32), steps)

    def _objective(self, scaled: _Exact, scale: _Exact, strength: float) -> tuple[float, _Exact]:
        """Return what is minimised and its gradient: mean cross-entropy and half the strength times squared weights."""
        weight, bias = self._parts(scaled * scale)
        log_shares = self._log_shares(weight, bias)
        losses = -(self.targets * log_shares).sum(axis=1)
        slopes = (np.exp(log_shares) - self.targets) / len(losses)
        gradient = np.concatenate([(slopes.T @ self.inputs + strength * weight).ravel(), slopes.sum(axis=0)])
        return float(losses.mean() + strength / 2 * np.vdot(weight, weight)), gradient * scale

    def _curvature(self, strength: float) -> _Exact:
        """Return the second derivative along each parameter, at the solution before.

        A bias is not regularised, but `strength` is added, as where all is certain its curvature comes near nothing.
        """
        shares = np.exp(self._log_shares(*self._parts(self.found)))
        variances = shares * (1 - shares) / len(shares)
        by_input = variances.T @ self.inputs**2
        return np.concatenate([by_input.ravel(), variances.sum(axis=0)]) + strength

    def _log_shares(self, weight: _Exact, bias: _Exact) -> _Exact:
        """Return the logarithm of the classes' probabilities, (N, num_classes)."""
        logits: _Exact = self.inputs @ weight.T + bias
        logits -= logits.max(axis=1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return logits

    def _parts(self, parameters: _Exact) -> tuple[_Exact, _Exact]:
        """Return the weights (num_classes, inputs) and biases (num_classes,) that lie in a row."""
        classes = self.targets.shape[1]
        return parameters[:-classes].reshape(classes, -1), parameters[-classes:]


def _principal_axes(standard: _Exact) -> _Exact:
    """Return an orthonormal basis of the span of the examples (num_features, dimensions): their principal axes.

    The solution lies in the span. With fewer examples than features it has as many dimensions as there are examples.
    """
    span = np.linalg.qr(standard.T).Q if len(standard) < standard.shape[1] else None
    inputs = standard if span is None else standard @ span
    axes: _Exact = np.linalg.eigh(inputs.T @ inputs).eigenvectors
    return axes if span is None else span @ axes


def _search(parts: Sequence[tuple[_Solver, Array, Labels]], folds: int) -> Strength:
    def score(place: int) -> float:
        heads = [solver.solve(_strength(place), _COMPARABLE) for solver, _, _ in parts]
        fitted = zip(heads, parts, strict=True)
        losses = [cross_entropy(head.logits(held), labels) for head, (_, held, labels) in fitted]
        return float(np.concatenate(losses).mean())

    scores = {place: score(place) for place in reversed(_GRID)}
    while True:
        best = min(sorted(scores, reverse=True), key=lambda place: scores[place])
        beyond = best - 1 if best == min(scores) else best + 1
        if beyond in scores or beyond not in _WIDEST_GRID:
            break
        scores[beyond] = score(beyond)
    by_strength = {_strength(place): scores[place] for place in sorted(scores)}
    return Strength(_strength(best), by_strength, folds, at_edge=best in (_WIDEST_GRID[0], _WIDEST_GRID[-1]))


def _strength(place: int) -> float:
    return float(10 ** (place / 2))


def _folds(labels: Labels, num_classes: int, seed: int) -> Labels:
    """Return the fold of each example: the classes' shares are the same in all, to one example."""
    _require_examples(labels, num_classes, 2)
    number = min(FOLDS, np.bincount(labels, minlength=num_classes).min())
    shuffled = numpy_generator(seed, "split", index="folds").permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    folds = np.empty(len(labels), dtype=np.int64)
    folds[by_class] = np.arange(len(labels)) % number
    return folds


def _directions(features: Array) -> Array:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _first(label: str) -> str:
    return label.partition(",")[0].strip().lower()


def _require_examples(labels: Labels, num_classes: int, least: int) -> None:
    counts = np.bincount(labels, minlength=num_classes)
    if num_classes < 2 or len(counts) > num_classes or counts.min() < least:
        raise DataError(
            f"There must be at least two classes with at least {count(least, 'training example')} in each, but "
            f"they have {listed([str(each) for each in counts])}, of {num_classes}. Add images."
        )


_DOGS, _CATS = slice(151, 269), slice(281, 286)
IMAGENET_SETS: dict[str, slice] = {"dog": _DOGS, "dogs": _DOGS, "cat": _CATS, "cats": _CATS}
"""Classes of ImageNet-1k (Russakovsky et al. 2015, arXiv 1409.0575) below WordNet's `dog` (n02084071) and `domestic
cat` (n02121808): 118 breeds from Chihuahua to Mexican hairless, and tabby to Egyptian cat."""
_LANDMARKS = {151: "chihuahua", 268: "mexican hairless", 281: "tabby", 285: "egyptian cat"}
