"""Prepared images for a training loop of one's own: a map-style torch data set, and batches without worker processes.

Both give what a run of this package with the same seed is given: the same split, order and random changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.utils import data

from paribus.augment import Augmenter
from paribus.batches import Batches, Normalisation, in_order
from paribus.config import AugmentConfig, DataConfig, Val, Value
from paribus.data import Dataset, draw
from paribus.data.reader import SPLITS
from paribus.errors import ConfigError, one_of
from paribus.transfer import Preprocessing


class Images(data.Dataset[tuple[Tensor, int]]):
    """One split as a map-style data set of normalised images and labels, such as torch's `DataLoader` takes.

    Training images are changed at random, as (seed, epoch, image) decides: call `set_epoch` before each epoch. Workers
    of a `DataLoader` hear of it too, also where they stay from epoch to epoch.

    Args:
        dataset: The prepared images, such as `load_data` returns.
        split: "train", "val" or "test".
        seed: Decides which images validate, where the source does not, and how images are changed.
        val: How many of the training images validate; see `DataConfig`.
        augment: How training images are changed: an `AugmentConfig`, or its keys, such as ``{"hflip": True}``.
        preprocessing: What a backbone is shown of an image: its middle, normalised as the weights need it. None shows
            the whole, normalised by mean and deviation of the training pixels.

    Raises:
        ConfigError: If there is no such split or key, other images than those of train are to be changed, or images are
            to be mixed.
        DataError: If the split cannot be drawn.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: Literal["train", "val", "test"] = "train",
        *,
        seed: int = 0,
        val: Val = None,
        augment: AugmentConfig | Mapping[str, Value] | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        if split not in SPLITS:
            raise ConfigError(one_of("`split`", SPLITS, split))
        if split != "train" and augment is not None:
            raise ConfigError(f"`augment` is for train, but got it for {split}: what is measured must not be changed.")
        self.augment = augment if isinstance(augment, AugmentConfig) else AugmentConfig.parse(augment or {}, "augment")
        if self.augment.mixup:
            raise ConfigError(
                f"`augment.mixup` must be 0 where each image has one class, but got {self.augment.mixup:g}. Take it "
                "out, and mix images and classes in your training loop."
            )
        drawn = draw(dataset, DataConfig.parse({"name": dataset.name, "val": val}, "data"), seed)
        self.split, self.seed, self.class_names = split, seed, dataset.class_names
        self.preprocessing = preprocessing
        self._train, self._train_indices = Batches(dataset.train), torch.from_numpy(drawn.train_indices)
        self._batches = {"val": Batches(drawn.val), "test": Batches(dataset.test)}.get(split, self._train)
        self.indices = self._train_indices if split == "train" else torch.arange(len(self._batches))
        self._epoch = torch.ones((), dtype=torch.int64).share_memory_()
        self._augmenter: Augmenter | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return one image, float32 (C, H, W), and its class."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        """Return some images with their classes; a `DataLoader` asks so for a batch at once."""
        images, labels = self.batch(self.indices[torch.as_tensor(indices)], self.epoch)
        return list(zip(images, labels.tolist(), strict=True))

    @property
    def epoch(self) -> int:
        """Which epoch's random changes are made, from 1."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Go on to the random changes of an epoch, from 1."""
        self._epoch.fill_(epoch)

    @cached_property
    def normalisation(self) -> Normalisation:
        """What images are normalised by."""
        if self.preprocessing is not None:
            return self.preprocessing.normalisation()
        return Normalisation.of(self._train.images, self._train_indices)

    def batch(self, indices: Tensor, epoch: int, *, normalise: bool = True) -> tuple[Tensor, Tensor]:
        """Return images (B, C, H, W), channels last, and labels int64 (B,), as they are in an epoch.

        Args:
            indices: Which images of the source's split, int64 (B,); `indices` holds those of this one.
            epoch: From 1.
            normalise: Whether to return normalised float32, or else uint8.

        Raises:
            ModelError: If images are smaller than what the backbone is shown, or of other channels.
        """
        images = self._batches.gather(indices, self._augmenter_of(epoch))
        if self.preprocessing is not None:
            images = self.preprocessing.crop(images).contiguous(memory_format=torch.channels_last)
        images = self.normalisation.apply(images) if normalise else images.round_().clamp_(0, 255).to(torch.uint8)
        return images, self._batches.labels[indices]

    def _augmenter_of(self, epoch: int) -> Augmenter | None:
        if self.augment == AugmentConfig():
            return None
        if self._augmenter is None or self._augmenter.epoch != epoch:
            size = None if self.preprocessing is None else self.preprocessing.size
            self._augmenter = Augmenter(self.augment, self.seed, epoch, len(self._batches), size=size)
        return self._augmenter


class Loader:
    """Batches of images and labels, one epoch with each `for`: training images in a new order and changed anew.

    There are no worker processes: images are decoded already, and whole batches are changed at once.

    Args:
        images: The split.
        batch_size: Images per batch; the last of an epoch may be smaller.
        shuffle: Whether each epoch has an order of its own; None shuffles training images and no others.
        normalise: Whether images are normalised float32, or else uint8.

    Raises:
        ConfigError: If the batches would have no image.
    """

    def __init__(
        self, images: Images, batch_size: int = 32, *, shuffle: bool | None = None, normalise: bool = True
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"`batch_size` must be at least 1, but got {batch_size}. Use 32 to start with.")
        self.images, self.batch_size, self.normalise = images, batch_size, normalise
        self.shuffle = images.split == "train" if shuffle is None else shuffle
        self.epoch = 0
        """The epoch that was begun last; to go on from a later one, set it to the one before."""

    def __len__(self) -> int:
        return math.ceil(len(self.images) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Begin the next epoch."""
        self.epoch += 1
        return self._batches(self.epoch)

    def _batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        indices = self.images.indices
        if self.shuffle:
            indices = in_order(indices, self.images.seed, epoch)
        for some in indices.split(self.batch_size):
            yield self.images.batch(some, epoch, normalise=self.normalise)
