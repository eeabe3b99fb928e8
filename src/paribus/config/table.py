"""What the tables of a recipe have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

from paribus.refusals import validated


def none_if_off(value: object) -> object:
    """Return None for the word that says so in TOML, which has no None, and any other value as it is."""
    return None if value == "off" else value


Off = BeforeValidator(none_if_off)
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class Table(BaseModel):
    """Base of the recipe's tables: frozen, strict about types, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @classmethod
    def parse(cls, keys: Mapping[str, Any], where: str = "recipe") -> Self:
        """Return the table that keys describe; `where` begins the path that errors name."""
        return validated(cls, keys, where)

    @classmethod
    def told(cls) -> dict[str, str]:
        """Return for each key what it can be, as TOML writes it: the default first, then the other words there are."""
        return {key: _told(field) for key, field in cls.model_fields.items()}


def _told(field: FieldInfo) -> str:
    words = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    words = (True, False) if field.annotation is bool else words
    first = ["needed"] if field.is_required() else [_written(field.default)]
    return " | ".join([*first, *(_written(word) for word in words if word != field.default)])


def _written(value: object) -> str:
    match value:
        case None:
            return "off"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.5g}"
        case list():
            return f"[{', '.join(map(_written, value))}]"
    return str(value)
