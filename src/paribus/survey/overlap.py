"""What two splits share: a picture, to the last pixel or with other brightness or compression, or a person."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import combinations

import numpy as np
import numpy.typing as npt

from paribus.facts import Copies, SharedGroups

Images = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.floating]
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


def _alike(test: Rows, train: Rows) -> list[tuple[int, int]]:
    """Return each test row that correlates with a training row enough, with the one with which it does most."""
    best: dict[int, tuple[float, int]] = {}
    for first in range(0, len(test), _BLOCK):
        for second in range(0, len(train), _BLOCK):
            likeness = test[first : first + _BLOCK] @ train[second : second + _BLOCK].T
            for row in np.flatnonzero(likeness.max(axis=1) >= SAME).tolist():
                place = int(likeness[row].argmax())
                found = (float(likeness[row, place]), second + place)
                best[first + row] = max(best.get(first + row, found), found)
    return sorted((row, place) for row, (_, place) in best.items())


def _small(images: Images) -> Rows:
    """Shrink images to SIDE x SIDE grey ones, each pixel the mean of those that it covers in part or whole."""
    down, across = (_windows(side) for side in images.shape[2:])
    parts = [
        down @ images[start : start + _BLOCK].mean(axis=1, dtype=np.float32) @ across.T
        for start in range(0, len(images), _BLOCK)
    ]
    return _unit(np.concatenate(parts))


def _windows(side: int) -> npt.NDArray[np.float32]:
    """Return what takes the mean of SIDE windows along one side, float32 (SIDE, side)."""
    weights = np.zeros((SIDE, side), dtype=np.float32)
    for index in range(SIDE):
        first, last = index * side // SIDE, -(-(index + 1) * side // SIDE)
        weights[index, first:last] = 1 / (last - first)
    return weights


def _centred(images: Images) -> Rows:
    return _unit(images.astype(np.float64))


def _unit(images: Rows) -> Rows:
    """Return rows of mean 0 and length 1; a row that is one colour throughout becomes 0 and resembles nothing."""
    rows = images.reshape(len(images), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    unit: Rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
