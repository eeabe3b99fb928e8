"""What pydantic refuses, in words: what must hold, what was given, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from paribus.errors import ConfigError, nearest

T = TypeVar("T", bound=BaseModel)


def validated(kind: type[T], given: Mapping[str, Any], where: str) -> T:
    """Return the model that keys describe; `where` begins the path that errors name.

    Raises:
        ConfigError: If a key is unknown, missing or out of range.
    """
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        # A misspelt key explains the missing one better than the other way round.
        first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        raise ConfigError(_explained(kind, first, where)) from None


def _explained(kind: type[BaseModel], error: Any, where: str) -> str:
    """Turn pydantic's first error into what must hold, what was given and what to do."""
    depth = 1 + (_table_at(kind, error["loc"][0]) is not None)
    keys = [str(part) for part in error["loc"][:depth]]  # Behind them pydantic names the member of a union it tried.
    path = ".".join([where, *keys] if where else keys)
    given = error.get("input")
    rule, context = error["type"], error.get("ctx", {})
    if rule == "extra_forbidden":
        known = _keys_at(kind, keys[:-1])
        return f"Unknown key `{path}`.{_hint(kind, keys)} Known keys: {', '.join(known)}."
    if rule == "missing":
        return f"`{path}` is missing. Add it."
    if keys[-1] == "val":
        return f"`{path}` must be {_VAL_FORMS}, but got {given!r}."
    bounds = {
        "greater_than_equal": ("at least", "ge"),
        "greater_than": ("above", "gt"),
        "less_than_equal": ("at most", "le"),
        "less_than": ("below", "lt"),
    }
    if rule in bounds:
        words, key = bounds[rule]
        return f"`{path}` must be {words} {context[key]:g}, but got {given!r}."
    if rule == "model_type":
        return f"`{path}` must be a table such as {{ key = value }}, but got {given!r}."
    if rule == "string_too_short":
        return f"`{path}` must be a text that is not empty, but got {given!r}."
    if rule == "literal_error":
        choices = context["expected"].replace("'", "")
        known_values = [word.strip(" ,") for word in choices.replace(" or ", ", ").split(",")]
        return f"`{path}` must be {choices}, but got {given!r}.{nearest(str(given), known_values)}"
    rule_text = error["msg"].removeprefix("Input should be ")
    return f"`{path}` must be {rule_text}, but got {given!r}."


def _hint(kind: type[BaseModel], keys: list[str]) -> str:
    """Say what an unknown key may have been meant to be: a key of a table within, in quotes, or misspelt."""
    key = keys[-1]
    if "." in key and _table_at(kind, key.partition(".")[0]) is not None:
        return f" Take `{key}` out of its quotes, which make one key of it."
    homes = [name for name in kind.model_fields if key in _keys_at(kind, [name])] if len(keys) == 1 else []
    tables = [name for name in homes if _table_at(kind, name) is not None]
    if tables and key not in kind.model_fields:
        return f" It is a key of `{tables[0]}`."
    return nearest(key, _keys_at(kind, keys[:-1]))


def _keys_at(kind: type[BaseModel], keys: list[str]) -> list[str]:
    here = kind
    for key in keys:
        here = _table_at(here, key) or here
    return list(here.model_fields)


def _table_at(kind: type[BaseModel], key: str) -> type[BaseModel] | None:
    annotation = kind.model_fields[key].annotation if key in kind.model_fields else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


_VAL_FORMS = 'a number of images of at least 1, a fraction between 0 and 1, "test" or "off"'
