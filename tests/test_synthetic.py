"""Made-up results have the truth that they were asked for, from their own seed alone."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paribus.errors import ConfigError
from paribus.testing.synthetic import example_experiment, write_results


def test_made_up_results_have_the_accuracy_asked_for_and_share_their_hard_images(tmp_path: Path) -> None:
    results = write_results(tmp_path / "a", example_experiment(4, 1), {"control": 0.9, "relu": 0.6}, test_examples=4000)
    for arm, accuracy in (("control", 0.9), ("relu", 0.6)):
        assert np.mean([run.result.test_accuracy for run in results.runs(arm)]) == pytest.approx(accuracy, abs=0.03)
    correct = [run.predictions().correct for arm in ("control", "relu") for run in results.runs(arm)]
    assert np.asarray(np.corrcoef(correct)).min() > 0.1


def test_made_up_results_are_the_same_for_the_same_seed_and_others_for_another(tmp_path: Path) -> None:
    def logits(name: str, seed: int) -> bytes:
        results = write_results(tmp_path / name, example_experiment(1, 1), {"control": 0.9}, seed=seed)
        return results.runs("control")[0].predictions().logits.tobytes()

    first = logits("a", 0)
    np.random.seed(5)
    assert logits("b", 0) == first
    assert logits("c", 1) != first


@pytest.mark.parametrize(
    ("accuracy", "message"),
    [
        ({}, "`accuracy` must name `control`, but names nothing"),
        ({"control": 0.9, "relo": 0.9}, "but got `relo`. Did you mean `relu`?"),
        ({"control": 1.0}, "above 0 and below 1, but got 1.0 for `control`"),
    ],
)
def test_made_up_results_refuse_accuracies_that_cannot_be(
    tmp_path: Path, accuracy: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        write_results(tmp_path / "result", example_experiment(1, 1), accuracy)


def test_made_up_runs_diverge_or_are_missing_where_named(tmp_path: Path) -> None:
    results = write_results(
        tmp_path / "result", example_experiment(2, 4), {"control": 0.9}, diverged=[("relu", 1)], missing=[("max", 0)]
    )
    assert [run.result.seed for run in results.runs("max")] == [1]
    whole, broken = results.runs("relu")
    assert (whole.result.status, broken.result.status) == ("finished", "diverged")
    assert (broken.result.test_loss, broken.result.test_accuracy) == (None, 0.0)
    assert len(broken.epochs) == 2 and broken.epochs[-1].train_loss is None


def test_made_up_runs_are_probed_unless_they_diverge_or_are_told_not_to(tmp_path: Path) -> None:
    experiment = example_experiment(2, 4)
    probed = write_results(tmp_path / "a", experiment, {"control": 0.9}, diverged=[("relu", 1)])
    plain = write_results(tmp_path / "b", experiment, {"control": 0.9}, diverged=[("relu", 1)], probes=False)
    again = write_results(tmp_path / "c", experiment, {"control": 0.9}, diverged=[("relu", 1)])
    whole, broken = probed.runs("relu")
    assert broken.probes() is None and broken.epochs[-1].layer_gradient_norms is None
    for arm in experiment.arms:
        for one, other, third in zip(probed.runs(arm), plain.runs(arm), again.runs(arm), strict=True):
            assert other.probes() is None and one.probes() == third.probes()
            assert all(record.layer_gradient_norms is None for record in other.epochs)
            assert one.predictions().logits.tobytes() == other.predictions().logits.tobytes()
            assert [replace(record, layer_gradient_norms=None) for record in one.epochs] == list(other.epochs)
    relu, tanh = whole.probes(), probed.runs("control")[0].probes()
    assert relu is not None and tanh is not None
    assert all(layer.dead is not None and 0 <= layer.dead <= layer.units for layer in relu.layers)
    assert all(layer.saturated is not None and 0 <= layer.saturated <= 1 for layer in tanh.layers)
    for probes in (relu, tanh):
        assert 0 <= probes.accuracy_shifted_2 < probes.accuracy_shifted_1 < probes.accuracy < probes.confidence <= 1
        assert probes.confidence - probes.accuracy <= probes.calibration_error <= 1


def test_gradient_norms_of_made_up_layers_make_up_the_whole(tmp_path: Path) -> None:
    run = write_results(tmp_path / "a", example_experiment(1, 2), {"control": 0.9}).runs("control")[0]
    for record in run.epochs:
        assert record.layer_gradient_norms is not None and record.gradient_norm is not None
        assert np.linalg.norm(list(record.layer_gradient_norms.values())) == pytest.approx(record.gradient_norm)


def test_made_up_runs_are_finished_in_the_eyes_of_the_store(tmp_path: Path) -> None:
    results = write_results(tmp_path / "result", example_experiment(1, 2), {"control": 0.9}, num_classes=3)
    run = results.runs("long")[0]
    assert len(run.epochs) == 4 == len(run.epoch_seconds)
    assert run.predictions().logits.shape == (200, 3)
    assert results.test_set(run.config()["data_fingerprint"]).class_names == ("0", "1", "2")
