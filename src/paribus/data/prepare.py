"""Decode a data set once into the cache, where every worker maps the same pages into its memory."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from paribus.config import DataConfig, Value
from paribus.data.dataset import Dataset, Split
from paribus.data.pixels import DECODER, padded
from paribus.data.reader import SPLITS, Reading
from paribus.data.sources import SOURCES, cache_folder, locate, require_published, writing_cache
from paribus.errors import ConfigError, DataError


@dataclass(frozen=True)
class Prepared:
    """A decoded data set in the cache: the folder that `load_prepared` opens, the fingerprint, and the name."""

    folder: Path
    fingerprint: str
    name: str


def prepare(
    config: DataConfig, data_dir: Path | None = None, *, download: bool = True, in_experiment: bool = False
) -> Prepared:
    """Find a data set and decode it into the cache, unless its contents are there already.

    Two processes may do this at once: each writes a folder of its own, and the first to finish puts it in place.

    Args:
        config: All but `val` and `train_size` is used.
        data_dir: The folder that is searched first for known data sets.
        download: Whether a known data set that is missing may be downloaded.
        in_experiment: Whether an experiment asks, so that a refusal may advise its settings.

    Raises:
        DataError: If the data set is missing or damaged, or the cache cannot be written.
    """
    how = Reading.of(config)
    found = locate(config.name, data_dir, download=download, in_experiment=in_experiment)
    reader = dataclasses.replace(found, how=how)
    text = f"{reader.fingerprint()}/{how.key()}/{config.pad}"
    fingerprint = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    folder = cache_folder() / "prepared" / fingerprint
    if not _is_current(folder):
        dataset = reader.read()
        if config.name in SOURCES and config.test is None:
            require_published(config.name, dataset)
        _write(folder, _finished(dataset, config.pad, fingerprint))
    return Prepared(folder, fingerprint, reader.name)


def load_data(name: str | Path, data_dir: Path | None = None, **keys: Value) -> Dataset:
    """Return the images of a data set, decoded once: the next time they come from the cache.

    Args:
        name: A known data set, or the path of a folder, zip, csv or npz file.
        data_dir: The folder that is searched first for known data sets.
        **keys: How images are read, such as ``size=256, fit="crop", test=0.2``: keys of `DataConfig`.

    Raises:
        ConfigError: If a key is unknown or out of range.
        DataError: If the data set is missing or damaged, or the cache cannot be written.
    """
    drawn = [key for key in keys if key in ("val", "train_size")]
    if drawn:
        raise ConfigError(f"`{drawn[0]}` is drawn for a run and not kept with the images. Give it to what draws it.")
    return load_prepared(prepare(DataConfig.parse({"name": str(name), **keys}, "data"), data_dir).folder)


def _finished(dataset: Dataset, pad: int, fingerprint: str) -> Dataset:
    def framed(split: Split) -> Split:
        return dataclasses.replace(split, images=padded(split.images, pad))

    val = None if dataset.val is None else framed(dataset.val)
    return dataclasses.replace(
        dataset, fingerprint=fingerprint, train=framed(dataset.train), val=val, test=framed(dataset.test)
    )


def load_prepared(folder: Path) -> Dataset:
    """Open a prepared data set without reading or copying its images.

    The arrays are memory-mapped: processes share their pages, and what one writes into them stays its own.

    Raises:
        DataError: If the folder is missing, damaged, or cannot be read.
    """
    try:
        meta = json.loads((folder / _META).read_text(encoding="utf-8"))
        splits = {
            name: Split(
                _mapped(folder, name, "images"),
                _mapped(folder, name, "labels"),
                _mapped(folder, name, "groups") if meta.get("grouped") else None,
                _mapped(folder, name, "suggested_groups") if meta.get("suggested") else None,
            )
            for name in meta["splits"]
        }
        return Dataset(
            meta["name"],
            meta["fingerprint"],
            tuple(meta["class_names"]),
            splits["train"],
            splits.get("val"),
            splits["test"],
            meta.get("skipped", {}),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"`{folder}` must hold a whole prepared data set, but does not: {error}. Delete this folder and run again: "
            "the data set is then prepared anew."
        ) from error
    except OSError as error:
        raise DataError(
            f"The prepared data set `{folder}` must be readable, but is not: {error.strerror or error}. Check its "
            "permissions and the disk."
        ) from error


def _mapped(folder: Path, split: str, part: str) -> npt.NDArray[Any]:
    # A plain array over the mapping, so that what is computed from it is no memmap.
    return np.asarray(np.load(folder / f"{split}-{part}.npy", mmap_mode="c", allow_pickle=False))


def _is_current(folder: Path) -> bool:
    """Whether a data set is prepared, by a version that decodes as this one; what is damaged is for `load_prepared`."""
    try:
        return bool(json.loads((folder / _META).read_text(encoding="utf-8")).get("decoder") == DECODER)
    except FileNotFoundError:
        return False
    except ValueError:
        return True


def _write(folder: Path, dataset: Dataset) -> None:
    with writing_cache(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        with writing_cache(folder):
            _fill(temporary, dataset)
            _put_in_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fill(folder: Path, dataset: Dataset) -> None:
    parts = {name: split for name in SPLITS if (split := getattr(dataset, name)) is not None}
    for name, split in parts.items():
        for part, array in vars(split).items():
            if array is None:
                continue
            with (folder / f"{name}-{part}.npy").open("wb") as file:
                np.save(file, array, allow_pickle=False)
                _flush(file)
    meta = {
        "name": dataset.name,
        "decoder": DECODER,
        "fingerprint": dataset.fingerprint,
        "class_names": dataset.class_names,
        "splits": list(parts),
        "grouped": dataset.train.groups is not None,
        "suggested": dataset.train.suggested_groups is not None,
        "skipped": dict(dataset.skipped),
    }
    with (folder / _META).open("w", encoding="utf-8") as text:
        json.dump(meta, text, indent=1)
        _flush(text)


def _flush(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _put_in_place(temporary: Path, folder: Path) -> None:
    # mkdtemp lets only its owner in, but a cache may be shared.
    temporary.chmod(0o755)
    outdated = temporary.with_name(f"{temporary.name}-outdated")
    if folder.is_dir() and not _is_current(folder):
        folder.rename(outdated)  # Of an older version, or somebody deleted a part of it.
        shutil.rmtree(outdated)
    try:
        temporary.rename(folder)
    except OSError:
        if not (folder / _META).is_file():  # else another process was faster
            raise


_META = "meta.json"
