"""The known data sets, where they are looked for, and what a path of the user's own holds."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs

from paribus.data.dataset import Dataset
from paribus.data.dhcd import CLASSES, NPZ_NAME, ZIP_NAME, find_dhcd
from paribus.data.digits import Digits
from paribus.data.folders import ImageFolders
from paribus.data.idx import IdxFolder
from paribus.data.npz import NpzFile
from paribus.data.reader import Reader
from paribus.data.table import CsvFile
from paribus.errors import DataError, missing, one_of
from paribus.paths import expanded

_DOWNLOAD_TIMEOUT_S = 30.0
_WITHOUT = " To go on without it: `--set control.data.name=digits`."
_ELSEWHERE = " `--set control.data.name=PATH` does so."
"""How refusals end where an experiment has asked."""


@dataclass(frozen=True)
class Source:
    """One known data set.

    `train_counts` and `test_counts` are images per class, in the order of `classes`; `image_shape` is (C, H, W), None
    where images have many sizes: then `DataConfig.size` is needed.
    `place` says which files belong where, below any folder that is searched; `find` looks for them there.
    `torchvision` names the class that downloads it, or is None where `origin` must be visited by hand.
    """

    title: str
    classes: tuple[str, ...]
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    image_shape: tuple[int, int, int] | None
    citation: str
    licence: str
    origin: str
    place: str
    find: Callable[[Path], Reader | None]
    torchvision: str | None = None

    @property
    def summary(self) -> str:
        """Say in one line what it is."""
        train, test = sum(self.train_counts), sum(self.test_counts)
        size = "many sizes" if self.image_shape is None else "{1}x{2}".format(*self.image_shape)
        return (
            f"{self.title}: {len(self.classes)} classes, {train:,} + {test:,} images of {size}; "
            f"{self.citation}; {self.licence}"
        )


def cache_folder() -> Path:
    """Return where downloads and prepared images are kept: `PARIBUS_CACHE`, or else the user's cache folder."""
    return Path(os.environ.get("PARIBUS_CACHE") or platformdirs.user_cache_dir("paribus"))


@contextmanager
def writing_cache(path: Path) -> Iterator[None]:
    """Say what to do where a path in the cache cannot be written.

    Raises:
        DataError: If the system refuses, or the disk is full.
    """
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, None)  # None: numpy tells how much it could write.
        reason = "the disk is full" if is_full else error.strerror or str(error)
        raise DataError(
            f"The cache must be writable, but `{path}` cannot be written: {reason}. Name another folder with the "
            "environment variable PARIBUS_CACHE, or make room."
        ) from error


def search_folders(data_dir: Path | None = None) -> tuple[Path, ...]:
    """Return the folders in which known data sets are looked for, in order: `data_dir`, `PARIBUS_DATA`, the cache.

    Raises:
        DataError: If `data_dir` is no folder.
    """
    if data_dir is not None and not data_dir.is_dir():
        raise DataError(missing("The data folder", data_dir, "Correct --data-dir."))
    given = [data_dir] if data_dir is not None else []
    named = [Path(name) for name in os.environ.get("PARIBUS_DATA", "").split(os.pathsep) if name]
    return (*given, *named, cache_folder())


def locate(name: str, data_dir: Path | None = None, *, download: bool = True, in_experiment: bool = False) -> Reader:
    """Return the reader of a data set; a known one that is missing is downloaded, if that is allowed.

    Args:
        name: A key of `SOURCES`, or the path of a folder, zip, csv or npz file.
        data_dir: The folder that is searched first for known data sets.
        download: Whether a known data set that is missing may be downloaded.
        in_experiment: Whether an experiment asks, so that a refusal may advise its settings.

    Raises:
        DataError: If it cannot be found, or is not of any known form.
    """
    if name in SOURCES:
        return _locate_known(name, data_dir, download=download, advice=_WITHOUT if in_experiment else "")
    path = expanded(name)
    if path.exists() or len(path.parts) > 1 or "/" in name or os.sep in name or path.suffix.lower() in _FILES:
        return _reader_of(path)
    raise DataError(
        f"{one_of('A data set', SOURCES, name, 'the path of a folder, zip, csv or npz file')} There is nothing of that "
        f"name in `{Path.cwd()}`: go to where it lies, or give its whole path.{_ELSEWHERE if in_experiment else ''}"
    )


def require_published(name: str, dataset: Dataset) -> None:
    """Check that a known data set is what its name says, by the number of images in each class.

    Raises:
        DataError: With what was found.
    """
    source = SOURCES[name]
    published = list(zip(source.train_counts, source.test_counts, strict=True))
    count = len(published)
    parts = [np.bincount(split.labels, minlength=count).tolist() for split in (dataset.train, dataset.test)]
    found = list(zip(*parts, strict=True))
    different = [label for label in range(count) if found[label] != published[label]]
    if different:
        first = different[0]
        raise DataError(
            f"{source.title} must have {published[first][0]:,} train and {published[first][1]:,} test images of class "
            f"`{source.classes[first]}`, but the files found for `{name}` have {found[first][0]:,} and "
            f"{found[first][1]:,} ({len(different)} of {count} classes differ). Fetch them again; if they are a data "
            "set of your own, give their path instead of that name."
        )


def _locate_known(name: str, data_dir: Path | None, *, download: bool, advice: str) -> Reader:
    source, folders = SOURCES[name], search_folders(data_dir)
    for folder in folders:
        reader = source.find(folder)
        if reader is not None:
            return reader
    reason = _download(name, source) if download else "It is not downloaded only to be looked at."
    reader = source.find(cache_folder()) if reason is None else None
    if reader is not None:
        return reader
    raise DataError(
        f"{source.title} must be in one of the folders that are searched, but is in none of "
        f"{', '.join(f'`{folder}`' for folder in folders)}. {reason or 'The download left no files.'} Get it from "
        f"{source.origin}, put {source.place} into one of them, or name another folder with --data-dir or "
        f"PARIBUS_DATA.{advice}"
    )


def _download(name: str, source: Source) -> str | None:
    """Download through torchvision, which verifies checksums, into the cache; return why not, or None."""
    if source.torchvision is None:
        return "It has no automatic download."
    if os.environ.get("PARIBUS_OFFLINE", "") not in ("", "0"):
        return "PARIBUS_OFFLINE forbids downloading it."
    import torchvision.datasets

    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=f".{name}-") as temporary, _socket_timeout():
            getattr(torchvision.datasets, source.torchvision)(temporary, download=True)
            _publish(Path(temporary, source.torchvision, "raw"), cache / name)
    except (OSError, RuntimeError) as error:
        return f"Its download failed: {str(error).strip()}."
    return None


def _publish(downloaded: Path, target: Path) -> None:
    for unpacked in [file for file in downloaded.iterdir() if file.suffix != ".gz"]:
        unpacked.unlink()
    try:
        downloaded.rename(target)
    except OSError:
        if not IdxFolder.fits(target):  # else another process was faster
            raise


@contextmanager
def _socket_timeout() -> Iterator[None]:
    # torchvision opens its connections without a limit of its own.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _reader_of(path: Path) -> Reader:
    name = path.resolve().stem if path.is_file() else path.resolve().name
    if not path.exists():
        raise DataError(missing("A data set", path, "Correct the path."))
    if path.is_dir():
        return IdxFolder(name, path) if IdxFolder.fits(path) else ImageFolders(name, path)
    if path.suffix.lower() in _FILES:
        return _FILES[path.suffix.lower()](name, path)
    raise DataError(
        f"A data set of your own must be a folder (of IDX files, or of train/ and test/ with class folders), a .zip of "
        f"such class folders, a .csv of paths and labels, or an .npz file, but `{path}` is none of them. Put "
        "the images into one of these."
    )


def _find_idx(name: str, torchvision: str, classes: tuple[str, ...]) -> Callable[[Path], Reader | None]:
    def find(folder: Path) -> Reader | None:
        candidates = (folder / name, folder / torchvision / "raw")
        return next((IdxFolder(name, each, classes) for each in candidates if IdxFolder.fits(each)), None)

    return find


def _find_folders(name: str, classes: tuple[str, ...]) -> Callable[[Path], Reader | None]:
    def find(folder: Path) -> Reader | None:
        return ImageFolders(name, folder / name, classes) if (folder / name / "train").is_dir() else None

    return find


_FILES: dict[str, type[Reader]] = {".npz": NpzFile, ".zip": ImageFolders, ".csv": CsvFile}
_DIGITS = tuple("0123456789")
# fmt: off
_CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)
# fmt: on
_IDX_FILES = (
    "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz"
)

SOURCES: dict[str, Source] = {
    "mnist": Source(
        title="MNIST handwritten digits",
        classes=_DIGITS,
        train_counts=(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        test_counts=(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
        image_shape=(1, 28, 28),
        citation="LeCun, Bottou, Bengio, Haffner 1998, Gradient-based learning applied to document recognition",
        licence="CC BY-SA 3.0",
        origin="the MNIST database of LeCun, Cortes and Burges",
        place=f"{_IDX_FILES} in a folder mnist",
        find=_find_idx("mnist", "MNIST", _DIGITS),
        torchvision="MNIST",
    ),
    "fashion-mnist": Source(
        title="Fashion-MNIST articles of clothing",
        classes=_CLOTHES,
        train_counts=(6000,) * 10,
        test_counts=(1000,) * 10,
        image_shape=(1, 28, 28),
        citation="Xiao, Rasul, Vollgraf 2017, Fashion-MNIST: a novel image dataset for benchmarking",
        licence="MIT",
        origin="github.com/zalandoresearch/fashion-mnist",
        place=f"{_IDX_FILES} in a folder fashion-mnist",
        find=_find_idx("fashion-mnist", "FashionMNIST", _CLOTHES),
        torchvision="FashionMNIST",
    ),
    "dhcd": Source(
        title="Devanagari Handwritten Character Dataset",
        classes=CLASSES,
        train_counts=(1700,) * len(CLASSES),
        test_counts=(300,) * len(CLASSES),
        image_shape=(1, 32, 32),
        citation="Acharya, Pant, Gyawali 2015, Deep learning based large scale handwritten Devanagari character "
        "recognition",
        licence="CC BY 4.0",
        origin="the UCI Machine Learning Repository, 'Devanagari Handwritten Character Dataset'",
        place=f"{ZIP_NAME} (or the authors' {NPZ_NAME}) in a folder dhcd",
        find=lambda folder: find_dhcd(folder / "dhcd"),
    ),
    "dogs-vs-cats": Source(
        title="Dogs vs. cats, a small part",
        classes=("cat", "dog"),
        train_counts=(101, 101),
        test_counts=(250, 201),
        image_shape=None,
        citation="Elgendy 2020, Deep Learning for Vision Systems, chapter 6; photos of Kaggle's Dogs vs. Cats 2013",
        licence="that of Kaggle's Dogs vs. Cats",
        origin="github.com/moelgendy/deep_learning_for_vision_systems, chapter_06",
        place="train, valid and test in a folder dogs-vs-cats",
        find=_find_folders("dogs-vs-cats", ("cat", "dog")),
    ),
    "sign-digits": Source(
        title="Sign language digits",
        classes=_DIGITS,
        train_counts=(170, 171, 171, 171, 172, 172, 172, 171, 173, 169),
        test_counts=(5,) * 10,
        image_shape=None,
        citation="Mavi 2017, Sign Language Digits Dataset; split by Elgendy 2020, Deep Learning for Vision Systems",
        licence="Apache-2.0",
        origin="github.com/moelgendy/deep_learning_for_vision_systems, chapter_06",
        place="train, valid and test in a folder sign-digits",
        find=_find_folders("sign-digits", _DIGITS),
    ),
    "digits": Source(
        title="Optical recognition of handwritten digits",
        classes=_DIGITS,
        train_counts=(142, 145, 142, 146, 145, 146, 145, 143, 139, 144),
        test_counts=(36, 37, 35, 37, 36, 36, 36, 36, 35, 36),
        image_shape=(1, 8, 8),
        citation="Alpaydin, Kaynak 1998, UCI Machine Learning Repository, as scikit-learn ships it",
        licence="CC BY 4.0",
        origin="scikit-learn",
        place="nothing: scikit-learn holds it",
        find=lambda folder: Digits(),
    ),
}
