"""Data sets of image files with a class each: groups, the test split, decoding side by side."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from paribus.config import NUMBERING
from paribus.data.archive import Archive, Parts
from paribus.data.dataset import Dataset, Split
from paribus.data.groups import Indices, draw_groups, named_groups, numbered_groups, suggested_groups
from paribus.data.pixels import decode
from paribus.data.reader import SPLITS, Reader, Reading, bytes_digest, classes_of
from paribus.errors import DataError
from paribus.processes import available_cores

LISTED = 10
_LARGEST_SIDE = 1024
_AT_ONCE = 64
"""How many files are held in memory while they are decoded."""


@dataclass(frozen=True)
class Sample:
    """One image file: its class, the split that the source puts it in, and the group that the source names."""

    file: Parts
    class_name: str
    split: str | None
    group: str | None = None

    @property
    def path(self) -> str:
        """Its path below the root."""
        return "/".join(self.file)


@dataclass(frozen=True)
class ImageFiles(Reader):
    """A data set of image files. Images are grey if all of them are, else RGB."""

    # 3 since 16-bit TIFF files in which 0 is white are no longer read as negatives. That the transparent colour of a
    # PNG is heeded came later and raised `DECODER` only: else every finished run of image files would count as another.
    version: ClassVar[int] = 3

    @abstractmethod
    def opened(self) -> AbstractContextManager[Archive]:
        """Open what holds the files."""

    @abstractmethod
    def samples(self, archive: Archive) -> list[Sample]:
        """Return every image file.

        Raises:
            DataError: If the source is not laid out as it must be.
        """

    def read(self) -> Dataset:
        """Decode every image file; see `Reader.read`."""
        with self.opened() as archive:
            samples = self.samples(archive)
            names = self._class_names({sample.class_name for sample in samples})
            labels = {name: label for label, name in enumerate(names)}
            samples.sort(key=lambda each: (SPLITS.index(each.split or "train"), labels[each.class_name], each.file))
            decoded = _decode_all(archive, samples, self.how)
        kept = [sample for sample in samples if sample.file in decoded.images]
        kept_labels = np.array([labels[sample.class_name] for sample in kept], dtype=np.int64)
        groups = _groups(kept, kept_labels, self.how)
        suggested = None if groups else suggested_groups([sample.path for sample in kept], kept_labels)
        if self.how.test is None:
            _require_splits(self, kept)
        else:
            keys = [decoded.digests[sample.file] for sample in kept] if groups is None else groups
            kept = _with_test_drawn(self, kept, kept_labels, keys, self.how.test)
        channels = 3 if any(image.ndim == 3 for image in decoded.images.values()) else 1
        by_group, by_suggestion = _numbers(groups), _numbers(suggested)
        splits = {}
        for split in SPLITS:
            chosen = [index for index, sample in enumerate(kept) if sample.split == split]
            if chosen:
                images = _stacked([decoded.images[kept[index].file] for index in chosen], channels)
                given = [None if numbers is None else numbers[chosen] for numbers in (by_group, by_suggestion)]
                splits[split] = Split(images, kept_labels[chosen], *given)
        classes_of({name: split.labels for name, split in splits.items()}, self.path, names)
        val = splits.get("val")
        return Dataset(self.name, self.fingerprint(), names, splits["train"], val, splits["test"], decoded.unreadable)

    def _class_names(self, found: Collection[str]) -> tuple[str, ...]:
        if self.classes is None:
            return tuple(sorted(found))
        missing, unknown = sorted(set(self.classes) - set(found)), sorted(set(found) - set(self.classes))
        if missing or unknown:
            raise DataError(
                f"`{self.path}` must hold the {len(self.classes)} classes of {self.name}, but it lacks "
                f"{some(missing)} and has {some(unknown)} besides. Fetch it again, or give it as a data set of "
                "your own by its path."
            )
        return self.classes


def some(names: Sequence[str]) -> str:
    """Join the first few names."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (", ".join(names[:LISTED]) or "none") + more


def _groups(samples: Sequence[Sample], labels: Indices, how: Reading) -> list[str] | None:
    paths = [sample.path for sample in samples]
    if how.group == NUMBERING:
        return numbered_groups(paths, labels.tolist())
    if how.group is not None:
        return named_groups(paths, how.group)
    given = [sample.group for sample in samples]
    if None in given and any(group is not None for group in given):
        without = [path for path, group in zip(paths, given, strict=True) if group is None]
        raise DataError(
            f"Every image must have a group or none of them, but {len(without)} of {len(paths)} have none: "
            f"{some(without)}. Name theirs: an image that belongs to no other has a group of its own."
        )
    return None if None in given else [str(group) for group in given]


def _numbers(groups: Sequence[str] | None) -> Indices | None:
    return None if groups is None else np.unique(groups, return_inverse=True)[1].astype(np.int64)


def _require_splits(reader: ImageFiles, samples: Sequence[Sample]) -> None:
    missing = [split for split in ("train", "test") if split not in {sample.split for sample in samples}]
    if missing:
        raise DataError(
            f"`{reader.path}` must hold train and test images, but {' and '.join(missing)} cannot be found. Set images "
            "aside that no training ever sees, or have them drawn: set `data.test`, for example to 0.2."
        )


def _with_test_drawn(
    reader: ImageFiles, samples: Sequence[Sample], labels: Indices, keys: Sequence[str], share: float
) -> list[Sample]:
    """Put each image into train or test. The order in which groups are drawn is that of the digests of their keys."""
    names, groups = np.unique(keys, return_inverse=True)
    digests = np.array([bytes_digest(name.encode()) for name in names.tolist()])

    def by_digest(numbers: Indices, _: str) -> Indices:
        return numbers[np.argsort(digests[numbers], kind="stable")]

    count = max(1, round(share * len(samples)))
    drawn = set(draw_groups(labels, groups.astype(np.int64), count, by_digest).tolist())
    result = [replace(sample, split="test" if i in drawn else "train") for i, sample in enumerate(samples)]
    for split in ("train", "test"):
        lost = {sample.class_name for sample in result} - {each.class_name for each in result if each.split == split}
        if lost:
            raise DataError(
                f"Every class must have train and test images, but `data.test = {share:g}` leaves {split} of "
                f"`{reader.path}` without {some(sorted(lost))}. Give these classes more images or groups, or change "
                "`data.test`."
            )
    return result


@dataclass
class _Decoded:
    images: dict[Parts, npt.NDArray[np.uint8]] = field(default_factory=dict)
    digests: dict[Parts, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    sizes: Counter[tuple[int, ...]] = field(default_factory=Counter)


def _decode_all(archive: Archive, samples: Sequence[Sample], how: Reading) -> _Decoded:
    decoded = _Decoded()
    for sample, image, digest in _decoded_files(archive, samples, how):
        if isinstance(image, str):
            decoded.unreadable[sample.path] = image
            continue
        decoded.sizes[image.shape[1::-1]] += 1
        # Pixels of unequal sizes end in an error below: do not fill the memory with them.
        if len(decoded.sizes) == 1 and max(image.shape) <= _LARGEST_SIDE:
            decoded.images[sample.file], decoded.digests[sample.file] = image, digest
    if not how.skip_unreadable:
        _require_readable(archive, decoded.unreadable, len(samples))
    _require_one_size(archive, decoded.sizes)
    return decoded


def _decoded_files(
    archive: Archive, samples: Sequence[Sample], how: Reading
) -> Iterator[tuple[Sample, npt.NDArray[np.uint8] | str, str]]:
    """Yield each sample with its pixels, or why there are none, and the digest of its bytes."""

    def one(content: bytes | str) -> tuple[npt.NDArray[np.uint8] | str, str]:
        if isinstance(content, str):
            return content, ""
        try:
            return decode(content, how.size, how.fit), bytes_digest(content)
        except DataError as error:
            return str(error), ""

    def read(sample: Sample) -> bytes | str:
        try:
            return archive.read(sample.file)
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor(available_cores()) as pool:  # Decoders work outside Python's lock.
        for begin in range(0, len(samples), _AT_ONCE):
            some_samples = samples[begin : begin + _AT_ONCE]
            for sample, (image, digest) in zip(some_samples, pool.map(one, map(read, some_samples)), strict=True):
                yield sample, image, digest


def _require_readable(archive: Archive, unreadable: Mapping[str, str], count: int) -> None:
    if not unreadable:
        return
    lines = [f"\n  {path}: {reason}" for path, reason in list(unreadable.items())[:LISTED]]
    more = f"\n  and {len(unreadable) - LISTED} more" if len(unreadable) > LISTED else ""
    raise DataError(
        f"All images must be readable, but {len(unreadable)} of the {count} files in `{archive.path}` are not. Mend or "
        f"remove them, or leave them out with `data.skip_unreadable = true`:{''.join(lines)}{more}"
    )


def _require_one_size(archive: Archive, sizes: Counter[tuple[int, ...]]) -> None:
    if not sizes:
        raise DataError(f"`{archive.path}` must hold images that can be read, but there is none. Add some.")
    listed = [f"{width}x{height} ({count})" for (width, height), count in sizes.most_common()]
    if len(sizes) > 1:
        raise DataError(
            f"Images must all be of one size, but `{archive.path}` holds {len(sizes)} sizes: {some(listed)}. "
            "Set `data.size`, for example to 64, to resize all of them to 64x64 pixels."
        )
    if max(next(iter(sizes))) > _LARGEST_SIDE:
        raise DataError(
            f"Images must be at most {_LARGEST_SIDE} pixels wide and high, but those of `{archive.path}` are "
            f"{listed[0]}. Set `data.size`, for example to 64."
        )


def _stacked(images: Sequence[npt.NDArray[np.uint8]], channels: int) -> npt.NDArray[np.uint8]:
    result = np.empty((len(images), channels, *images[0].shape[:2]), dtype=np.uint8)
    for target, image in zip(result, images, strict=True):
        target[:] = image if image.ndim == 2 else image.transpose(2, 0, 1)
    return result
