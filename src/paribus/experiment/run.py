"""What is asked of an engine: one arm, one seed, and everything that decides the result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from paribus.config import Recipe
from paribus.errors import ConfigError
from paribus.wording import named, setting


@dataclass(frozen=True)
class RunSpec:
    """One (arm, seed) to be trained, with everything that decides its result.

    `data_fingerprint` is that of the prepared images, `engine` the engine's name and numerics version, `model_code` a
    digest of the user's model file or None. A run that `is_tuning` helps to choose a value on val: it ends after its
    last epoch, and neither it nor the choice ever sees a test image.

    Raises:
        ConfigError: If the recipe has values that are still to be found.
    """

    arm: str
    seed: int
    recipe: Recipe
    data_fingerprint: str
    engine: str
    model_code: str | None = None
    is_tuning: bool = False

    def __post_init__(self) -> None:
        if self.recipe.unfound:
            raise ConfigError(
                f"A recipe must be complete to be trained, but {named(self.recipe.unfound)} of `{self.arm}` is still "
                "to be found. `paribus run` finds it first; `Experiment.resolve` puts a found value in."
            )

    @property
    def label(self) -> str:
        """The run in words: ``"relu, seed 0"``."""
        at = f", tuning at rate {setting(self.recipe.optim.lr)}" if self.is_tuning else ""
        return f"{self.arm}{at}, seed {self.seed}"

    @property
    def digest(self) -> str:
        """Hexadecimal digest of all that decides the result; the arm's name does not."""
        content: dict[str, Any] = {
            "seed": self.seed,
            "recipe": self.recipe.identity(),
            "data": self.data_fingerprint,
            "engine": self.engine,
            "model_code": self.model_code,
        }
        if self.is_tuning:
            content["is_tuning"] = True
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
