"""What the commands print: verdicts, lists, a check's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paribus.errors import ConfigError, one_of
from paribus.terminal import console, explanation, table
from paribus.wording import NOTHING, count, difference, interval, percent, unit, verdict


def show_verdicts(verdicts: Mapping[str, Any], folder: Path) -> None:
    """Print the control, one line per comparison, the fired checks and where the report is.

    Args:
        verdicts: The content of `verdicts.json`, format 1.
        folder: The result folder.
    """
    output = console()
    control = verdicts["arms"]["control"]
    output.print(f"{verdicts['experiment']}: the control reaches {_accuracy(control)}")
    rows = [
        (question["id"], *_comparison(comparison))
        for question in verdicts["questions"]
        for comparison in question["comparisons"]
    ]
    output.print()
    output.print(table(("question", "arm", "difference", "95 % interval", "verdict"), rows, right=(2, 3)))
    fired = [check for check in verdicts["checks"] if check["outcome"] == "fired"]
    if fired:
        output.print()
        output.print(table(("check", "where", "message"), [(c["code"], c["where"], c["message"]) for c in fired]))
        output.print()
        output.print(explanation([(check["code"], check.get("level", "")) for check in fired]))
    output.print()
    output.print(f"report: {folder / 'report.html'}", soft_wrap=True)


def show_list(subject: str) -> None:
    """Print what there is of one kind: `experiments`, `data`, `models` or `checks`.

    Raises:
        ConfigError: If it is none of these.
    """
    if subject not in _LISTS:
        raise ConfigError(one_of("What is listed", _LISTS, subject))
    headings, rows = _LISTS[subject]()
    console().print(table(headings, rows))


def show_check(code: str) -> None:
    """Print a check's page.

    Raises:
        ConfigError: If there is no such check.
    """
    from paribus.checks import CHECKS

    if code.upper() not in CHECKS:
        raise ConfigError(one_of("A check", CHECKS, code))
    check = CHECKS[code.upper()]
    output = console()
    output.print(f"{code.upper()}, {check.level}: {check.title}")
    output.print()
    output.print(f"Why it matters: {check.why}")
    output.print()
    output.print(f"What to do: {check.advice}")


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
        verdict(comparison),
    )


def _accuracy(arm: Mapping[str, Any]) -> str:
    accuracy, runs = arm["test_accuracy"], count(arm["runs"], "run")
    if accuracy["mean"] is None:
        return f"no test accuracy ({runs})"
    within = f", 95 % interval {interval(accuracy['ci95'], percent)} %" if accuracy["ci95"] else ""
    return f"{percent(accuracy['mean'])} % test accuracy (mean of {runs}{within})"


_LISTS = {"experiments": _experiments, "data": _data, "models": _models, "checks": _checks}
