"""What the parser of the command line refuses, in the words of every other error."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from paribus.errors import one_of
from paribus.wording import lower


def told(error: Any, name: str) -> str:
    """Return what is wrong with a command's arguments in a sentence, and where they are told.

    Args:
        error: A usage error of typer's parser, whose classes are known by name: they have moved between its versions.
        name: The command's, for where the parser does not know it.
    """
    command = f"paribus {name}" if error.ctx is None else error.ctx.command_path
    return f"{_sentence(error, command)}\nSee: {command} --help"


def _sentence(error: Any, command: str) -> str:
    said = error.format_message()
    unknown = re.match(r"No such command '(.*?)'\.", said)
    if unknown is not None:
        return one_of("A command", error.ctx.command.commands, unknown[1])
    more = re.fullmatch(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", said)
    if more is not None:
        return (
            f"`{command}` must be given no more than its help says, but got `{more[1]}` besides. Leave it out, or put "
            "a name with spaces in quotes."
        )
    explain = _KINDS.get(type(error).__name__)
    return said if explain is None else explain(error, command)


def _unknown_option(error: Any, command: str) -> str:
    names = [name for each in error.ctx.command.get_params(error.ctx) for name in (*each.opts, *each.secondary_opts)]
    known = [name for name in names if name.startswith("--")]
    return one_of(f"An option of `{command}`", known, error.option_name)


def _missing(error: Any, command: str) -> str:
    parameter = error.param
    if parameter.param_type_name == "argument":
        return f"{_name(parameter)} must be given, but is not. Add it: {_help(parameter)}"
    return f"{_name(parameter)} must be given, but is not. Add `{_with_value(parameter)}`: {_help(parameter)}"


def _without_value(error: Any, command: str) -> str:
    if "requires" in error.message:
        return f"{error.option_name} must be followed by a value, but is not. Add one."
    return f"{error.option_name} must stand alone, but got a value. Leave the value out."


def _bad_value(error: Any, command: str) -> str:
    """The parser's words tell what must hold; what was given only the error behind it knows, where there is one."""
    rule = error.message.partition(", unable")[0].removeprefix("Input should be ")
    for words, ours in _RULES.items():
        rule = rule.replace(words, ours)
    found: list[Any] = getattr(error.__cause__, "errors", list)()
    given = f"got `{found[0]['input']}`" if found else "got another value"
    return f"{_name(error.param)} must be {rule}, but {given}. Correct it."


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return str(max(parameter.opts, key=len))


def _with_value(parameter: Any) -> str:
    return f"{_name(parameter)} {parameter.metavar or 'VALUE'}"


def _help(parameter: Any) -> str:
    return lower(parameter.help) if parameter.help else "the help says what it is."


_RULES = {
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "a valid integer": "a whole number",
    "a valid number": "a number",
}
_KINDS: dict[str, Callable[[Any, str], str]] = {
    "BadOptionUsage": _without_value,
    "BadParameter": _bad_value,
    "MissingParameter": _missing,
    "NoSuchOption": _unknown_option,
}
