from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paribus import arms
from paribus.experiment import Experiment
from paribus.power import assumed, detectable
from paribus.stats import Variances, crossed, smallest_difference
from paribus.testing.synthetic import example_experiment, write_results

TEXT = """
[experiment]
name = "power"
seeds = 5
margin = 0.01
@published
[control]
data = { name = "digits", val = 200 }
model = { name = "lenet5" }
optim = { lr = 0.1 }
train = { epochs = 3 }
[[question]]
id = "relu"
asks = "ReLU?"
arms.relu = { "model.activation" = "relu" }
"""


def share_found(variances: Variances, design: tuple[int, int, int], true: float, repetitions: int = 400) -> float:
    """How often the analysis finds a true difference in layouts drawn with these variances, not of shares."""
    seeds, images, comparisons = design
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(repetitions):
        layout = true + rng.normal(0, math.sqrt(variances.seed), (seeds, 1))
        layout = layout + rng.normal(0, math.sqrt(variances.example), (1, images))
        layout = layout + rng.normal(0, math.sqrt(variances.residual), (seeds, images))
        p = crossed(layout, np.zeros_like(layout)).p
        found += p is not None and p <= 0.05 / comparisons
    return found / repetitions


@pytest.mark.parametrize(
    ("variances", "design"),
    [
        (replace(assumed(0.95), of_shares=False), (10, 200, 1)),
        (replace(assumed(0.95), of_shares=False), (10, 400, 7)),
        (Variances(0.0, 0.01, 0.02, of_shares=False), (5, 300, 3)),
        (Variances(1e-4, 0.0, 0.01, of_shares=False), (12, 300, 3)),
    ],
)
def test_the_smallest_difference_is_found_with_the_promised_power(
    variances: Variances, design: tuple[int, int, int]
) -> None:
    seeds, images, comparisons = design
    smallest = smallest_difference(variances, (seeds, images), 0.05 / comparisons)
    assert 0.72 <= share_found(variances, design, smallest) <= 0.88
    assert share_found(variances, design, smallest / 2) < 0.5


@given(st.floats(0, 0.01), st.floats(0, 0.1), st.floats(1e-4, 0.2), st.integers(2, 40), st.integers(50, 5000))
def test_more_seeds_more_images_and_fewer_comparisons_show_smaller_differences(
    seed: float, image: float, residual: float, seeds: int, images: int
) -> None:
    def smallest(variances: Variances, seeds: int, images: int, comparisons: int) -> float:
        return smallest_difference(variances, (seeds, images), 0.05 / comparisons)

    variances, alike = (Variances(each, image, residual, of_shares=True) for each in (seed, 0.0))
    assert smallest(variances, seeds, images, 1) < smallest(variances, seeds, images, 4)
    assert smallest(variances, 2 * seeds, images, 4) <= smallest(variances, seeds, images, 4)
    # Where seeds differ, more images may leave fewer degrees of freedom.
    assert smallest(alike, seeds, 2 * images, 4) <= smallest(alike, seeds, images, 4)


def test_one_seed_shows_nothing() -> None:
    alone = detectable(Experiment.parse(TEXT.replace("@published", ""), ["experiment.seeds=1"]), 360, {})
    assert (
        alone.text == "No difference can be shown with 1 seed and 360 test images: one seed has no spread to judge by."
    )


@pytest.mark.parametrize(("published", "accuracy"), [("", 0.95), ("published = [0.98, 0.99]", 0.985)])
def test_without_runs_the_assumptions_are_told(published: str, accuracy: float) -> None:
    found = detectable(Experiment.parse(TEXT.replace("@published", published)), 1000, {})
    assert found.differences == {5: smallest_difference(assumed(accuracy), (5, 1000), 0.05)}
    first, second = found.text.splitlines()
    assert first.startswith("Smallest difference that 5 seeds and 1,000 test images can show: about ")
    assert first.endswith(" points, at 80 % power, corrected for 1 comparison.")
    assert f"a control of {100 * accuracy:.2f} %" in second
    assert f"differ in {100 * (1 - accuracy):.2f} % of the images" in second
    assert ("the middle of what is published" in second) == bool(published)


def test_arms_with_fewer_seeds_are_told_apart() -> None:
    """No power is promised of seeds that no compared arm is trained with."""
    few = ["experiment.seeds=20", "question.relu.seeds=3"]
    assert list(detectable(Experiment.parse(TEXT.replace("@published", ""), few), 1000, {}).differences) == [3]
    swept = '[[question]]\nid = "rate"\nasks = "Rate?"\nfactor = "optim.lr"\nvalues = [0.05, 0.1, 0.2]\n'
    found = detectable(Experiment.parse(TEXT.replace("@published", "") + swept, few), 1000, {})
    assert list(found.differences) == [20, 3]
    second = '[[question]]\nid = "max"\nasks = "Max?"\narms.max = { "model.pooling" = "max" }\n'
    found = detectable(Experiment.parse(TEXT.replace("@published", "") + second, few), 1000, {})
    assert list(found.differences) == [20, 3]
    first, other, basis = found.text.splitlines()
    assert first.startswith("Smallest difference that 20 seeds and 1,000 test images can show")
    assert other.startswith("Smallest difference that 3 seeds and 1,000 test images can show")
    assert basis == found.basis


def test_an_arm_that_answers_like_its_control_has_no_variance_to_count(tmp_path: Path) -> None:
    experiment = example_experiment(4, 2)
    results = write_results(tmp_path / "result", experiment, {"control": 0.9})
    stored = arms.load(results)
    like = dict.fromkeys(stored, stored["control"])
    assert detectable(experiment, 200, like).basis.startswith(
        "Assumed, as no arm has two runs that differ from its con"
    )
    one_apart = detectable(experiment, 200, like | {"relu": stored["relu"]})
    assert one_apart.basis == "Rests on the variances of the finished runs: the median over 1 arm."


def test_with_runs_their_variances_count(tmp_path: Path) -> None:
    experiment = example_experiment(4, 2)
    missing = [("max", seed) for seed in range(1, 4)]
    results = write_results(tmp_path / "result", experiment, {"control": 0.9}, missing=missing)
    stored = arms.load(results)
    found = detectable(experiment, 200, stored)
    assert found.basis == "Rests on the variances of the finished runs: the median over 3 arms."
    each = []
    for name in ("relu", "relu-max", "long"):  # `max` has one run, and the values of the sweep are not compared.
        compared = crossed(stored[name].correct, stored["control"].correct)
        known = compared.variances
        assert known is not None
        each.append(smallest_difference(known, (4, 200), 0.05 / found.comparisons))
    assert found.differences == {4: pytest.approx(np.median(each))}
    assert found.comparisons == 5
