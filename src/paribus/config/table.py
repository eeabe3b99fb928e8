"""What the tables of a recipe have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from paribus.refusals import validated


def _off(value: object) -> object:
    return None if value == "off" else value


Off = BeforeValidator(_off)
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
