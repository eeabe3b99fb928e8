"""The command line: `main` runs a command and turns errors into one line and an exit status."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from paribus.errors import ParibusError, told_of_machine

__all__ = ["main"]

_FAILED = 1
_INTERRUPTED = 130
_TRAINS = {"run", "assignment"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: What follows ``paribus``; None takes it from the command line.

    Returns:
        The exit status: 0 done, 1 a run failed, 2 usage, configuration or data error, 3 gate not met,
        130 interrupted.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # A minus that the terminal lacks must not end the command.
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given  # Understood before and behind the command.
    try:
        _run([argument for argument in given if argument != "--debug"])
    except SystemExit as end:
        if isinstance(end.code, str):
            _say(f"error: {end.code}")
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else _FAILED
        return _interrupted(given) if status == _INTERRUPTED else status
    except KeyboardInterrupt:  # While a command was still being imported.
        return _interrupted(given)
    except ParibusError as error:
        if debug:
            raise
        _say(f"error: {error}")
        return error.exit_status
    except BrokenPipeError:  # Whoever read the output has gone, as `head` does.
        return _FAILED
    except Exception as error:  # The last line of defence: the machine refuses, or a bug of ours, named as one.
        if debug:
            raise
        refusal = told_of_machine(error)
        if refusal is not None:
            _say(f"error: {refusal}")
            return _FAILED
        _say(f"error: This is a bug in paribus: {type(error).__name__}: {error}")
        _say("Run the same command with --debug and report what it prints.")
        return _FAILED
    return 0


def _run(arguments: list[str]) -> None:
    import typer.main

    from paribus.cli.commands import app

    try:
        typer.main.get_command(app).main(arguments, prog_name="paribus")
    finally:
        _flush()


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        # What could not be written would be tried again, and complained of, as Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _interrupted(given: Sequence[str]) -> int:
    command = next((word for word in given if not word.startswith("-")), "")
    kept = "finished epochs are kept, and the same command goes on from there."
    _say(f"interrupted: {kept if command in _TRAINS else 'nothing is half written, and the same command begins anew.'}")
    return _INTERRUPTED
