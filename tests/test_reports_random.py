"""Two hundred reports of random made-up results, read for contradictions between prose, verdict and table.

By default the first 40 are read; PARIBUS_REPORTS=200 reads them all, as `make test` does.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paribus import verdicts
from paribus.experiment import Experiment
from paribus.report import figures
from paribus.report.build import build
from paribus.report.material import Material
from paribus.report.render import to_markdown
from paribus.store import Results
from paribus.testing.synthetic import write_results
from paribus.wording import difference, p_value
from quoted_values import layers_of, unexplained, write_layer_norms, write_probes

REPORTS = int(os.environ.get("PARIBUS_REPORTS", "40"))
MINUS = "\u2212"
HEAD = """
[experiment]
name = "random"
seeds = {seeds}
margin = {margin}
[control]
data = {{ name = "digits", size = 32, val = {val} }}
model = {{ name = "lenet5" }}
optim = {{ name = "sgd", lr = 0.1 }}
train = {{ epochs = {epochs}, batch_size = 128 }}
"""
QUESTIONS = {
    "relu": 'asks = "ReLU?"\narms.relu = { "model.activation" = "relu" }',
    "loss": 'asks = "ReLU and loss?"\nmetric = "test_loss"\narms.relu = { "model.activation" = "relu" }',
    "batch": 'asks = "Batch?"\narms.b512 = { "train.batch_size" = 512 }\narms.b64 = { "train.batch_size" = 64 }',
    "long": 'asks = "Longer?"\narms.long = { "train.epochs" = 7 }',
    "rate": 'asks = "Which rate?"\nfactor = "optim.lr"\nvalues = [0.01, 0.1, 1.0]',
    "optimiser": 'asks = "Which optimiser?"\narms.momentum = { "optim.momentum" = 0.9 }',
    "both": 'asks = "Both?"\narms.relu = { "model.activation" = "relu" }\narms.max = { "model.pooling" = "max" }\n'
    'arms.relu-max = { "model.activation" = "relu", "model.pooling" = "max" }\n'
    'together = [["model.activation", "model.pooling"]]',
    "network": 'asks = "Another network?"\narms.charcnn = { "model.name" = "charcnn" }',
}
SAID = {
    "better": r"`(\S+)` is better than the control: ",
    "worse": r"`(\S+)` is worse than the control: ",
    "equivalent": r"`(\S+)` and the control are equivalent: ",
    "undecided": r"[Ww]hether `(\S+)` differs from the control is undecided: ",
    "invalid": r"No verdict on `(\S+)` is given",
}
WAYS_OUT = "would decide|one seed cannot tell the change from luck|no spread to judge by|^Nothing can be said about"
SLIPS = re.compile(
    r"None|\bnan\b|\binf\b|\bTrue\b|\bFalse\b|  |\.\.|,,| ,| \.(?!\d)|\(\)|\[\]|\{|"
    r"(?<![\d.,])1 (points|runs|seeds|values|epochs|steps|arms|test images|decades|updates)\b|"
    r"(?<![\d.,])(?!1 )[\d,]+ (run|seed|value|epoch|step|arm|test image|decade|update)\b(?!-)"
)


@dataclass(frozen=True)
class Report:
    """One made-up result: its design, its verdicts, its Markdown."""

    experiment: Experiment
    verdicts: Mapping[str, Any]
    markdown: str

    def rows(self, identity: str) -> dict[str, dict[str, str]]:
        """The table of a question, by arm."""
        caption = f"Every arm of “{identity}” against the control"
        lines = self.markdown.partition(caption)[2].partition("\n\n")[2].partition("\n\n")[0].splitlines()
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        return {row[0]: dict(zip(cells[0], row, strict=True)) for row in cells[2:]}

    def part_of(self, entry: Mapping[str, Any]) -> str:
        """The section of a question."""
        return self.markdown.partition(f"\n## {entry['asks']}\n")[2].partition("\n## ")[0]


def make(folder: Path, number: int) -> Report:
    """Draw a design and a truth: better, worse and equal arms, diverged and missing runs, tiny test sets, probes."""
    rng = np.random.default_rng([2024, number])
    names = rng.permutation(list(QUESTIONS))[: rng.integers(1, 4)]
    if "relu" in names and "both" in names:
        names = np.array([name for name in names if name != "relu"])
    head = HEAD.format(
        seeds=rng.integers(1, 13) if rng.random() < 0.5 else rng.integers(1, 5),
        margin=rng.choice([0.002, 0.01, 0.05]),
        val='"test"' if rng.random() < 0.15 else 200,
        epochs=rng.integers(1, 6),
    )
    questions = "".join(f'\n[[question]]\nid = "{name}"\n{QUESTIONS[name]}\n' for name in names)
    experiment = Experiment.parse(head + questions)
    level = float(rng.choice([0.08, 0.5, 0.9, 0.97, 0.999], p=[0.05, 0.15, 0.4, 0.3, 0.1]))
    accuracy = {
        arm: float(np.clip(level + rng.choice([0, 0, 0.05, -0.05, -0.3]), 0.02, 0.9995)) for arm in experiment.arms
    }
    every = [(arm, seed) for arm in experiment.arms for seed in experiment.seeds]
    results = write_results(
        folder,
        experiment,
        accuracy | {"control": level},
        test_examples=int(rng.choice([20, 60, 300, 1000])),
        diverged=[run for run in every if rng.random() < 0.08] if rng.random() < 0.3 else [],
        missing=[run for run in every if rng.random() < 0.2] if rng.random() < 0.25 else [],
        seed=number,
        probes=False,
    )
    if rng.random() < 0.5:
        measure(results, rng)
    content = verdicts.compute(results)
    return Report(experiment, content, to_markdown(build(Material.gather(results, content))))


def measure(results: Results, rng: np.random.Generator) -> None:
    """Give the runs probes and layer norms, arms alike or different."""
    for arm in results.experiment.arms:
        shift = rng.choice([0.0, 0.1])
        for run in results.runs(arm):
            write_layer_norms(run, 0.1 + shift + 0.01 * rng.random(), 1.0)
            if run.result.status == "finished" and rng.random() < 0.98:
                share = float(np.clip(0.2 + shift + 0.05 * rng.normal(), 0, 1))
                layers = layers_of(results.experiment, arm, share)
                write_probes(run, calibration_error=share / 4, accuracy_shifted_2=0.9 - share, layers=layers)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Report]]:
    """Figures say nothing that is read here, and drawing them would be most of the time."""
    folder = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("learning_curves", "seed_dots", "sweep_curve", "rate_search", "confusion", "class_accuracy"):
            patch.setattr(figures, name, lambda *_: "<svg></svg>")
        yield [make(folder / str(number), number) for number in range(REPORTS)]


def faults_of(report: Report) -> Iterator[str]:
    """Every contradiction between the prose, the verdicts and the tables of a report."""
    for entry in report.verdicts["questions"]:
        rows, section = report.rows(entry["id"]), report.part_of(entry)
        texts = [sentence["text"] for sentence in entry["comment"]]
        yield from (f"not in the report: {text}" for text in texts if plain(text) not in plain(section))
        yield from (f"said twice: {text}" for text in set(texts) if texts.count(text) > 1)
        yield from (f"slip {found.group()!r}: {text}" for text in texts if (found := SLIPS.search(uncoded(text))))
        yield from (f"{bad} unexplained: {s['text']}" for s in entry["comment"] for bad in unexplained(s))
        yield from dangling(report, entry)
        yield from next_faults(report, texts)
        for comparison in entry["comparisons"]:
            yield from comparison_faults(comparison, entry, rows[comparison["arm"]])
        said = [(verdict, arm) for text in texts for verdict, form in SAID.items() for arm in re.findall(form, text)]
        known = [(each["verdict"], each["arm"]) for each in entry["comparisons"]]
        yield from (f"said but no verdict: {each}" for each in said if each not in known)
    head = report.markdown.partition("## Summary")[0]
    yield from (f"slip in the head: {each.group()!r}" for each in SLIPS.finditer(head))


def comparison_faults(comparison: Mapping[str, Any], entry: Mapping[str, Any], row: Mapping[str, str]) -> Iterator[str]:
    arm, verdict, metric = comparison["arm"], comparison["verdict"], comparison["metric"]
    about = [s["text"] for s in entry["comment"] if s["part"] == "answer" and f"`{arm}`" in s["text"]]
    answers = [text for text in about if "values of" not in text]
    if len(answers) != 1:
        yield f"{arm} has {len(answers)} answers"
        return
    (text,) = answers
    if row["Verdict"].partition("<br>")[0] != verdict:
        yield f"{arm}: table says {row['Verdict']}, verdicts.json {verdict}"
    if verdict == "undecided" and not re.search(WAYS_OUT, text):
        yield f"no way out: {text}"
    if verdict == "invalid" or comparison["difference"] is None:
        return
    found = difference(comparison["difference"], metric)
    column = f"Difference ({'points' if metric == 'test_accuracy' else 'nats'})"
    if f"a difference of {found} " not in text or row[column].partition("<br>")[0] != found:
        yield f"{arm}: the difference is not {found} in prose and table: {text}"
    p = p_value(comparison["p_holm"])
    is_told = f"adjusted p {p}" in text if comparison["p_holm"] is not None else "adjusted p" not in text
    if not is_told or row["p (Holm)"] != p:
        yield f"{arm}: p is not {p} in prose and table: {text}, {row['p (Holm)']}"
    gain = comparison["difference"] * (1 if metric == "test_accuracy" else -1)
    if (verdict == "better" and gain <= 0) or (verdict == "worse" and gain >= 0):
        yield f"{arm}: {verdict} by {found}"
    (means,) = re.findall(r"([\d.,]+)(?: %)? against ([\d.,]+)(?: %)?,", text)
    first, second = (float(each.replace(",", "")) for each in means)
    if np.sign(round(first - second, 4)) not in (0, np.sign(comparison["difference"])):
        yield f"{arm}: the means do not differ as the difference does: {text}"


def dangling(report: Report, entry: Mapping[str, Any]) -> Iterator[str]:
    """Names between backticks that nothing in the experiment has, in sentences that propose no new arm."""
    known = {"tanh", *report.experiment.arms, *(check["code"] for check in report.verdicts["checks"])}
    known |= {factor for arm in report.experiment.arms.values() for factor in arm.factors}
    known |= {str(label) for label in range(10)}
    for sentence in entry["comment"]:
        for name in re.findall(r"`([^`]+)`", sentence["text"]):
            is_code = re.match(r"paribus |arms\.|together = |values = ", name) and sentence["part"] == "next"
            if name not in known and not is_code:
                yield f"`{name}` is nowhere: {sentence['text']}"


def next_faults(report: Report, texts: list[str]) -> Iterator[str]:
    """What comes next is told once, at the end, and its settings are accepted."""
    if [text.startswith("Next: ") for text in texts] != [False] * (len(texts) - 1) + [True]:
        yield f"what comes next is not the last thing: {texts}"
    for command in re.findall(r"`paribus run ([^`]+)`", texts[-1]):
        target, *words = shlex.split(command)
        changed = Experiment.parse(report.experiment.to_toml(), [word for word in words if word != "--set"])
        if target != "results/random/experiment.toml" or (words and changed == report.experiment):
            yield f"nothing new: {command}"


def plain(text: str) -> str:
    return re.sub(r"[\\*]", "", text).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def uncoded(text: str) -> str:
    return re.sub(r"`[^`]*`", "`x`", text)


@pytest.mark.slow
def test_reports_do_not_contradict_themselves(reports: list[Report]) -> None:
    faults = [f"report {number}: {fault}" for number, each in enumerate(reports) for fault in faults_of(each)]
    assert not faults, "\n".join(faults)


def test_the_reports_are_of_many_kinds(reports: list[Report]) -> None:
    compared = [each for report in reports for entry in report.verdicts["questions"] for each in entry["comparisons"]]
    assert {each["verdict"] for each in compared} == set(verdicts.VERDICTS)
    assert any(each["difference"] is None for each in compared)
    prose = " ".join(s["text"] for r in reports for e in r.verdicts["questions"] for s in e["comment"])
    for words in ("Measured alongside", "diverged", "experiment.seeds=", "is reached by", "missing", "nothing to run"):
        assert words in prose


def test_the_reader_has_teeth(reports: list[Report]) -> None:
    report, index = next(
        (report, index)
        for report in reports
        for index, entry in enumerate(report.verdicts["questions"])
        if entry["metric"] == "test_accuracy" and "is better than" in entry["comment"][0]["text"]
    )
    entry = report.verdicts["questions"][index]
    assert list(faults_of(report)) == []
    for old, new in (
        ("is better than", "is worse than"),
        ("a difference of +", f"a difference of {MINUS}"),
        ("mean test accuracy", "mean  test accuracy"),
        ("seeds)", "seed)"),
        ("adjusted p ", "adjusted p 1"),
        (f"`{entry['comparisons'][0]['arm']}`", "`somebody`"),
    ):
        first = entry["comment"][0]
        assert old in first["text"]
        changed = [first | {"text": first["text"].replace(old, new)}, *entry["comment"][1:]]
        questions = list(report.verdicts["questions"])
        questions[index] = entry | {"comment": changed}
        markdown = report.markdown.replace(first["text"], changed[0]["text"])
        content = {**report.verdicts, "questions": questions}
        assert list(faults_of(Report(report.experiment, content, markdown))), new
