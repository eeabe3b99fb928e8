"""A sentence, its place in the paragraph, and the store values that it quotes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Evidence = dict[str, Any]
Part = Literal["answer", "evidence", "rates", "limits", "next"]


@dataclass(frozen=True)
class Sentence:
    """A text, the store values that it quotes (`{"run": ..., "key": ..., "value": ...}` each), and its part.

    docs/results-format.md lists the keys, and how a number in the text follows from the values.
    """

    text: str
    evidence: list[Evidence]
    part: Part = "evidence"


def item(run: str, key: str, value: Any) -> Evidence:
    """Return one quoted value; `run` is ``"ARM/SEED"`` or ``"ARM"``."""
    return {"run": run, "key": key, "value": value}
