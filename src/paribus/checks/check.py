"""What a check is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from paribus.arms import ArmRuns
from paribus.checks.places import Places
from paribus.experiment import Experiment
from paribus.facts import Facts

Arms = Mapping[str, ArmRuns]
Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Check:
    """One rule: what it is called, why it matters, what to do when it fires, and the one thing that it looks at."""

    title: str
    level: Level
    why: str
    advice: str
    on_design: Callable[[Experiment], Places] | None = None
    on_facts: Callable[[Experiment, Facts], Places] | None = None
    on_outcome: Callable[[Experiment, Arms], Places] | None = None
