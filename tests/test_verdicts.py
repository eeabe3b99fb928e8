from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paribus import arms, stats, verdicts
from paribus.errors import StoreError
from paribus.experiment import Experiment
from paribus.store import Predictions, Results
from paribus.testing.synthetic import example_experiment, write_results

TOML = """
[experiment]
name = "small"
seeds = {seeds}
margin = 0.02
[control]
data = {{ name = "digits", size = 32, val = {val} }}
model = {{ name = "lenet5" }}
optim = {{ name = "sgd", lr = 0.1 }}
train = {{ epochs = 2 }}
[[question]]
id = "relu"
asks = "ReLU?"
metric = "{metric}"
arms.relu = {{ "model.activation" = "relu" }}
[[question]]
id = "again"
asks = "ReLU, and the rate?"
metric = "{metric}"
arms.relu = {{ "model.activation" = "relu" }}
arms.low = {{ "optim.lr" = 0.01 }}
[[question]]
id = "rate"
asks = "Which rate?"
factor = "optim.lr"
values = [0.01, 0.1, 1.0]
"""
Write = Callable[..., Results]


def small(seeds: int = 5, metric: str = "test_accuracy", val: str = "200") -> Experiment:
    return Experiment.parse(TOML.format(seeds=seeds, metric=metric, val=val))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(experiment: Experiment, accuracy: Mapping[str, float], **options: Any) -> Results:
        return write_results(tmp_path / "result", experiment, accuracy, **{"test_examples": 500, **options})

    return make


def comparison(content: Mapping[str, Any], question: str, arm: str) -> dict[str, Any]:
    entry = next(each for each in content["questions"] if each["id"] == question)
    found: dict[str, Any] = next(each for each in entry["comparisons"] if each["arm"] == arm)
    return found


def test_the_content_is_format_1_and_strict_json(write: Write) -> None:
    results = write(example_experiment(seeds=3), {"control": 0.95, "relu": 0.97}, diverged=[("max", 1)])
    content = verdicts.compute(results)
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert set(content) >= {"format", "experiment", "margin", "seeds", "arms", "questions", "checks"}
    assert (content["format"], content["seeds"], content["margin"]) == (1, [0, 1, 2], 0.01)
    assert list(content["arms"]) == list(results.experiment.arms)
    row = {"runs", "diverged", "test_accuracy", "test_loss", "seconds", "seconds_per_run", "features_seconds"}
    assert all(set(arm) >= row for arm in content["arms"].values())
    keys = {"arm", "control", "metric", "difference", "ci95", "ci95_this_test_set", "p", "p_holm", "correlation"}
    for question in content["questions"]:
        assert set(question) >= {"id", "asks", "comparisons", "comment"}
        for each in question["comparisons"]:
            assert set(each) >= keys | {"verdict", "seeds_needed", "reason"}
            assert each["verdict"] in verdicts.VERDICTS
            assert (each["reason"] is not None) == (each["verdict"] in ("undecided", "invalid"))
    assert all(set(check) >= {"code", "outcome", "where", "message"} for check in content["checks"])
    assert verdicts.compute(results) == content


def test_better_and_worse_follow_the_new_data_analysis(write: Write) -> None:
    results = write(small(), {"control": 0.9, "relu": 0.97, "low": 0.8})
    content = verdicts.compute(results)
    better, worse = comparison(content, "relu", "relu"), comparison(content, "again", "low")
    assert (better["verdict"], worse["verdict"]) == ("better", "worse")
    stored = arms.load(results)
    expected = stats.crossed(stored["relu"].correct, stored["control"].correct)
    assert better["ci95"] == pytest.approx(expected.ci95)
    assert (better["difference"], better["p"]) == (expected.difference, expected.p)
    seed_level = stats.paired_by_seed(
        [run.result.test_accuracy for run in results.runs("relu")],
        [run.result.test_accuracy for run in results.runs("control")],
    )
    assert better["ci95_this_test_set"] == pytest.approx(seed_level.ci95)
    assert better["correlation"] == pytest.approx(seed_level.correlation)
    assert max(better["p_holm"], worse["p_holm"]) <= 0.05
    assert worse["difference"] < 0 < better["difference"]


def test_a_lower_loss_is_better(write: Write) -> None:
    content = verdicts.compute(write(small(metric="test_loss"), {"control": 0.9, "relu": 0.98, "low": 0.7}))
    better, worse = comparison(content, "relu", "relu"), comparison(content, "again", "low")
    assert better["difference"] < 0 < worse["difference"]
    assert (better["verdict"], worse["verdict"]) == ("better", "worse")


def test_equivalent_within_the_margin(write: Write) -> None:
    content = verdicts.compute(write(small(seeds=8), {"control": 0.97}, test_examples=1500))
    found = comparison(content, "relu", "relu")
    assert found["verdict"] == "equivalent"
    assert found["p_equivalence"] <= 0.05 < found["p_holm"]
    assert max(map(abs, found["ci95"])) < 0.02


def test_undecided_says_what_would_decide(write: Write) -> None:
    content = verdicts.compute(write(small(seeds=3), {"control": 0.9, "relu": 0.93}, test_examples=400))
    found = comparison(content, "relu", "relu")
    assert found["verdict"] == "undecided"
    assert found["reason"].startswith("Neither a difference")
    assert found["seeds_needed"] is not None or found["test_images_needed"] is not None


def test_holm_counts_an_arm_in_two_questions_once_and_a_sweep_once(write: Write) -> None:
    content = verdicts.compute(write(small(), {"control": 0.9, "relu": 0.95, "low": 0.89, "lr-1": 0.93}))
    twice = [comparison(content, "relu", "relu"), comparison(content, "again", "relu")]
    assert twice[0] == twice[1]
    best = content["questions"][2]["sweep"]["best"]
    family = [twice[0], comparison(content, "again", "low"), comparison(content, "rate", best)]
    assert content["comparisons_counted"] == 3
    expected = stats.holm([each["p"] for each in family])
    assert [each["p_holm"] for each in family] == pytest.approx(expected)


def test_one_seed_is_undecided_at_best_with_wilson_and_mcnemar(write: Write) -> None:
    content = verdicts.compute(write(small(seeds=1), {"control": 0.6, "relu": 0.98}))
    found = comparison(content, "relu", "relu")
    assert found["p_holm"] < 0.001
    assert (found["verdict"], found["test"], found["seeds_needed"]) == ("undecided", "mcnemar", None)
    assert "One seed" in found["reason"]
    assert found["ci95_this_test_set"] is None
    row = content["arms"]["relu"]
    assert (row["runs"], row["test_accuracy"]["ci95_kind"], row["test_accuracy"]["sd"]) == (1, "wilson", None)
    assert row["test_loss"]["ci95_kind"] == "t over examples"


def test_an_arm_that_never_ran_is_undecided_with_the_reason(write: Write) -> None:
    missing = [("relu", seed) for seed in range(5)]
    content = verdicts.compute(write(small(), {"control": 0.9}, missing=missing))
    found = comparison(content, "relu", "relu")
    assert (found["verdict"], found["difference"], found["runs"]) == ("undecided", None, 0)
    assert found["reason"] == "There is nothing to compare: `relu` never ran."
    assert content["arms"]["relu"]["test_accuracy"]["mean"] is None
    others = [comparison(content, "again", "low"), *content["questions"][2]["comparisons"]]
    family = [1.0, *(each["p"] for each in others)]
    assert content["comparisons_counted"] == len(family)
    assert [each["p_holm"] for each in others] == pytest.approx(stats.holm(family)[1:])


def test_only_seeds_that_both_have_are_compared(write: Write) -> None:
    missing = [("relu", 0), ("relu", 1), ("control", 4)]
    found = comparison(verdicts.compute(write(small(), {"control": 0.9}, missing=missing)), "relu", "relu")
    assert found["runs"] == 2


def test_arms_without_a_common_seed_are_undecided(write: Write) -> None:
    missing = [("relu", seed) for seed in (0, 1, 2)] + [("control", seed) for seed in (3, 4)]
    found = comparison(verdicts.compute(write(small(), {"control": 0.9}, missing=missing)), "relu", "relu")
    assert found["reason"] == "There is nothing to compare: no seed has a run of both arms."


def test_diverged_runs_count_as_they_are(write: Write) -> None:
    results = write(small(), {"control": 0.97}, diverged=[("relu", 0), ("relu", 3)])
    content = verdicts.compute(results)
    row = content["arms"]["relu"]
    accuracies = [run.result.test_accuracy for run in results.runs("relu")]
    assert (row["runs"], row["diverged"]) == (5, 2)
    assert row["test_accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert row["test_loss"] == {"mean": None, "sd": None, "ci95": None, "ci95_kind": None}
    assert comparison(content, "relu", "relu")["difference"] < -0.3


def test_an_infinite_loss_has_no_verdict_on_loss(write: Write) -> None:
    content = verdicts.compute(write(small(metric="test_loss"), {"control": 0.97}, diverged=[("relu", 0)]))
    found = comparison(content, "relu", "relu")
    assert (found["verdict"], found["difference"]) == ("undecided", None)
    assert "infinite loss" in found["reason"]


def test_an_error_of_the_control_makes_every_verdict_invalid(write: Write) -> None:
    content = verdicts.compute(write(small(), {"control": 0.1, "relu": 0.97}))
    for question in content["questions"]:
        for each in question["comparisons"]:
            assert each["verdict"] == "invalid"
            assert each["reason"].startswith("P012: ")


def test_an_error_of_a_question_touches_that_question_only(write: Write) -> None:
    content = verdicts.compute(write(small(val='"test"'), {"control": 0.9, "relu": 0.97, "lr-1": 0.95}))
    assert comparison(content, "relu", "relu")["verdict"] == "better"
    assert comparison(content, "rate", content["questions"][2]["sweep"]["best"])["verdict"] == "invalid"


def test_other_test_images_make_the_verdict_invalid(write: Write, tmp_path: Path) -> None:
    results = write(small(), {"control": 0.9})
    _relabel(results, "relu", lambda labels: np.roll(labels, 1))
    content = verdicts.compute(results)
    found = comparison(content, "relu", "relu")
    assert (found["verdict"], found["difference"]) == ("invalid", None)
    assert found["reason"].startswith("P013: ")
    assert comparison(content, "again", "low")["verdict"] != "invalid"


def test_runs_of_one_arm_on_different_images_are_refused(write: Write) -> None:
    results = write(small(), {"control": 0.9})
    _relabel(results, "relu", lambda labels: np.roll(labels, 1), seeds=[2])
    with pytest.raises(StoreError, match=r"tested on the same examples, but .*relu/2` was tested on others"):
        verdicts.compute(results)


def _relabel(results: Results, arm: str, change: Callable[[Any], Any], seeds: list[int] | None = None) -> None:
    for run in results.runs(arm):
        if seeds is None or run.result.seed in seeds:
            predictions = run.predictions()
            changed = Predictions(predictions.logits, change(predictions.labels))
            np.savez(run.folder / "predictions.npz", logits=changed.logits, labels=changed.labels)


def test_a_sweep_compares_its_best_value_on_val(write: Write) -> None:
    results = write(small(), {"control": 0.9, "low": 0.8, "lr-0.01": 0.8, "lr-1": 0.97})
    content = verdicts.compute(results)
    question = content["questions"][2]
    sweep = question["sweep"]
    assert (sweep["factor"], sweep["best"], sweep["reason"]) == ("optim.lr", "lr-1", None)
    assert [row["value"] for row in sweep["values"]] == [0.01, 0.1, 1.0]
    assert [each["arm"] for each in question["comparisons"]] == ["lr-1"]
    vals = [run.epochs[-1].val_accuracy for run in results.runs("lr-1")]
    assert sweep["values"][2]["val_accuracy"] == pytest.approx(np.mean([value for value in vals if value is not None]))
    assert sweep["values"][2]["test_accuracy"] == content["arms"]["lr-1"]["test_accuracy"]


def test_a_sweep_whose_best_is_the_control_compares_nothing_and_says_so(write: Write) -> None:
    question = verdicts.compute(write(small(), {"control": 0.97, "lr-0.01": 0.8, "lr-1": 0.9}))["questions"][2]
    assert (question["comparisons"], question["sweep"]["best"]) == ([], "control")
    assert "nothing to compare" in question["sweep"]["reason"]


def test_a_sweep_without_runs_has_no_best(write: Write) -> None:
    experiment = small(seeds=2)
    missing = [(arm, seed) for arm in experiment.arms for seed in (0, 1)]
    content = verdicts.compute(write(experiment, {"control": 0.9}, missing=missing))
    assert content["questions"][2]["sweep"]["best"] is None
    assert "none can be called the best" in content["questions"][2]["sweep"]["reason"]


def test_a_sweep_goes_by_the_seeds_that_its_values_share(write: Write) -> None:
    """Here seeds 0 and 1 have harder validation images than the others, which the control alone has."""
    missing = [(arm, seed) for arm in ("lr-0.01", "lr-1") for seed in (2, 3, 4)]
    results = write(small(), {"control": 0.9}, missing=missing)
    stored = arms.load(results)
    figures = {"control": (0.7, 0.7, 0.99, 0.99, 0.99), "lr-0.01": (0.75, 0.75), "lr-1": (0.6, 0.6)}
    for name, values in figures.items():
        runs = [
            dataclasses.replace(run, epochs=tuple(dataclasses.replace(each, val_accuracy=value) for each in run.epochs))
            for run, value in zip(stored[name].runs, values, strict=True)
        ]
        stored[name] = dataclasses.replace(stored[name], runs=tuple(runs))
    entry = arms.sweep(results.experiment.questions[2], results.experiment, stored)
    assert entry["best"] == "lr-0.01"
    assert [row["val_accuracy"] for row in entry["values"]] == pytest.approx([0.75, 0.7, 0.6])
    apart = stored | {"lr-1": dataclasses.replace(stored["lr-1"], runs=stored["control"].runs[2:])}
    entry = arms.sweep(results.experiment.questions[2], results.experiment, apart)
    assert (entry["best"], entry["reason"]) == (
        None,
        "The values that ran have no seed in common, so none can be called the best.",
    )


def test_a_sweep_goes_by_val_and_not_by_test(write: Write) -> None:
    results = write(small(), {"control": 0.97, "lr-0.01": 0.9, "lr-1": 0.9})
    stored = arms.load(results)
    run = stored["lr-0.01"].runs[0]
    lucky = dataclasses.replace(run, epochs=tuple(dataclasses.replace(each, val_accuracy=1.0) for each in run.epochs))
    stored["lr-0.01"] = dataclasses.replace(stored["lr-0.01"], runs=(lucky,) * 5)
    assert arms.best_on_val(results.experiment.questions[2], stored) == "lr-0.01"


def test_val_ties_go_to_the_lower_loss_and_a_diverged_run_counts_as_nothing_learned(write: Write) -> None:
    results = write(small(seeds=1), {"control": 0.9}, diverged=[("lr-1", 0)])
    question, stored = results.experiment.questions[2], arms.load(results)
    for name, loss in (("control", 0.3), ("lr-0.01", 0.2), ("lr-1", 0.4)):
        run = stored[name].runs[0]
        same = tuple(dataclasses.replace(each, val_accuracy=0.9, val_loss=loss) for each in run.epochs)
        stored[name] = dataclasses.replace(stored[name], runs=(dataclasses.replace(run, epochs=same),))
    assert arms.best_on_val(question, stored) == "lr-0.01"
    run = stored["lr-1"].runs[0]
    stored["lr-1"] = dataclasses.replace(stored["lr-1"], runs=(dataclasses.replace(run, epochs=()),))
    assert arms.val_accuracy(stored["lr-1"].runs) == 0
    run = stored["control"].runs[0]
    stored["control"] = dataclasses.replace(stored["control"], runs=(dataclasses.replace(run, epochs=()),))
    assert arms.val_accuracy(stored["control"].runs) is None


@pytest.mark.parametrize(("test_examples", "verdict"), [(180, "undecided"), (190, "equivalent")])
def test_arms_that_answer_alike_are_equivalent_if_the_images_suffice(
    write: Write, test_examples: int, verdict: str
) -> None:
    """The chance that none of n images shows a difference of the margin, twice 0.98^n, is 0.05 at 183 images."""
    results = write(small(seeds=3), {"control": 0.9}, test_examples=test_examples)
    for run, other in zip(results.runs("control"), results.runs("relu"), strict=True):
        (other.folder / "predictions.npz").write_bytes((run.folder / "predictions.npz").read_bytes())
    found = comparison(verdicts.compute(results), "relu", "relu")
    assert (found["verdict"], found["p"], found["difference"], found["test"]) == (verdict, 1, 0, "none apart")
    assert found["ci95"] == pytest.approx([-(1 - 0.025 ** (1 / test_examples)), 1 - 0.025 ** (1 / test_examples)])
    assert found["test_images_needed"] == (183 if verdict == "undecided" else None)


def test_an_arms_interval_is_the_t_interval_over_seeds(write: Write) -> None:
    results = write(small(), {"control": 0.9})
    row = verdicts.compute(results)["arms"]["control"]
    accuracies = [run.result.test_accuracy for run in results.runs("control")]
    assert row["test_accuracy"]["ci95"] == pytest.approx(stats.t_interval(accuracies))
    assert row["test_accuracy"]["sd"] == pytest.approx(np.std(accuracies, ddof=1))
    assert row["test_accuracy"]["ci95_kind"] == "t over seeds"
    seconds = [run.result.seconds for run in results.runs("control")]
    assert (row["seconds"], row["seconds_per_run"]) == (pytest.approx(sum(seconds)), pytest.approx(np.median(seconds)))


def test_runs_that_are_all_alike_get_the_interval_of_the_test_set(write: Write) -> None:
    stored = arms.load(write(small(seeds=2), {"control": 0.9}))
    run = stored["control"].runs[0]
    alike = dataclasses.replace(stored["control"], runs=(run, run), correct=stored["control"].correct[[0, 0]])
    assert arms.summary(alike)["test_accuracy"]["ci95_kind"] == "wilson"
    assert arms.summary(alike)["test_accuracy"]["sd"] == 0


def test_a_validation_accuracy_has_an_interval_over_seeds_or_over_images(tmp_path: Path) -> None:
    experiment = example_experiment(4, 2)
    runs = write_results(tmp_path / "four", experiment, {"control": 0.8}).runs("control")
    values = [run.epochs[-1].val_accuracy or 0.0 for run in runs]
    assert arms.val_accuracy_ci95(runs) == stats.t_interval(values)
    images = runs[0].result.val_examples
    assert arms.val_accuracy_ci95(runs[:1]) == stats.wilson(round(values[0] * images), images)
    assert arms.val_accuracy_ci95([]) is None
