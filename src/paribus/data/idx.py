"""The IDX files of MNIST and its relatives, gzip-packed or not."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paribus.data.dataset import Dataset, Split
from paribus.data.reader import Reader, bytes_digest, readable
from paribus.errors import DataError


@dataclass(frozen=True)
class IdxFolder(Reader):
    """A folder with the four files `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-...`.

    Each may end in `.gz`, and `.idx` may stand for `-idx`. Format: LeCun, Cortes, Burges, "The MNIST database".
    """

    def contents(self) -> Iterator[tuple[str, str]]:
        """Yield the digest of each of the four files, unpacked."""
        # Of the unpacked bytes: the same images packed by another gzip are the same data set.
        for part in _PARTS:
            yield part, bytes_digest(_bytes_of(self._file(part)))

    def read(self) -> Dataset:
        """Decode the four files."""
        return self._dataset({"train": self._split("train"), "test": self._split("t10k")}, self.classes)

    @staticmethod
    def fits(folder: Path) -> bool:
        """Return whether the folder holds at least one of the four files."""
        return any((folder / name).is_file() for part in _PARTS for name in _names_of(part))

    def _split(self, prefix: str) -> Split:
        images_file, labels_file = self._file(f"{prefix}-images"), self._file(f"{prefix}-labels")
        images = read_idx(images_file, dimensions=3)
        labels = read_idx(labels_file, dimensions=1)
        if len(images) != len(labels):
            raise DataError(
                f"There must be one label per image, but `{images_file}` holds {len(images)} images and "
                f"`{labels_file.name}` {len(labels)} labels. Take both files from the same source."
            )
        return Split(images[:, None], labels.astype(np.int64))

    def _file(self, part: str) -> Path:
        names = _names_of(part)
        for name in names:
            if (self.path / name).is_file():
                return self.path / name
        raise DataError(
            f"A folder of IDX files must hold `{names[0]}` or `{names[0]}.gz`, but `{self.path}` does not. "
            f"The four files are {', '.join(_names_of(each)[0] for each in _PARTS)}."
        )


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes.

    Args:
        path: The file; unpacked on the way if its name ends in `.gz`.
        dimensions: 3 for images (N, H, W), 1 for labels (N,).

    Raises:
        DataError: If the file is missing, is not what its name says, is cut off, goes on too long, or is empty.
    """
    content = _bytes_of(path)
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise DataError(
            f"`{path}` is truncated: its header needs {header} bytes, but it has {len(content)}. Fetch it again."
        )
    magic, *shape = struct.unpack(f">{1 + dimensions}I", content[:header])
    expected_magic = 0x0800 + dimensions
    if magic != expected_magic:
        raise DataError(
            f"`{path}` must begin with the IDX magic number {expected_magic} ({dimensions} dimensions of unsigned "
            f"bytes), but it begins with {magic}. Check that images and labels were not exchanged."
        )
    if 0 in shape:
        raise DataError(f"`{path}` must hold at least one image or label, but its header says {shape}. Fetch it again.")
    expected, given = math.prod(shape), len(content) - header
    if given < expected:
        raise DataError(
            f"`{path}` is truncated: its header promises {expected} bytes, but {given} follow. Fetch it again."
        )
    if given > expected:
        raise DataError(
            f"`{path}` must end after the {expected} bytes that its header promises, but {given - expected} more "
            "follow. Fetch it again."
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def _bytes_of(path: Path) -> bytes:
    with readable(path):
        content = path.read_bytes()
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except EOFError:
        raise DataError(f"`{path}` is truncated: its gzip data ends too early. Fetch it again.") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"`{path}` must be whole gzip data, but is not: {error}. Fetch it again; if it is already unpacked, take "
            "`.gz` off its name."
        ) from None


def _names_of(part: str) -> tuple[str, ...]:
    form = "idx3-ubyte" if part.endswith("images") else "idx1-ubyte"
    # Unpacked first: torchvision leaves both, and the two hold the same bytes.
    return (f"{part}-{form}", f"{part}.{form}", f"{part}-{form}.gz", f"{part}.{form}.gz")


_PARTS = ("train-images", "train-labels", "t10k-images", "t10k-labels")
