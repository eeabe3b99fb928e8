"""Processes of this package beside the one that a user started: what they import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from paribus import processes


def test_processes_find_what_lies_in_the_working_directory_where_this_one_does_and_never_a_stray_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`''` in sys.path is the working directory: under `python -c`, at the prompt and in a notebook."""
    for name in ("net_of_mine", "torch"):
        (tmp_path / f"{name}.py").touch()
    monkeypatch.chdir(tmp_path)
    named = [each for each in sys.path if each]

    def found() -> list[str]:
        code = "from importlib.util import find_spec\nfor name in ('net_of_mine', 'torch'): print(find_spec(name))"
        command = [sys.executable, "-P", "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=processes.environment())
        return done.stdout.splitlines()

    monkeypatch.setattr(sys, "path", ["", *named])
    mine, torch = found()
    assert str(tmp_path / "net_of_mine.py") in mine and str(tmp_path) not in torch
    assert processes.environment()["PYTHONPATH"].split(os.pathsep) == [*named, str(tmp_path)]
    monkeypatch.setattr(sys, "path", named)
    assert found()[0] == "None"
