"""The lines of JSON that a local worker and its launcher exchange."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from paribus.config import Recipe
from paribus.experiment import RunSpec
from paribus.launch.launcher import Pack


def encode(kind: str, **content: Any) -> str:
    """Return one message as a line."""
    return json.dumps({"kind": kind, **content}) + "\n"


def encode_pack(pack: Pack, results: Path) -> str:
    """Return the line that asks a worker to train a pack into a result folder."""
    specs = [
        {
            "arm": spec.arm,
            "seed": spec.seed,
            "recipe": spec.recipe.model_dump(mode="json"),
            "data_fingerprint": spec.data_fingerprint,
            "engine": spec.engine,
            "model_code": spec.model_code,
            "is_tuning": spec.is_tuning,
        }
        for spec in pack.specs
    ]
    return encode("pack", specs=specs, engine=pack.engine, dataset=str(pack.dataset), results=str(results))


def decode_pack(message: dict[str, Any]) -> tuple[Pack, Path]:
    """Return what `encode_pack` wrote."""
    specs = tuple(RunSpec(**{**item, "recipe": Recipe.parse(item["recipe"])}) for item in message["specs"])
    return Pack(specs, message["engine"], Path(message["dataset"])), Path(message["results"])
