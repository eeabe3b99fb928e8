"""`paribus gate`: whether the verdicts of a question are among those that were expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paribus.errors import ConfigError, one_of
from paribus.verdicts import VERDICTS
from paribus.wording import difference, unit


@dataclass(frozen=True)
class Judged:
    """One compared arm: whether its verdict is among those expected, and what was found in one line."""

    is_met: bool
    line: str


def expected_verdicts(text: str) -> tuple[str, ...]:
    """Return the verdicts of a text such as ``"better,equivalent"``.

    Raises:
        ConfigError: If it names none, or a word that is no verdict.
    """
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise ConfigError(
            f"--expect must name at least one of {', '.join(VERDICTS)}, but got `{text}`. Name those that will "
            "do, such as `--expect better,equivalent`."
        )
    for word in words:
        if word not in VERDICTS:
            raise ConfigError(one_of("--expect", VERDICTS, word))
    return words


def judge(verdicts: Mapping[str, Any], question: str, expected: Sequence[str], arm: str | None = None) -> list[Judged]:
    """Return one line for every compared arm of a question, or for one of them.

    A question that compares nothing, such as a sweep whose best value is the control's, meets no expectation.

    Args:
        verdicts: The content of `verdicts.json`, format 1.
        question: Its id.
        expected: Verdicts that will do.
        arm: The one arm to look at, None for all.

    Raises:
        ConfigError: If there is no such question, or no such arm is compared in it.
    """
    entries = {entry["id"]: entry for entry in verdicts["questions"]}
    if question not in entries:
        raise ConfigError(one_of("--question", entries, question, nothing="none, as the experiment asks no question"))
    compared = {each["arm"]: each for each in entries[question]["comparisons"]}
    if arm is not None and arm not in compared:
        raise ConfigError(one_of("--arm", compared, arm, nothing="none, as the question compares no arm"))
    if not compared:
        sweep = entries[question]["sweep"] or {}
        return [Judged(False, f"{question}: no arm is compared. {sweep.get('reason') or ''}".rstrip())]
    return [_judged(each, expected) for name, each in compared.items() if arm in (None, name)]


def _judged(comparison: Mapping[str, Any], expected: Sequence[str]) -> Judged:
    is_met = comparison["verdict"] in expected
    found = f"{comparison['arm']}: {comparison['verdict']}"
    if comparison["difference"] is not None:
        metric = comparison["metric"]
        found += f", {difference(comparison['difference'], metric)} {unit(metric)}"
    return Judged(is_met, found if is_met else f"{found}; expected {' or '.join(expected)}")
