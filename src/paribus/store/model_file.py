"""A trained network in one file: its weights, and in the metadata all that it takes to use them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import safe_open
from safetensors.numpy import save as safetensors_save

from paribus.config import Recipe
from paribus.errors import ConfigError, StoreError
from paribus.experiment import RunSpec
from paribus.store import files
from paribus.store.records import Arrays, Usage

KEY = "paribus"
"""Under which key of a file's metadata the header stands, as JSON."""
FORMAT = 1

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Pixels = Annotated[int, Field(ge=1, le=4096)]


class ModelHeader(BaseModel):
    """What a file of weights says of itself, format 1: who trained it how, and the keys of `Usage`.

    `recipe` is complete; `model_code` is the digest of a user's class, or of the weights that a backbone began with;
    `data_fingerprint` that of the prepared images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1]
    experiment: str
    arm: str
    seed: int
    recipe: Recipe
    data_fingerprint: str
    engine: str
    model_code: str | None
    class_names: Annotated[tuple[str, ...], Field(min_length=2)]
    image_shape: tuple[Literal[1, 3], _Pixels, _Pixels]
    mean: Annotated[tuple[_Finite, ...], Field(min_length=1)]
    std: Annotated[tuple[_Positive, ...], Field(min_length=1)]
    temperature: _Positive | None
    temperature_reason: str
    backbone: dict[str, Any] | None

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        channels = len(self.mean)
        if len(self.std) != channels or channels not in (self.image_shape[0], 3):
            raise ValueError(f"{channels} means and {len(self.std)} deviations do not fit images {self.image_shape}")
        if min(self.image_shape[1:]) <= 2 * self.recipe.data.pad:
            raise ValueError(f"images {self.image_shape} cannot have a border of {self.recipe.data.pad} pixels")
        if (self.backbone is None) != (self.recipe.model.name != "pretrained"):
            raise ValueError("`backbone` goes with the model `pretrained`, and with no other")
        return self

    @classmethod
    def of(cls, experiment: str, spec: RunSpec, usage: Usage) -> ModelHeader:
        """Join what the store knows of a run and what its engine tells."""
        told = {
            "format": FORMAT,
            "experiment": experiment,
            "arm": spec.arm,
            "seed": spec.seed,
            "recipe": spec.recipe,
            "data_fingerprint": spec.data_fingerprint,
            "engine": spec.engine,
            "model_code": spec.model_code,
        }
        return cls.model_validate(told | asdict(usage))

    @classmethod
    def from_text(cls, text: str | None, path: Path) -> ModelHeader:
        """Read the JSON text of a file's metadata.

        Raises:
            StoreError: If there is none, or it is not valid.
        """
        if text is None:
            raise StoreError(
                f"`{path}` must say in its metadata how its network is to be used, but does not: it was trained by an "
                "earlier version of paribus, or is not one of its models, or a baseline, which is only compared with. "
                "To use the model, train it again: delete the run's folder, and give the same `paribus run` again."
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            reason = f"`{'.'.join(map(str, first['loc']))}`: {first['msg']}"
        except ConfigError as error:
            reason = str(error)
        raise StoreError(
            f"The metadata of `{path}` must be a header of format {FORMAT}, but is not: {reason} The file is damaged, "
            "or of a later version of paribus: take another copy, or that version."
        ) from None

    def to_text(self) -> str:
        """Return the JSON text."""
        return self.model_dump_json()


def write_model(path: Path, header: ModelHeader | None, weights: Arrays) -> None:
    """Write weights, atomically, with their header in the metadata."""
    metadata = None if header is None else {KEY: header.to_text()}
    # Of an array laid out otherwise safetensors would store the bytes as they lie.
    rows = {name: np.asarray(array, order="C") for name, array in weights.items()}
    files.write(path, safetensors_save(rows, metadata=metadata))


def read_model(path: Path) -> tuple[ModelHeader, dict[str, npt.NDArray[Any]]]:
    """Read a network's header and weights by name.

    Raises:
        StoreError: If the file is missing or damaged, or does not say how its network is to be used.
    """
    with files.reading(path), safe_open(path, framework="numpy") as opened:
        text = (opened.metadata() or {}).get(KEY)
        weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    return ModelHeader.from_text(text, path), weights
