"""What a sink is: a place beside the store where the records of runs are shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paribus.store import Results, RunSoFar


@dataclass(frozen=True)
class Held:
    """What a sink holds of a run: its first `epochs`, and whether its end."""

    epochs: int = 0
    end: bool = False


class Sink(ABC):
    """Takes the records of one result folder, from one thread. Whatever it raises costs no run.

    Args:
        results: The folder whose runs it will be given. Opening writes nothing that a reader of the sink would see.
    """

    @abstractmethod
    def __init__(self, results: Results) -> None: ...

    @property
    @abstractmethod
    def where(self) -> str:
        """How to look at what it holds: a command, or an address."""

    @abstractmethod
    def held(self, run: RunSoFar) -> Held:
        """Return what is there of a run with this digest; a run of another recipe in the same place does not count."""

    @abstractmethod
    def bring(self, run: RunSoFar, held: Held) -> None:
        """Add what the run has and the sink lacks: epochs, and the end if the run has ended.

        Args:
            run: As the store holds it, with something beyond `held`.
            held: What is there, as `held` said when the sink first met the run, or as of the last `bring`.
        """

    @abstractmethod
    def verdicts(self, verdicts: Mapping[str, Any]) -> None:
        """Show the verdicts in place of earlier ones.

        Args:
            verdicts: The content of `verdicts.json`, format 1.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections; runs that have not ended are left to be gone on with."""
