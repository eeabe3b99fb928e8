"""Sinks: the records of runs in what people use already, TensorBoard and MLflow, while they are trained or afterwards.

The store stays what counts. A sink is brought what the store holds and the sink lacks, so that nothing is there twice.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from paribus.errors import ConfigError, one_of
from paribus.store import Results
from paribus.track.sink import Held, Sink

__all__ = ["SINKS", "Held", "Sink", "SinkEntry", "names", "open_sink", "require_known"]


@dataclass(frozen=True)
class SinkEntry:
    """One sink: the package that it needs, and its class as ``module:Class``."""

    package: str
    target: str


def names(text: str | None) -> tuple[str, ...]:
    """Return the sinks that an option names, such as ``"tensorboard,mlflow"``; None names none.

    Raises:
        ConfigError: If one is unknown, or its package is not installed.
    """
    given = tuple(dict.fromkeys(name.strip() for name in text.split(","))) if text is not None else ()
    require_known(given)
    return given


def require_known(given: Sequence[str]) -> None:
    """Raise ConfigError unless all are names of `SINKS` whose packages are installed."""
    for name in given:
        if name not in SINKS:
            raise ConfigError(one_of("A sink", SINKS, name))
        package = SINKS[name].package
        if find_spec(package) is None:
            raise ConfigError(
                f"The sink {name} needs the package {package}, which is not installed. "
                "Install it: pip install 'paribus[track]'"
            )


def open_sink(name: str, results: Results) -> Sink:
    """Import a sink of `SINKS` and open it for a result folder."""
    module, _, kind = SINKS[name].target.partition(":")
    sink = getattr(importlib.import_module(module), kind)(results)
    assert isinstance(sink, Sink)
    return sink


SINKS = {
    "tensorboard": SinkEntry("tensorboard", "paribus.track.tensorboard:TensorBoard"),
    "mlflow": SinkEntry("mlflow", "paribus.track.mlflow:MLflow"),
}
