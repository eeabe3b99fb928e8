"""The engines, and which of them trains what. Choosing one for a built-in network loads no torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from paribus.config import Recipe
from paribus.engines import native
from paribus.engines.engine import Engine, EpochEnd, Event, RunEnd, TuningEnd
from paribus.errors import ConfigError, nearest

__all__ = [
    "ENGINES",
    "Choice",
    "Engine",
    "EngineEntry",
    "EpochEnd",
    "Event",
    "RunEnd",
    "TuningEnd",
    "choose",
    "load",
    "require_known",
]


@dataclass(frozen=True)
class EngineEntry:
    """One engine: its numerics `version` grows whenever the same run would give other bits.

    `target` is ``module:Class``. `refuses` takes a recipe, the shape (C, H, W) of its images and the number of classes,
    and returns why the engine cannot serve it, or None if it can.
    """

    name: str
    version: int
    target: str
    refuses: Callable[[Recipe, tuple[int, int, int], int], str | None]

    @property
    def identity(self) -> str:
        """Name and numerics version."""
        return f"{self.name}-{self.version}"

    def identity_of(self, recipe: Recipe) -> str:
        """Return what `RunSpec.engine` holds: the identity, and that of the engine by whose head fine-tuning begins."""
        begins_at_head = recipe.model.name == "pretrained" and recipe.model.options["start"] == "head"
        return f"{self.identity}+{ENGINES['features'].identity}" if begins_at_head else self.identity


@dataclass(frozen=True)
class Choice:
    """The engine for a recipe, and why it is this one: what was asked for, or what engines before it lack."""

    entry: EngineEntry
    reason: str


def require_known(wanted: str) -> None:
    """Raise ConfigError unless `wanted` is ``"auto"`` or an engine's name."""
    known = ["auto", *ENGINES]
    if wanted not in known:
        raise ConfigError(f"The engine must be one of {', '.join(known)}, but got `{wanted}`.{nearest(wanted, known)}")


def choose(recipe: Recipe, image_shape: tuple[int, int, int], num_classes: int, wanted: str = "auto") -> Choice:
    """Return the engine for a recipe: which its `train.engine` names, else `wanted`, else the first that can serve it.

    Args:
        recipe: What is to be trained.
        image_shape: (C, H, W) of its images.
        num_classes: Of its images.
        wanted: A name of `ENGINES`, or ``"auto"``.

    Raises:
        ConfigError: If the wanted engine is unknown or cannot serve the recipe, or it takes too long to know.
    """
    require_known(wanted)
    named = recipe.train.engine != "auto"
    asked = recipe.train.engine if named else wanted
    reasons: dict[str, str] = {}
    for entry in ENGINES.values() if asked == "auto" else [ENGINES[asked]]:
        reason = entry.refuses(recipe, image_shape, num_classes)
        if reason is not None:
            reasons[entry.name] = reason
        elif asked != "auto":
            return Choice(entry, "the experiment asks for it" if named else "--engine asks for it")
        else:
            return Choice(entry, _told(reasons) or "the fastest that can")
    if asked == "auto":
        raise ConfigError(f"Some engine must be able to train this recipe, but {_told(reasons)}. Change the recipe.")
    raise ConfigError(
        f"The engine {asked} cannot train this recipe, as {reasons[asked]}. Use --engine auto, or change the recipe."
    )


@cache
def load(name: str) -> Engine:
    """Import an engine of `ENGINES` and return the process's instance, which may keep what later runs need."""
    module, _, kind = ENGINES[name].target.partition(":")
    engine = getattr(importlib.import_module(module), kind)()
    assert isinstance(engine, Engine)
    return engine


def _told(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{name} cannot, as {why}" for name, why in reasons.items())


def _trains(recipe: Recipe, _: tuple[int, int, int], __: int) -> str | None:
    if recipe.is_solved:
        return "a head on frozen features is solved for, not trained"
    if recipe.train.precision == "float16":
        return 'it trains on the CPU, where float16 is slow and gradients vanish: `train.precision` can be "bfloat16"'
    return None


def _solves(recipe: Recipe, _: tuple[int, int, int], __: int) -> str | None:
    return None if recipe.is_solved else "it only solves for heads on frozen features"


ENGINES: dict[str, EngineEntry] = {
    "native": EngineEntry("native", 2, "paribus.engines.native.engine:NativeEngine", native.refuses),
    "torch": EngineEntry("torch", 1, "paribus.engines.torch_engine:TorchEngine", _trains),
    "features": EngineEntry("features", 3, "paribus.engines.features_engine:FeaturesEngine", _solves),
}
"""The fastest first: `choose` takes the first that can serve."""
