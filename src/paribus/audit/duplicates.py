"""The same picture more than once: the same bytes, or the same again at another size, quality, brightness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paribus.audit.files import Contents
from paribus.audit.findings import Exhibit, Finding, Severity
from paribus.wording import count, named

Indices = npt.NDArray[np.int64]
Pairs = npt.NDArray[np.int64]
BITS = 8
"""How many of the 64 bits of two perceptual hashes may differ."""
SAME = 0.99
"""Correlation of two small grey pictures from which they are one picture. The hash alone would not do: among the signs
of sign-digits, a thousand pairs of different photos lie within `BITS`, and none of them reaches this correlation.
"""
_BLOCK = 512
_LOW = 8


def copies(digests: Sequence[str]) -> list[Indices]:
    """Return the sets of files with the same bytes, each ascending."""
    _, numbers = np.unique(digests, return_inverse=True)
    return _sets(numbers.astype(np.int64))


def near_copies(small: npt.NDArray[np.uint8], digests: Sequence[str]) -> Pairs:
    """Return the pairs of files that show one picture, though their bytes differ.

    Candidates are those whose perceptual hashes are close: the signs, against their median, of the lowest 8 x 8
    coefficients of the discrete cosine transform (Zauner 2010, Implementation and benchmarking of perceptual image hash
    functions). A candidate counts if the small pictures correlate by `SAME`.

    Args:
        small: Grey pictures, uint8 (N, H, W).
        digests: Of the files' bytes; of several equal ones only the first is looked at.

    Returns:
        (P, 2), each row ascending.
    """
    _, kept = np.unique(digests, return_index=True)
    kept = np.sort(kept).astype(np.int64)
    hashes, rows = _hashes(small[kept]), _centred(small[kept])
    found = [np.empty((0, 2), dtype=np.int64)]
    for begin in range(0, len(kept), _BLOCK):
        distance = np.bitwise_count(hashes[begin : begin + _BLOCK, None] ^ hashes[None, begin:])
        first, second = np.nonzero(np.triu(distance <= BITS, 1))
        alike = np.einsum("ij,ij->i", rows[first + begin], rows[second + begin]) >= SAME
        found.append(kept[np.stack([first, second], axis=1)[alike] + begin])
    return np.concatenate(found)


def joined(pairs: Pairs, number: int) -> list[Indices]:
    """Return the sets that pairs of 0 to `number` - 1 join, each ascending."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(number, number))
    _, numbers = connected_components(graph, directed=False)
    return _sets(numbers.astype(np.int64))


def findings(contents: Contents, near: Pairs) -> Iterator[Finding]:
    """Report copies and near copies: across splits, under two classes, and within a split.

    Args:
        contents: The files.
        near: The pairs of `near_copies`.
    """
    same = copies([file.digest for file in contents.files])
    yield from _of_kind(contents, same, "copies", "the same bytes", ("error", "error", "warning"))
    alike = joined(near, len(contents.files))
    how = "but for size, quality, brightness or contrast the same picture"
    yield from _of_kind(contents, alike, "near-copies", how, ("warning", "warning", "note"))


def exhibits(contents: Contents, sets: Sequence[Indices]) -> tuple[Exhibit, ...]:
    """Return the files of each set, with split and class."""
    files = contents.files
    return tuple(
        Exhibit(files[index].sample.path, _place(files[index].sample.split, files[index].sample.class_name), number)
        for number, members in enumerate(sets)
        for index in members
    )


def _of_kind(
    contents: Contents, sets: Sequence[Indices], kind: str, how: str, severities: tuple[Severity, ...]
) -> Iterator[Finding]:
    splits, classes = contents.splits, contents.classes
    straddling = [each for each in sets if len(set(splits[each])) > 1]
    contradicting = [each for each in sets if len(set(classes[each])) > 1]
    within = [each for each in sets if len(set(splits[each])) == len(set(classes[each])) == 1]
    for found, severity, where in zip((straddling, contradicting, within), severities, _WHERE, strict=True):
        if found:
            first = named([contents.paths[index] for index in found[0][:2]])
            number = sum(len(each) for each in found)
            yield Finding(
                f"{kind}{where.suffix}",
                severity,
                f"{count(number, 'image')} in {count(len(found), 'set')} {where.found}: {how}, such as {first}. "
                f"{where.advice}",
                exhibits(contents, found),
            )


@dataclass(frozen=True)
class _Where:
    suffix: str
    found: str
    advice: str


def _place(split: str | None, class_name: str) -> str:
    return class_name if split is None else f"{split}, {class_name}"


def _sets(numbers: Indices) -> list[Indices]:
    """Return the indices that share a number, in the order of their first ones, where there are several."""
    order = np.argsort(numbers, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
    return sorted((part for part in parts if len(part) > 1), key=lambda part: int(part[0]))


def _hashes(small: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    from scipy.fft import dctn

    low = np.concatenate(
        [
            dctn(small[begin : begin + _BLOCK].astype(np.float32), axes=(1, 2), norm="ortho")[:, :_LOW, :_LOW]
            for begin in range(0, len(small), _BLOCK)
        ]
    ).reshape(len(small), -1)
    bits = low > np.median(low, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def _centred(small: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return rows of mean 0 and length 1; one that is a single shade throughout becomes 0 and resembles nothing."""
    rows = small.reshape(len(small), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)


_WHERE = (
    _Where(
        "-across-splits",
        "lie in more than one split",
        "What was trained on is then tested on: keep each set in one split.",
    ),
    _Where(
        "-across-classes", "stand under more than one class", "At most one of the labels is right: correct the others."
    ),
    _Where("", "lie in one split more than once", "They count several times: keep one of each set."),
)
