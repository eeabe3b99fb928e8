"""What two splits share: a picture, to the last pixel or with other brightness or compression, or a person."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from paribus.facts import Copies, SharedGroups

Images = npt.NDArray[np.uint8]
SIDE = 6
SAME = 0.995
"""Correlation of two images over all pixels from which they are one picture. Different pictures stay below: the
nearest training image of any test image reaches 0.990 in MNIST, in DHCD (but for five exact copies) and in digits at
28 x 28. A photograph saved again as JPEG of quality 75 stays above.
"""
_BLOCK = 1024  # Blocks of 1024 x 1024 similarities stay in the processor's cache.


def copies(splits: Mapping[str, Images]) -> tuple[Copies, ...]:
    """Find images that lie in two splits, equal to the last pixel.

    Args:
        splits: By name, in the order train, val, test: uint8 (N, C, H, W).

    Returns:
        One entry for each pair of splits that share any; `images` counts those of the later one.
    """
    digests = {name: [_digest(image) for image in images] for name, images in splits.items()}
    found = []
    for source, split in combinations(digests, 2):
        first = {digest: index for index, digest in reversed(list(enumerate(digests[source])))}
        shared = [index for index, digest in enumerate(digests[split]) if digest in first]
        if shared:
            example = (shared[0], first[digests[split][shared[0]]])
            found.append(Copies(split, source, len(shared), example))
    return tuple(found)


def _digest(image: Images) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def near_copies(train: Images, test: Images) -> Copies | None:
    """Find test images that are a training image again, with other brightness, contrast or compression.

    The images are shrunk to 6 x 6 to find each test image's most similar training image, which is then compared with it
    over all pixels. Exact copies are left to `copies`.

    Args:
        train: uint8 (N, C, H, W).
        test: uint8 (M, C, H, W).
    """
    shared = []
    for index, partner in _alike(_small(test), _small(train)):
        ours, theirs = _centred(test[index : index + 1]), _centred(train[partner : partner + 1])
        is_exact = np.array_equal(test[index], train[partner])
        if not is_exact and float((ours * theirs).sum()) >= SAME:
            shared.append((index, partner))
    return Copies("test", "train", len(shared), shared[0]) if shared else None


def shared_groups(groups: Mapping[str, npt.NDArray[np.int64]]) -> tuple[SharedGroups, ...]:
    """Find groups, such as people, that two splits have images of.

    Args:
        groups: By split, in the order train, val, test: the group of each image (N,).

    Returns:
        One entry for each pair of splits that share any; its counts are those of the later one.
    """
    found = []
    for source, split in combinations(groups, 2):
        own, shared = np.unique(groups[split]), np.intersect1d(groups[split], groups[source])
        if len(shared):
            images = int(np.isin(groups[split], shared).sum())
            found.append(SharedGroups(split, source, len(shared), len(own), images))
    return tuple(found)


def _alike(test: Tensor, train: Tensor) -> list[tuple[int, int]]:
    """Return each test row that correlates with a training row enough, with the one with which it does most."""
    best: dict[int, tuple[float, int]] = {}
    for first in range(0, len(test), _BLOCK):
        for second in range(0, len(train), _BLOCK):
            likeness = test[first : first + _BLOCK] @ train[second : second + _BLOCK].T
            for row in torch.nonzero(likeness.amax(dim=1) >= SAME).flatten().tolist():
                value, place = likeness[row].max(dim=0)
                found = (float(value), second + int(place))
                best[first + row] = max(best.get(first + row, found), found)
    return sorted((row, place) for row, (_, place) in best.items())


def _small(images: Images) -> Tensor:
    parts = [
        functional.adaptive_avg_pool2d(torch.from_numpy(images[start : start + _BLOCK]).float(), SIDE)
        for start in range(0, len(images), _BLOCK)
    ]
    return _unit(torch.cat(parts).mean(dim=1))


def _centred(images: Images) -> Tensor:
    return _unit(torch.from_numpy(images).double())


def _unit(images: Tensor) -> Tensor:
    """Return rows of mean 0 and length 1; a row that is one colour throughout becomes 0 and resembles nothing."""
    rows = images.flatten(1)
    return functional.normalize(rows - rows.mean(dim=1, keepdim=True), dim=1)
