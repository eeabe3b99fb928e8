"""What the commands print: tables of at most 100 columns, and plain text where the output is not a terminal."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from paribus.errors import ConfigError, nearest
from paribus.wording import NOTHING, count, difference, duration, interval, listed, percent, unit

if TYPE_CHECKING:
    from paribus.checks import Finding
    from paribus.launch.conduct import Plan, PlannedArm

WIDTH = 100


def show_verdicts(verdicts: Mapping[str, Any], folder: Path) -> None:
    """Print the control, one line per comparison, the fired checks and where the report is.

    Args:
        verdicts: The content of `verdicts.json`, format 1.
        folder: The result folder.
    """
    console = _console()
    control = verdicts["arms"]["control"]
    console.print(f"{verdicts['experiment']}: the control reaches {_accuracy(control)}")
    rows = [
        (question["id"], *_comparison(comparison))
        for question in verdicts["questions"]
        for comparison in question["comparisons"]
    ]
    console.print()
    console.print(_table(("question", "arm", "difference", "95 % interval", "verdict"), rows, right=(2, 3)))
    fired = [check for check in verdicts["checks"] if check["outcome"] == "fired"]
    if fired:
        console.print()
        console.print(_table(("check", "where", "message"), [(c["code"], c["where"], c["message"]) for c in fired]))
        console.print()
        console.print(_explain([(check["code"], check.get("level", "")) for check in fired]))
    console.print()
    console.print(f"report: {folder / 'report.html'}", soft_wrap=True)


def verdict_text(comparison: Mapping[str, Any]) -> str:
    """Return a comparison's verdict, with what would settle it where it is open and that is known."""
    seeds, images = comparison["seeds_needed"], comparison.get("test_images_needed")
    if seeds is not None:
        return f"{comparison['verdict']} (about {count(seeds, 'seed')} would decide)"
    if images is not None:
        return f"{comparison['verdict']} (about {count(images, 'test image')} would decide)"
    return str(comparison["verdict"])


def plan_text(plan: Plan) -> str:
    """Return what `show_plan` prints."""
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        show_plan(plan)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def show_plan(plan: Plan) -> None:
    """Print the runs of each arm, the time, the smallest difference that can be shown, the checks that fire already."""
    console = _console()
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
    show_findings(plan.findings)
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
    return _table((heading, "engine", "runs to do", "epochs", "time per run"), rows, right=(2, 3, 4))


def _engines(arms: Sequence[PlannedArm]) -> list[str]:
    """Return which engine trains which arms, and why."""
    served: dict[tuple[str, str], list[str]] = {}
    for arm in arms:
        served.setdefault((arm.engine, arm.why), []).append(arm.name)
    whole = len(served) == 1
    return [
        f"{engine} trains {'every arm' if whole else listed(names)}: {why}." for (engine, why), names in served.items()
    ]


def show_findings(findings: Sequence[Finding], unseen: Sequence[str] = ()) -> None:
    """Print the findings that fired, one per line, or that none did, after what could not be looked at."""
    console = _console()
    for each in unseen:
        console.print(f"not looked at: {each}")
    if unseen:
        console.print()
    rows = [(each.code, each.level, each.where, each.message) for each in findings if each.outcome == "fired"]
    if not rows:
        console.print("No check fires.")
        return
    console.print(_table(("check", "level", "where", "message"), rows))
    console.print()
    console.print(_explain([row[:2] for row in rows]))


def _explain(fired: Sequence[tuple[str, str]]) -> str:
    """Where the rest is told of what fired, by the code of an error where there is one, else by the first."""
    code = next((code for code, level in fired if level == "error"), fired[0][0])
    return f"`paribus explain {code}` says why a check matters and what to do."


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str]], below: str) -> None:
    """Print a table and a paragraph below it."""
    console = _console()
    console.print(_table(headings, rows))
    console.print()
    console.print(below)


def show_list(subject: str) -> None:
    """Print what there is of one kind: `experiments`, `data`, `models` or `checks`.

    Raises:
        ConfigError: If it is none of these.
    """
    if subject not in _LISTS:
        raise ConfigError(
            f"What is listed must be one of {', '.join(_LISTS)}, but got `{subject}`.{nearest(subject, _LISTS)}"
        )
    headings, rows = _LISTS[subject]()
    _console().print(_table(headings, rows))


def show_check(code: str) -> None:
    """Print a check's page.

    Raises:
        ConfigError: If there is no such check.
    """
    from paribus.checks import CHECKS

    if code.upper() not in CHECKS:
        raise ConfigError(
            f"A check must be one of {', '.join(CHECKS)}, but got `{code}`.{nearest(code.upper(), CHECKS)}"
        )
    check = CHECKS[code.upper()]
    console = _console()
    console.print(f"{code.upper()}, {check.level}: {check.title}")
    console.print()
    console.print(f"Why it matters: {check.why}")
    console.print()
    console.print(f"What to do: {check.advice}")


Listing = tuple[tuple[str, ...], Sequence[tuple[str, ...]]]


def _experiments() -> Listing:
    from paribus import experiments
    from paribus.experiment import CONTROL_RETUNED, Experiment

    shipped = [Experiment.load(experiments.find(name)) for name in experiments.names()]
    rows = []
    for each in shipped:
        written = len(each.arms.keys() - {CONTROL_RETUNED})  # Whether that one is trained shows once rates are found.
        rows.append((each.name, str(written), str(len(each.seeds)), each.title))
    return ("experiment", "arms", "seeds", "title"), rows


def _data() -> Listing:
    from paribus.data import SOURCES

    rows = []
    for name, source in SOURCES.items():
        images = f"{sum(source.train_counts):,} + {sum(source.test_counts):,}"
        rows.append((name, str(len(source.classes)), images, source.licence, source.title))
    return ("data set", "classes", "train + test", "licence", "title"), rows


def _models() -> Listing:
    from paribus.config import ModelConfig
    from paribus.models import MODELS

    rows = []
    for name, model in MODELS.items():
        options = ", ".join(f"{key} = {words}" for key, words in ModelConfig.options_by_name[name].told().items())
        rows.append((name, options, model.title))
    return ("model", "options, the default first", "title"), [
        *rows,
        ("file.py:Class", "as its constructor", "your own"),
    ]


def _checks() -> Listing:
    from paribus.checks import CHECKS

    return ("check", "level", "title"), [(code, check.level, check.title) for code, check in CHECKS.items()]


def _comparison(comparison: Mapping[str, Any]) -> tuple[str, str, str, str]:
    metric = comparison["metric"]
    found = difference(comparison["difference"], metric)
    return (
        comparison["arm"],
        found if comparison["difference"] is None else f"{found} {unit(metric)}",
        interval(comparison["ci95"], lambda end: difference(end, metric)) or NOTHING,
        verdict_text(comparison),
    )


def _accuracy(arm: Mapping[str, Any]) -> str:
    accuracy, runs = arm["test_accuracy"], count(arm["runs"], "run")
    if accuracy["mean"] is None:
        return f"no test accuracy ({runs})"
    within = f", 95 % interval {interval(accuracy['ci95'], percent)} %" if accuracy["ci95"] else ""
    return f"{percent(accuracy['mean'])} % test accuracy (mean of {runs}{within})"


def _console() -> Console:
    # A notebook sets FORCE_COLOR, and rich would show each part by itself there and leave `plan_text` empty.
    is_terminal = None if sys.stdout.isatty() else False
    console = Console(highlight=False, markup=False, emoji=False, force_jupyter=False, force_terminal=is_terminal)
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    return console


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, heading in enumerate(headings):
        is_number = index in right
        table.add_column(
            heading, justify="right" if is_number else "left", no_wrap=is_number or index == 0, overflow="fold"
        )
    for row in rows:
        table.add_row(*row)
    return table


_LISTS = {"experiments": _experiments, "data": _data, "models": _models, "checks": _checks}
