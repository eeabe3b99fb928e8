"""Controlled experiments in training image classifiers: change one thing, know what it did.

The names below are imported when they are first used, so that `import paribus` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paribus.config import Recipe as Recipe
    from paribus.data import load_data as load_data
    from paribus.errors import ParibusError as ParibusError
    from paribus.experiment import Experiment as Experiment
    from paribus.launch.conduct import plan as plan
    from paribus.launch.conduct import run as run
    from paribus.loader import Images as Images
    from paribus.loader import Loader as Loader
    from paribus.predict import load as load
    from paribus.store import Results as Results

__version__ = "0.1.0"

__all__ = [
    "Experiment",
    "Images",
    "Loader",
    "ParibusError",
    "Recipe",
    "Results",
    "__version__",
    "load",
    "load_data",
    "plan",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module `paribus` has no attribute `{name}`. It has {', '.join(__all__)}.")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


_HOMES = {
    "Experiment": "paribus.experiment",
    "Images": "paribus.loader",
    "Loader": "paribus.loader",
    "ParibusError": "paribus.errors",
    "Recipe": "paribus.config",
    "Results": "paribus.store",
    "load": "paribus.predict",
    "load_data": "paribus.data",
    "plan": "paribus.launch.conduct",
    "run": "paribus.launch.conduct",
}
