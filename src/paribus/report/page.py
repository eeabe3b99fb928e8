"""The report as data: what a template shows, already in words, the same for HTML and Markdown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """A table cell: text, a second line in small print, the verdict whose colour it takes, where it links to."""

    text: str
    small: str = ""
    verdict: str = ""
    href: str = ""


@dataclass(frozen=True)
class Table:
    """A table whose first column names the row; `numeric` are the positions of columns set to the right."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: tuple[int, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A drawing: the stem of its file name, the SVG, what it shows in words, its caption, whether it is wide."""

    name: str
    svg: str
    alt: str
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Picture:
    """A test image as PNG with what it is and what the runs made of it."""

    name: str
    png: bytes
    alt: str
    true: str
    predicted: str


@dataclass(frozen=True)
class Comment:
    """What is said about a question: the sentences of the answer, and the other three parts as one text each."""

    answer: tuple[str, ...]
    evidence: str
    limits: str
    next: str


@dataclass(frozen=True)
class Link:
    """A text that leads to another place of the report."""

    text: str
    href: str


@dataclass(frozen=True)
class Section:
    """One question, or another part of the report; every part may be empty.

    A question has a `label` and a `comment`, and shows them in the order answer, evidence, figures, tables, notices,
    limits, next.
    """

    id: str
    title: str
    paragraphs: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    pictures: tuple[Picture, ...] = ()
    figures_note: str = ""
    label: str = ""
    comment: Comment | None = None


@dataclass(frozen=True)
class Page:
    """The whole report. `facts` say what was run, `environment` on what.

    `notices` concern the whole experiment; `fired` are the questions at which checks fired, with their codes.
    """

    title: str
    name: str
    facts: tuple[tuple[str, str], ...]
    summary: Table | None
    notices: tuple[str, ...]
    fired: tuple[Link, ...]
    sections: tuple[Section, ...]
    diagnosis: Section
    method: Section
    environment: tuple[tuple[str, str], ...]
