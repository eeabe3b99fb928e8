"""The notebooks: kept without outputs and without a machine's paths; run as they are where real data is there."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from paribus.experiment import Experiment
from pretrained import real_weights
from test_style import left_marks, machine_paths

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
DATA = {
    "01_lenet5_mnist": "mnist",
    "02_devanagari": "dhcd",
    "03_dogs_vs_cats": "dogs-vs-cats",
    "04_sign_digits": "sign-digits",
}
WEIGHTS = ("mobilenetv2_100.tf_in1k", "mobilenetv1_100.tf_in1k")
TIMEOUT_S = 600
ON_PHOTOS = ("03_dogs_vs_cats", "04_sign_digits")
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> dict[str, str]:
    content = json.loads(path.read_text(encoding="utf-8"))
    return {cell["id"]: "".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == kind}


def untidy(content: dict[str, Any]) -> list[str]:
    """What running a notebook leaves in its file."""
    faults = [key for key in content["metadata"] if key not in ("kernelspec", "language_info")]
    for cell in content["cells"]:
        if not re.fullmatch(r"[a-z0-9-]+", cell.get("id", "")):
            faults.append(f"{cell.get('id')} is no name")
        if cell["metadata"]:
            faults.append(f"{cell['id']} has metadata")
        if cell.get("outputs") or cell.get("execution_count"):
            faults.append(f"{cell['id']} has outputs")
    return faults


@each_notebook
def test_it_is_kept_without_outputs(path: Path) -> None:
    import nbformat

    text = path.read_text(encoding="utf-8")
    content = json.loads(text)
    nbformat.validate(nbformat.from_dict(content))
    assert untidy(content) == []
    assert text == json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def test_untidiness_has_teeth() -> None:
    cell = {"id": "run", "metadata": {}, "outputs": [1], "execution_count": 3}
    assert untidy({"metadata": {}, "cells": [cell]}) == ["run has outputs"]
    assert untidy({"metadata": {"colab": {}}, "cells": []}) == ["colab"]
    assert untidy({"metadata": {}, "cells": [{"id": "8f3C", "metadata": {}}]}) == ["8f3C is no name"]
    assert untidy({"metadata": {}, "cells": [{"id": "x", "metadata": {"scrolled": 1}}]}) == ["x has metadata"]


@each_notebook
def test_it_runs_on_any_machine(path: Path) -> None:
    """It installs only what is missing, names no machine's path, and needs no cell of another notebook."""
    code = cells(path, "code")
    source = "\n".join(code.values())
    ast.parse(source)
    assert machine_paths(source) == []
    assert left_marks(source) == []
    assert [line for line in source.splitlines() if line.startswith(("!", "%"))] == []
    assert code["setup"] == cells(NOTEBOOKS[0], "code")["setup"]
    assert code.get("place") == (None if path == NOTEBOOKS[0] else cells(NOTEBOOKS[1], "code")["place"])
    assert "QUICK = True" in code["quick"]


@each_notebook
def test_every_question_is_answered_and_the_report_ends_it(path: Path) -> None:
    code = cells(path, "code")
    (text,) = re.findall(r'^\w+ = """\n(.*?)^"""', code["toml"], re.MULTILINE | re.DOTALL)
    for question in Experiment.parse(text).questions:
        assert any(f'results.comment("{question.id}")' in source for source in code.values()), question.id
    assert list(code.values())[-1] == "results.report()"


@each_notebook
def test_its_text_states_no_result(path: Path) -> None:
    """Percentages and losses are computed in cells, and never written beside them."""
    for identity, text in cells(path, "markdown").items():
        assert re.findall(r"\d[\d.]* ?%|\d\.\d\d+", text.replace("95 % interval", "")) == [], identity


def test_the_first_cell_installs_only_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util
    import subprocess

    asked: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: asked.append(command))
    source = cells(NOTEBOOKS[0], "code")["setup"]
    exec(source, {})
    assert asked == []
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    exec(source, {})
    assert [command[1:] for command in asked] == [["-m", "pip", "install", "--quiet", "paribus"]]


@pytest.mark.slow
@pytest.mark.real_data
@each_notebook
def test_it_runs_from_top_to_bottom(path: Path, data_folder: Path, tmp_path: Path) -> None:
    """As it is, with QUICK, in a kernel of its own; what its cells show is there."""
    if not (data_folder / DATA[path.stem]).is_dir():
        pytest.skip(f"real data is needed: {data_folder} holds no {DATA[path.stem]}")
    if path.stem in ON_PHOTOS:
        for name in WEIGHTS:
            real_weights(name)
    shown = executed(path, tmp_path)
    assert "<iframe srcdoc=" in shown["report"]
    code = cells(path, "code")
    planned = next(text for identity, text in shown.items() if "plan(experiment)" in code.get(identity, ""))
    assert "Smallest difference that" in planned
    assert "\x1b" not in "".join(shown.values())
    for identity in (name for name, source in code.items() if "results.comment" in source):
        assert "<table><caption>" in shown[identity]
        names = re.findall(r'"([\w-]+)"', code[identity].partition("results.figure(")[2])
        assert [f'alt="{name}"' in shown[identity] for name in names] == [True] * len(names)
        assert names


def executed(path: Path, folder: Path) -> dict[str, str]:
    """Run a notebook in a folder; return the HTML and text that each cell shows."""
    import nbformat
    from nbclient import NotebookClient

    content = nbformat.read(path, as_version=4)
    NotebookClient(content, timeout=TIMEOUT_S, resources={"metadata": {"path": str(folder)}}).execute()
    shown: dict[str, str] = {}
    for cell in content.cells:
        outputs = cell.get("outputs", [])
        parts = [
            each.get("data", {}).get("text/html") or each.get("data", {}).get("text/plain", "") for each in outputs
        ]
        shown[cell.id] = "\n".join(parts)
    assert [each.name for each in folder.iterdir()] == ["results"]
    return shown


DATA = {
    "01_lenet5_mnist": "mnist",
    "02_devanagari": "dhcd",
    "03_dogs_vs_cats": "dogs-vs-cats",
    "04_sign_digits": "sign-digits",
}
