"""Numbers in README, docs/experiments and of the native engine are those of docs/gallery and benchmarks.

Run as a program, this renews them.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main
from sklearn.datasets import load_digits

from doc_blocks import BLOCKS, GALLERY, verdicts_of
from paribus import errors, experiments
from paribus.assignment.stored import FOLDER as ASSIGNMENT
from paribus.assignment.stored import Stored
from paribus.assignment.write import write
from paribus.cli.commands import ERROR_FIRED, UNREADABLE, app
from paribus.cli.tables import show_verdicts
from paribus.experiment import CONTROL, CONTROL_RETUNED, Experiment
from paribus.wording import count, difference, duration, interval, percent, unit, verdict

ROOT = Path(__file__).parent.parent
CHECKS_QUOTED = 2
BLOCK = re.compile(r"(<!-- (\w+) (\S+): begin -->\n).*?(<!-- end -->)", re.DOTALL)
EXPERIMENTS = sorted(path for path in (ROOT / "docs" / "experiments").glob("*.md") if path.name != "README.md")
DECISIONS = [ROOT / "docs" / "decisions" / f"{name}.md" for name in ("hostile", "native-engine", "transfer-learning")]
INDEXES = [ROOT / "docs" / folder / "README.md" for folder in ("checks", "decisions", "experiments", "gallery")]
HOW_TO = [f"how-to/{name}" for name in ("assignment", "plan-seeds", "read-a-verdict")]
REFERENCE = ("commands", "experiment-file", "results-format")
TEACHING = [ROOT / "docs" / f"{name}.md" for name in (*REFERENCE, "tutorial", *HOW_TO)]
PAGES = [ROOT / "README.md", ROOT / "docs" / "using-a-model.md", *DECISIONS, *EXPERIMENTS, *INDEXES, *TEACHING]


def printed(name: str) -> str:
    """What `paribus run` prints at its end."""
    return fenced(name, verdicts_of(name))


def short(name: str) -> str:
    """The same with few of the checks that fired, and how many more do."""
    verdicts = verdicts_of(name)
    fired = [check for check in verdicts["checks"] if check["outcome"] == "fired"]
    left_out = len(fired) - CHECKS_QUOTED
    text = fenced(name, verdicts | {"checks": fired[:CHECKS_QUOTED]})
    return text.replace("\nreport:", f"[{left_out} more]\n\nreport:")


def fenced(name: str, verdicts: dict[str, Any]) -> str:
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        show_verdicts(verdicts, Path("results") / name)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    return "```text\n" + "\n".join(lines) + "\n```\n"


def arms(name: str) -> str:
    """One row per arm."""
    verdicts, experiment = verdicts_of(name), Experiment.load(GALLERY / name / "experiment.toml")
    comparisons = {each["arm"]: each for question in verdicts["questions"] for each in question["comparisons"]}
    lines = [
        "| arm | changes | runs | test accuracy, % | 95 % interval | against the control | verdict | time per run |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arm, row in verdicts["arms"].items():
        changes = ", ".join(f"{key} = {value}" for key, value in experiment.arms[arm].factors.items()) or "-"
        lines.append(f"| {arm} | {changes} | {row['runs']} | {figures(row)} | {against(comparisons.get(arm))} |"[:-1])
        lines[-1] += f"| {'-' if row['seconds_per_run'] is None else duration(row['seconds_per_run'])} |"
    if len({row["runs"] for row in verdicts["arms"].values()}) > 1:
        lines += [
            "",
            "An arm with fewer runs is compared with the control's runs of the same seeds, whose mean may be another.",
        ]
    return "\n".join(lines) + "\n"


def figures(row: dict[str, Any]) -> str:
    accuracy = row["test_accuracy"]
    if accuracy["mean"] is None:
        return "- | -"
    return f"{percent(accuracy['mean'])} | {interval(accuracy['ci95'], percent)}"


def against(comparison: dict[str, Any] | None) -> str:
    if comparison is None or comparison["difference"] is None:
        return "- | - "
    found, metric = comparison["difference"], comparison["metric"]
    return f"{difference(found, metric)} {unit(metric)} | {verdict(comparison)} "


def environment(name: str) -> str:
    """What the result was made on."""
    about = json.loads((GALLERY / name / "environment.json").read_text(encoding="utf-8"))
    packages = ", ".join(f"{key} {about['packages'][key]}" for key in ("torch", "numpy"))
    return (
        f"{about['processor']}, {count(about['workers'], 'worker')} of {about['threads_per_run']} thread, engine "
        f"{about['engine']}, Python {about['python']}, {packages}.\n"
    )


def lengths(name: str) -> str:
    """Validation accuracy by length of training, means over seeds that train nothing else."""
    text = (ROOT / "benchmarks" / "lengths" / "lengths.csv").read_text(encoding="utf-8")
    rows = [row for row in csv.DictReader(text.splitlines()) if row["experiment"] == name]
    lines = ["| arm | epochs | seeds | validation accuracy, % |", "|---|---|---|---|"]
    for arm, epochs in dict.fromkeys((row["arm"], row["epochs"]) for row in rows):
        found = [float(row["val_accuracy"]) for row in rows if (row["arm"], row["epochs"]) == (arm, epochs)]
        lines.append(f"| {arm} | {epochs} | {len(found)} | {percent(sum(found) / len(found))} |")
    return "\n".join(lines) + "\n"


def measured(name: str) -> str:
    """What a benchmark's table says before its first heading."""
    text = (ROOT / "benchmarks" / f"{name}.md").read_text(encoding="utf-8")
    return text.partition("\n## ")[0].strip() + "\n"


def took(name: str) -> str:
    """The first sentence of it."""
    return measured(name).partition(". ")[0] + ".\n"


def kernels(name: str) -> str:
    """The first table of a benchmark that has a heading of its own."""
    text = (ROOT / "benchmarks" / f"{name}.md").read_text(encoding="utf-8")
    heading, _, table = text.split("\n## ")[1].partition("\n\n")
    return f"{heading}:\n\n{table.strip()}\n"


@dataclass(frozen=True)
class Setting:
    """One setting of `benchmarks/engine/epoch.py`: its heading, and the fastest of the ways beside native."""

    heading: str
    threads: int
    seconds: float
    fastest: str
    times: float


def settings(name: str) -> list[Setting]:
    text = (ROOT / "benchmarks" / f"{name}.md").read_text(encoding="utf-8")
    found = []
    for section in text.split("\n## ")[1:]:
        heading = section.partition("\n")[0]
        (threads,) = re.findall(r"(\d+) threads?$", heading)
        (own,) = re.findall(r"^\| native \| ([\d.]+) \|", section, re.MULTILINE)
        ((way, times),) = re.findall(r"^Fastest of the others: (\S+), ([\d.]+) times native\.", section, re.MULTILINE)
        found.append(Setting(heading, int(threads), float(own), way, float(times)))
    return found


def ratios(name: str) -> str:
    """How many times as long the fastest of the other ways takes, by setting."""
    lines = ["| network, batch, threads | native, s | fastest of the others | times native |", "|---|---|---|---|"]
    for each in settings(name):
        lines.append(f"| {each.heading} | {each.seconds:.2f} | {each.fastest} | {each.times:.2f} |")
    return "\n".join(lines) + "\n"


def speed(name: str) -> str:
    """The same in a sentence."""
    found = settings(name)
    about = json.loads((ROOT / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))
    took = [
        f"{min(each.seconds for each in found if each.threads == threads):.2f} to "
        f"{max(each.seconds for each in found if each.threads == threads):.2f} s on {count(threads, 'thread')}"
        for threads in sorted({each.threads for each in found})
    ]
    low, high = min(each.times for each in found), max(each.times for each in found)
    return (
        f"An epoch of LeNet-5 on MNIST takes {' and '.join(took)} ({about['processor']}); the fastest of hand-tuned\n"
        f"PyTorch, Keras, JAX, Lightning and skorch takes {low:.2f} to {high:.2f} times as long.\n"
    )


MAKERS: dict[str, Callable[[str], str]] = {
    "printed": printed,
    "arms": arms,
    "environment": environment,
    "lengths": lengths,
    "kernels": kernels,
    "measured": measured,
    "ratios": ratios,
    "short": short,
    "speed": speed,
    "took": took,
    **BLOCKS,
}


def renewed(page: str) -> str:
    """The page with every block made anew."""
    return BLOCK.sub(lambda match: match[1] + MAKERS[match[2]](match[3]) + match[4], page)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_numbers_of_a_page_are_those_of_the_gallery(path: Path) -> None:
    """After a new gallery entry: python tests/test_docs.py."""
    page = path.read_text(encoding="utf-8")
    if path.stem != "photos":  # The photos are the user's, and so is the result.
        assert BLOCK.search(page), f"{path.name} has no generated block"
    assert renewed(page) == page


def test_the_renewal_has_teeth() -> None:
    name = next(iter(entries()))
    page = f"<!-- arms {name}: begin -->\nold\n<!-- end -->\n"
    assert "old" not in renewed(page)
    assert "| control | - |" in renewed(page)


def test_the_page_on_commands_tells_every_default_and_what_may_be_given_more_than_once() -> None:
    """What the help appends by itself: `[default: auto]`, and `...` behind an argument."""
    group: Any = typer.main.get_command(app)
    page = BLOCKS["commands"]("all")
    for name, command in group.commands.items():
        (section,) = re.findall(rf"^## paribus {name}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
        with pytest.raises(SystemExit), contextlib.redirect_stdout(io.StringIO()) as stream:
            command.main(["--help"], prog_name=name)
        printed = " ".join(stream.getvalue().split())
        for default in re.findall(r"\[default: ([^\]]+)\]", printed):
            assert f"[{default}]" in section, name
        for several in re.findall(r"\{(\w+)\}\.\.\.", printed):
            assert f"`{several}...`" in section, name
    assert "[auto]" in page and "[results]" in page and "[127.0.0.1]" in page and "MODEL PATH...`" in page


def test_the_page_on_commands_tells_every_exit_status() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    told = {int(status): words for status, words in re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE)}
    assert sorted(told) == [0, 1, 2, 3, 130]
    kinds = {
        "a run": errors.RunError,
        "an export": errors.ExportError,
        "a sink": errors.TrackError,
        "configuration": errors.ConfigError,
        "data": errors.DataError,
        "`paribus gate`": errors.GateError,
    }
    assert [words for words, kind in kinds.items() if words not in told[kind.exit_status]] == []
    assert {ERROR_FIRED, UNREADABLE} == {2}


def test_every_shipped_experiment_has_a_page() -> None:
    assert {path.stem for path in EXPERIMENTS} == set(experiments.names())


def test_the_readme_counts_what_the_demo_trains() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    experiment, kept = Experiment.load(experiments.find("lenet-digits")), verdicts_of("lenet-digits")["arms"]
    assert {*kept, CONTROL_RETUNED} == set(experiment.arms)
    runs = sum(row["runs"] for row in kept.values())
    assert f"{len(kept)} arms x {len(experiment.seeds)} seeds = {runs} runs" in page
    assert f"{len(load_digits().target):,} real digits" in page
    tuned = {name for name, arm in experiment.arms.items() if arm.recipe.unfound}
    assert len(tuned) == 4 and CONTROL_RETUNED in tuned
    assert "give three arms and the control a learning rate of their own" in page.replace("\n", " ")


def entries() -> Iterator[str]:
    return (path.parent.name for path in sorted(GALLERY.glob("*/verdicts.json")))


@pytest.mark.parametrize("name", list(entries()))
def test_a_gallery_entry_is_of_the_shipped_experiment(name: str) -> None:
    """Its arms and questions are today's; it may have fewer seeds and questions, and former arms: its page says so."""
    kept, shipped = Experiment.load(GALLERY / name / "experiment.toml"), Experiment.load(experiments.find(name))
    assert kept.questions
    former = {arm for arm in kept.arms if kept.arms[arm] != shipped.arms.get(arm)}
    prose = BLOCK.sub("", (ROOT / "docs" / "experiments" / f"{name}.md").read_text(encoding="utf-8"))
    assert CONTROL not in former
    assert [arm for arm in former if f"`{arm}`" not in prose] == []
    asked = [dataclasses.replace(question, seeds=None) for question in shipped.questions]
    assert all(
        dataclasses.replace(question, seeds=None) in asked
        for question in kept.questions
        if not former & set(question.arms)
    )


def test_the_assignment_in_the_gallery_is_made_of_its_reports(tmp_path: Path) -> None:
    """After a new gallery entry: python tests/test_docs.py."""
    for kept in GALLERY.iterdir():
        if kept.is_dir() and kept.name != ASSIGNMENT:
            (tmp_path / kept.name).symlink_to(kept)
    shutil.copytree(GALLERY / ASSIGNMENT, tmp_path / ASSIGNMENT)
    before = contents(tmp_path / ASSIGNMENT)
    shutil.rmtree(tmp_path / ASSIGNMENT / "figures")
    write(Stored.gather(tmp_path, is_quick=False))
    assert contents(tmp_path / ASSIGNMENT) == before
    assert sum(map(len, before.values())) < 4_000_000


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


if __name__ == "__main__":
    for each in PAGES:
        each.write_text(renewed(each.read_text(encoding="utf-8")), encoding="utf-8")
    write(Stored.gather(GALLERY, is_quick=False))
