"""`verdicts.json`, read again: whole and of the format that this version writes, or refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from paribus.errors import StoreError
from paribus.experiment import CONTROL_RETUNED, Experiment, Question
from paribus.store import files

FORMAT = 1


def read_verdicts(path: Path) -> dict[str, Any]:
    """Read a `verdicts.json`.

    Raises:
        StoreError: If it is missing, damaged, or of another format.
    """
    advice = f"Write it anew, without training: paribus report {path.parent}"
    content = files.read_json(path, advice)
    if content.get("format") != FORMAT:
        raise StoreError(
            f"`{path}` must be of format {FORMAT}, but is of format {content.get('format')}: another version of "
            f"paribus wrote it. {advice}"
        )
    with files.reading(path, advice):
        _require_keys([content], {"arms": dict, "questions": list, "checks": list})
        _require_keys(content["questions"], {"id": str, "comparisons": list})
        compared = [each for question in content["questions"] for each in question["comparisons"]]
        _require_keys(compared, {"arm": str, "metric": str, "verdict": str})
        _require_keys(content["checks"], {"code": str, "outcome": str})
    return content


def is_of(verdicts: Mapping[str, Any], experiment: Experiment) -> bool:
    """Whether verdicts are of an experiment as it is designed, and not of what it was before it was changed.

    Those of earlier versions tell no recipes; they are judged by the names of arms and questions alone. So are arms of
    which something is to be found, where what was found is not kept with the verdicts.
    """
    arms, entries = verdicts["arms"], {entry["id"]: entry for entry in verdicts["questions"]}
    asked = {question.id: question for question in experiment.questions}
    recipes = {name: arm.recipe for name, arm in experiment.arms.items() if name in arms and not arm.recipe.unfound}
    return (
        arms.keys() - {CONTROL_RETUNED} == experiment.arms.keys() - {CONTROL_RETUNED}
        and entries.keys() == asked.keys()
        and all(_is_asked(entries[name], question) for name, question in asked.items())
        and not set(experiment.seeds).isdisjoint(verdicts.get("seeds", experiment.seeds))
        and all(arms[name].get("recipe", recipe.digest()) == recipe.digest() for name, recipe in recipes.items())
    )


def _is_asked(entry: Mapping[str, Any], question: Question) -> bool:
    told = {"kind": question.kind, "metric": question.metric, "margin": question.margin}
    factor = (entry.get("sweep") or {}).get("factor", question.factor)
    compared, arms = {each["arm"] for each in entry["comparisons"]}, set(question.arms)
    return (
        (compared == arms if question.kind == "compare" else compared <= arms)
        and all(entry.get(key, value) == value for key, value in told.items())
        and factor == question.factor
    )


def _require_keys(entries: Iterable[Any], kinds: dict[str, type]) -> None:
    for entry in entries:
        for key, kind in kinds.items():
            if not isinstance(entry[key], kind):
                raise ValueError(f"`{key}` is {entry[key]!r}")
