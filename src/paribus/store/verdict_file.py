"""`verdicts.json`, read again: whole and of the format that this version writes, or refused."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from paribus.errors import StoreError
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


def _require_keys(entries: Iterable[Any], kinds: dict[str, type]) -> None:
    for entry in entries:
        for key, kind in kinds.items():
            if not isinstance(entry[key], kind):
                raise ValueError(f"`{key}` is {entry[key]!r}")
