"""The range test of learning rates: what it goes through and shows, its training, its process, its files."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paribus import processes, rate_range
from paribus.config import Recipe
from paribus.data import Dataset
from paribus.data.dataset import Split
from paribus.engines.range_test import range_test
from paribus.errors import RunError, StoreError
from paribus.experiment import CONTROL, Experiment
from paribus.launch import range_process
from paribus.launch.packs import Supplies
from paribus.launch.range_process import RangeProcess, make_range_tests, missing
from paribus.store import RangeTest, Results
from paribus.testing.engines import DATASET, spec_for
from rate_searches import TOML, copy_of, folder, supplies_of

RECIPE = Recipe.parse(
    {
        "data": {"name": "easy", "val": 40},
        "model": {"name": "lenet5", "activation": "relu"},
        "optim": {"lr": 0.05, "momentum": 0.9},
        "train": {"epochs": 1, "batch_size": 32},
        "augment": {"shift": 1.0},
        "schedule": {"name": "one-cycle"},
    }
)
RATES = rate_range.rates_for([0.01, 1.0])


def curve(start: float, lowest: float, end: float) -> tuple[tuple[float, ...], list[float]]:
    """Losses that stay, fall along an S around 0.1, stay, and rise; five decades from 0.001 on."""
    rates = tuple(0.001 * 10 ** (step / 20) for step in range(101))
    losses = []
    for rate in rates:
        fallen = 1 / (1 + (0.1 / rate) ** 4)
        risen = max(0.0, math.log10(rate / 10))
        losses.append(start - (start - lowest) * fallen + (end - lowest) * risen)
    return rates, losses


# What it goes through, and what its losses show.


@given(low=st.sampled_from([1e-4, 0.001, 0.01, 0.05]), decades=st.integers(0, 6))
def test_rates_rise_evenly_from_well_below_to_well_above_what_is_tried(low: float, decades: int) -> None:
    rates = rate_range.rates_for([low * 10**decades, low])
    assert len(rates) == 20 * (decades + 3) + 1
    assert rates[0] == pytest.approx(low / 100)
    assert rates[-1] == pytest.approx(10 * low * 10**decades)
    steps = np.diff(np.log10(rates))
    assert steps == pytest.approx(np.full(len(steps), 1 / 20), abs=0.005)
    assert all(float(f"{rate:g}") == rate for rate in rates), "a sentence says them exactly"


@given(st.lists(st.floats(0, 100), min_size=1, max_size=40))
def test_smoothed_losses_are_means_of_neighbours(losses: list[float]) -> None:
    found = rate_range.smoothed(losses)
    expected = [np.mean(losses[max(0, place - 4) : place + 5]) for place in range(len(losses))]
    assert found == pytest.approx(expected, abs=1e-9)


def test_the_fall_is_found_where_it_is() -> None:
    rates, losses = curve(2.3, 0.3, 0.4)
    begins, most = (find(rates, losses, 10) for find in (rate_range.falls_from, rate_range.steepest))
    assert begins == pytest.approx(0.1 * (1 / 9) ** 0.25, rel=0.2), "a tenth of the S"
    assert most == pytest.approx(0.1, rel=0.13)
    noisy = (np.array(losses) + np.random.default_rng(0).normal(0, 0.1, len(losses))).tolist()
    assert rate_range.falls_from(rates, noisy, 10) == pytest.approx(begins, rel=0.5)
    flat, barely = curve(2.3, 2.29, 2.29)[1], curve(2.3, 2.3 - 0.11 * math.log(10), 2.3)[1]
    assert rate_range.falls_from(rates, flat, 10) is rate_range.steepest(rates, flat, 10) is None
    assert rate_range.falls_from(rates, barely, 10) is not None
    assert rate_range.falls_from(rates[:9], [2.0 - 0.2 * step for step in range(9)], 10) in rates[:6]


def test_a_loss_is_lost_when_its_fall_is_given_back() -> None:
    fallen = [2.3] * 20 + [0.3] * 20
    assert not rate_range.is_lost(fallen, 10)
    assert not rate_range.is_lost([*fallen, *[1.5] * 10], 10)
    assert rate_range.is_lost([*fallen, *[2.3] * 10], 10), "dead, at the loss of guessing"
    assert rate_range.is_lost([*fallen, 1e6], 10)
    near_zero = [0.03] * 20
    assert not rate_range.is_lost([*near_zero, *[0.2] * 10], 10), "many times the best, and nothing"
    assert rate_range.is_lost([*near_zero, *[1.3] * 10], 10)


def test_who_is_tested_and_around_which_rates(tmp_path: Path) -> None:
    results = folder(tmp_path)
    wanted = rate_range.wanted(results.experiment, results.tunings)
    assert wanted == {CONTROL: (0.01, 0.03, 0.1, 0.3, 1.0), "relu": (0.01, 0.03, 0.1, 0.3, 1.0)}
    sweep = Experiment.parse(TOML.replace("[0.03, 0.1, 1.0]", "[0.002, 0.1, 5.0]"))
    assert rate_range.wanted(sweep, {}) == {CONTROL: (0.002, 0.1, 5.0)}, "what is not found is not wanted yet"
    no_rates = Experiment.parse(TOML.partition("[[question]]")[0] + TOML[TOML.index('[[question]]\nid = "relu"') :])
    assert CONTROL in rate_range.wanted(no_rates, {})


# The training.


def test_the_training_is_the_same_whatever_else_is_drawn_and_another_with_another_seed() -> None:
    spec = dataclasses.replace(spec_for(RECIPE), is_tuning=True)
    one = range_test(spec, DATASET, RATES[:40])
    torch.rand(3)
    assert range_test(spec, DATASET, RATES[:40]) == one
    assert range_test(dataclasses.replace(spec, seed=7), DATASET, RATES[:40]).losses != one.losses
    plain = dataclasses.replace(spec, recipe=RECIPE.with_factors({"schedule.name": "constant"}))
    assert range_test(plain, DATASET, RATES[:40]).losses == one.losses, "the schedule is left out"
    still = dataclasses.replace(spec, recipe=RECIPE.with_factors({"augment.shift": 0.0}))
    assert range_test(still, DATASET, RATES[:40]).losses != one.losses, "random changes are not"
    assert len(one.losses) > -(-len(DATASET.train) // 32), "it goes on in a second epoch"


def test_a_test_ends_early_and_says_what_it_shows() -> None:
    test = range_test(spec_for(RECIPE), DATASET, RATES)
    assert len(test.losses) == len(test.smoothed) == len(test.rates) < len(RATES)
    assert test.diverges_at == test.rates[-1]
    assert test.smoothed == tuple(rate_range.smoothed(test.losses).tolist())
    assert (test.falls_from, test.steepest) == (
        rate_range.falls_from(RATES, test.losses, DATASET.num_classes),
        rate_range.steepest(RATES, test.losses, DATASET.num_classes),
    )
    assert test.falls_from is not None and test.steepest is not None
    assert test.falls_from < test.steepest < test.diverges_at
    gentle = range_test(spec_for(RECIPE), DATASET, RATES[:30])
    assert (len(gentle.losses), gentle.diverges_at, gentle.falls_from) == (30, None, None)
    assert gentle.losses == test.losses[:30]


def other(split: Split) -> Split:
    return Split(255 - split.images, split.labels[::-1].copy())


@pytest.mark.parametrize("val", [None, "test"])
def test_neither_val_nor_test_steers_it(val: str | None) -> None:
    """Other val and test images, and no other loss; nothing of them is left in reach."""
    recipe = RECIPE.with_factors({"data.val": val})
    own = dataclasses.replace(DATASET, val=DATASET.test)
    changed: Dataset = dataclasses.replace(own, val=other(DATASET.test), test=other(DATASET.test))
    one, two = (range_test(spec_for(recipe), each, RATES[:60]) for each in (own, changed))
    assert one == two
    less = dataclasses.replace(own, train=other(DATASET.train))
    assert range_test(spec_for(recipe), less, RATES[:60]).losses != one.losses


def test_a_loss_that_is_not_finite_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from paribus.engines.torch_engine import TorchRun

    add_gradients: Callable[..., Any] = TorchRun.add_gradients
    calls = iter(range(1000))

    def broken_from(step: int) -> Callable[..., Any]:
        def changed(self: TorchRun, *args: Any) -> Any:
            loss, correct = add_gradients(self, *args)
            return loss * math.nan if next(calls) >= step else loss, correct

        return changed

    monkeypatch.setattr(TorchRun, "add_gradients", broken_from(12))
    test = range_test(spec_for(RECIPE), DATASET, RATES)
    assert len(test.losses) == 12 and test.diverges_at == RATES[11]
    monkeypatch.setattr(TorchRun, "add_gradients", broken_from(0))
    with pytest.raises(RunError, match=r"The loss must be finite before the first step, but that of `\w+` is not\. Lo"):
        range_test(spec_for(RECIPE), DATASET, RATES)


# The process, and what it keeps.


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The range tests of an experiment, made by their process."""
    results = folder(tmp_path_factory.mktemp("tested") / "result")
    make_range_tests(results, Supplies.gather(results.experiment, None, "auto"))
    return results


def test_the_file_holds_what_its_page_says(tested: Results) -> None:
    tests = tested.ranges()
    assert set(tests) == {CONTROL, "relu"}
    for name, test in tests.items():
        content = json.loads((tested.folder / "ranges" / f"{name}.json").read_text(encoding="utf-8"))
        assert set(content) == {field.name for field in dataclasses.fields(RangeTest)}
        page = (Path(__file__).parents[1] / "docs" / "results-format.md").read_text(encoding="utf-8")
        assert set(content) <= set(re.findall(r"`(\w+)`", page.partition("# ranges/ARM.json")[2]))
        assert content["losses"] == list(test.losses) and len(test.losses) > 40
        assert test.seed == 10_000 and test.digest
        assert test.planned == rate_range.rates_for([0.01, 1.0])
        assert test.falls_from is not None and 1e-4 < test.falls_from < 1
    assert tests[CONTROL].losses != tests["relu"].losses


def test_what_is_there_is_not_made_again_and_what_is_missing_is_to_the_same_bits(
    tested: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = copy_of(tested, tmp_path / "result")
    supplies = supplies_of(results)
    assert missing(results, supplies) == []
    (results.folder / "ranges" / "relu.json").unlink()
    before = (results.folder / "ranges" / "control.json").stat().st_mtime_ns
    assert [job.pack.specs[0].arm for job in missing(results, supplies)] == ["relu"]
    make_range_tests(results, supplies)
    assert (results.folder / "ranges" / "control.json").stat().st_mtime_ns == before
    for name in (CONTROL, "relu"):
        file = Path("ranges") / f"{name}.json"
        assert (results.folder / file).read_bytes() == (tested.folder / file).read_bytes()
    monkeypatch.setattr(range_process, "RangeProcess", lambda _: pytest.fail("nothing is missing"))
    make_range_tests(results, supplies)


def test_an_interruption_ends_the_process_and_keeps_what_is_whole(
    tested: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = folder(tmp_path / "result")
    kept: list[str] = []

    class Interrupted(RangeProcess):
        def answers(self) -> Iterator[RangeTest | str]:
            for answer in super().answers():
                assert isinstance(answer, RangeTest)
                kept.append(answer.arm)
                yield answer
                raise KeyboardInterrupt

        def close(self) -> None:
            super().close()
            kept.append(f"ended: {self._process.poll() is not None}")

    with monkeypatch.context() as patch:
        patch.setattr(range_process, "RangeProcess", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_range_tests(results, supplies_of(results))
    assert kept == [CONTROL, "ended: True"]
    assert results.ranges() == {CONTROL: tested.ranges()[CONTROL]}
    assert [job.pack.specs[0].arm for job in missing(results, supplies_of(results))] == ["relu"]


def test_what_was_made_for_another_recipe_is_not_read_and_set_aside(tested: Results, tmp_path: Path) -> None:
    results = copy_of(tested, tmp_path / "result")
    other_batch = Results(results.folder, Experiment.parse(TOML, ["control.train.batch_size=16"]))
    assert other_batch.ranges() == {}
    other_rate = Results(results.folder, Experiment.parse(TOML.replace("lr = 0.1", "lr = 0.2"), []))
    assert set(other_rate.ranges()) == {CONTROL, "relu"}, "a test is for a recipe at every rate"
    old = results.ranges()[CONTROL]
    stale = {
        "digest": dataclasses.replace(old, digest="of other data"),
        "planned": dataclasses.replace(old, planned=old.planned[:-1]),
    }
    for test in stale.values():
        results.write_range(test)
        assert [job.pack.specs[0].arm for job in missing(results, supplies_of(results))] == [CONTROL]
    results.write_range(old)
    assert missing(results, supplies_of(results)) == []
    assert len(list(results.folder.glob("superseded/ranges/control-*.json"))) == 3


def test_a_damaged_file_is_named(tested: Results, tmp_path: Path) -> None:
    results = copy_of(tested, tmp_path / "result")
    path = results.folder / "ranges" / "relu.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"steepest"', '"steep"'), encoding="utf-8")
    with pytest.raises(StoreError, match=r"ranges/relu.json` must hold the keys of this version of paribus"):
        results.ranges()
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(StoreError, match=r"ranges/relu.json` is damaged and cannot be read"):
        results.ranges()


def test_a_network_that_fails_costs_its_own_test_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "broken.py"
    model.write_text(
        "from torch import nn\nclass Broken(nn.Module):\n    def __init__(self):\n        print('noise')\n"
        "        raise ValueError('no weights')\n",
        encoding="utf-8",
    )
    results = folder(tmp_path / "result")
    jobs = missing(results, supplies_of(results))
    spec = jobs[0].pack.specs[0]
    broken = dataclasses.replace(spec, arm="mine", recipe=spec.recipe.with_factors({"model.name": f"{model}:Broken"}))
    first = dataclasses.replace(jobs[0], pack=dataclasses.replace(jobs[0].pack, specs=(broken,)))
    monkeypatch.setattr(range_process, "missing", lambda *_: [first, jobs[1]])
    make_range_tests(results, supplies_of(results))
    assert set(results.ranges()) == {jobs[1].pack.specs[0].arm}
    said = capsys.readouterr().err
    assert re.search(r"range test of mine could not be made, and the report has none: `.*Broken` .*no weights", said)


def test_a_process_that_dies_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = folder(tmp_path / "result")
    monkeypatch.setattr(processes, "command", lambda *_: ["false"])
    make_range_tests(results, supplies_of(results))
    said = capsys.readouterr().err.splitlines()
    assert [line.rpartition(": ")[2] for line in said] == ["its process ended with status 1"] * 2
    assert results.ranges() == {}
