"""The text of an experiment: a TOML file and the settings that replace what it says, as plain tables."""

from __future__ import annotations

import copy
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from paribus.errors import ConfigError, missing, one_of

_LONGEST = 100
_LARGEST = 2**63 - 1  # TOML's own bound of whole numbers.


def read_text(path: Path) -> str:
    """Return the text of an experiment file.

    Raises:
        ConfigError: If it is not there or not a readable file.
    """
    try:
        return path.read_text(encoding="utf-8-sig")  # Editors on Windows may begin a file with a mark.
    except IsADirectoryError:
        raise ConfigError(
            f"An experiment must be a TOML file, but `{path}` is a folder. Give the file; to go on with a result, "
            "give the experiment that it came from again."
        ) from None
    except FileNotFoundError:
        raise ConfigError(missing("An experiment file", path, "Correct the path.")) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"An experiment file must be readable text, but `{path}` is not: {error}. Give a TOML file, saved in UTF-8."
        ) from None
    except (OSError, ValueError) as error:  # A path with a null character is a ValueError.
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"An experiment file must be readable text, but `{path}` is not: {reason}. Check the path and its "
            "permissions."
        ) from None


def read_tables(text: str, overrides: Sequence[str], where: str) -> dict[str, Any]:
    """Return the tables of a TOML text after every setting has replaced its value; `where` names the text.

    Raises:
        ConfigError: If the text is not TOML, a setting is not of its form, or a value is one that no key can have.
    """
    try:
        tables = _parsed(text)
    except ConfigError as error:
        raise ConfigError(f"`{where}` must be valid TOML, but it is not: {error}") from None
    for override in overrides:
        _override(tables, override)
    for path, value in _leaves(tables, ""):
        _require_plain(path, value)
    return tables


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = "" if found is None else f"\n  {_shown(text, int(found[1]))}\n"
        raise ConfigError(
            f'{error}.{line or " "}Texts stand in "double quotes", numbers have a decimal point, and true and false '
            "are written small."
        ) from None
    except ValueError:  # Python's own bound of digits.
        raise ConfigError(f"A whole number is above {_LARGEST}. Write a smaller one.") from None
    except RecursionError:
        raise ConfigError("Brackets are nested too deep. Close them.") from None


def _shown(text: str, number: int) -> str:
    """Return a line of a text, counted from 1, as a terminal may be given it."""
    line = text.split("\n")[number - 1].strip()
    cut = line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in cut)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every value that is no table or list, and where it stands."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, value


def _require_plain(path: str, value: object) -> None:
    """Refuse what TOML can say and no result can keep."""
    if not isinstance(value, str | int | float):
        raise ConfigError(
            f"`{path}` must be a text, a number, true or false, but got the date or time {value}. If a text is meant, "
            "put it in quotes."
        )
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise ConfigError(
            f"`{path}` must be at most {_LARGEST}, but got a number of {len(str(abs(value)))} digits. Write a smaller "
            "one."
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f'`{path}` must be a finite number, but got {value}. Give a number, or "off" for none.')
    if isinstance(value, str) and any(ord(each) < ord(" ") and each not in "\n\t" for each in value):
        raise ConfigError(f"`{path}` must be text without control characters, but got {value!r}. Take them out.")


def _override(tables: dict[str, Any], setting: str) -> None:
    path, equals, text = setting.partition("=")
    keys = path.strip().split(".")
    if not equals or len(keys) < 2 or keys[0] not in ("experiment", "control", "question"):
        raise ConfigError(
            "A setting must be written `control.TABLE.KEY=VALUE`, `experiment.KEY=VALUE` or `question.ID.KEY=VALUE`, "
            f"but got `{setting}`. For example: `--set control.train.epochs=5`."
        )
    value = _value_of(setting, text)
    here = tables
    if keys[0] == "question":
        here, keys = _question_table(tables, path, keys)
    for key in keys[:-1]:
        here = here.setdefault(key, {})
        if not isinstance(here, dict):
            raise ConfigError(f"`{path}` must lie in a table, but `{key}` is {here!r}. Check the setting's path.")
    here[keys[-1]] = copy.deepcopy(value)


def _value_of(setting: str, text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()  # A bare word such as `relu` is a string.
    except (ValueError, RecursionError):
        raise ConfigError(
            f"A setting must have a value that can be read, but that of `{setting[:40]}...` is too long. Shorten it."
        ) from None


def _question_table(tables: Mapping[str, Any], path: str, keys: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the table of the question that a path names, and the keys within; an id may hold dots."""
    found = tables.get("question", [])
    given = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    questions: dict[str, dict[str, Any]] = {str(each.get("id")): each for each in given}
    behind = ".".join(keys[1:])
    named = [identity for identity in questions if behind.startswith(f"{identity}.")]
    if named:
        longest = max(named, key=len)
        return questions[longest], behind[len(longest) + 1 :].split(".")
    if behind in questions:
        raise ConfigError(
            f"A setting of a question must name a key of it, but got `{path}`. Write `question.ID.KEY=VALUE`."
        )
    raise ConfigError(f"{one_of('A question', list(questions), keys[1])} Write `question.ID.KEY=VALUE`.")
