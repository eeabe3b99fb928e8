"""Small data sets on disk, in every form that the readers know."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Arrays = dict[str, npt.NDArray[Any]]
NUM_CLASSES = 3


def arrays(train: int = 30, test: int = 9, side: int = 6) -> Arrays:
    """Return images (N, side, side) and labels of three classes, always the same."""
    generator = np.random.default_rng(7)
    made: Arrays = {}
    for split, count in (("train", train), ("test", test)):
        made[f"x_{split}"] = generator.integers(0, 256, (count, side, side), dtype=np.uint8)
        made[f"y_{split}"] = np.arange(count, dtype=np.int64) % NUM_CLASSES
    return made


def idx_bytes(array: npt.NDArray[Any]) -> bytes:
    """Return an array of bytes as an IDX file."""
    header = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, made: Arrays, packed: bool = True, dotted: bool = False) -> Path:
    """Write the four files."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = "." if dotted else "-"
    for prefix, split in (("train", "train"), ("t10k", "test")):
        for kind, array, form in (("images", made[f"x_{split}"], 3), ("labels", made[f"y_{split}"], 1)):
            name = f"{prefix}-{kind}{mark}idx{form}-ubyte"
            content = idx_bytes(array)
            (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
    return folder


def picture(pixels: npt.NDArray[Any], form: str = "png", **options: Any) -> bytes:
    """Return pixels as an image file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def class_files(made: Arrays, train: str = "train", test: str = "test", prefix: str = "") -> dict[str, bytes]:
    """Return the files of class folders a, b and c, by relative path."""
    return {
        f"{prefix}{folder}/{'abc'[label]}/{index:03}.png": picture(image)
        for split, folder in (("train", train), ("test", test))
        for index, (image, label) in enumerate(zip(made[f"x_{split}"], made[f"y_{split}"], strict=True))
    }


def write_files(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a zip; a name that ends in a slash is a folder."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path
