"""Made-up results have the truth that they were asked for, from their own seed alone."""

from __future__ import annotations

import re
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


def test_made_up_runs_are_finished_in_the_eyes_of_the_store(tmp_path: Path) -> None:
    results = write_results(tmp_path / "result", example_experiment(1, 2), {"control": 0.9}, num_classes=3)
    run = results.runs("long")[0]
    assert len(run.epochs) == 4 == len(run.epoch_seconds)
    assert run.predictions().logits.shape == (200, 3)
    assert results.test_set(run.config()["data_fingerprint"]).class_names == ("0", "1", "2")
