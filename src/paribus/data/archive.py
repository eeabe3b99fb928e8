"""Files below a folder or inside a zip, read the same way; nothing is unpacked to disk."""

from __future__ import annotations

import os
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from paribus.data.reader import readable
from paribus.errors import DataError

Parts = tuple[str, ...]
"""The parts of a path relative to the root."""


class Archive(ABC):
    """The files and folders below one root. Hidden ones and what operating systems leave behind are not listed."""

    path: Path

    @abstractmethod
    def _list(self) -> Iterator[tuple[Parts, bool]]:
        """Yield each entry and whether it is a folder."""

    @abstractmethod
    def read(self, file: Parts) -> bytes:
        """Return the bytes of a file.

        Raises:
            DataError: If it cannot be read.
        """

    def listing(self) -> tuple[list[Parts], set[Parts]]:
        """Return the files, sorted, and all folders that exist or hold something."""
        visible = [(parts, is_folder) for parts, is_folder in self._list() if not any(map(_is_clutter, parts))]
        files = sorted(parts for parts, is_folder in visible if not is_folder)
        folders = {parts for parts, is_folder in visible if is_folder}
        folders |= {file[:depth] for file in files for depth in range(1, len(file))}
        return files, folders


class FolderArchive(Archive):
    """The files below a folder; links are followed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _list(self) -> Iterator[tuple[Parts, bool]]:
        for folder, folders, files in os.walk(self.path, followlinks=True, onerror=_refuse):
            base = Path(folder).relative_to(self.path).parts
            yield from (((*base, name), True) for name in folders)
            yield from (((*base, name), False) for name in files)

    def read(self, file: Parts) -> bytes:
        """Return the bytes of a file on disk."""
        path = self.path.joinpath(*file)
        with readable(path):
            return path.read_bytes()


class ZipArchive(Archive):
    """The entries of an open zip file."""

    def __init__(self, path: Path, opened: zipfile.ZipFile) -> None:
        self.path = path
        self._zip = opened
        self._entries = {PurePosixPath(entry.filename.replace("\\", "/")).parts: entry for entry in opened.infolist()}

    def _list(self) -> Iterator[tuple[Parts, bool]]:
        return ((parts, entry.is_dir()) for parts, entry in self._entries.items())

    def read(self, file: Parts) -> bytes:
        """Unpack one entry into memory."""
        entry = self._entries[file]
        if entry.flag_bits & 1:
            raise DataError("it is encrypted")
        try:
            return self._zip.read(entry)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
            raise DataError(f"damaged in the zip: {error}") from None


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a folder or a zip for reading.

    Raises:
        DataError: If it is neither.
    """
    if path.is_dir():
        yield FolderArchive(path)
        return
    try:
        with readable(path):
            opened = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise DataError(f"`{path}` must be a whole zip file, but is not: {error}. Fetch or write it again.") from None
    with opened:
        yield ZipArchive(path, opened)


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name in _CLUTTER


def _refuse(error: OSError) -> None:
    raise DataError(f"`{error.filename}` cannot be listed: {error.strerror}. Check its permissions.") from error


_CLUTTER = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
