"""What the engine's benchmarks compute from what they measure: tables, work counted, approximations. None is run."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from paribus.engines import ENGINES
from paribus.engines.native import build
from paribus.engines.native.chain import chain_of
from paribus.experiment import Experiment

BENCH = Path(__file__).parents[1] / "benchmarks" / "engine"
Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Import a script as it imports its neighbours when it is run."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


def epoch_rows(seconds: dict[str, list[float]]) -> list[dict[str, Any]]:
    shared = {"net": "tanh-avg", "batch_size": 128, "threads": 1, "images_per_second": 1000, "cores": 1.0, "loss": 0.3}
    return [
        shared | {"way": way, "round": i, "seconds": s} for way, each in seconds.items() for i, s in enumerate(each)
    ]


def test_epoch_table_names_the_fastest_of_the_others_by_ratios_of_rounds(load: Load) -> None:
    rows = epoch_rows({"native": [1.0, 2.0, 1.0], "tuned": [4.0, 6.0, 5.0], "jax": [9.0, 9.0, 9.0]})
    text = load("epoch").table(rows, ["keras-jax"], 60_000)
    assert "60,000 images), n = 3" in text
    assert "Left out: keras-jax." in text
    assert "## tanh-avg, batch 128, 1 thread\n" in text
    assert "| native | 1.00 | 1.00 to 2.00 | 1,000 | 1.00 | 1.00 |" in text
    assert "| tuned | 5.00 | 4.00 to 6.00 | 1,000 | 1.00 | 4.00 |" in text  # Ratios 4, 3 and 5, not 5 over 1.
    assert "Fastest of the others: tuned, 4.00 times native." in text


def test_epoch_table_keeps_settings_apart(load: Load) -> None:
    first = epoch_rows({"native": [1.0], "tuned": [4.0]})
    second = [
        row | {"threads": 2, "seconds": row["seconds"] / 2} for row in epoch_rows({"native": [1.0], "tuned": [6.0]})
    ]
    text = load("epoch").table(first + second, [], 60_000)
    assert text.index("4.00 times native.") < text.index("## tanh-avg, batch 128, 2 threads") < text.index("6.00 times")
    assert "Left out" not in text


def test_epoch_refuses_a_way_that_learns_nothing_or_takes_more_threads(load: Load) -> None:
    epoch = load("epoch")
    row = {"way": "tuned", "cores": 1.04, "threads": 1, "loss": 0.59}
    epoch.require_work(row, epoch.ALL_IMAGES)
    with pytest.raises(RuntimeError, match=r"training loss of 0\.6; below 0\.6 is learning"):
        epoch.require_work(row | {"loss": 0.6}, epoch.ALL_IMAGES)
    with pytest.raises(RuntimeError, match=r"training loss of nan"):
        epoch.require_work(row | {"loss": float("nan")}, epoch.ALL_IMAGES)
    with pytest.raises(RuntimeError, match=r"kept 1\.9 processors busy; 1 is what it may use"):
        epoch.require_work(row | {"cores": 1.9}, epoch.ALL_IMAGES)


def test_epoch_row(load: Load) -> None:
    row = load("epoch").row_of({"seconds": 2.0, "processor_seconds": 3.0, "loss": 0.25}, 60_000)
    assert row == {"seconds": 2.0, "images_per_second": 30_000, "cores": 1.5, "loss": 0.25}


def test_the_main_job_adds_epochs_up(load: Load) -> None:
    kinds = [("tanh", "avg", "sgd", "128"), ("relu", "avg", "sgd", "128")]
    rows = [
        dict(zip(("activation", "pooling", "optimiser", "batch_size"), kind, strict=True))
        | {"engine": engine, "epochs": epochs, "seconds_per_epoch": seconds}
        for kind, epochs in zip(kinds, (3000, 600), strict=True)
        for engine, seconds in (("native", 2.0), ("torch", 8.0), ("torch", 10.0))
    ]
    text = load("main_job").table(rows, 4000.0)
    assert "from start to finish on 2 cores: 1 h 7 min." in text
    assert "| tanh | avg | sgd | 128 | 3,000 | 2.00 | 9.00 | 4.50 |" in text
    assert "native 1 h 0 min, torch 4 h 30 min." in text


def test_every_way_exists_and_names_what_it_needs(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = load("worker")
    for module, function in worker.WAYS.values():
        assert f"def {function}(" in (BENCH / f"{module}.py").read_text(encoding="utf-8")
    listed = (BENCH / "peers.txt").read_text(encoding="utf-8").split()
    needed = {name for names in worker.NEEDS.values() for name in names}
    assert all(any(line.startswith(f"{name}==") for line in listed) for name in needed)
    monkeypatch.setitem(worker.NEEDS, "tuned", ("torch", "no_such_package"))
    assert worker.missing("tuned") == "no_such_package"
    assert worker.missing("native") is None


def test_the_work_of_a_step_is_that_of_lenet5(load: Load) -> None:
    work = load("roofline").multiply_adds(chain_of(load("lenet").network("relu-max"), (1, 32, 32)))
    forward = {"conv1": 28**2 * 6 * 25, "conv2": 10**2 * 16 * 6 * 25, "fc1": 400 * 120, "fc2": 120 * 84, "fc3": 840}
    assert {name: work[f"{name} forward"] for name in forward} == forward
    assert {name: work[f"{name} weight gradient"] for name in forward} == forward
    inner = {name: count for name, count in forward.items() if name != "conv1"}
    assert {name: work.get(f"{name} input gradient") for name in forward} == {"conv1": None, **inner}
    assert 2 * sum(work.values()) == 2_263_920


def roofline_rows(load: Load) -> list[dict[str, Any]]:
    roofline = load("roofline")
    parts = {
        "step of 128": 1e-3,
        "step of 512": 4e-3,
        "gather": 10e-6,
        "loss with its logits": 5e-6,
        "logits alone": 2e-6,
    }
    for layer in roofline.LAYERS:
        parts[f"{layer} forward"] = 1e-6
        if layer.startswith(("conv", "fc")):
            parts[f"{layer} weight gradient"] = 1e-6
        if layer != "conv1":
            parts[f"{layer} backward"] = 3e-6
    rows = [{"net": net, "part": part, "seconds": s} for net in load("lenet").NETS for part, s in parts.items()]
    rows += [{"net": "", "part": "peak", "seconds": 2e-11}]
    return [row | {"instructions": "avx2", "round": number} for row in rows for number in (0, 1)]


def test_roofline_tables_take_differences_and_shares_of_the_peak(load: Load) -> None:
    text = load("roofline").table(roofline_rows(load))
    rate = 2.26392e6 * 128 / 1e-3 / 1e9
    assert f"| avx2 | tanh-avg | 128 | 7.81 | {rate:.1f} | 100.0 | 290% |" in text
    assert "| gather | 10.0 | 8.0% | | |" in text  # Of 125 microseconds, which 16 of 128 images take.
    assert "| loss | 3.0 | 2.4% | | |" in text
    assert "| fc1 weight gradient | 1.0 | 0.8% | 1536.0 | 1536% |" in text
    assert "| fc1 input gradient | 2.0 | 1.6% | 768.0 | 768% |" in text
    assert "| pooling1 backward | 3.0 | 2.4% | | |" in text
    assert "conv1 input gradient" not in text
    rest = 125 - (10 + 3 + 11 * 1 + 5 * 1 + 6 * 3 + 4 * 2)
    assert f"by difference | {rest:.1f} |" in text


def test_roofline_compiles_for_what_the_processor_has(load: Load) -> None:
    if build.missing():
        pytest.skip(str(build.missing()))
    served = load("roofline").served()
    assert served[-1] == "portable"
    assert set(served) <= set(build.INSTRUCTIONS)


def test_together_compares_both_with_the_mean_of_each_alone(load: Load) -> None:
    seconds = {"alone, a": [1.0, 1.0], "alone, b": [1.0, 1.0], "together": [1.25, 1.0]}
    rows = [
        {"how": how, "round": i, "epochs": 2, "seconds": s} for how, each in seconds.items() for i, s in enumerate(each)
    ]
    text = load("together").table(rows)
    assert "| 1 | 7200 | 7200 to 7200 |" in text
    assert "| 2 | 12960 | 11520 to 14400 |" in text
    assert "Two at once: 1.80 times one (median of rounds; 1.60 to 2.00)." in text


def simd() -> str:
    return (build.HERE / "kernels" / "simd.h").read_text(encoding="utf-8")


@pytest.mark.parametrize("index", range(3))
def test_approximations_in_the_kernels_are_the_fitted_ones(load: Load, index: int) -> None:
    approximations = load("approximations")
    function = approximations.FUNCTIONS[index]
    fit = approximations.fitted(function)
    assert fit.error < 6e-8  # Half a unit in the last place of float32.
    assert approximations.greatest_error(function, *approximations.written(simd(), function.name)) < 6e-8
    assert approximations.differences(simd(), function, fit) == []


def test_other_coefficients_in_the_kernels_are_found(load: Load) -> None:
    approximations = load("approximations")
    tanh = approximations.FUNCTIONS[1]
    numerator, denominator = approximations.written(simd(), tanh.name)
    fit = approximations.Fit(numerator, denominator, 0.0)
    assert approximations.differences(simd(), tanh, fit) == []
    changed = simd().replace(" 0.46713048219680786f", " 0.4672f")
    assert changed != simd()
    assert "Q is [1.0, 0.4672" in approximations.differences(changed, tanh, fit)[0]
    shorter = simd().replace(" 0.46713048219680786f,", "")
    assert "Q has 4 coefficients in simd.h, 5 in the fit" in approximations.differences(shorter, tanh, fit)[0]
    with pytest.raises(ValueError, match=r"has no function `hyperbolic_tangent`"):
        approximations.written("", tanh.name)


def test_the_engines_agreed_when_they_were_last_asked() -> None:
    """What docs/decisions/native-engine.md says of native and torch; `make engines-agree` asks again."""
    folder = BENCH.parent / "engines-agree"
    kept = json.loads((folder / "verdicts.json").read_text(encoding="utf-8"))
    (found,) = kept["questions"][0]["comparisons"]
    asked = Experiment.load(folder / "experiment.toml")
    assert (found["verdict"], found["test"], found["runs"]) == ("equivalent", "none apart", len(asked.seeds))
    assert found["margin"] == asked.margin
    engines = json.loads((folder / "environment.json").read_text(encoding="utf-8"))["engine"]
    assert engines == f"{ENGINES['native'].identity}, {ENGINES['torch'].identity}"
