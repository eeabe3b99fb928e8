"""The table on the mechanism holds what the stored runs hold, and only columns that were measured."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from paribus import verdicts
from paribus.arms import gap, kept_epoch
from paribus.experiment import Experiment
from paribus.report import mechanism
from paribus.report.build import build
from paribus.report.material import Material
from paribus.report.page import Cell
from paribus.report.render import to_markdown
from paribus.store import LayerProbe, Probes, Results
from paribus.testing.synthetic import Options, write_results
from paribus.wording import NOTHING, difference, magnitude, percent, plain

EXPERIMENT = """
[experiment]
name   = "small"
title  = "Small"
seeds  = 3
margin = 0.01
[control]
data  = { name = "digits", size = 32, val = 200 }
model = { name = "lenet5" }
optim = { name = "sgd", lr = 0.1 }
train = { epochs = 3 }
[[question]]
id   = "relu"
asks = "Is ReLU better?"
arms.relu = { "model.activation" = "relu" }
"""
ARMS = ("control", "relu")
CHANGED = {"Shifted 1 pixel": "shifted_1", "Shifted 2 pixels": "shifted_2", "Rotated 10°": "rotated_10"}


def made_up(folder: Path, **options: Any) -> Results:
    chosen: Options = {"diverged": [("relu", 1)], **options}  # type: ignore[typeddict-item]
    return write_results(folder, Experiment.parse(EXPERIMENT), {"control": 0.9, "relu": 0.95}, **chosen)


def rows(results: Results, *arms: str) -> dict[str, dict[str, Cell]]:
    """The one table's cells by arm and column."""
    (table,) = mechanism.tables(Material.gather(results, {}), arms or ARMS)
    assert all(len(row) == len(table.head) for row in table.rows)
    assert table.numeric == tuple(range(1, len(table.head)))
    return {row[0].text: dict(zip(table.head, row, strict=True)) for row in table.rows}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return made_up(tmp_path_factory.mktemp("mechanism") / "result")


def probed(results: Results, arm: str) -> list[Probes]:
    return [probes for run in results.runs(arm) if (probes := run.probes()) is not None]


@pytest.mark.parametrize("arm", ARMS)
def test_every_cell_is_the_mean_over_the_finished_runs(results: Results, arm: str) -> None:
    cells = rows(results)[arm]
    finished = [run for run in results.runs(arm) if run.result.status == "finished"]
    probes = probed(results, arm)
    assert len(finished) == len(probes) == (3 if arm == "control" else 2)
    assert cells["Updates"] == Cell(plain(fmean(run.result.steps for run in finished)))
    gaps = [e.train_accuracy - (e.val_accuracy or 0) for run in finished if (e := kept_epoch(run))]
    assert cells["Training minus validation accuracy (points)"].text == difference(fmean(gaps), "test_accuracy")
    errors = [each.calibration_error for each in probes]
    expected = Cell(percent(fmean(errors)), f"{percent(min(errors))} to {percent(max(errors))}")
    assert cells["Calibration error (points)"] == expected
    as_is = fmean(each.accuracy for each in probes)
    assert cells["Validation accuracy as is (%)"].text == percent(as_is)
    for head, name in CHANGED.items():
        after = fmean(getattr(each, f"accuracy_{name}") for each in probes)
        assert cells[f"{head} (%)"] == Cell(percent(after), difference(after - as_is, "test_accuracy"))


def test_gradients_are_the_first_layer_over_the_last_at_the_start_and_the_end(results: Results) -> None:
    cells, runs = rows(results)["control"], results.runs("control")
    norms = {
        "start": [probes.gradient_norms_at_start for probes in probed(results, "control")],
        "end": [run.epochs[-1].layer_gradient_norms for run in runs],
    }
    for when, by_run in norms.items():
        first, last = (fmean(each[layer] for each in by_run if each) for layer in ("conv1", "fc3"))
        ratio = fmean(each["conv1"] / each["fc3"] for each in by_run if each)
        expected = Cell(f"{magnitude(ratio)} ×", f"{magnitude(first)} over {magnitude(last)}")
        assert cells[f"Gradients at the {when}"] == expected


@pytest.mark.parametrize("setting", ["control.augment.mixup=0.2", "control.train.average=0.9"])
def test_a_gap_is_not_told_between_other_images_or_weights(setting: str, tmp_path: Path) -> None:
    results = write_results(tmp_path / "a", Experiment.parse(EXPERIMENT, [setting]), {"control": 0.9})
    assert [gap(run) for run in results.runs("control")] == [None] * 3
    assert "Training minus validation accuracy (points)" not in rows(results)["control"]


def test_a_gap_needs_val_figures(tmp_path: Path) -> None:
    for run in made_up(tmp_path / "a").runs("control"):
        last = run.epochs[-1]
        assert gap(run) == last.train_accuracy - (last.val_accuracy or 0)
        assert gap(replace(run, epochs=(*run.epochs[:-1], replace(last, val_accuracy=None)))) is None
        assert gap(replace(run, epochs=())) is None


def rewritten(results: Results, **changes: Any) -> Results:
    """The control's probes with other figures, as an engine might have written them."""
    for run in results.runs("control"):
        probes = run.probes()
        assert probes is not None
        (run.folder / "probes.json").write_text(json.dumps(asdict(replace(probes, **changes))), encoding="utf-8")
    return results


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([("a", 10, 1, None), ("b", 30, 9, None)], Cell("25.00", "dead, most in b")),
        ([("a", 10, 0, None)], Cell("0.00", "dead")),
        ([("a", 10, None, 0.25), ("b", 30, None, 0.5)], Cell("50.00", "saturated, most in b")),
        ([("a", 10, 1, None), ("b", 30, None, 0.5)], Cell("10.00, 50.00", "dead, most in a; saturated, most in b")),
        ([], Cell(NOTHING)),
    ],
)
def test_dead_units_are_a_share_of_all_and_saturation_that_of_the_worst_layer(
    tmp_path: Path, layers: list[tuple[str, int, int | None, float | None]], expected: Cell
) -> None:
    found = tuple(LayerProbe(name, "f", units, dead, saturated) for name, units, dead, saturated in layers)
    results = rewritten(made_up(tmp_path / "a"), layers=found)
    assert rows(results)["control"]["Dead units or saturated values (%)"] == expected


def test_saturation_is_that_of_each_runs_worst_layer_as_in_the_comment(tmp_path: Path) -> None:
    results = made_up(tmp_path / "a")
    runs = results.runs("control")
    for index, run in enumerate(runs):
        probes = run.probes()
        assert probes is not None
        shares = (0.1, 0.6) if index % 2 else (0.5, 0.2)
        layers = tuple(LayerProbe(name, "f", 10, None, share) for name, share in zip("ab", shares, strict=True))
        (run.folder / "probes.json").write_text(json.dumps(asdict(replace(probes, layers=layers))), encoding="utf-8")
    expected = fmean(0.6 if index % 2 else 0.5 for index in range(len(runs)))
    cell = rows(results)["control"]["Dead units or saturated values (%)"]
    assert cell.text == percent(expected)
    assert cell.small.startswith("saturated, most in ")


@pytest.mark.parametrize("norms", [None, {"only": 1.0}])
def test_gradients_that_no_two_layers_have_are_left_out(tmp_path: Path, norms: dict[str, float] | None) -> None:
    results = rewritten(made_up(tmp_path / "a"), gradient_norms_at_start=norms)
    assert "Gradients at the start" not in rows(results, "control")["control"]
    cells = rows(results)
    assert cells["control"]["Gradients at the start"] == Cell(NOTHING)
    assert cells["relu"]["Gradients at the start"] != Cell(NOTHING)


def test_a_last_layer_without_gradient_gives_no_ratio(tmp_path: Path) -> None:
    results = rewritten(made_up(tmp_path / "a"), gradient_norms_at_start={"a": 0.5, "b": 0.0})
    assert rows(results)["control"]["Gradients at the start"] == Cell(NOTHING, "0.50 over 0")


def test_without_probes_only_what_records_tell_is_shown(tmp_path: Path) -> None:
    results = made_up(tmp_path / "a", probes=False)
    assert list(rows(results)["relu"]) == ["Measured in", "Updates", "Training minus validation accuracy (points)"]


def test_without_a_finished_run_there_is_no_table(tmp_path: Path) -> None:
    results = made_up(
        tmp_path / "a", missing=[("control", seed) for seed in range(3)], diverged=[("relu", s) for s in range(3)]
    )
    assert mechanism.tables(Material.gather(results, {}), ARMS) == ()


def test_an_arm_without_a_finished_run_has_dashes(tmp_path: Path) -> None:
    results = made_up(tmp_path / "a", diverged=[("relu", seed) for seed in range(3)])
    assert {cell.text for cell in list(rows(results)["relu"].values())[1:]} == {NOTHING}


def test_the_section_of_a_question_shows_the_mechanism_of_its_arms(results: Results) -> None:
    page = build(Material.gather(results, verdicts.compute(results)))
    (section,) = page.sections
    assert section.tables[1:] == mechanism.tables(Material.gather(results, {}), ARMS)
    assert to_markdown(page).count("What was measured about the mechanism") == 1
