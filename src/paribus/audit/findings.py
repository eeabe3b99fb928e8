"""What an audit finds, and in which form others read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
FORMAT = 1


@dataclass(frozen=True)
class Exhibit:
    """One image file that a finding is about: its path, a few words on it, and which images it belongs with."""

    path: str
    note: str = ""
    set: int = 0


@dataclass(frozen=True)
class Finding:
    """One fault: its kind, how bad it is, and a sentence on what was found, by which evidence, and what to do."""

    kind: str
    severity: Severity
    sentence: str
    images: tuple[Exhibit, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that it is about."""
        return tuple(image.path for image in self.images)


@dataclass(frozen=True)
class Audit:
    """Everything found, worst first.

    `counts` are readable images by split and class; where the source has no splits there is one without a name.
    `unseen` says, in sentences, what was not looked at and why.
    """

    name: str
    counts: Mapping[str, Mapping[str, int]]
    findings: tuple[Finding, ...]
    unseen: tuple[str, ...]

    @property
    def has_errors(self) -> bool:
        """Whether anything found is an error."""
        return any(finding.severity == "error" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file that ``paribus audit --json`` writes, format 1."""
        return {"format": FORMAT, **asdict(self)}


def worst_first(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Sort by severity; among equals the order stays."""
    return tuple(sorted(findings, key=lambda finding: _ORDER.index(finding.severity)))


_ORDER: tuple[Severity, ...] = ("error", "warning", "note")
