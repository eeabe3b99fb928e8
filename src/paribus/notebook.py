"""How a result shows itself in Python: as plain data, as text, and in a notebook as tables, paragraphs and figures."""

from __future__ import annotations

import base64
import html
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paribus.errors import StoreError, one_of
from paribus.wording import NOTHING, difference, interval, loss, p_value, percent, unit, verdict

_HEAD = ("question", "arm", "against", "difference", "95 % interval", "p (Holm)", "verdict")


@dataclass(frozen=True)
class Shown:
    """A part of a result that shows itself: `html` in a notebook, `text` where there is none."""

    text: str
    html: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.html


def rows(verdicts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row per comparison: fractions or nats, None where there is nothing.

    Args:
        verdicts: The content of `verdicts.json`, format 1.
    """
    return [
        {"question": question["id"], **{key: comparison[key] for key in _KEYS}}
        for question in verdicts["questions"]
        for comparison in question["comparisons"]
    ]


def as_text(verdicts: Mapping[str, Any]) -> str:
    """Return the verdicts as lines of aligned columns."""
    return _aligned([_HEAD, *(_cells(row) for row in rows(verdicts))])


def as_html(title: str, verdicts: Mapping[str, Any]) -> str:
    """Return the verdicts as an HTML table with a caption."""
    return _html_table(title, [_HEAD, *(_cells(row) for row in rows(verdicts))])


def table(verdicts: Mapping[str, Any], identity: str) -> Shown:
    """Return the arms of a question, the control first: accuracy and loss with intervals, difference, verdict.

    Raises:
        StoreError: If there is no such question.
    """
    question = _question(verdicts, identity)
    compared = {each["arm"]: each for each in question["comparisons"]}
    if question["sweep"] is not None:
        names = [row["arm"] for row in question["sweep"]["values"]]
    else:
        names = list(dict.fromkeys(["control", *(each["control"] for each in compared.values()), *compared]))
    content = [_ARMS_HEAD, *(_arm_cells(name, verdicts["arms"][name], compared.get(name)) for name in names)]
    return Shown(_aligned(content), _html_table(question["asks"], content))


def comment(verdicts: Mapping[str, Any], identity: str) -> Shown:
    """Return what the runs say on a question: answer, evidence, rates, limits, next, a paragraph each.

    Raises:
        StoreError: If there is no such question.
    """
    question = _question(verdicts, identity)
    parts: dict[str, list[str]] = {}
    for sentence in question["comment"]:
        parts.setdefault(sentence["part"], []).append(sentence["text"])
    paragraphs = [" ".join(sentences) for sentences in parts.values()]
    text = "\n\n".join(textwrap.fill(each, _WIDTH) for each in (question["asks"], *paragraphs))
    prose = "".join(f"<p>{_with_code(each)}</p>" for each in paragraphs)
    return Shown(text, f"<p><strong>{html.escape(question['asks'])}</strong></p>{prose}")


def figures(folder: Path, names: Sequence[str]) -> Shown:
    """Return figures of a report, beside each other.

    Args:
        folder: Of the figures.
        names: Such as ``"relu-val-loss"``.

    Raises:
        StoreError: If there is no such figure.
    """
    known = sorted(path.stem for path in folder.glob("*.svg"))
    for name in names:
        if name not in known:
            raise StoreError(one_of("A figure", known, name, nothing="none, as there is no report"))
    images = [
        f'<img style="vertical-align: top" alt="{html.escape(name)}" src="{_data_uri(folder / f"{name}.svg")}">'
        for name in names
    ]
    return Shown("\n".join(str(folder / f"{name}.svg") for name in names), "".join(images))


def page(path: Path) -> Shown:
    """Return a page in a frame of its own, so that its style and the notebook's stay apart."""
    content = html.escape(path.read_text(encoding="utf-8"))
    return Shown(str(path), f'<iframe srcdoc="{content}" style="width: 100%; height: 50em; border: 0"></iframe>')


def as_markdown(verdicts: Mapping[str, Any]) -> str:
    """Return the verdicts as a table in Markdown."""
    table = [_HEAD, ("---",) * len(_HEAD), *(_cells(row) for row in rows(verdicts))]
    return "".join(f"| {' | '.join(row)} |\n" for row in table)


def _cells(row: Mapping[str, Any]) -> Sequence[str]:
    return (
        row["question"],
        row["arm"],
        row["control"],
        *_difference_cells(row),
        p_value(row["p_holm"]),
        verdict(row),
    )


def _difference_cells(comparison: Mapping[str, Any]) -> tuple[str, str]:
    metric, found = comparison["metric"], difference(comparison["difference"], comparison["metric"])
    ends = interval(comparison["ci95"], lambda end: difference(end, metric)) or NOTHING
    return found if comparison["difference"] is None else f"{found} {unit(metric)}", ends


def _arm_cells(name: str, arm: Mapping[str, Any], comparison: Mapping[str, Any] | None) -> Sequence[str]:
    accuracy, nats = arm["test_accuracy"], arm["test_loss"]
    measured = (
        name,
        str(arm["runs"]),
        percent(accuracy["mean"]),
        interval(accuracy["ci95"], percent) or NOTHING,
        loss(nats["mean"]),
    )
    if comparison is None:
        return (*measured, NOTHING, NOTHING, NOTHING)
    return (*measured, *_difference_cells(comparison), verdict(comparison))


def _question(verdicts: Mapping[str, Any], identity: str) -> Mapping[str, Any]:
    questions: dict[str, Mapping[str, Any]] = {each["id"]: each for each in verdicts["questions"]}
    if identity not in questions:
        raise StoreError(one_of("A question", questions, identity, nothing="none, as none is asked"))
    return questions[identity]


def _aligned(content: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*content, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in content)
    return "\n".join(line.rstrip() for line in lines)


def _html_table(title: str, content: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in content[0])
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in content[1:])
    caption = html.escape(title)
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _with_code(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _data_uri(path: Path) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"


_WIDTH = 100
_MEASURED_HEAD = ("arm", "runs", "test accuracy (%)", "95 % interval", "test loss")
_ARMS_HEAD = (*_MEASURED_HEAD, "difference", "95 % interval", "verdict")
_KEYS = (
    "arm",
    "control",
    "metric",
    "margin",
    "runs",
    "difference",
    "ci95",
    "p_holm",
    "p_equivalence",
    "verdict",
    "reason",
    "seeds_needed",
    "test_images_needed",
)
