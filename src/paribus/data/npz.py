"""Data sets in one numpy `.npz` file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus.data.dataset import Dataset, Split
from paribus.data.reader import SPLITS, Reader, file_digest, readable
from paribus.errors import DataError


@dataclass(frozen=True)
class NpzFile(Reader):
    """An `.npz` file with images (N, H, W) or (N, H, W, 1 or 3), uint8, and whole-number labels (N,) from 0.

    Its keys are `arr_0` ... `arr_3` (train images, train labels, test images, test labels: the published form of
    DHCD), or `x_train, y_train, x_test, y_test`, or `train_images, train_labels, test_images, test_labels`; the named
    forms may add a validation split with `val` in place of `test`.
    """

    def contents(self) -> Iterator[tuple[str, str]]:
        """Yield the file's digest."""
        yield "npz", file_digest(self.path)

    def read(self) -> Dataset:
        """Decode the arrays."""
        arrays = self._arrays()
        keys = self._keys(set(arrays))
        return self._dataset({split: self._split(arrays, *pair) for split, pair in keys.items()}, self.classes)

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        try:
            # numpy leaves a file open that it opened itself and could not read.
            with readable(self.path), self.path.open("rb") as file:
                loaded = np.load(file, allow_pickle=False)
                if isinstance(loaded, np.ndarray):
                    raise ValueError("it holds a single array")
                return dict(loaded)
        except MemoryError as error:
            raise DataError(
                f"The arrays of `{self.path}` must fit into memory, but do not: {error}. Write smaller images, or give "
                "a folder of image files with `data.size`."
            ) from None
        except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
            raise DataError(
                f"`{self.path}` must be an .npz file of plain arrays, but it cannot be read: {error}. Write it again "
                "with numpy.savez."
            ) from None

    def _keys(self, found: set[str]) -> dict[str, tuple[str, str]]:
        for form in _FORMS:
            required = {key for split in ("train", "test") for key in form[split]}
            optional = set(form.get("val", ()))
            if required <= found <= required | optional and found & optional in (set(), optional):
                return {split: form[split] for split in SPLITS if form.get(split, ("",))[0] in found}
        forms = "; ".join(", ".join((*form["train"], *form["test"])) for form in _FORMS)
        raise DataError(
            f"`{self.path}` must have exactly the keys of one form ({forms}; the named ones also with val), but it has "
            f"{', '.join(sorted(found)) or 'none'}. Rename them, or write the file again."
        )

    def _split(self, arrays: Mapping[str, npt.NDArray[Any]], images_key: str, labels_key: str) -> Split:
        images, labels = arrays[images_key], arrays[labels_key]
        is_grey, is_channels_last = images.ndim == 3, images.ndim == 4 and images.shape[-1] in (1, 3)
        if images.dtype != np.uint8 or not (is_grey or is_channels_last) or 0 in images.shape:
            raise DataError(
                f"`{images_key}` of `{self.path}` must hold at least one image as uint8 (N, H, W) or (N, H, W, 1 or "
                f"3), but it is {images.dtype} {images.shape}. Write values 0 to 255 in that order."
            )
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            hint = "Turn one-hot rows into numbers with argmax(axis=1)." if labels.ndim == 2 else "Write whole numbers."
            raise DataError(
                f"`{labels_key}` of `{self.path}` must hold whole numbers (N,), but it is {labels.dtype} "
                f"{labels.shape}. {hint}"
            )
        if len(images) != len(labels):
            raise DataError(
                f"`{self.path}` must have one label per image, but `{images_key}` holds {len(images)} images and "
                f"`{labels_key}` {len(labels)} labels. Write the file again."
            )
        channels_first = images[:, None] if is_grey else images.transpose(0, 3, 1, 2)
        return Split(np.ascontiguousarray(channels_first), labels.astype(np.int64))


_FORMS: tuple[dict[str, tuple[str, str]], ...] = (
    {"train": ("arr_0", "arr_1"), "test": ("arr_2", "arr_3")},
    {"train": ("x_train", "y_train"), "val": ("x_val", "y_val"), "test": ("x_test", "y_test")},
    {
        "train": ("train_images", "train_labels"),
        "val": ("val_images", "val_labels"),
        "test": ("test_images", "test_labels"),
    },
)
