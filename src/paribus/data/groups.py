"""Images that belong together: which group each is in, and drawing whole groups."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from paribus.config import NUMBERING
from paribus.errors import DataError

Indices = npt.NDArray[np.int64]
Order = Callable[[Indices, str], Indices]
"""Puts the numbers of groups into the order in which they are drawn; the text tells draws of one split apart."""
CHANCE = 0.001


def shares(counts: Indices, total: int) -> Indices:
    """Return how many of `total` each class gets, in proportion to `counts`, rounded by the largest remainder."""
    # In whole numbers: a remainder in floating point could differ between machines.
    parts, remainders = np.divmod(counts * total, counts.sum())
    by_remainder = np.argsort(-remainders, kind="stable")
    parts[by_remainder[: total - parts.sum()]] += 1
    return parts


def draw_groups(labels: Indices, groups: Indices, count: int, order: Order) -> Indices:
    """Draw whole groups of images until there are at least `count` images.

    Where every group is of one class, each class gives its share; else groups are drawn over all classes.

    Args:
        labels: (N,), from 0.
        groups: (N,), a number for each group.
        count: At most N.
        order: Decides which groups come first.

    Returns:
        Ascending indices (M,), M at least `count`.
    """
    pure = len(np.unique(np.stack([groups, labels]), axis=1).T) == len(np.unique(groups))
    if not pure:
        return np.sort(_until(np.arange(len(labels)), groups, count, order, "all"))
    wanted = shares(np.bincount(labels), count)
    parts = [
        _until(np.flatnonzero(labels == label), groups, int(share), order, f"class-{label}")
        for label, share in enumerate(wanted)
    ]
    return np.sort(np.concatenate(parts))


def _until(members: Indices, groups: Indices, count: int, order: Order, stream: str) -> Indices:
    found: list[Indices] = []
    for group in order(np.unique(groups[members]), stream):
        if sum(map(len, found)) >= count:
            break
        found.append(members[groups[members] == group])
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def named_groups(paths: Sequence[str], pattern: str) -> list[str]:
    """Return the name of each image's group: the first group of a regular expression in its path, or its whole match.

    Raises:
        DataError: If the expression matches no part of a path.
    """
    compiled = re.compile(pattern)
    matches = [compiled.search(path) for path in paths]
    lost = [path for path, match in zip(paths, matches, strict=True) if match is None]
    if lost:
        raise DataError(
            f"`data.group` must match the path of every image, but `{pattern}` matches nothing in `{lost[0]}` "
            f"({len(lost)} of {len(paths)} paths). Correct the expression."
        )
    return [match[1] if compiled.groups else match[0] for match in matches if match is not None]


def numbered_groups(paths: Sequence[str], labels: Sequence[int]) -> list[str]:
    """Return the name of each image's group where cameras numbered the files and each group shows the classes in order.

    The last number in a file's name orders the images; a new group begins where the class is not a later one than
    that of the image before.

    Raises:
        DataError: If a name has no number, or two names have the same.
    """
    numbers = [re.findall(r"\d+", path.rpartition("/")[2]) for path in paths]
    without = [path for path, found in zip(paths, numbers, strict=True) if not found]
    if without:
        raise DataError(
            f'`data.group = "{NUMBERING}"` needs a number in every file\'s name, but `{without[0]}` has none. Name the '
            "groups by a regular expression, or leave `data.group` out."
        )
    order = sorted(range(len(paths)), key=lambda index: int(numbers[index][-1]))
    names = [""] * len(paths)
    group = 0
    for before, index in zip([None, *order[:-1]], order, strict=True):
        if before is not None and int(numbers[before][-1]) == int(numbers[index][-1]):
            raise DataError(
                f'`data.group = "{NUMBERING}"` needs a number of its own in every file\'s name, but `{paths[before]}` '
                f"and `{paths[index]}` have the same. Name the groups by a regular expression."
            )
        group += before is not None and labels[index] <= labels[before]
        names[index] = str(group)
    return names


def suggested_groups(paths: Sequence[str], labels: Indices) -> list[str] | None:
    """Return the groups of `numbered_groups` where the numbers in file names run through the classes again and again.

    None where they do not, so that nothing tells who or what belongs together.

    Args:
        paths: Of N images.
        labels: Their classes (N,), from 0.
    """
    try:
        names = numbered_groups(paths, labels.tolist())
    except DataError:  # Other names than a camera gives; nobody asked for them to be such.
        return None
    return names if _runs_through_classes(labels, len(set(names))) else None


def _runs_through_classes(labels: Indices, groups: int) -> bool:
    """Whether the classes, in the order of the files' numbers, ascend far more often than in an order by chance.

    Each group but the first begins where they do not ascend. The number of ascents must lie nearer to the most that
    there could be than to what chance gives, and be too high for chance by the binomial distribution, which is the
    wider one: neighbouring ascents exclude each other.
    """
    from scipy.special import bdtrc

    counts = np.bincount(labels)
    ascents, most = len(labels) - groups, len(labels) - int(counts.max())
    by_chance = float(1 - ((counts / len(labels)) ** 2).sum()) / 2
    is_regular = ascents > (most + by_chance * len(labels)) / 2
    return bool(is_regular and bdtrc(ascents - 1, len(labels) - 1, by_chance) < CHANCE)
