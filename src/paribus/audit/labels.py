"""Labels that a head contradicts which has not seen the image: suspects, for a person to look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paribus.audit.files import Contents
from paribus.audit.findings import Exhibit, Finding
from paribus.wording import count, percent

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
_SEED = 0
_LEAST_TO_CHOOSE, _OF_A_CLASS = 500, 20
"""On how many images the strength of regularisation is chosen, in all and for each class: it means the same on more."""


@dataclass(frozen=True)
class Suspects:
    """Images whose labels are doubted, the most doubtful first: `indices` (S,), and what they seem to be (S,)."""

    indices: Indices
    instead: Indices


def confident_suspects(probabilities: Array, labels: Indices) -> Suspects:
    """Return the images that confidently belong to another class than their label says, by confident learning.

    An image confidently belongs to a class if its probability is at least the mean that images with this label have; of
    several such classes, to the likeliest. One whose label is the likeliest of all classes is not doubted. The order is
    by the probability of the label (Northcutt, Jiang, Chuang 2021, Confident learning: estimating uncertainty in
    dataset labels, section 3).

    Args:
        probabilities: Of images that did not serve to fit what gives them, (N, num_classes).
        labels: (N,), each class at least once.
    """
    classes = probabilities.shape[1]
    usual = np.array([probabilities[labels == label, label].mean() for label in range(classes)])
    confident = np.where(probabilities >= usual, probabilities, -1.0)
    instead = confident.argmax(axis=1)
    likeliest = probabilities.argmax(axis=1)
    doubted = np.flatnonzero((confident.max(axis=1) >= 0) & (instead != labels) & (likeliest != labels))
    order = np.argsort(probabilities[doubted, labels[doubted]], kind="stable")
    return Suspects(doubted[order], instead[doubted[order]].astype(np.int64))


def out_of_fold_probabilities(features: npt.NDArray[np.float32], labels: Indices, num_classes: int) -> Array:
    """Return the probabilities that a logistic head gives to images it was not fitted to, (N, num_classes).

    Args:
        features: float32 (N, num_features).
        labels: (N,), each class at least twice.
        num_classes: How many classes there are.

    Raises:
        DataError: If a class has fewer than two images.
        ModelError: If the head cannot be fitted.
    """
    from scipy.special import softmax

    from paribus.data.split import draw_stratified
    from paribus.transfer import choose_strength, out_of_fold

    some = np.arange(len(labels))
    wanted = max(_LEAST_TO_CHOOSE, _OF_A_CLASS * num_classes)
    if len(labels) > wanted:
        drawn = draw_stratified(labels, wanted, _SEED, "subset")
        some = drawn if np.bincount(labels[drawn], minlength=num_classes).min() > 1 else some
    strength = choose_strength(features[some], labels[some], num_classes, _SEED).value
    logits = out_of_fold(features, labels, num_classes, _SEED, strength)
    probabilities: Array = softmax(logits.astype(np.float64), axis=1)
    return probabilities


def findings(contents: Contents) -> Iterator[Finding]:
    """Report label suspects, over all splits together.

    Args:
        contents: The files, with their features; each class has at least two.

    Raises:
        ModelError: If the head cannot be fitted.
    """
    assert contents.features is not None
    names, numbers = np.unique(contents.classes, return_inverse=True)
    labels = numbers.astype(np.int64)
    probabilities = out_of_fold_probabilities(contents.features, labels, len(names))
    suspects = confident_suspects(probabilities, labels)
    if not len(suspects.indices):
        return
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    yield Finding(
        "labels",
        "warning",
        f"{count(len(suspects.indices), 'label')} of {len(labels):,} may be wrong: a logistic head on the backbone's "
        f"features, which was not fitted to these images, is confident of another class. It agrees with "
        f"{percent(accuracy)} % of all labels, so that some of the suspects are its own errors: look at each, the most "
        "doubtful first, and correct what is wrong.",
        tuple(
            Exhibit(
                contents.paths[index],
                f"labelled {names[labels[index]]} ({percent(probabilities[index, labels[index]])} %), seems "
                f"{names[other]} ({percent(probabilities[index, other])} %)",
                number,
            )
            for number, (index, other) in enumerate(zip(suspects.indices, suspects.instead, strict=True))
        ),
    )
