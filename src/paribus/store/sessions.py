"""`sessions.jsonl`: the calls that trained, on what each was made, how long it worked, and what it made."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paribus.store import files

NAME = "sessions.jsonl"
_DIGITS = 16


@dataclass(frozen=True)
class Session:
    """One call that trained: `seconds` is None where it was killed, or is of before they were kept.

    `runs` counts those that it ended. `made` are the digests, in `_DIGITS` digits, of all that it stored something of;
    None where that is not known.
    """

    environment: Mapping[str, Any]
    seconds: float | None = None
    runs: int = 0
    made: frozenset[str] | None = None

    def is_of(self, digests: frozenset[str]) -> bool:
        """Whether this call made some of these runs, or may have."""
        return self.made is None or not self.made.isdisjoint(digests)

    def is_of_runs(self, digests: frozenset[str]) -> bool:
        """Whether it made some of these runs, or may have: one that came to its end knows how many it ended."""
        return self.is_of(digests) and (self.seconds is None or self.runs > 0 or self.made is not None)


def short(digests: Iterable[str]) -> frozenset[str]:
    """Return digests as sessions have them."""
    return frozenset(digest[:_DIGITS] for digest in digests)


def begin(folder: Path, environment: Mapping[str, Any]) -> None:
    """Keep that a call begins to train, and on what."""
    _note(folder, {"began": datetime.now(UTC).isoformat(timespec="seconds"), "environment": environment})


def keep_former(folder: Path, environment: Mapping[str, Any]) -> None:
    """Keep on what runs were made of which no session is known."""
    _note(folder, {"began": None, "environment": environment})


def end(folder: Path, seconds: float, runs: int, made: Collection[str] | None) -> None:
    """Keep how long the call that began last has worked, how many runs it has ended, and what it made."""
    known = {} if made is None else {"made": sorted(short(made))}
    _note(folder, {"seconds": round(seconds, 1), "runs": runs, **known})


def read(folder: Path) -> list[Session]:
    """Read the sessions in their order, none where nothing kept them.

    Raises:
        StoreError: If the file is damaged.
    """
    path, found = folder / NAME, list[Session]()
    if not path.exists():
        return found
    lines = files.read_lines(path)
    with files.reading(path):
        for line in lines:
            if "began" in line:
                found.append(Session(dict(line["environment"])))
                continue
            made = frozenset(map(str, line["made"])) if "made" in line else None
            if not found or found[-1].seconds is not None:
                raise ValueError("a call ends that has not begun")
            found[-1] = replace(found[-1], seconds=float(line["seconds"]), runs=int(line["runs"]), made=made)
    return found


def set_aside(folder: Path) -> None:
    """Move the file to `superseded/`, if it is there."""
    files.set_aside(folder, folder / NAME)


def _note(folder: Path, line: Mapping[str, Any]) -> None:
    path = folder / NAME
    content = path.read_bytes() if path.exists() else b""
    if not content.endswith(b"\n"):
        files.write(path, content[: content.rfind(b"\n") + 1])  # A line that a crash cut off is none.
    files.append(path, line)
