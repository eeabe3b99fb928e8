"""How many images there are of each class, how large they are, and of which colours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from paribus.audit.files import Contents
from paribus.audit.findings import Exhibit, Finding
from paribus.checks.of_data import FEW_IMAGES
from paribus.data.reader import SPLITS
from paribus.wording import be, count, listed, ratio

UNEVEN, VERY_UNEVEN = 2, 10
"""How many times as many images the largest class may have as the smallest, before it is a note, and a warning."""
ODD_SIZE = 4
"""How many times larger or smaller than the middle one a side must be to be odd."""
LONG = 3
"""How many times its shorter side an image's longer side must be to be long."""
_LISTED = 5


def class_counts(contents: Contents) -> dict[str, dict[str, int]]:
    """Return the number of images by split and class, every class in every split."""
    splits, names = contents.splits, sorted(set(contents.classes.tolist()))
    found = [split for split in ("", *SPLITS) if split in splits]
    numbers = Counter(zip(splits.tolist(), contents.classes.tolist(), strict=True))
    return {split: {name: numbers[split, name] for name in names} for split in found}


def findings(contents: Contents) -> Iterator[Finding]:
    """Report classes that are small or uneven, odd sizes, long images, several colour modes, turned images."""
    counts = class_counts(contents)
    yield from _few(counts)
    yield from _uneven(counts)
    yield from _odd_sizes(contents)
    yield from _long(contents)
    yield from _modes(contents)
    yield from _turned(contents)


def _few(counts: Mapping[str, Mapping[str, int]]) -> Iterator[Finding]:
    few = [
        f"{split} {name} ({number})".lstrip()
        for split, numbers in counts.items()
        for name, number in numbers.items()
        if number < FEW_IMAGES
    ]
    if few:
        more = [f"{len(few) - _LISTED} more"] if len(few) > _LISTED else []
        yield Finding(
            "few-images",
            "warning",
            f"Fewer than {FEW_IMAGES} images of a class in a split say nearly nothing about it, as in "
            f"{listed(few[:_LISTED] + more)}. Add images, or leave the class out.",
        )


def _uneven(counts: Mapping[str, Mapping[str, int]]) -> Iterator[Finding]:
    split = "train" if "train" in counts else next(iter(counts))
    numbers = {name: number for name, number in counts[split].items() if number}
    largest, smallest = max(numbers, key=lambda name: numbers[name]), min(numbers, key=lambda name: numbers[name])
    times = numbers[largest] / numbers[smallest]
    if times >= UNEVEN:
        yield Finding(
            "class-imbalance",
            "warning" if times >= VERY_UNEVEN else "note",
            f"Class {largest} has {ratio(times)} times as many {split or 'images'}{' images' if split else ''} as "
            f"{smallest}, {numbers[largest]:,} against {numbers[smallest]:,}. Accuracy then speaks for the large "
            "classes: look at each class by itself, and at what always naming the largest would reach.",
        )


def _odd_sizes(contents: Contents) -> Iterator[Finding]:
    sides = np.sqrt([file.size[0] * file.size[1] for file in contents.files])
    middle = float(np.median(sides))
    odd = np.flatnonzero((sides >= ODD_SIZE * middle) | (sides <= middle / ODD_SIZE)).tolist()
    if len(odd):
        yield Finding(
            "odd-sizes",
            "note",
            f"{count(len(odd), 'image')} {be(len(odd))} at least {ODD_SIZE} times as large or as small, side by side, "
            f"as the middle one of {middle:,.0f} pixels. They may come from another source: see whether they belong.",
            tuple(_sized(contents, index, number) for number, index in enumerate(odd)),
        )


def _long(contents: Contents) -> Iterator[Finding]:
    found = [index for index, file in enumerate(contents.files) if max(file.size) >= LONG * min(file.size)]
    if found:
        yield Finding(
            "long-images",
            "note",
            f"{count(len(found), 'image')} {be(len(found))} at least {LONG} times as long as wide, or as wide as "
            "long. Neither squashing nor the middle shows them well: crop them by hand.",
            tuple(_sized(contents, index, number) for number, index in enumerate(found)),
        )


def _sized(contents: Contents, index: int, number: int) -> Exhibit:
    width, height = contents.files[index].size
    return Exhibit(contents.paths[index], f"{width} x {height}", number)


def _modes(contents: Contents) -> Iterator[Finding]:
    """Report images of another colour mode than most."""
    modes = Counter(file.mode for file in contents.files)
    usual, _ = modes.most_common(1)[0]
    other = [index for index, file in enumerate(contents.files) if file.mode != usual]
    if other:
        rest = listed([f"{number:,} of {mode}" for mode, number in modes.most_common()[1:]])
        yield Finding(
            "colour-modes",
            "note",
            f"Images differ in colour mode: most are of {usual}, beside {rest}"
            ". All are turned into grey or RGB; see that no class has a mode of its own, which a network would learn.",
            tuple(
                Exhibit(contents.paths[index], f"{contents.files[index].mode}, {contents.classes[index]}", number)
                for number, index in enumerate(other)
            ),
        )


def _turned(contents: Contents) -> Iterator[Finding]:
    turned = [path for path, file in zip(contents.paths, contents.files, strict=True) if file.is_turned]
    if turned:
        yield Finding(
            "turned",
            "note",
            f"{count(len(turned), 'image')} {be(len(turned))} turned by EXIF orientation. paribus turns them upright, "
            "but tools that do not know it show them on their side: save them upright.",
            tuple(Exhibit(path, set=number) for number, path in enumerate(turned)),
        )
