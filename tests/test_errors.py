"""The forms that refusals share."""

from __future__ import annotations

from pathlib import Path

import pytest

from paribus.errors import missing, one_of


def test_an_unknown_name_is_told_with_those_that_are_known_and_the_nearest() -> None:
    assert one_of("A sink", ("a", "tensorboard"), "tensorbord") == (
        "A sink must be one of a, tensorboard, but got `tensorbord`. Did you mean `tensorboard`?"
    )
    assert one_of("It", {"a": 1}, "z", "a path") == "It must be one of a, or a path, but got `z`."
    assert one_of("It", [], "z", nothing="none, as all is gone") == (
        "It must be one of none, as all is gone, but got `z`."
    )


def test_a_missing_path_is_told_with_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert missing("A model", Path("x"), "Give one.") == (
        f"A model must exist, but `x` does not (looked in `{tmp_path}`). Give one."
    )
    assert (
        missing("A model", tmp_path / "x", "Give one.") == f"A model must exist, but `{tmp_path}/x` does not. Give one."
    )
    (tmp_path / "x").touch()
    assert (
        missing("A folder", tmp_path / "x", "Give one.")
        == f"A folder must exist, but `{tmp_path}/x` is a file. Give one."
    )
