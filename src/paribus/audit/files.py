"""One look at every file: whether it can be read, what it really is, and the little that is kept of its pixels."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from paribus.audit.findings import Exhibit, Finding
from paribus.data.archive import Archive
from paribus.data.pixels import decode
from paribus.data.reader import bytes_digest
from paribus.data.samples import Sample
from paribus.errors import DataError
from paribus.wording import be, count, listed

if TYPE_CHECKING:
    from paribus.transfer import Extractor

SIDE = 32
"""The side of the grey pictures that are kept, in pixels."""
_AT_ONCE = 256
"""How many images are held in memory at once; a multiple of the batches in which features are computed."""
_ORIENTATION = 0x0112
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class File:
    """One image file that can be read.

    `digest` is that of its bytes, `form` what Pillow calls its format, `mode` its colour mode, `size` its width and
    height in pixels; `is_turned` says that its EXIF orientation turns or mirrors it.
    """

    sample: Sample
    digest: str
    form: str
    mode: str
    size: tuple[int, int]
    is_turned: bool


@dataclass(frozen=True)
class Contents:
    """What is kept of all files.

    `small` is uint8 (N, SIDE, SIDE), grey; `features` is float32 (N, num_features) or None. `unreadable` gives the
    reason for each file that cannot be decoded, by its path.
    """

    files: tuple[File, ...]
    small: npt.NDArray[np.uint8]
    features: npt.NDArray[np.float32] | None
    unreadable: Mapping[str, str]

    @property
    def splits(self) -> npt.NDArray[np.str_]:
        """The split of each file, an empty text where the source has none."""
        return np.array([file.sample.split or "" for file in self.files])

    @property
    def classes(self) -> npt.NDArray[np.str_]:
        """The class name of each file."""
        return np.array([file.sample.class_name for file in self.files])

    @property
    def paths(self) -> list[str]:
        """The path of each file below the root."""
        return [file.sample.path for file in self.files]


def look(archive: Archive, samples: Sequence[Sample], extractor: Extractor | None) -> Contents:
    """Decode every file once, some hundred at a time.

    Args:
        archive: What holds the files.
        samples: One for each.
        extractor: Computes the features of a frozen backbone; None leaves them out.

    Raises:
        DataError: If no file can be read.
        ModelError: If the images do not fit the backbone.
    """
    files: list[File] = []
    small: list[npt.NDArray[np.uint8]] = []
    features: list[npt.NDArray[np.float32]] = []
    unreadable: dict[str, str] = {}
    size = None if extractor is None else extractor.backbone.weights.image_size
    for seen in _seen(archive, samples, size):
        good = [each for each in seen if isinstance(each, _Seen)]
        unreadable |= dict(each for each in seen if not isinstance(each, _Seen))
        files += [each.file for each in good]
        small += [each.small for each in good]
        if extractor is not None and good:
            # The digests say what the images are, so that a second audit finds the features in the cache.
            source = bytes_digest(f"audit/{size}/{'/'.join(each.file.digest for each in good)}".encode())
            features.append(extractor.features(_stacked([each.large for each in good]), source).values)
    if not files:
        raise DataError(f"`{archive.path}` must hold images that can be read, but there is none. Add some.")
    return Contents(tuple(files), np.stack(small), np.concatenate(features) if features else None, unreadable)


@dataclass(frozen=True)
class _Seen:
    file: File
    small: npt.NDArray[np.uint8]
    large: npt.NDArray[np.uint8]


def _seen(archive: Archive, samples: Sequence[Sample], size: int | None) -> Iterator[list[_Seen | tuple[str, str]]]:
    """Yield what is seen of some files at a time, or the path and reason of one that cannot be read."""

    def one(pair: tuple[Sample, bytes | str]) -> _Seen | tuple[str, str]:
        sample, content = pair
        if isinstance(content, str):
            return sample.path, content
        try:
            small = _grey(decode(content, SIDE))
            large = small if size is None else decode(content, size, "crop")
        except DataError as error:
            return sample.path, str(error)
        return _Seen(_file(sample, content), small, large)

    def read(sample: Sample) -> tuple[Sample, bytes | str]:
        try:
            return sample, archive.read(sample.file)
        except DataError as error:
            return sample, str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Decoders work outside Python's lock.
        for begin in range(0, len(samples), _AT_ONCE):
            yield list(pool.map(one, map(read, samples[begin : begin + _AT_ONCE])))


def _file(sample: Sample, content: bytes) -> File:
    with Image.open(io.BytesIO(content)) as image:
        is_turned = image.getexif().get(_ORIENTATION, 1) not in (0, 1)
        return File(sample, bytes_digest(content), image.format or "", image.mode, image.size, is_turned)


def _grey(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return pixels if pixels.ndim == 2 else (pixels @ np.array(_LUMA)).round().astype(np.uint8)


def _stacked(images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    channels = max(3 if image.ndim == 3 else 1 for image in images)
    result = np.empty((len(images), channels, *images[0].shape[:2]), dtype=np.uint8)
    for target, image in zip(result, images, strict=True):
        target[:] = image if image.ndim == 2 else image.transpose(2, 0, 1)
    return result


def findings(contents: Contents) -> Iterator[Finding]:
    """Report files that cannot be read, and those whose names tell another format than their contents."""
    if contents.unreadable:
        total = len(contents.files) + len(contents.unreadable)
        yield Finding(
            "unreadable",
            "error",
            f"{len(contents.unreadable):,} of {count(total, 'file')} cannot be decoded as an image. Mend or remove "
            "them, or train without them by `data.skip_unreadable = true`.",
            tuple(Exhibit(path, reason, index) for index, (path, reason) in enumerate(contents.unreadable.items())),
        )
    wrong = [file for file in contents.files if _form_of_name(file) != _FAMILY.get(file.form, file.form)]
    if wrong:
        kinds = listed(sorted({_FAMILY.get(file.form, file.form) for file in wrong}))
        yield Finding(
            "extension",
            "warning",
            f"{count(len(wrong), 'file')} {be(len(wrong))} not what the name's ending says: by content "
            f"{be(len(wrong))} {kinds}. paribus reads content, but other tools go by the name: rename.",
            tuple(Exhibit(file.sample.path, f"is {file.form}", index) for index, file in enumerate(wrong)),
        )


def _form_of_name(file: File) -> str | None:
    form = Image.registered_extensions().get(PurePath(file.sample.path).suffix.lower())
    return None if form is None else _FAMILY.get(form, form)


_FAMILY = {"MPO": "JPEG", "DIB": "BMP"}
"""Formats that share their endings with another."""
