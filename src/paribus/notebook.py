"""How a result shows itself in Python: rows of verdicts, as plain data, as text, and as a table of a notebook."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from paribus.wording import NOTHING, difference, interval, p_value, unit, would_decide

_HEAD = ("question", "arm", "against", "difference", "95 % interval", "p (Holm)", "verdict")


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
    table = [_HEAD, *(_cells(row) for row in rows(verdicts))]
    widths = [max(len(row[index]) for row in table) for index in range(len(_HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    )


def as_html(title: str, verdicts: Mapping[str, Any]) -> str:
    """Return the verdicts as an HTML table with a caption."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in _HEAD)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in _cells(row))}</tr>" for row in rows(verdicts)
    )
    caption = html.escape(title)
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def as_markdown(verdicts: Mapping[str, Any]) -> str:
    """Return the verdicts as a table in Markdown."""
    table = [_HEAD, ("---",) * len(_HEAD), *(_cells(row) for row in rows(verdicts))]
    return "".join(f"| {' | '.join(row)} |\n" for row in table)


def _cells(row: Mapping[str, Any]) -> Sequence[str]:
    metric, found = row["metric"], difference(row["difference"], row["metric"])
    verdict = row["verdict"]
    if verdict == "undecided" and (row["seeds_needed"] or row["test_images_needed"]):
        verdict += f" ({would_decide(row['seeds_needed'], row['test_images_needed'])})"
    return (
        row["question"],
        row["arm"],
        row["control"],
        found if row["difference"] is None else f"{found} {unit(metric)}",
        interval(row["ci95"], lambda end: difference(end, metric)) or NOTHING,
        p_value(row["p_holm"]),
        verdict,
    )


_KEYS = (
    "arm",
    "control",
    "metric",
    "margin",
    "runs",
    "difference",
    "ci95",
    "p_holm",
    "verdict",
    "seeds_needed",
    "test_images_needed",
)
