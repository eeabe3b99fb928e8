"""The document as files: one HTML file, and Markdown with its figures beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from paribus.assignment.build import build
from paribus.assignment.page import Document
from paribus.assignment.stored import Stored
from paribus.report.render import html_page, markdown_page
from paribus.store import files


@dataclass(frozen=True)
class Written:
    """The document, and its HTML file."""

    document: Document
    file: Path


def write(stored: Stored) -> Written:
    """Write `assignment.html`, `assignment.md` and its `figures/`.

    The same results give the same bytes.

    Raises:
        StoreError: If a result cannot be read, or the folder cannot be written.
    """
    document, folder = build(stored), stored.folder
    files.make_folder(folder / "figures")
    written = set()
    for figure in {figure.name: figure for answer in document.answers for figure in answer.figures}.values():
        path = folder / "figures" / f"{figure.name}.svg"
        files.write(path, f"{figure.svg}\n".encode())
        written.add(path)
    for path in (folder / "figures").glob("*.svg"):
        if path not in written:
            path.unlink()  # Of an earlier document.
    files.write(folder / "assignment.md", to_markdown(document).encode())
    files.write(folder / "assignment.html", to_html(document).encode())
    return Written(document, folder / "assignment.html")


def to_html(document: Document) -> str:
    """Return the document as one HTML file that needs no other; its links lead to the full reports beside it."""
    return html_page("assignment.html.j2", page=document)


def to_markdown(document: Document) -> str:
    """Return the document as Markdown that shows the files of `figures/`."""
    return markdown_page("assignment.md.j2", page=document)
