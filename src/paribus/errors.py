"""Every error that paribus raises on purpose.

A message says what must hold, what was given and what to do. The command line prints it without a traceback and
leaves with the class's `exit_status`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean `x`?"`` for the closest known name, or an empty string.

    Args:
        name: What the user wrote.
        known: The names that would have been accepted.
    """
    by_lower = {item.lower(): item for item in known}
    matches = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    return f" Did you mean `{by_lower[matches[0]]}`?" if matches else ""
