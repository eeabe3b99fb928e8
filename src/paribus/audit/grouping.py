"""Images that belong together and lie in several splits: by their names, or because a backbone sees them as close."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from paribus.audit.duplicates import Pairs, exhibits, joined
from paribus.audit.files import Contents
from paribus.audit.findings import Exhibit, Finding
from paribus.config import NUMBERING
from paribus.data.groups import named_groups, numbered_groups, suggested_groups
from paribus.data.reader import SPLITS
from paribus.wording import count

NEIGHBOURS = 10
CLOSE = 0.65
"""How close two images must be, as a share of how far each is from its tenth neighbour. A photo cropped or mirrored
lies below; no two different photos of dogs-vs-cats or sign-digits do.
"""
_LEAST = 3 * NEIGHBOURS
_LISTED = 50
_BLOCK = 512


def names_of_groups(contents: Contents, wish: str | None) -> list[str] | None:
    """Return the name of each image's group, or None where nothing tells it.

    Without a wish these are the source's own groups, or else those that the numbers in the files' names show, if these
    run through the classes again and again.

    Args:
        contents: The files.
        wish: What `data.group` may be: a regular expression on the path, or ``"numbering"``.

    Raises:
        DataError: If there is a wish, and the files' names do not allow it.
    """
    labels = np.unique(contents.classes, return_inverse=True)[1].astype(np.int64)
    if wish == NUMBERING:
        return numbered_groups(contents.paths, labels.tolist())
    if wish is not None:
        return named_groups(contents.paths, wish)
    given = [file.sample.group for file in contents.files]
    if None not in given:
        return [str(group) for group in given]
    return suggested_groups(contents.paths, labels)


def shared_groups(contents: Contents, names: Sequence[str]) -> Iterator[Finding]:
    """Report each pair of splits that share groups.

    Args:
        contents: The files.
        names: The name of each file's group.
    """
    groups, splits = np.array(names), contents.splits
    for source, split in combinations([each for each in SPLITS if each in splits], 2):
        ours, theirs = set(groups[splits == split]), set(groups[splits == source])
        shared = sorted(ours & theirs, key=lambda name: (len(name), name))
        if not shared:
            continue
        images = int(np.isin(groups[splits == split], shared).sum())
        more = f" and {len(shared) - _LISTED:,} more" if len(shared) > _LISTED else ""
        yield Finding(
            f"groups-in-{source}-and-{split}",
            "error" if split == "test" else "warning",
            f"{len(shared):,} of the {count(len(ours), 'group')} of {split} {'has' if len(shared) == 1 else 'have'} "
            f"images in {source} too, {images:,} of {count(int((splits == split).sum()), 'image')} of {split}: "
            f"{', '.join(shared[:_LISTED])}{more}. A score on {split} is then one for known groups, not for new ones: "
            "draw the splits by group, with `data.test` and `data.group`.",
            tuple(_members(contents, groups, (source, split), shared)),
        )


def _members(
    contents: Contents, groups: npt.NDArray[np.str_], pair: tuple[str, str], shared: Sequence[str]
) -> Iterator[Exhibit]:
    """Yield the images of each shared group, those of the later split first."""
    source, split = pair
    splits, paths = contents.splits, contents.paths
    for number, name in enumerate(shared):
        for each in (split, source):
            for index in np.flatnonzero((groups == name) & (splits == each)):
                yield Exhibit(paths[index], f"group {name}, {each}", number)


def neighbours(features: npt.NDArray[np.float32]) -> Pairs:
    """Return the pairs of images that are far closer to each other than each is to its other neighbours.

    The distance between the directions of their features is measured by the distances to their tenth neighbours, as in
    the self-tuning affinity of Zelnik-Manor and Perona (2004): how close unrelated photos of one class lie differs
    between data sets and backbones, so that no fixed distance would serve.

    Args:
        features: float32 (N, num_features), N more than `NEIGHBOURS`.

    Returns:
        (P, 2), each row ascending.
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    rows = (features / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    starts = range(0, len(rows), _BLOCK)
    scale = np.concatenate([_tenth(_distances(rows, begin)) for begin in starts])
    found = [np.empty((0, 2), dtype=np.int64)]
    for begin in starts:
        reach = CLOSE * np.sqrt(scale[begin : begin + _BLOCK, None] * scale[None])
        pairs = np.argwhere(_distances(rows, begin) < reach) + np.array([begin, 0])
        found.append(pairs[pairs[:, 0] < pairs[:, 1]])
    return np.concatenate(found)


def _tenth(distances: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    # A copy: a view would keep the whole block of distances in memory.
    return np.partition(distances, NEIGHBOURS - 1, axis=1)[:, NEIGHBOURS - 1].copy()


def _distances(rows: npt.NDArray[np.float32], begin: int) -> npt.NDArray[np.float32]:
    """Return the distances of some rows of length 1 to all; a row is infinitely far from itself."""
    some = rows[begin : begin + _BLOCK]
    distances = np.sqrt(np.maximum(0, 2 - 2 * some @ rows.T))
    distances[np.arange(len(some)), begin + np.arange(len(some))] = np.inf
    result: npt.NDArray[np.float32] = distances.astype(np.float32)
    return result


def enough_for_neighbours(contents: Contents) -> bool:
    """Whether there are so many images that a tenth neighbour is an unrelated one."""
    return len(contents.files) >= _LEAST


def close_pairs(contents: Contents, near: Pairs) -> Iterator[Finding]:
    """Report images of different splits that a backbone sees as close, beside those that are near copies.

    Args:
        contents: The files, with their features.
        near: The pairs of near copies.
    """
    assert contents.features is not None
    files, splits = contents.files, contents.splits
    known = {tuple(pair) for pair in near.tolist()}
    pairs = [
        pair
        for pair in neighbours(contents.features).tolist()
        if tuple(pair) not in known
        and files[pair[0]].digest != files[pair[1]].digest
        and splits[pair[0]] != splits[pair[1]]
    ]
    if not pairs:
        return
    sets = joined(np.array(pairs), len(files))
    yield Finding(
        "neighbours-across-splits",
        "warning",
        f"{count(sum(map(len, sets)), 'image')} in {count(len(sets), 'set')} lie in more than one split and are far "
        "closer to each other in the backbone's features than to their other neighbours, as crops, mirrored copies and "
        "shots of one scene are. Look at them, and keep each set in one split.",
        exhibits(contents, sets),
    )
