"""Features on disk: kept by the digest of all that decides them, written whole, computed by one process at a time."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import filelock
import numpy as np
import numpy.typing as npt

from paribus.data.sources import cache_folder, writing_cache
from paribus.errors import DataError

Backend = Literal["onnxruntime", "torch"]
Array = npt.NDArray[np.float32]

BATCH = 2
"""How many images go through a backbone at once on each core: more of them gain nothing there."""


@dataclass(frozen=True)
class Features:
    """Features float32 (N, num_features), one row per image, and how they came to be.

    `backend` computed them in that many `seconds`; `cached` says that this was at another time. `values` that were read
    from the cache are mapped into memory; what is written into them stays this process's own.
    """

    values: Array
    backend: Backend
    cached: bool
    seconds: float


@dataclass(frozen=True)
class Wanted:
    """Which features: of which backbone, by its digest, and of which images.

    `source` says what the images are, such as a prepared data set's fingerprint and the split, `shape` is theirs,
    (N, C, H, W), and `view` names how they are changed first. `backend` is one that is insisted on.
    """

    backbone: str
    source: str
    shape: tuple[int, ...]
    view: str | None = None
    backend: Backend | None = None

    @property
    def digest(self) -> str:
        """Where they are kept: versions of what computes them, and how many images go through at once, count too."""
        decides = (self.backbone, self.backend, _versions(), BATCH, self.source, self.shape)
        text = "|".join(map(str, (*decides, self.view)))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def has_any(backbone: str) -> bool:
    """Return whether features of a backbone, by its digest, have been kept."""
    return any(_folder(backbone).glob("*.npy"))


def cached(wanted: Wanted, compute: Callable[[], Features]) -> Features:
    """Return features from the cache, or else compute and keep them; of several processes one does.

    Raises:
        DataError: If the cache is damaged or cannot be written.
    """
    stem = _folder(wanted.backbone) / wanted.digest
    kept = _kept(stem, wanted.shape[0])
    if kept is not None:
        return kept
    with _alone(stem):
        kept = _kept(stem, wanted.shape[0])  # By whoever was here before.
        if kept is not None:
            return kept
        found = compute()
        _write(_path(stem, found.backend), found)
    return found


def _versions() -> str:
    """Return what computes features, without importing it: timm says what the network of a name is."""
    return ", ".join(f"{name} {found}" for name in ("torch", "timm", "onnxruntime") if (found := _version(name)))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _folder(backbone: str) -> Path:
    return cache_folder() / "features" / backbone


def _path(stem: Path, backend: Backend) -> Path:
    return stem.with_name(f"{stem.name}.{backend}.npy")


def _kept(stem: Path, images: int) -> Features | None:
    for backend in _BACKENDS:
        path = _path(stem, backend)
        if path.is_file() and _cost(path).is_file():
            return Features(_mapped(path, images), backend, cached=True, seconds=_seconds(_cost(path)))
    return None


def _cost(path: Path) -> Path:
    """Where it is kept how long features took."""
    return path.with_suffix(".json")


def _seconds(path: Path) -> float:
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"`{path}` must hold seconds, but cannot be read: {error!r}. {_ADVICE}") from error


def _mapped(path: Path, images: int) -> Array:
    try:
        values = np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"`{path}` must hold features, but cannot be read: {error}. {_ADVICE}") from error
    if values.ndim != 2 or len(values) != images or values.dtype != np.float32:
        holds = f"{values.dtype} {values.shape}"
        raise DataError(f"`{path}` must hold float32 features of {images} images, but holds {holds}. {_ADVICE}")
    return values


def _write(path: Path, features: Features) -> None:
    """Write features so that another process sees all of them or none; the last of several writers stays."""
    with writing_cache(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as folder:
        temporary = Path(folder, path.name)
        with temporary.open("wb") as file:
            np.save(file, features.values, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        _cost(temporary).write_text(json.dumps({"seconds": features.seconds}), encoding="utf-8")
        os.replace(_cost(temporary), _cost(path))
        os.replace(temporary, path)


@contextmanager
def _alone(stem: Path) -> Iterator[None]:
    """Wait until no other process computes these features; the system frees the lock of one that dies."""
    path = stem.with_name(f".{stem.name}.lock")
    lock = filelock.FileLock(path)
    with writing_cache(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


_ADVICE = "Delete this file and run again: the features are then computed anew."
_BACKENDS: tuple[Backend, ...] = ("onnxruntime", "torch")
