"""What the benchmark of transfer learning computes from what it measures. Nothing is timed."""

from __future__ import annotations

import importlib
import json
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from paribus.experiment import Experiment
from pretrained import write_weights

BENCH = Path(__file__).parents[1] / "benchmarks" / "transfer"


@pytest.fixture
def transfer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import the script as it imports its neighbours when it is run."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("transfer")


def rows(part: str, seconds: dict[str, list[float]]) -> list[dict[str, Any]]:
    return [
        {"round": number, "part": part, "way": way, "seconds": each}
        for way, found in seconds.items()
        for number, each in enumerate(found)
    ]


def test_the_table_has_ratios_of_rounds(transfer: ModuleType) -> None:
    found = rows("start to finish", {"ten heads": [10.0, 20.0, 10.0], "tutorial": [400.0, 600.0, 500.0]})
    found += rows("second head", {"in the same process": [0.5, 0.25, 0.75]})
    text = transfer.table(found, 5)
    assert "median of n = 3" in text
    assert "25 epochs, 20 of them counted at the others' median." in text
    assert "| start to finish | ten heads | 10.00 | 10.00 to 20.00 |  |  |" in text
    # Ratios 40, 30 and 50, not 500 over 10.
    assert (
        "| start to finish | tutorial | 500.00 | 400.00 to 600.00 | 40.00 | at least 25 times, aiming at 40 |" in text
    )
    assert "| second head | in the same process | 0.50 | 0.25 to 0.75 |  | under 2 s |" in text
    assert "decoding" not in text
    assert "counted" not in transfer.table(found, 25)


def test_every_row_of_the_table_is_measured(transfer: ModuleType) -> None:
    assert {part.name for part in transfer.PARTS} == set(transfer.MEASURES)


def test_epochs_that_were_not_made_count_at_the_median(transfer: ModuleType) -> None:
    assert transfer.whole(30.0, [8.0, 4.0, 5.0]) == 30.0 + 22 * 5.0
    assert transfer.whole(100.0, [4.0] * 25) == 100.0


def test_the_tutorial_is_run_as_it_is_asked_for(
    transfer: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def run(program: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(program)
        said = f"epoch 1: val accuracy 0.9500\n{json.dumps({'epoch_seconds': [4.0, 6.0], 'test_accuracy': accuracy})}\n"
        return subprocess.CompletedProcess(program, 0, said)

    (tmp_path / "dogs-vs-cats" / "train").mkdir(parents=True)
    monkeypatch.setenv("PARIBUS_DATA", str(tmp_path))
    sidecar = write_weights(tmp_path)
    monkeypatch.setenv("PARIBUS_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(transfer.finetune, "WEIGHTS", sidecar.name)
    monkeypatch.setattr(transfer.subprocess, "run", run)
    accuracy = 0.95
    assert 23 * 5.0 <= transfer.tutorial(2, 0) < 23 * 5.0 + 10
    (program,) = asked
    assert program[2:4] == [str(tmp_path / "dogs-vs-cats"), str(sidecar.with_name("tiny.json"))]
    assert program[4:] == ["--epochs", "2", "--workers", "0"]
    accuracy = 0.5
    with pytest.raises(RuntimeError, match=r"but is on 0\.5"):
        transfer.tutorial(2, 0)


def test_nobody_is_timed_for_doing_nothing(transfer: ModuleType) -> None:
    transfer.require_learned(0.97)
    with pytest.raises(RuntimeError, match=r"more than 0\.9 of the test photos, but is on 0\.55"):
        transfer.require_learned(0.55)
    transfer.require_lower("tuned loop", 1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"`tuned loop` must lower the training loss .* went from 2\.0 to nan"):
        transfer.require_lower("tuned loop", float("nan"), 2.0)


def test_the_cache_is_put_back(transfer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for before in ("kept", None):
        if before is None:
            monkeypatch.delenv("PARIBUS_CACHE")
        else:
            monkeypatch.setenv("PARIBUS_CACHE", before)
        with transfer.cache() as folder:
            assert transfer.os.environ["PARIBUS_CACHE"] == str(folder)
        assert transfer.os.environ.get("PARIBUS_CACHE") == before
        assert not folder.exists()


def test_the_experiment_that_is_timed_has_ten_heads_and_no_further_arms() -> None:
    experiment = Experiment.load(BENCH / "head.toml")
    assert len(experiment.seeds) == 10
    assert list(experiment.arms) == ["control"]
    assert experiment.control.is_solved
