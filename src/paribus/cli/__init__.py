"""The command line: `main` runs a command and turns errors into one line and an exit status."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from paribus.errors import ParibusError

__all__ = ["main"]

_FAILED = 1
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: What follows ``paribus``; None takes it from the command line.

    Returns:
        The exit status: 0 done, 1 a run failed, 2 usage, configuration or data error, 130 interrupted.
    """
    from paribus.cli.commands import app

    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given  # Understood before and behind the command.
    command = typer.main.get_command(app)
    try:
        command.main([argument for argument in given if argument != "--debug"], prog_name="paribus")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
        if status == _INTERRUPTED:
            typer.echo("interrupted: finished epochs are kept, and the same command goes on from there.", err=True)
        return status
    except ParibusError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        return error.exit_status
    except Exception as error:  # The last line of defence: a bug of ours, named as one.
        if debug:
            raise
        typer.echo(f"error: This is a bug in paribus: {type(error).__name__}: {error}", err=True)
        typer.echo("Run the same command with --debug and report what it prints.", err=True)
        return _FAILED
    return 0
