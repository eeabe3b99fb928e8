"""A recipe in words: what is trained, on what and how, by the keys of an experiment file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from paribus.config import EPOCHS, Recipe
from paribus.wording import setting


def recipe_text(recipe: Recipe) -> str:
    """Return a recipe as ``"model lenet5: activation tanh, pooling avg; optim sgd: lr 0.1; ..."``.

    Keys at their defaults are left out, but for those without which no recipe is understood. A head that is solved for
    has no rate, epochs or batches, and none are told.
    """
    told = (_table(recipe, table) for table in ("data", "model", "optim", "schedule", "augment", "train"))
    return "; ".join(text for text in told if text)


def _table(recipe: Recipe, table: str) -> str:
    keys = ", ".join(f"{key} {_value(value)}" for key, value in _told(recipe, table))
    config: Any = getattr(recipe, table)
    name = getattr(config, "name", None)
    if name is None or (table == "schedule" and not keys and name == "constant"):
        return f"{table}: {keys}" if keys else ""
    return f"{table} {name}: {keys}" if keys else f"{table} {name}"


def _told(recipe: Recipe, table: str) -> Iterator[tuple[str, Any]]:
    config: BaseModel = getattr(recipe, table)
    options = recipe.model.options_by_name.get(recipe.model.name) if table == "model" else None
    fields = (options or type(config)).model_fields
    for key, value in config.model_dump().items():
        factor, default = f"{table}.{key}", fields[key].default if key in fields else None
        if key == "name" or (recipe.is_solved and factor in _OF_STEPS) or (factor == EPOCHS and _has_none(recipe)):
            continue
        if value != default or (factor in _ALWAYS and value is not None):
            yield key, value


def _has_none(recipe: Recipe) -> bool:
    """Whether a recipe's one epoch is no epoch; of changed images, a head is solved for on as many views as epochs."""
    return recipe.is_solved and not recipe.has_own_views


def _value(value: Any) -> str:
    return " to ".join(map(setting, value)) if isinstance(value, list) else setting(value)


_ALWAYS = ("model.activation", "model.pooling", "model.train", "optim.lr", "train.epochs", "train.batch_size")
_OF_STEPS = ("optim.lr", "train.batch_size")
