"""Image files by what a user names them with, and a network's answer to each, some at a time."""

from __future__ import annotations

import glob
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from paribus.data.archive import FolderArchive
from paribus.errors import ConfigError, DataError
from paribus.evaluate import BATCH, PIXELS
from paribus.paths import expanded
from paribus.predict.classified import Classified
from paribus.predict.preparation import Pixels, in_one_array
from paribus.predict.trained import TrainedModel

_HANDFUL = 1 << 15
"""As many pixels a thread prepares at a time: to hand over a small image takes it longer than to decode it."""


@dataclass(frozen=True)
class Found:
    """Files to be classified, in order, and what was named and is none, with the reason."""

    files: tuple[str, ...]
    missing: Mapping[str, str]


@dataclass(frozen=True)
class Answers:
    """What a network says of some files: of those that can be read; and of the others why they cannot.

    `negatives` says of each file read whether it looks like a negative of the training images (N,).
    """

    files: tuple[str, ...]
    classified: Classified
    negatives: npt.NDArray[np.bool_]
    unreadable: Mapping[str, str]


def find_files(names: Iterable[str]) -> Found:
    """Find image files.

    Args:
        names: Of files; of folders, which are gone through to the bottom for names that end as images do, hidden ones
            apart; or patterns such as ``"photos/*.jpg"`` and ``"photos/**/*.png"``.
    """
    files: list[str] = []
    missing: dict[str, str] = {}
    for name in names:
        reason = _add(name, files)
        if reason is not None:
            missing[name] = reason
    return Found(tuple(files), missing)


def classify_files(model: TrainedModel, files: Sequence[str], *, invert: bool = False) -> Iterator[Answers]:
    """Classify files, some at a time: the next are decoded, on all cores, while the network looks at these.

    Args:
        model: The network.
        files: Paths of image files.
        invert: Whether black and white change places first.

    Raises:
        ModelError: If a logit is not finite.
    """

    def prepared(file: str) -> Pixels | str:
        try:
            return model.prepare(file, invert=invert)
        except DataError as error:
            return str(error)

    def prepared_ones(some: Sequence[str]) -> list[Pixels | str]:
        return [prepared(file) for file in some]

    pixels = model.image_shape[1] * model.image_shape[2]
    at_once, handful = max(1, min(BATCH, PIXELS // pixels)), max(1, _HANDFUL // pixels)
    ahead: deque[tuple[Sequence[str], Iterator[list[Pixels | str]]]] = deque()
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Decoders work outside Python's lock.
        for begin in range(0, len(files), at_once):
            some = files[begin : begin + at_once]
            handfuls = [some[first : first + handful] for first in range(0, len(some), handful)]
            ahead.append((some, pool.map(prepared_ones, handfuls)))
            if len(ahead) > 1:
                yield _answers(model, *ahead.popleft())
        if ahead:
            yield _answers(model, *ahead.popleft())


def _answers(model: TrainedModel, files: Sequence[str], handfuls: Iterable[list[Pixels | str]]) -> Answers:
    images: dict[int, Pixels] = {}
    unreadable: dict[str, str] = {}
    for place, (file, pixels) in enumerate(zip(files, chain.from_iterable(handfuls), strict=True)):
        if isinstance(pixels, str):
            unreadable[file] = pixels
        else:
            images[place] = pixels
    shape = (0, *model.image_shape)
    whole = in_one_array(list(images.values())) if images else np.empty(shape, dtype=np.uint8)
    read = tuple(files[place] for place in images)
    return Answers(read, model.predict(whole), model.negatives(whole), unreadable)


def _add(name: str, files: list[str]) -> str | None:
    """Add the files of a name; return why there are none."""
    try:
        path = expanded(name)
    except ConfigError as error:
        return str(error)
    if path.is_dir():
        inside = [
            str(path.joinpath(*parts)) for parts in FolderArchive(path).listing()[0] if _suffix(parts[-1]) in SUFFIXES
        ]
        files += inside
        return None if inside else f"the folder holds no file that ends in {', '.join(sorted(SUFFIXES))}"
    if path.exists() or not glob.has_magic(name):
        files.append(str(path))  # Reading it tells what is wrong with it.
        return None
    matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  # A pattern may begin at the root.
    reasons = [_add(match, files) for match in matches]
    return None if any(reason is None for reason in reasons) else "no file matches"


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122  # A name is no path.


SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""How names of image files end, in lower case; a file that is named itself may end as it likes."""
