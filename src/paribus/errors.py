"""Every error that paribus raises on purpose.

A message says what must hold, what was given and what to do. The command line prints it without a traceback and
leaves with the class's `exit_status`.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from pathlib import Path


class ParibusError(Exception):
    """Base of all errors that a user can cause and mend."""

    exit_status = 2


class ConfigError(ParibusError):
    """A recipe, an experiment file or a command-line value is not valid."""


class DataError(ParibusError):
    """A data set is missing, damaged or not of the form it claims."""


class ModelError(ParibusError):
    """A model cannot be built, or does not fit the data."""


class WeightsError(ModelError):
    """Pretrained weights are missing, damaged, or not of the form they claim."""


class StoreError(ParibusError):
    """A result folder cannot be read or written."""


class RunError(ParibusError):
    """A run failed for a reason other than divergence."""

    exit_status = 1


class ExportError(ParibusError):
    """A model cannot be exported, or what was exported does not say what the model says."""

    exit_status = 1


class TrackError(ParibusError):
    """A sink, such as TensorBoard, cannot be opened or written; the result itself is whole."""

    exit_status = 1


class GateError(ParibusError):
    """The verdicts are not those that `paribus gate` was told to expect."""

    exit_status = 3


def told_of_machine(error: BaseException) -> str | None:
    """Return the sentence for an error by which the machine refuses: memory ran out, or the system said no.

    Args:
        error: Whatever was raised.

    Returns:
        What happened and what to do; None for any other error.
    """
    said = str(error).strip().partition("\n")[0]
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(each in said for each in _NO_MEMORY)
    ):
        return (
            f"There must be enough memory, but it ran out{f' ({said})' if said else ''}. Give fewer --workers, set a "
            "smaller `train.batch_size` or `data.size`, or take a machine with more. What was finished is kept."
        )
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        where = f"`{error.filename}`" if error.filename is not None else "a file or process"
        return f"The system must allow what a command needs, but {where} failed: {error.strerror}. {_advice(error)}"
    return None


def _advice(error: OSError) -> str:
    assert error.errno is not None
    return _REFUSALS[error.errno]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean `x`?"`` for the closest known name, or an empty string.

    Args:
        name: What the user wrote.
        known: The names that would have been accepted.
    """
    by_lower = {item.lower(): item for item in known}
    matches = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    return f" Did you mean `{by_lower[matches[0]]}`?" if matches else ""


def one_of(what: str, known: Iterable[str], given: str, otherwise: str = "", nothing: str = "none") -> str:
    """Return the refusal of a name that is not known, with the nearest one that is.

    Args:
        what: What the name is of, such as ``"A sink"`` or ``"--question"``.
        known: The names that would have been accepted.
        given: What the user wrote.
        otherwise: What would have been accepted besides, in words.
        nothing: What stands in place of the names where there are none.
    """
    names = list(known)
    choice = (", ".join(names) or nothing) + (f", or {otherwise}" if otherwise else "")
    return f"{what} must be one of {choice}, but got `{given}`.{nearest(given, names)}"


def missing(what: str, path: Path, advice: str) -> str:
    """Return the refusal of a path at which there is nothing, or a file in place of a folder.

    Args:
        what: What must be there, such as ``"A model"``.
        path: Where it was looked for; one that is not absolute was looked for in the working folder, which is named.
        advice: What to do.
    """
    where = "" if path.is_absolute() else f" (looked in `{Path.cwd()}`)"
    found = "is a file" if path.is_file() else "does not"
    return f"{what} must exist, but `{path}` {found}{where}. {advice}"


_NO_MEMORY = ("can't allocate memory", "failed to map segment from shared object")
"""What torch says on the processor, in a RuntimeError; and what the system says where a library does not fit."""
_SPACE = "Free some space, and run the same command again."
_ACCESS = "Change its permissions, or name another place."
_HANDLES = "End other programs, or raise the limit (`ulimit`), and run the same command again."
_REFUSALS = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: "Raise the limit of file sizes (`ulimit -f`), or name another place.",
    errno.EACCES: _ACCESS,
    errno.EPERM: _ACCESS,
    errno.EROFS: _ACCESS,
    errno.ENAMETOOLONG: "Give a shorter name.",
    errno.EMFILE: _HANDLES,
    errno.ENFILE: _HANDLES,
    errno.EAGAIN: _HANDLES,
    errno.ENOMEM: _HANDLES,
    errno.EIO: "Check the disk.",
}
"""What to do about each refusal of the system that no command takes care of itself."""
