"""A trained network in use: from images to probabilities."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from paribus.batches import Normalisation
from paribus.config import Recipe
from paribus.errors import ModelError
from paribus.predict.classified import Classified, probabilities_of
from paribus.predict.preparation import Pixels, Preparation, Source, in_one_array
from paribus.store import ModelHeader
from paribus.wording import count

_DARK, _LIGHT = 100, 155
"""Up to, and from, which mean of 0 to 255 grey images count as dark and light."""


class NegativeWarning(UserWarning):
    """Images look like negatives of those that a network was trained on."""


class TrainedModel(ABC):
    """A trained network with all that it takes to use it.

    `header` is what its file says of it, `path` the file.
    """

    def __init__(self, header: ModelHeader, path: Path) -> None:
        self.header, self.path = header, path
        self.preparation = Preparation.of(header.recipe.data, header.image_shape)

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """The network on the CPU in eval mode: normalised images float32 (N, C, H, W) to logits.

        Raises:
            ModelError: If the file holds it in another form than torch's.
        """

    @abstractmethod
    def _logits(self, images: Pixels) -> npt.NDArray[np.float32]:
        """Return logits float32 (N, num_classes) of prepared images."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits."""
        return self.header.class_names

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of prepared images."""
        return self.header.image_shape

    @property
    def recipe(self) -> Recipe:
        """How it was trained."""
        return self.header.recipe

    @property
    def arm(self) -> str:
        """Of which arm it is a run."""
        return self.header.arm

    @property
    def seed(self) -> int:
        """Of which seed it is a run."""
        return self.header.seed

    @property
    def temperature(self) -> float | None:
        """What logits are divided by before they become probabilities; None where they stay as they are."""
        return self.header.temperature

    @cached_property
    def normalisation(self) -> Normalisation:
        """What prepared images are normalised by."""
        mean, std = (torch.tensor(each).view(1, -1, 1, 1) for each in (self.header.mean, self.header.std))
        return Normalisation(mean, std)

    def module(self) -> nn.Module:
        """Return the network with the normalisation inside: prepared images (N, C, H, W), 0 to 255, to logits.

        It takes float as well as uint8, is in eval mode, and shares its weights with `network`.
        """
        return _FromPixels(self.network, self.normalisation).eval()

    def prepare(self, image: Source, *, invert: bool = False) -> Pixels:
        """Return one image as the data reader would have prepared it for training, uint8 (C, H, W).

        See `Preparation.prepare`.
        """
        return self.preparation.prepare(image, invert=invert)

    def logits(self, images: Pixels) -> npt.NDArray[np.float32]:
        """Return logits float32 (N, num_classes) of prepared images.

        Args:
            images: uint8 (N, C, H, W).

        Raises:
            DataError: If they are not of that form.
            ModelError: If a logit is not finite.
        """
        self.preparation.require_prepared(images)
        if not len(images):
            return np.empty((0, len(self.class_names)), dtype=np.float32)
        logits = self._logits(images)
        broken = int((~np.isfinite(logits).all(axis=1)).sum())
        if broken:
            raise ModelError(
                f"Logits must be finite, but those of {count(broken, 'image')} are not: the network has diverged. Use "
                "another run."
            )
        return logits

    def predict(self, images: Source | Iterable[Source], *, invert: bool = False) -> Classified:
        """Classify images.

        Images that look like negatives of the training images are warned of, and classified as they are.

        Args:
            images: One image or several, as `prepare` takes them; or an array of prepared ones, uint8 (N, C, H, W).
            invert: Whether black and white change places first; not for prepared images.

        Raises:
            UnreadableImageError: If an image cannot be decoded.
            DataError: If a file cannot be read, or an array is not of a form that is known.
            ModelError: If a logit is not finite.
        """
        if isinstance(images, np.ndarray) and images.ndim == 4:
            return self._classified(images)
        prepared = in_one_array([self.prepare(each, invert=invert) for each in _several(images)])
        negatives = int(self.negatives(prepared).sum())
        if negatives:
            warnings.warn(self.negatives_told(negatives, len(prepared)), NegativeWarning, stacklevel=2)
        return self._classified(prepared)

    def negatives(self, images: Pixels) -> npt.NDArray[np.bool_]:
        """Return which prepared images (N, C, H, W) look like negatives of what the network was trained on (N,).

        That is told for grey images, where the mean of the training pixels is known and clearly dark or clearly light:
        an image whose outermost pixels are on the other side, and which is nearer to that mean when it is inverted.
        """
        if self.image_shape[0] != 1 or self.header.backbone is not None or not (self._was_dark or self._was_light):
            return np.zeros(len(images), dtype=np.bool_)
        pad, (_, height, width) = self.preparation.pad, self.image_shape
        inner = images[:, 0, pad : height - pad, pad : width - pad]
        edges = np.concatenate([inner[:, 0], inner[:, -1], inner[:, :, 0], inner[:, :, -1]], axis=1)
        edge, own, theirs = np.median(edges, axis=1), inner.mean(axis=(1, 2)), self._mean_within
        is_nearer = np.abs(255 - own - theirs) < np.abs(own - theirs)
        return np.asarray(is_nearer & ((edge > 127) if self._was_dark else (edge < 128)))

    def negatives_told(self, negatives: int, images: int) -> str:
        """Return what to say of images of which some look like negatives."""
        on, was = ("dark on light", "light on dark") if self._was_dark else ("light on dark", "dark on light")
        return (
            f"{negatives:,} of {count(images, 'image')} {'is' if negatives == 1 else 'are'} {on}, but the network was "
            f"trained on {was}: its answer means little. Change black and white with --invert (`invert=True`)."
        )

    @property
    def _mean_within(self) -> float:
        """The mean of the training pixels, first channel, without the border of zeros."""
        width, height = self.preparation.inner_size
        return self.header.mean[0] * self.image_shape[1] * self.image_shape[2] / (width * height)

    @property
    def _was_dark(self) -> bool:
        return self._mean_within <= _DARK

    @property
    def _was_light(self) -> bool:
        return self._mean_within >= _LIGHT

    def _classified(self, images: Pixels) -> Classified:
        return Classified(self.class_names, probabilities_of(self.logits(images), self.temperature))


class _FromPixels(nn.Module):
    """A network with its normalisation in front."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, normalisation: Normalisation) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", normalisation.mean.clone())
        self.register_buffer("std", normalisation.std.clone())

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, num_classes) of prepared images (N, C, H, W), 0 to 255."""
        logits: Tensor = self.network((images.float() - self.mean) / self.std)
        return logits


def _several(images: Source | Iterable[Source]) -> Iterable[Source]:
    # Bytes and arrays could be gone through too.
    return [images] if isinstance(images, str | bytes | Path | Image.Image | np.ndarray) else images
