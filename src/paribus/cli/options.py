"""The options that say where and how to run, shared by commands that would otherwise take too many parameters."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
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
JsonOption = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write what was found for programs.")]
HtmlOption = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write it as a page with pictures.")]
EngineOption = Annotated[str, typer.Option("--engine", metavar="auto|native|torch|features", help="What trains.")]


@dataclass(frozen=True)
class Files:
    """The files to write what was found to, each None where it is not asked for."""

    json: Path | None
    html: Path | None


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `_run_options` in the place of its last parameter, `options`."""
    return _with_shared(command, _run_options)


def with_file_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `_file_options` in the place of its last parameter, `options`: `Files`."""
    return _with_shared(command, _file_options)


def _with_shared(command: Callable[..., None], options_of: Callable[..., Any]) -> Callable[..., None]:
    own, shared = (inspect.signature(each, eval_str=True).parameters for each in (command, options_of))
    first = [parameter for name, parameter in own.items() if name != "options"]

    @functools.wraps(command)
    def given(**values: Any) -> None:
        options = options_of(**{name: values.pop(name) for name in shared})
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


def _file_options(json: JsonOption = None, html: HtmlOption = None) -> Files:
    return Files(json, html)
