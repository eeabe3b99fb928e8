"""The lines of JSON that are exchanged with workers and the other processes that run networks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from paribus.config import Recipe
from paribus.errors import ParibusError
from paribus.experiment import RunSpec
from paribus.launch.launcher import Pack
from paribus.store import config_of


def encode(kind: str, **content: Any) -> str:
    """Return one message as a line."""
    return json.dumps({"kind": kind, **content}) + "\n"


def answer(work: Callable[[], Mapping[str, Any]]) -> str:
    """Return what some work gives as a line, or as its `failure` why there is nothing."""
    try:
        return json.dumps(work()) + "\n"
    except ParibusError as error:
        why = str(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001
        # Whatever a user's network does wrong must not cost the other answers, and its runs will say it at length.
        why = f"{type(error).__name__}: {error}"
    return json.dumps({"failure": why}) + "\n"


def encode_pack(pack: Pack, results: Path) -> str:
    """Return the line that asks a worker to train a pack into a result folder."""
    specs = [config_of(spec) | {"is_tuning": spec.is_tuning} for spec in pack.specs]
    return encode("pack", specs=specs, engine=pack.engine, dataset=str(pack.dataset), results=str(results))


def decode_pack(message: dict[str, Any]) -> tuple[Pack, Path]:
    """Return what `encode_pack` wrote."""
    specs = tuple(RunSpec(**{**item, "recipe": Recipe.parse(item["recipe"])}) for item in message["specs"])
    return Pack(specs, message["engine"], Path(message["dataset"])), Path(message["results"])
