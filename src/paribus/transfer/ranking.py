"""Which backbone, at which input size: cross-validated accuracy of a head on the training images, against its cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from paribus.config import Value
from paribus.data import load_data
from paribus.errors import ConfigError
from paribus.metrics import cross_entropy
from paribus.stats import crossed, wilson
from paribus.transfer.backbone import build_backbone
from paribus.transfer.features import Extractor
from paribus.transfer.heads import choose_strength, out_of_fold
from paribus.transfer.weights import Weights, named_weights

if TYPE_CHECKING:
    from paribus.data import Dataset

REPEATS = 5
"""How often the folds are drawn anew."""


@dataclass(frozen=True)
class Candidate:
    """A backbone at an input size (the side in pixels), and what a logistic head on its features makes of the images.

    `accuracy` is the mean over repeated cross-validation, with Wilson's 95 % interval for this many images; `loss` the
    mean cross-entropy in nats. `behind` is the 95 % interval of its accuracy minus the best one's, None for the best;
    `is_as_good` says that no difference is shown. `milliseconds` is the time that the backbone takes for one image
    where every core has images to work on; see `Extractor.seconds_per_image`. `parameters` are the backbone's.
    `on_front` says that none is both faster and more accurate.
    """

    name: str
    input: int
    accuracy: float
    ci95: tuple[float, float]
    loss: float
    milliseconds: float
    parameters: int
    licence: str | None
    behind: tuple[float, float] | None = None
    is_as_good: bool = True
    on_front: bool = True

    @property
    def label(self) -> str:
        """Name and input size."""
        return f"{self.name} at {self.input}"


@dataclass(frozen=True)
class Ranking:
    """Candidates, the best first, of one data set's training images: `images` in `num_classes` classes."""

    data: str
    images: int
    num_classes: int
    candidates: tuple[Candidate, ...]

    @property
    def choice(self) -> Candidate:
        """The one to take: the fastest of those that cannot be told apart from the best."""
        return min((each for each in self.candidates if each.is_as_good), key=lambda each: each.milliseconds)


@dataclass(frozen=True)
class _Measured:
    candidate: dict[str, Any]
    correct: npt.NDArray[np.float64] = field(repr=False)


def rank(
    data: str, weights: Sequence[str], sizes: Sequence[int] = (), data_dir: Path | None = None, **keys: Value
) -> Ranking:
    """Rank backbones at input sizes by heads on frozen features of the training images; no other image is looked at.

    Args:
        data: A known data set, or the path of a folder, zip or csv file.
        weights: Sidecars, or ``"hub:NAME"`` for timm's own.
        sizes: Input sizes in pixels; without any, that of each backbone's weights.
        data_dir: The folder that is searched first for known data sets.
        **keys: Further keys of `DataConfig`, such as ``test=0.2``. Images are cropped to the share that the weights
            were tested with.

    Raises:
        ConfigError: If there is nothing to rank.
        DataError: If the images cannot be read, or a class has too few.
        WeightsError: If weights cannot be had.
        ModelError: If a backbone cannot be built or does not take images of that size.
    """
    if not weights:
        raise ConfigError("At least one backbone must be named, but there is none. Add `--weights WEIGHTS`.")
    measured = []
    for name in dict.fromkeys(weights):
        found = named_weights(name)
        for size in dict.fromkeys(sizes or [max(found.input_size[1:])]):
            side = math.ceil(size / found.crop_pct)
            dataset = load_data(data, data_dir, **{**keys, "size": side, "fit": "crop"})
            measured.append(_measure(found, name, size, dataset))
    measured.sort(key=lambda each: (-each.candidate["accuracy"], each.candidate["loss"]))
    return Ranking(data, len(dataset.train), dataset.num_classes, tuple(_compared(measured)))


def _measure(weights: Weights, name: str, size: int, dataset: Dataset) -> _Measured:
    backbone = build_backbone(weights, 0, size=size)
    extractor = Extractor(backbone)
    images, labels = dataset.train.images, dataset.train.labels
    features = extractor.features(images, f"{dataset.fingerprint}/train").values
    logits = []
    for seed in range(REPEATS):
        strength = choose_strength(features, labels, dataset.num_classes, seed).value
        logits.append(out_of_fold(features, labels, dataset.num_classes, seed, strength))
    correct = np.stack([each.argmax(axis=1) == labels for each in logits]).astype(np.float64)
    accuracy = float(correct.mean())
    candidate = {
        "name": Path(name).stem if name.endswith(".json") else name,
        "input": size,
        "accuracy": accuracy,
        "ci95": wilson(round(accuracy * len(labels)), len(labels)),
        "loss": float(np.mean([cross_entropy(each, labels).mean() for each in logits])),
        "milliseconds": 1000 * extractor.seconds_per_image(images),
        "parameters": sum(parameter.numel() for parameter in backbone.network.parameters()),
        "licence": weights.licence,
    }
    return _Measured(candidate, correct)


def _compared(measured: Sequence[_Measured]) -> Iterator[Candidate]:
    """Yield the candidates beside the best, which is the first."""
    best = measured[0]
    for each in measured:
        own = each.candidate
        others = [other.candidate for other in measured if other is not each]
        is_beaten = any(
            other["milliseconds"] <= own["milliseconds"] and other["accuracy"] > own["accuracy"] for other in others
        )
        behind, is_as_good = None, True
        if each is not best:
            found = crossed(each.correct, best.correct)
            behind = found.ci95
            is_as_good = behind is None or behind[1] >= 0
        yield Candidate(**own, behind=behind, is_as_good=is_as_good, on_front=not is_beaten)
