"""The pages that teach, followed to the letter on small data: files written, commands run, their output compared."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

from paribus import experiments
from paribus.checks import CHECKS
from paribus.cli import main
from paribus.experiment import Experiment
from test_surface import commands_in

DOCS = Path(__file__).parents[1] / "docs"
SMALL = [
    "experiment.seeds=2",
    "control.data.name=digits",
    "control.data.val=200",
    "control.data.size=28",
    "control.train.epochs=1",
]


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def output_of(*command: str) -> tuple[int, str]:
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        status = main(list(command))
    return status, "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def test_the_experiment_of_the_tutorial_is_the_one_whose_results_it_quotes() -> None:
    written = Experiment.parse("\n".join(fenced(page("tutorial"), "toml")))
    shipped = Experiment.load(experiments.find("lenet-mnist"))
    assert written.arms == shipped.arms
    assert written.questions == shipped.questions
    assert (written.seeds, written.margin) == (shipped.seeds, shipped.margin)


def test_the_tutorial_can_be_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With digits for MNIST, fewer seeds, epochs and questions, and no arm that looks for a rate."""
    monkeypatch.chdir(tmp_path)
    head, *questions = fenced(page("tutorial"), "toml")
    lines = "\n".join([head, *(each for each in questions if 'id   = "batch-size"' in each)]).splitlines()
    text = "\n".join(line for line in lines if not line.endswith('"retune" }'))
    Path("my-mnist.toml").write_text(text.replace("epochs = 80", "epochs = 4"), encoding="utf-8")
    statuses = {}
    for line in commands_in(page("tutorial")):
        given = line[1:]
        if line[0] != "paribus":
            continue
        if "--out" in given:  # A trial, and what was handed in: the same was just run.
            assert Path(given[1]).is_file()
            continue
        if "my-mnist.toml" in given:
            given += [part for setting in SMALL for part in ("--set", setting)]
        statuses[" ".join(line[1:3])] = output_of(*given)[0]
    assert statuses == {
        "check my-mnist.toml": 0,
        "plan my-mnist.toml": 0,
        "run my-mnist.toml": 0,
        "report results/my-mnist": 0,
        "check results/my-mnist": 0,
        "gate results/my-mnist": 3,  # In so short a training no verdict is among those expected.
    }
    again = Experiment.load("results/my-mnist/experiment.toml")
    assert list(again.arms) == ["control", "b512", "b512-same-steps"]
    handed_in = re.findall(r"^\| `([\w./]+)` \|", page("tutorial"), re.MULTILINE)
    assert len(handed_in) == 6
    assert [name for name in handed_in if not (Path("results/my-mnist") / name).exists()] == []


def test_a_model_of_ones_own_and_the_mistake_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = page("how-to/own-model")
    net, mistake, suite = fenced(text, "python")
    Path("net.py").write_text(net, encoding="utf-8")
    (toml,) = fenced(text, "toml")
    Path("my-net.toml").write_text(toml, encoding="utf-8")
    assert output_of("check", "my-net.toml") == (0, "No check fires.")
    exec(compile(suite, "suite", "exec"), {})
    Path("net.py").write_text(re.sub(r"    def forward.*", lambda _: mistake, net, flags=re.DOTALL), encoding="utf-8")
    status, printed = output_of("check", "my-net.toml")
    assert (status, printed) == (2, fenced(text, "text")[0].rstrip())


def test_a_check_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {}
    before, stream = set(CHECKS), io.StringIO()
    try:
        with contextlib.redirect_stdout(stream):
            for block in fenced(page("how-to/own-check"), "python"):
                exec(compile(block, "own-check", "exec"), names)
    finally:
        added = {code: CHECKS.pop(code) for code in set(CHECKS) - before}
    assert set(added) == {"X001"}
    assert stream.getvalue() == fenced(page("how-to/own-check"), "text")[0]
    assert {"X001": names["found"][0].outcome} == {"X001": "fired"}
    assert names["cold_start"](Experiment.load(experiments.find("lenet-dhcd"), ["control.optim.lr=0.01"])) is not None


def test_what_the_page_on_seeds_says_of_its_table() -> None:
    """At ten seeds, ten times the images gain more than five times the seeds; two seeds show next to nothing."""
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", page("how-to/plan-seeds"), re.MULTILINE)
    table = {int(seeds): [float(value) for value in values] for seeds, *values in rows}
    assert table[10][1] < table[50][0] < table[10][0]
    assert min(table[2]) > 10 * table[10][0]
