"""The options that say where and how to run, shared by commands that would otherwise take too many parameters."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

OutOption = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Result folder.  [results/NAME]")]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="Where data lies, before PARIBUS_DATA and the cache.")
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, metavar="N", help="Runs trained at once.  [as many as cores]")
]
EngineOption = Annotated[str, typer.Option("--engine", metavar="auto|native|torch|features", help="What trains.")]


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `_run_options` in the place of its last parameter, `options`."""
    own, shared = (inspect.signature(each, eval_str=True).parameters for each in (command, _run_options))
    first = [parameter for name, parameter in own.items() if name != "options"]

    @functools.wraps(command)
    def given(**values: Any) -> None:
        options = _run_options(**{name: values.pop(name) for name in shared})
        command(**values, options=options)

    signature = inspect.Signature([*first, *shared.values()])
    given.__signature__ = signature  # type: ignore[attr-defined]
    given.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return given


def _run_options(
    out: OutOption = None, data_dir: DataDirOption = None, workers: WorkersOption = None, engine: EngineOption = "auto"
) -> Any:
    from paribus.launch.conduct import RunOptions

    return RunOptions(out=out, data_dir=data_dir, workers=workers, engine=engine)
