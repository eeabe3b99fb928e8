"""The shipped experiments: one TOML file each, found by name."""

from __future__ import annotations

from pathlib import Path

from paribus.errors import ConfigError, one_of

__all__ = ["find", "names"]


def names() -> list[str]:
    """Return the names of the shipped experiments, sorted."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.toml"))


def find(experiment: str) -> Path:
    """Return the TOML file of a shipped experiment, or the path itself where the text is a path.

    Args:
        experiment: A shipped name, or a path: whatever ends in ``.toml``, contains a separator or is a file.

    Raises:
        ConfigError: If it is a bare word and no experiment is shipped under that name.
    """
    path = Path(experiment)
    if path.suffix == ".toml" or len(path.parts) > 1 or path.is_file():
        return path
    known = names()
    if experiment not in known:
        raise ConfigError(one_of("An experiment", known, experiment, "the path of a TOML file"))
    return Path(__file__).parent / f"{experiment}.toml"
