"""`paribus predict`: what is printed, for people and for programs."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from paribus.errors import ConfigError
from paribus.wording import count, percent

if TYPE_CHECKING:
    from paribus.predict import TrainedModel
    from paribus.predict.files import Answers

TOP = 3
Row = tuple[str, list[tuple[str, float]]]
"""A file, and its most probable classes with their probabilities."""


@dataclass
class Tally:
    """What remains to be said once every file has been looked at."""

    images: int = 0
    negatives: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)


def names_of(arguments: Iterable[str], stdin: TextIO) -> list[str]:
    """Return the arguments, with the lines of stdin in place of ``-``."""
    return [name for each in arguments for name in (_lines(stdin) if each == "-" else [each])]


def form_of(*, as_json: bool, as_csv: bool) -> str:
    """Return which form is asked for.

    Raises:
        ConfigError: If two are.
    """
    if as_json and as_csv:
        raise ConfigError("One form at a time can be printed, but got both --json and --csv. Leave one out.")
    return "json" if as_json else "csv" if as_csv else "table"


def rows_of(answers: Iterable[Answers], k: int, tally: Tally) -> Iterator[Row]:
    """Yield a row per image; what cannot be read goes to stderr at once, and into the tally."""
    for each in answers:
        say_missing(each.unreadable, tally)
        tally.images += len(each.files)
        tally.negatives += int(each.negatives.sum())
        yield from zip(each.files, each.classified.top(k), strict=True)


def say_missing(missing: Mapping[str, str], tally: Tally) -> None:
    """Tell of names that are no files."""
    for name, reason in missing.items():
        say(f"unreadable: {plain(name)}: {plain(reason)}")
    tally.unreadable |= missing


def end_told(tally: Tally) -> str:
    """Return the last line, where something could not be read."""
    return f"{count(tally.images, 'image')} classified; {count(len(tally.unreadable), 'name')} could not be read."


def with_progress(answers: Iterable[Answers], total: int) -> Iterator[Answers]:
    """Tell on stderr, where that is a terminal, how many files are done."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("images", total=total)
        for each in answers:
            yield each
            progress.advance(task, len(each.files) + len(each.unreadable))


def show(rows: Iterable[Row], form: str, model: TrainedModel, tally: Tally) -> None:
    """Print every row in a form: table, json or csv."""
    _FORMS[form](rows, model, tally)


def say(text: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(f"{text}\n")


def plain(text: str) -> str:
    """Return a text in which nothing moves the cursor or turns the direction of writing: escaped as Python does."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def _table(rows: Iterable[Row], model: TrainedModel, tally: Tally) -> None:
    from rich.cells import cell_len

    lines = [[plain(file), *(f"{plain(name)} {percent(share)} %" for name, share in best)] for file, best in rows]
    if not lines:
        return
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def _json(rows: Iterable[Row], model: TrainedModel, tally: Tally) -> None:
    images = [{"path": file, "classes": [_class(*each) for each in best]} for file, best in rows]
    header = model.header
    told = {
        "format": 1,
        "model": {"experiment": header.experiment, "arm": header.arm, "seed": header.seed},
        "temperature": header.temperature,
        "images": images,
        "unreadable": [{"path": file, "reason": reason} for file, reason in tally.unreadable.items()],
        "negatives": tally.negatives,
    }
    sys.stdout.write(json.dumps(told, indent=1) + "\n")


def _csv(rows: Iterable[Row], model: TrainedModel, tally: Tally) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for number, (file, best) in enumerate(rows):
        if number == 0:
            places = range(1, len(best) + 1)
            writer.writerow(["path", *(f"{key}_{place}" for place in places for key in ("class", "probability"))])
        writer.writerow([_cell(file), *(each for name, share in best for each in (_cell(name), _digits(share)))])


def _class(name: str, share: float) -> dict[str, Any]:
    return {"name": name, "probability": _digits(share)}


def _digits(share: float) -> float:
    return float(f"{share:.6g}")


def _cell(text: str) -> str:
    """Keep a spreadsheet from taking a name for a formula."""
    escaped = plain(text)
    return f"'{escaped}" if escaped.startswith(("=", "+", "-", "@")) else escaped


def _lines(stdin: TextIO) -> list[str]:
    return [line for line in stdin.read().splitlines() if line]


_FORMS: Mapping[str, Callable[[Iterable[Row], TrainedModel, Tally], None]] = {
    "table": _table,
    "json": _json,
    "csv": _csv,
}
