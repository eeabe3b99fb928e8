"""Paths as users write them."""

from __future__ import annotations

from pathlib import Path

from paribus.errors import ConfigError


def expanded(name: str | Path) -> Path:
    """Return a path with the home folder in the place of ``~`` or ``~name``.

    Raises:
        ConfigError: If there is no such home folder.
    """
    try:
        return Path(name).expanduser()
    except RuntimeError:
        first = Path(name).parts[0]
        raise ConfigError(
            f"`~` must stand for the home folder of somebody, but there is none for `{first}` in `{name}`. Write the "
            "whole path."
        ) from None
