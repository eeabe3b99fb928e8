"""Rows of measurements: to a file, and to medians with their spread."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows of equal keys as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def median_of_ratios(ones: Sequence[float], others: Sequence[float]) -> float:
    """Return the median of one / other, round by round."""
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


def spread(values: Sequence[float]) -> str:
    """Return the least and the greatest, as tables have them."""
    return f"{min(values):.2f} to {max(values):.2f}"
