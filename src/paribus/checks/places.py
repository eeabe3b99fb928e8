"""Where a check fires."""

from __future__ import annotations

from collections.abc import Sequence

from paribus.experiment import Experiment, Question

WHOLE = "whole experiment"
Places = list[tuple[str, str]] | None
"""Where a check fires, with its message; empty where it passes, None where it does not apply."""


def of_question(question: Question) -> str:
    """Return the place of a question; no arm's name holds a space."""
    return f"question {question.id}"


def of_arms(experiment: Experiment, arms: Sequence[str], message: str) -> list[tuple[str, str]]:
    """Return a message at each of some arms, or at the whole experiment where these are all of them."""
    here = [name for name in experiment.arms if name in arms]
    return [(WHOLE, message)] if len(here) == len(experiment.arms) else [(name, message) for name in here]
