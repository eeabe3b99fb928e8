"""Files that are read again only when they have changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TypeVar, cast

T = TypeVar("T")


class Memory:
    """What was made of files, by path, for as long as they keep their time and size."""

    def __init__(self) -> None:
        self._kept: dict[Path, tuple[tuple[int, int], object]] = {}
        self._lock = Lock()

    def recall(self, path: Path, read: Callable[[Path], T]) -> T | None:
        """Return what `read` makes of a file, None where it is not there.

        A path must always be read in the same way.

        Raises:
            StoreError: From `read`.
        """
        try:
            stat = path.stat()
        except FileNotFoundError:
            return None
        signature = (stat.st_mtime_ns, stat.st_size)
        with self._lock:
            known = self._kept.get(path)
        if known is not None and known[0] == signature:
            return cast(T, known[1])
        made = read(path)  # Outside the lock: two requests may read a file twice, and none waits.
        with self._lock:
            self._kept[path] = (signature, made)
        return made

    @staticmethod
    def changed(path: Path) -> float | None:
        """Return when a file was last written, in seconds since 1970, None where it is not there."""
        try:
            return path.stat().st_mtime
        except FileNotFoundError:
            return None
