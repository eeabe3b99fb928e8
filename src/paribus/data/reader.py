"""What every reader of one file form can do: say what decides its contents, and decode them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from paribus.config import DataConfig, Fit
from paribus.data.dataset import Dataset, Split
from paribus.data.pixels import resized
from paribus.errors import DataError, missing

SPLITS = ("train", "val", "test")
SPLIT_OF = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""What splits are called, in lower case."""
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Reading:
    """How a data set is to be read: the keys of `DataConfig` that decide its images and its test split."""

    size: int | None = None
    fit: Fit = "squash"
    test: float | None = None
    group: str | None = None
    skip_unreadable: bool = False

    @classmethod
    def of(cls, config: DataConfig) -> Reading:
        """Return what a recipe asks for."""
        return cls(config.size, config.fit, config.test, config.group, config.skip_unreadable)

    def key(self) -> str:
        """Return a text that tells readings apart."""
        plain = Reading(self.size)
        more = "".join(f"/{name}={value}" for name, value in vars(self).items() if value != getattr(plain, name))
        return f"{self.size}{more}"


@dataclass(frozen=True)
class Reader(ABC):
    """One data set on disk. `classes` are its names in order, or None where the files decide them.

    `how` says how its images are read; the fingerprint is that of the contents alone.
    `version` changes whenever the same files would give other images, labels or class names.
    """

    version: ClassVar[int] = 1

    name: str
    path: Path
    classes: tuple[str, ...] | None = None
    how: Reading = Reading()

    @abstractmethod
    def contents(self) -> Iterator[tuple[str, str]]:
        """Yield the name of each file inside the data set and the digest of its bytes, in a fixed order."""

    @abstractmethod
    def read(self) -> Dataset:
        """Decode every image.

        Raises:
            DataError: If a file is missing or damaged, its labels make no classes, or it cannot be read so.
        """

    def fingerprint(self) -> str:
        """Return a hexadecimal digest of the contents and of the way in which they are read; no place enters it."""
        parts = [type(self).__name__, str(self.version), *(self.classes or ())]
        parts += [text for pair in self.contents() for text in pair]
        return bytes_digest("".join(f"{len(part)}:{part}" for part in parts).encode())

    def _dataset(self, splits: Mapping[str, Split], classes: tuple[str, ...] | None) -> Dataset:
        """Return the data set of arrays, which have no files to be looked at one by one."""
        asked = [name for name, value in vars(self.how).items() if name != "size" and value != getattr(Reading(), name)]
        if asked:
            raise DataError(
                f"`data.{asked[0]}` must be left out for `{self.path}`: it is for data sets of image files: a folder, "
                "a zip or a csv file."
            )
        classes = classes_of({name: split.labels for name, split in splits.items()}, self.path, classes)
        shapes = {name: split.images.shape[1:] for name, split in splits.items()}
        if len(set(shapes.values())) > 1:
            raise DataError(
                f"The images of all splits must have one shape (C, H, W), but in `{self.path}` got {shapes}. "
                "Bring them to one size and number of channels."
            )
        whole = {name: Split(resized(split.images, self.how.size), split.labels) for name, split in splits.items()}
        return Dataset(self.name, self.fingerprint(), classes, whole["train"], whole.get("val"), whole["test"])


def bytes_digest(content: bytes) -> str:
    """Return the digest of some bytes."""
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


def file_digest(path: Path) -> str:
    """Return the digest of a file's bytes."""
    with readable(path), path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_DIGEST_BYTES)).hexdigest()


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the system's refusal to read a file into a DataError that names it."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(missing("A file", path, "Put it there, or correct the path.")) from None
    except OSError as error:
        raise DataError(
            f"`{path}` cannot be read: {error.strerror or error}. Check the file and its permissions."
        ) from error


def classes_of(
    labels: Mapping[str, npt.NDArray[np.int64]], where: Path, given: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Return the names of the classes, after checking that the labels are 0 to K - 1 and train has each of them."""
    found = np.unique(labels["train"])
    count = len(given) if given is not None else len(found)
    if given is None and np.array_equal(found, np.arange(1, count + 1)):
        raise DataError(
            f"Labels must be whole numbers from 0, but the train labels of `{where}` run from 1 to {count}. "
            "Subtract 1 from all of them, in every split."
        )
    for split, values in labels.items():
        if len(values) and (values.min() < 0 or values.max() >= count):
            raise DataError(
                f"Labels must lie in 0 to {count - 1} for the {count} classes of `{where}`, but its {split} labels "
                f"span {values.min()} to {values.max()}. Number the classes from 0 without gaps."
            )
    if count < 2:
        raise DataError(f"There must be at least two classes to tell apart, but `{where}` has {count}. Add another.")
    missing = np.setdiff1d(np.arange(count), found)
    if len(missing):
        raise DataError(
            f"Every class must have train images, but those of `{where}` lack class {missing[0]}"
            f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}. Add images, or number the classes anew."
        )
    return given if given is not None else tuple(str(label) for label in range(count))
