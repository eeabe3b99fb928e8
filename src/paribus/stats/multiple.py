"""Several comparisons in one experiment."""

from __future__ import annotations

from collections.abc import Sequence

from paribus.errors import DataError


def holm(p: Sequence[float]) -> list[float]:
    """Return p values adjusted for being several (Holm 1979), in the given order.

    Raises:
        DataError: If a value is not between 0 and 1.
    """
    if not all(0 <= value <= 1 for value in p):
        raise DataError(f"p values must lie between 0 and 1, but got {list(p)}. Leave out what was not tested.")
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda each: p[each])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = highest
    return adjusted
