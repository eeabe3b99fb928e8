"""Files that a command writes because an option names them."""

from __future__ import annotations

from pathlib import Path

from paribus.errors import ConfigError


def write(file: Path, content: str, option: str) -> None:
    """Write a text to the file that an option named, in UTF-8.

    Raises:
        ConfigError: If it cannot be written.
    """
    try:
        # A file's name may hold bytes that are no text, and they must not end the command.
        file.write_text(content, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ConfigError(
            f"{option} must name a file that can be written, but `{file}` cannot: {error.strerror or error}. Name "
            "another."
        ) from error
