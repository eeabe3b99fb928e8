"""docs/using-a-model.md: its snippets and commands run, and what it says of files that are written is so."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from data_files import picture
from paribus.cli import main
from paribus.data import load_data
from trained_models import LENET, trained

GUIDE = Path(__file__).parents[1] / "docs" / "using-a-model.md"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the page takes to be there; the working directory."""
    trained(tmp_path / "results" / "lenet-digits", LENET)
    images = load_data("digits").test.images[:, 0]
    for place, name in enumerate(("scans/a.png", "scans/b.png", "more/c.jpg", "photo.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture(images[place], "jpeg" if name.endswith("jpg") else "png"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_snippets_run(folder: Path) -> None:
    names: dict[str, Any] = {}
    assert len(blocks("python")) == 2
    for block in blocks("python"):
        exec(compile(block, str(GUIDE), "exec"), names)
    assert names["done"].certificate.images == 2 and len(names["found"]) == 2


def test_the_commands_run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("photo.png\n"))
    (block,) = blocks("sh")
    commands = [line.rpartition("| ")[2] for line in block.splitlines()]
    assert len(commands) == 4
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "paribus" and main(arguments) == 0, capsys.readouterr().err
    assert {file.name for file in folder.glob("*.*")} >= {
        "small-control-0.onnx",
        "small-control-0.onnx.certificate.json",
        "small-control-0.preprocessing.json",
        "digits.safetensors",
        "digits.safetensors.certificate.json",
        "digits.md",
    }
