"""The result folders that are served: found by listing, opened by a name that is looked up and never made a path."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock

from paribus.errors import StoreError, missing, nearest
from paribus.store import Results
from paribus.web.replies import RefusedError, shown

_Signature = tuple[tuple[str, int, int], ...]


class Catalogue:
    """One result folder, or the result folders that lie in one.

    Args:
        folder: Either.

    Raises:
        StoreError: If it is not there.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            advice = "Give the folder that `paribus run` wrote, for example results."
            raise StoreError(missing("A result folder, or a folder of them,", folder, advice))
        self.folder = folder.resolve()
        self._opened: dict[str, tuple[_Signature, Results]] = {}
        self._lock = Lock()

    def folders(self) -> dict[str, Path]:
        """Return the result folders that there are now, by name."""
        if _is_result(self.folder):
            return {self.folder.name: self.folder}
        with os.scandir(self.folder) as entries:
            found = sorted(entry.name for entry in entries if entry.is_dir())
        return {name: self.folder / name for name in found if _is_result(self.folder / name)}

    def open(self, name: str) -> Results:
        """Open the result folder of this name; it is read anew when its experiment has changed.

        Raises:
            RefusedError: If there is none of this name.
            StoreError, ConfigError: If it is damaged.
        """
        folders = self.folders()
        if name not in folders:
            raise RefusedError(
                404,
                f"There must be a result folder of this name, but there is no `{shown(name)}`."
                f"{nearest(name[:200], folders)} The first page lists those that there are.",
            )
        signature = _signature(folders[name])
        with self._lock:
            known = self._opened.get(name)
        if known is not None and known[0] == signature:
            return known[1]
        results = Results.open(folders[name])
        with self._lock:
            self._opened[name] = (signature, results)
        return results


def _is_result(folder: Path) -> bool:
    return (folder / "experiment.toml").is_file()


def _signature(folder: Path) -> _Signature:
    """What tells whether the experiment, or what was found for it before the runs, has been written again."""
    paths = [folder / "experiment.toml", *sorted((folder / "tuning").glob("*.json"))]
    return tuple((path.name, stat.st_mtime_ns, stat.st_size) for path in paths for stat in (path.stat(),))
