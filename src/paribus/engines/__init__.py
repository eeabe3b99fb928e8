"""The engines, and which of them trains what. Choosing one loads no torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from paribus.config import Recipe
from paribus.engines.engine import Engine, EpochEnd, Event, RunEnd, TuningEnd
from paribus.errors import ConfigError, nearest

__all__ = ["ENGINES", "Engine", "EngineEntry", "EpochEnd", "Event", "RunEnd", "TuningEnd", "choose", "load"]


@dataclass(frozen=True)
class EngineEntry:
    """One engine: its numerics `version` grows whenever the same run would give other bits.

    `target` is ``module:Class``. `refuses` returns why the engine cannot serve a recipe, or None if it can.
    """

    name: str
    version: int
    target: str
    refuses: Callable[[Recipe], str | None]

    @property
    def identity(self) -> str:
        """Name and numerics version, as `RunSpec.engine` holds them."""
        return f"{self.name}-{self.version}"


def choose(recipe: Recipe, wanted: str = "auto") -> EngineEntry:
    """Return the engine for a recipe: the first of `ENGINES` that can serve it, or the one wanted by name.

    Raises:
        ConfigError: If the wanted engine is unknown or cannot serve the recipe.
    """
    if wanted != "auto" and wanted not in ENGINES:
        known = ["auto", *ENGINES]
        raise ConfigError(f"The engine must be one of {', '.join(known)}, but got `{wanted}`.{nearest(wanted, known)}")
    candidates = list(ENGINES.values()) if wanted == "auto" else [ENGINES[wanted]]
    reasons = []
    for entry in candidates:
        reason = entry.refuses(recipe)
        if reason is None:
            return entry
        reasons.append(f"{entry.name}: {reason}")
    raise ConfigError(f"No engine can train this recipe. {'; '.join(reasons)}. Use --engine auto or change the recipe.")


def load(name: str) -> Engine:
    """Import an engine of `ENGINES` and return an instance of it."""
    module, _, kind = ENGINES[name].target.partition(":")
    engine = getattr(importlib.import_module(module), kind)()
    assert isinstance(engine, Engine)
    return engine


def _serves_all(recipe: Recipe) -> str | None:
    return None


ENGINES: dict[str, EngineEntry] = {
    "torch": EngineEntry("torch", 1, "paribus.engines.torch_engine:TorchEngine", _serves_all),
}
