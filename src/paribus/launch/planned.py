"""What a run would do, as it is shown before it is done."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paribus import checks, power, terminal
from paribus.wording import count, duration, listed

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class PlannedArm:
    """What is ahead for one arm; `epochs` is None where they are still to be found, `why` says why this engine."""

    name: str
    engine: str
    runs: int
    missing: int
    epochs: int | None
    seconds_per_run: float
    why: str = ""


@dataclass(frozen=True, repr=False)
class Plan:
    """What `run` would do; `seconds` is the expected wall time of the missing runs.

    `tuning` holds the arms whose rate is still to be found, with the runs that their searches begin with; `detectable`
    is the smallest difference that the design can show.
    """

    arms: list[PlannedArm]
    workers: int
    seconds: float
    findings: list[checks.Finding]
    detectable: power.Detectable
    tuning: Sequence[PlannedArm] = ()

    def __repr__(self) -> str:
        """Say what `paribus plan` prints."""
        stream = io.StringIO()
        with contextlib.redirect_stdout(stream):
            show(self)
        return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def show(plan: Plan) -> None:
    """Print the runs of each arm, the time, the smallest difference that can be shown, the checks that fire already."""
    console = terminal.console()
    if plan.tuning:
        console.print(_planned("to tune", plan.tuning))
        console.print("One more rate follows, and another, as long as the best is at an edge of its grid.")
        console.print()
    console.print(_planned("arm", plan.arms))
    for line in _engines(plan.arms):
        console.print(line)
    missing = sum(arm.missing for arm in (*plan.tuning, *plan.arms))
    ahead = f"{count(missing, 'run')} to do on {count(plan.workers, 'worker')}, in about {duration(plan.seconds)}."
    done = ahead if missing else "Every run is done."
    console.print()
    console.print(done)
    console.print()
    console.print(plan.detectable.text)
    console.print()
    terminal.show_findings(plan.findings)
    console.print("That was the design; `paribus check` looks at the data and the networks as well.")


def _planned(heading: str, arms: Sequence[PlannedArm]) -> Table:
    rows = [
        (
            arm.name,
            arm.engine,
            f"{arm.missing} of {arm.runs}",
            "to be found" if arm.epochs is None else str(arm.epochs),
            duration(arm.seconds_per_run),
        )
        for arm in arms
    ]
    return terminal.table((heading, "engine", "runs to do", "epochs", "time per run"), rows, right=(2, 3, 4))


def _engines(arms: Sequence[PlannedArm]) -> list[str]:
    """Return which engine trains which arms, and why."""
    served: dict[tuple[str, str], list[str]] = {}
    for arm in arms:
        served.setdefault((arm.engine, arm.why), []).append(arm.name)
    whole = len(served) == 1
    return [
        f"{engine} trains {'every arm' if whole else listed(names)}: {why}." for (engine, why), names in served.items()
    ]
