"""Generated parts of the pages that teach: indexes of checks, experiments, reports, decisions; quoted results.

Each function takes the name in the block's heading and returns Markdown.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from paribus import experiments
from paribus.assignment import quick as small
from paribus.assignment.requests import REQUESTS
from paribus.checks import CHECKS
from paribus.cli.commands import app
from paribus.config import AugmentConfig, DataConfig, ModelConfig, OptimConfig, ScheduleConfig, TrainConfig
from paribus.config.table import Table
from paribus.data import SOURCES
from paribus.errors import ConfigError
from paribus.experiment import CONTROL_RETUNED, Experiment
from paribus.power import detectable
from paribus.store import records
from paribus.terminal import WIDTH
from paribus.wording import NOTHING, count, difference, interval, percent, unit, verdict
from test_hostile_toml import KINDS

LONGEST_SAID = 240
ROOT = Path(__file__).parent.parent
GALLERY = ROOT / "docs" / "gallery"


def verdicts_of(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((GALLERY / name / "verdicts.json").read_text(encoding="utf-8"))
    return content


def codes(_: str) -> str:
    """One row per check."""
    lines = ["| check | level | looks at | what it finds |", "|---|---|---|---|"]
    for code, check in CHECKS.items():
        looks = "design" if check.on_design else "data and networks" if check.on_facts else "runs"
        lines.append(f"| [{code}]({code}.md) | {check.level} | {looks} | [{check.title}]({code}.md) |")
    return "\n".join(lines) + "\n"


def shipped(_: str) -> str:
    """One row per shipped experiment."""
    lines = [
        "| experiment | asks | arms | seeds | control, % | 95 % interval | its runs |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in experiments.names():
        experiment = Experiment.load(experiments.find(name))
        arms = len(experiment.arms.keys() - {CONTROL_RETUNED})
        lines.append(
            f"| [{name}]({name}.md) | {experiment.title} | {arms} | {len(experiment.seeds)} | {_control(name)} |"
        )
    return "\n".join(lines) + "\n"


def _control(name: str) -> str:
    if not (GALLERY / name / "verdicts.json").exists():
        return f"{NOTHING} | {NOTHING} | {NOTHING}"
    control = verdicts_of(name)["arms"]["control"]
    accuracy = control["test_accuracy"]
    return f"{percent(accuracy['mean'])} | {interval(accuracy['ci95'], percent)} | {control['runs']}"


def reports(_: str) -> str:
    """One report after the other, with its first figure."""
    return "\n".join(_report(path.parent.name) for path in sorted(GALLERY.glob("*/report.md")))


def _report(name: str) -> str:
    verdicts, experiment = verdicts_of(name), Experiment.load(GALLERY / name / "experiment.toml")
    runs = sum(arm["runs"] for arm in verdicts["arms"].values())
    found = [comparison["verdict"] for each in verdicts["questions"] for comparison in each["comparisons"]]
    tally = ", ".join(f"{found.count(verdict)} {verdict}" for verdict in sorted(set(found)))
    report = (GALLERY / name / "report.md").read_text(encoding="utf-8")
    alt, figure = re.findall(r"^!\[(.*)\]\((figures/\S+\.svg)\)$", report, re.MULTILINE)[0]
    return (
        f"## {experiment.title}\n\n[The report]({name}/report.md), [its page](../experiments/{name}.md): "
        f"{count(len(verdicts['arms']), 'arm')}, {count(runs, 'run')}; {count(len(found), 'comparison')}: {tally}.\n\n"
        f"[![{alt}]({name}/{figure})]({name}/report.md)\n"
    )


def keys(name: str) -> str:
    """What the keys of a table can be."""
    table = TABLES[name]
    lines = [f"| `{name.partition('/')[0]}.` | can be, the default first |", "|---|---|"]
    told = {key: NEEDED.get(f"{name}.{key}", words.replace("|", "or")) for key, words in table.told().items()}
    lines += [f"| `{key}` | {words} |" for key, words in told.items()]
    prose = inspect.cleandoc(table.__doc__ or "").replace("``", "`")
    return "\n".join(lines) + f"\n\n{prose}\n"


def record(name: str) -> str:
    """The keys of a record of the store, and what they say."""
    kind = getattr(records, name)
    fields = ", ".join(f"`{each.name}`" for each in dataclasses.fields(kind))
    return f"{fields}.\n\n{inspect.cleandoc(kind.__doc__ or '').replace('``', '`')}\n"


def decisions(_: str) -> str:
    """The headings of the decisions."""
    pages = [path for path in sorted((ROOT / "docs" / "decisions").glob("*.md")) if path.name != "README.md"]
    return "".join(f"- [{heading(path)}]({path.name})\n" for path in pages)


def heading(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def question_of(name: str) -> tuple[dict[str, Any], str]:
    """An entry of `verdicts.json` by ``"experiment/question"``, and the experiment's name."""
    experiment, _, identity = name.partition("/")
    (entry,) = [each for each in verdicts_of(experiment)["questions"] if each["id"] == identity]
    return entry, experiment


def rows(name: str) -> str:
    """What was found about a question, one row per comparison."""
    entry, _ = question_of(name)
    lines = ["| arm | against | difference | 95 % interval | verdict |", "|---|---|---|---|---|"]
    for each in entry["comparisons"]:
        metric = each["metric"]
        within = interval(each["ci95"], lambda end: difference(end, "test_accuracy"))
        found = f"{difference(each['difference'], metric)} {unit(metric)}"
        lines.append(f"| {each['arm']} | {each['control']} | {found} | {within} | {verdict(each)} |")
    return "\n".join(lines) + "\n"


def said(name: str) -> str:
    """What the report says about a question: its answer, its limits and the next experiment."""
    return "".join(f"> {text}\n>\n" for text in _parts(name, ("answer", "limits", "next"))).removesuffix(">\n")


def figure(name: str) -> str:
    """A figure of a report, for a page that lies in docs/."""
    experiment, _, stem = name.partition("/")
    report = (GALLERY / experiment / "report.md").read_text(encoding="utf-8")
    ((alt, path),) = re.findall(rf"^!\[(.*)\]\((figures/{stem}\.svg)\)$", report, re.MULTILINE)
    return f"![{alt}](gallery/{experiment}/{path})\n"


def answer(name: str) -> str:
    """The report's answer alone."""
    return "".join(f"> {text}\n>\n" for text in _parts(name, ("answer",))).removesuffix(">\n")


def evidence(name: str) -> str:
    """The report's evidence alone."""
    return "".join(f"> {text}\n>\n" for text in _parts(name, ("evidence",))).removesuffix(">\n")


def _parts(name: str, wanted: tuple[str, ...]) -> Iterator[str]:
    comment = question_of(name)[0]["comment"]
    for part in wanted:
        texts = [sentence["text"] for sentence in comment if sentence["part"] == part]
        if texts:
            yield " ".join(texts)


def planned(name: str) -> str:
    """What `paribus plan` says that an experiment can show."""
    experiment = Experiment.load(experiments.find(name))
    lines = detectable(experiment, _images(experiment), {}).text.splitlines()
    return "```text\n" + "\n".join(textwrap.fill(line, WIDTH) for line in lines) + "\n```\n"


def smallest(name: str) -> str:
    """The smallest difference by number of seeds and of test images."""
    path, sizes = experiments.find(name), (1000, 10_000, 100_000)
    lines = ["| seeds | " + " | ".join(f"{count(size, 'test image')}" for size in sizes) + " |", "|---" * 4 + "|"]
    for seeds in (2, 3, 5, 10, 20, 50):
        experiment = Experiment.load(path, [f"experiment.seeds={seeds}"])
        found = [detectable(experiment, size, {}).differences[seeds] for size in sizes]
        lines.append(f"| {seeds} | " + " | ".join(difference(each, "test_accuracy")[1:] for each in found) + " |")
    return "\n".join(lines) + "\n"


def _images(experiment: Experiment) -> int:
    return sum(SOURCES[experiment.control.data.name].test_counts)


def requests(_: str) -> str:
    """The requests of the assignment, numbered."""
    return "".join(f"{number}. {request.asks}\n" for number, request in enumerate(REQUESTS, 1))


def quick(_: str) -> str:
    """What `paribus assignment --quick` replaces."""
    rows = (f"| `{name}` | {', '.join(f'`{each}`' for each in each_of)} |" for name, each_of in small.SETTINGS.items())
    return "\n".join(["| experiment | what is replaced |", "|---|---|", *rows]) + "\n"


def wrong_files(_: str) -> str:
    """One row per kind of wrong experiment file, with what is said of it."""
    lines = ["| kind | what is said |", "|---|---|"]
    for kind, (text, _sentence) in KINDS.items():
        with pytest.raises(ConfigError) as refused:
            Experiment.parse(text, where="wrong.toml")
        said = " ".join(str(refused.value).split()).replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| {kind} | {textwrap.shorten(said, LONGEST_SAID, placeholder=' ...')} |")
    return "\n".join(lines) + "\n"


TABLES: dict[str, type[Table]] = {
    "data": DataConfig,
    "optim": OptimConfig,
    "schedule": ScheduleConfig,
    "augment": AugmentConfig,
    "train": TrainConfig,
    **{f"model/{name}": table for name, table in ModelConfig.options_by_name.items()},
}


NEEDED = {"optim.lr": "needed, but for lbfgs"}
"""Keys that are needed but where something else stands."""


def commands(_: str) -> str:
    """Every command with its arguments and options, in the words of its help."""
    group: Any = typer.main.get_command(app)
    parts = [("paribus", group), *((f"paribus {name}", each) for name, each in group.commands.items())]
    return "\n".join(line for name, each in parts for line in _command(name, each))


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    yield f"## {name}\n"
    yield f"`{' '.join([name, *map(_value, arguments)])}`: {' '.join(command.help.split())}\n"
    for each in command.params:
        usage = [] if each in arguments else [max(each.opts, key=len)]
        usage += [] if getattr(each, "is_flag", False) else [_value(each)]
        needed = " Must be given." if each.required and each not in arguments else ""
        default = "" if each.default is None or getattr(each, "is_flag", False) else f" [{each.default}]"
        yield f"- `{' '.join(usage)}`: {' '.join(each.help.split())}{needed}{default}"
    yield ""


def _value(parameter: Any) -> str:
    return f"{parameter.metavar}{'...' if parameter.nargs == -1 else ''}"


BLOCKS = {
    "answer": answer,
    "codes": codes,
    "commands": commands,
    "decisions": decisions,
    "evidence": evidence,
    "figure": figure,
    "keys": keys,
    "planned": planned,
    "quick": quick,
    "record": record,
    "reports": reports,
    "requests": requests,
    "rows": rows,
    "said": said,
    "shipped": shipped,
    "smallest": smallest,
    "wrong_files": wrong_files,
}
