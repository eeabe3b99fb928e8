"""What is printed in a terminal: tables of at most 100 columns, and plain text where the output goes elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from paribus.checks import Finding

WIDTH = 100


def console() -> Console:
    """Return what prints to stdout, as it is now."""
    from rich.console import Console

    # A notebook sets FORCE_COLOR, and rich would show each part by itself there, whoever takes what is printed.
    is_terminal = None if sys.stdout.isatty() else False
    found = Console(highlight=False, markup=False, emoji=False, force_jupyter=False, force_terminal=is_terminal)
    found.width = min(found.width, WIDTH) if found.is_terminal else WIDTH
    return found


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> Table:
    """Return a table without lines; `right` counts the columns of numbers, which are never broken, from 0."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, heading in enumerate(headings):
        is_number = index in right
        made.add_column(
            heading, justify="right" if is_number else "left", no_wrap=is_number or index == 0, overflow="fold"
        )
    for row in rows:
        made.add_row(*row)
    return made


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str]], below: str) -> None:
    """Print a table and a paragraph below it."""
    output = console()
    output.print(table(headings, rows))
    output.print()
    output.print(below)


def show_findings(findings: Sequence[Finding], unseen: Sequence[str] = ()) -> None:
    """Print the findings that fired, one per line, or that none did, after what could not be looked at."""
    output = console()
    for each in unseen:
        output.print(f"not looked at: {each}")
    if unseen:
        output.print()
    rows = [(each.code, each.level, each.where, each.message) for each in findings if each.outcome == "fired"]
    if not rows:
        output.print("No check fires.")
        return
    output.print(table(("check", "level", "where", "message"), rows))
    output.print()
    output.print(explanation([row[:2] for row in rows]))


def explanation(fired: Sequence[tuple[str, str]]) -> str:
    """Return where more is told of what fired, (code, level) each: by an error, where there is one."""
    code = next((code for code, level in fired if level == "error"), fired[0][0])
    return f"`paribus explain {code}` says why a check matters and what to do."
