"""Where a check fires."""

from __future__ import annotations

from paribus.experiment import Question

WHOLE = "whole experiment"
Places = list[tuple[str, str]] | None
"""Where a check fires, with its message; empty where it passes, None where it does not apply."""


def of_question(question: Question) -> str:
    """Return the place of a question; no arm's name holds a space."""
    return f"question {question.id}"
