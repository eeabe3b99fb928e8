"""The command line: `main` runs a command and turns errors into one line and an exit status."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Any

from paribus.errors import ParibusError, told_of_machine

__all__ = ["main"]

_FAILED = 1
_USAGE = 2
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
        status = _run([argument for argument in given if argument != "--debug"])
        return _interrupted(given) if status == _INTERRUPTED else status
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


def _run(arguments: list[str]) -> int:
    import typer.main

    from paribus.cli import usage
    from paribus.cli.commands import app

    wrong_usage: Any = typer.BadParameter.__bases__[0]
    try:
        status = typer.main.get_command(app).main(arguments, prog_name="paribus", standalone_mode=False)
    except typer.Abort:
        _say("error: An answer was asked for, but the input ended. Give the answer.")
        return _FAILED
    except wrong_usage as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # All of its message is the help.
            _say(str(error))
        else:
            _say(f"error: {usage.told(error, _command(arguments))}")
        return _USAGE
    finally:
        _flush()
    return status if isinstance(status, int) else 0


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
    kept = "finished epochs are kept, and the same command goes on from there."
    anew = "nothing is half written, and the same command begins anew."
    _say(f"interrupted: {kept if _command(given) in _TRAINS else anew}")
    return _INTERRUPTED


def _command(given: Sequence[str]) -> str:
    return next((word for word in given if not word.startswith("-")), "")
