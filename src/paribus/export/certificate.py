"""The parity certificate: on real images, how far an exported file is from the trained model."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from paribus.errors import ExportError
from paribus.predict import TrainedModel
from paribus.predict.preparation import Pixels
from paribus.wording import count, magnitude

TOLERANCE = 1e-4
"""The largest difference of a probability that is let pass."""
_ALONE = 8
"""Images that are also classified one by one, as batches of one may be computed otherwise."""
_PACKAGES = ("paribus", "torch", "onnx", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Certificate:
    """What an exported file says of real images, beside what the trained model says.

    `source` tells which images; `images` counts them. `largest_difference` is that of a probability, over all images
    and classes; `same_class` counts the images of which both name the same class. `sha256` is the exported file's.
    `versions` are those of what compared them.
    """

    exported: str
    sha256: str
    experiment: str
    arm: str
    seed: int
    source: str
    images: int
    largest_difference: float
    same_class: int
    tolerance: float
    versions: dict[str, str]

    @property
    def holds(self) -> bool:
        """Whether every class is the same, and no probability differs by more than the tolerance."""
        return self.same_class == self.images and self.largest_difference <= self.tolerance

    @property
    def sentence(self) -> str:
        """The certificate in one line."""
        return (
            f"parity: on {count(self.images, 'image')} ({self.source}) {self.same_class:,} classes agree with the "
            f"trained model; the largest difference of a probability is {magnitude(self.largest_difference)}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file beside the exported one."""
        return {"format": 1, **asdict(self)}


def certify(model: TrainedModel, exported: TrainedModel, images: Sequence[Pixels] | Pixels, source: str) -> Certificate:
    """Compare an exported model with the one that it was made of.

    Args:
        model: The trained model.
        exported: What was loaded from the exported file.
        images: Prepared images, uint8 (N, C, H, W).
        source: Which images these are, in words.

    Raises:
        ExportError: If a class differs, or a probability by more than `TOLERANCE`.
    """
    pixels = np.asarray(images)
    wanted, found = model.predict(pixels), exported.predict(pixels)
    alone = [exported.predict(pixels[place : place + 1]).probabilities[0] for place in range(min(_ALONE, len(pixels)))]
    differences = [np.abs(found.probabilities - wanted.probabilities).max()]
    differences.append(np.abs(np.stack(alone) - wanted.probabilities[: len(alone)]).max())
    header = model.header
    certificate = Certificate(
        exported=exported.path.name,
        sha256=hashlib.sha256(exported.path.read_bytes()).hexdigest(),
        experiment=header.experiment,
        arm=header.arm,
        seed=header.seed,
        source=source,
        images=len(pixels),
        largest_difference=float(max(differences)),
        same_class=int((found.classes == wanted.classes).sum()),
        tolerance=TOLERANCE,
        versions={"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
    )
    if not certificate.holds:
        raise ExportError(
            f"An exported model must name the same classes, with probabilities within {TOLERANCE:g}, but on "
            f"{count(certificate.images, 'image')} ({source}) {certificate.images - certificate.same_class:,} classes "
            f"differ, and probabilities by up to {magnitude(certificate.largest_difference)}. Nothing was kept; "
            "report it with the network's code, or export `--to safetensors`."
        )
    return certificate


def _version(package: str) -> str:
    from paribus import __version__

    return __version__ if package == "paribus" else version(package)
