"""The document as data: what its templates show, already in words, the same for HTML and Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from paribus.report.page import Cell, Comment, Figure, Link, Table


@dataclass(frozen=True)
class Quoted:
    """What an experiment's commentary says on one of its questions, and where the whole report has it.

    `rates` is what is said about learning rates, empty where nothing is.
    """

    experiment: str
    question: Link
    comment: Comment
    rates: str


@dataclass(frozen=True)
class Answer:
    """One request with its answer; every part may be empty but the first four.

    `verdicts` are arms with the verdict on each in its colour, `measured` what is told of controls, splits and recipes,
    `example` text to be shown as it is, `choices` which arm to take, `notices` what was not asked but matters,
    `missing` what has not been run.
    """

    id: str
    number: int
    asks: str
    taken: str
    verdicts: tuple[Cell, ...]
    measured: tuple[str, ...]
    example: str
    choices: tuple[str, ...]
    quoted: tuple[Quoted, ...]
    figures: tuple[Figure, ...]
    table: Table | None
    notices: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Document:
    """The whole document. `warning` is said at its head, and `mark` in every heading, where it settles nothing.

    `reading` says what the words of the summary mean, `method` how numbers and figures are made.
    """

    title: str
    warning: str
    mark: str
    facts: tuple[tuple[str, str], ...]
    reading: tuple[str, ...]
    summary: Table
    answers: tuple[Answer, ...]
    method: tuple[str, ...]
    limits: tuple[str, ...]
    command: str
    environments: Table
