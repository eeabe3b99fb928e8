"""`paribus assignment`: what is printed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from paribus.assignment.page import Answer
    from paribus.assignment.write import Written


def show(written: Written) -> None:
    """Print each request with its verdicts, and where the document is."""
    document = written.document
    for line in [document.warning, ""] if document.warning else []:
        typer.echo(line)
    for answer in document.answers:
        typer.echo(f"{answer.number}. {answer.asks}")
        for line in _found(answer):
            typer.echo(f"   {line}")
    typer.echo("")
    typer.echo(f"document: {written.file}")


def _found(answer: Answer) -> Iterator[str]:
    """Verdicts, or what was measured, or what is missing."""
    if answer.verdicts:
        yield from (f"{verdict.text}: {verdict.small}" for verdict in answer.verdicts)
    else:
        yield from (text.replace("`", "") for text in (answer.measured or answer.missing))
