"""Checks of stored runs: each has a case that fires and one that does not, on results made by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from check_designs import RELU, SWEEP, design, fired, of
from paribus import arms, checks, verdicts
from paribus.checks import of_outcome
from paribus.facts import Facts
from paribus.metrics import cross_entropy
from paribus.store import LayerProbe, Probes, Results, Run
from paribus.testing.synthetic import write_results
from test_checks_measured import net


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is about a crash, and waiting for the disk would be most of the time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


Make = Callable[[Path], Results]


def _written(
    questions: str, accuracy: dict[str, float], published: str = "", epochs: int = 2, **options: object
) -> Make:
    def make(folder: Path) -> Results:
        experiment = design(questions, seeds=2, published=published, epochs=epochs)
        return write_results(folder, experiment, accuracy, test_examples=400, **options)  # type: ignore[arg-type]

    return make


def _with_other_labels(folder: Path) -> Results:
    results = _written(RELU, {"control": 0.9})(folder)
    for run in results.runs("relu"):
        stored = run.predictions()
        np.savez(run.folder / "predictions.npz", logits=stored.logits, labels=np.roll(stored.labels, 1))
    return results


def _with_other_photos(**data: Any) -> Make:
    """An arm whose data table differs, tested on other images with the same labels, class by class."""

    def make(folder: Path) -> Results:
        keys = ", ".join(f'"data.{key}" = {json.dumps(value)}' for key, value in data.items())
        together = f"together = [{json.dumps([f'data.{key}' for key in data])}]" if len(data) > 1 else ""
        question = f'[[question]]\nid = "relu"\nasks = "?"\n{together}\narms.relu = {{ {keys} }}\n'
        results = _written(question, {"control": 0.9})(folder)
        (known,) = (results.folder / "data").iterdir()
        test = results.test_set(known.stem)
        results.write_test_set("0" * 64, replace(test, images=test.images[:, :, ::-1]))
        for run in results.runs("relu"):
            config = json.loads((run.folder / "config.json").read_text(encoding="utf-8"))
            (run.folder / "config.json").write_text(json.dumps(config | {"data_fingerprint": "0" * 64}), "utf-8")
        return results

    return make


def linked_by_a_third(folder: Path) -> Results:
    """Two sources of the same test images: only the arm `small` shows that `renamed` was tested on the control's."""
    questions = """[[question]]
id = "renamed"
asks = "?"
together = [["data.size", "data.name"]]
arms.renamed = { "data.size" = 28, "data.name" = "fashion-mnist" }
[[question]]
id = "small"
asks = "?"
arms.small = { "data.size" = 28 }
"""
    results = _written(questions, {"control": 0.9})(folder)
    (known,) = (results.folder / "data").iterdir()
    test = results.test_set(known.stem)
    results.write_test_set("0" * 64, replace(test, images=test.images[:, :, 2:-2, 2:-2]))
    for arm in ("renamed", "small"):
        for run in results.runs(arm):
            config = json.loads((run.folder / "config.json").read_text(encoding="utf-8"))
            (run.folder / "config.json").write_text(json.dumps(config | {"data_fingerprint": "0" * 64}), "utf-8")
    return results


def test_the_same_images_are_found_through_other_arms(tmp_path: Path) -> None:
    results = linked_by_a_third(tmp_path)
    prints = {arm: str(results.runs(arm)[0].config()["data_fingerprint"]) for arm in results.experiment.arms}
    assert len(set(arms.images_tested_on(results, prints).values())) == 1
    del prints["small"]
    assert len(set(arms.images_tested_on(results, prints).values())) == 2, "unknown without the third"


def test_every_run_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, read = FINE(tmp_path), list[str]()
    runs = Results.runs

    def noted(self: Results, arm: str) -> list[Run]:
        read.append(arm)
        return runs(self, arm)

    monkeypatch.setattr(Results, "runs", noted)
    arms.load(results)
    assert read == list(results.experiment.arms)


def _with_logits(change: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]) -> Make:
    """Change the predictions of one run of the arm relu, and its test loss with them."""

    def make(folder: Path) -> Results:
        results = _written(RELU, {"control": 0.9})(folder)
        run = results.runs("relu")[1]
        stored = run.predictions()
        logits = change(stored.logits).astype(np.float32)
        np.savez(run.folder / "predictions.npz", logits=logits, labels=stored.labels)
        test_loss = float(cross_entropy(logits, stored.labels).mean())
        result = json.loads((run.folder / "result.json").read_text(encoding="utf-8"))
        (run.folder / "result.json").write_text(json.dumps(result | {"test_loss": test_loss}), encoding="utf-8")
        return results

    return make


def _never_3(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.where(np.arange(10) == 3, -100, logits).astype(np.float32)


FINE_CURVES: dict[str, list[float]] = {
    "train_loss": [1.0, 0.5, 0.3, 0.2, 0.1],
    "val_loss": [1.0, 0.5, 0.4, 0.3, 0.3],
    "val_accuracy": [0.7, 0.8, 0.88, 0.9, 0.9],
}


def _with_curves(also: str = "", value: str = "", **curves: list[float]) -> Make:
    """Give every run these curves; only those of the arm relu are bad, which has another factor set where asked for."""

    def make(folder: Path) -> Results:
        together = f'together = [["model.activation", "{also}"]]\n'
        questions = RELU.replace('"relu" }', f'"relu", "{also}" = {value} }}') + together if also else RELU
        results = _written(questions, {"control": 0.9}, epochs=5)(folder)
        for arm in ("control", "relu"):
            columns = FINE_CURVES | (curves if arm == "relu" else {})
            for run in results.runs(arm):
                records = [asdict(record) for record in run.epochs]
                for epoch, record in enumerate(records):
                    record |= {name: values[epoch] for name, values in columns.items()}
                text = "".join(json.dumps(record) + "\n" for record in records)
                (run.folder / "epochs.jsonl").write_text(text, encoding="utf-8")
        return results

    return make


def _with_probes(dead: int | None, saturated: float | None) -> Make:
    def make(folder: Path) -> Results:
        results = _written(RELU, {"control": 0.9})(folder)
        for run in results.runs("relu"):
            layer = LayerProbe("act4", "relu", 84, dead, saturated)
            probes = Probes(200, 0.9, 0.9, 0.01, 0.8, 0.7, 0.8, (layer,), {"fc3": 1.0})
            (run.folder / "probes.json").write_text(json.dumps(asdict(probes)), encoding="utf-8")
        return results

    return make


GONE = [("relu", 0), ("relu", 1)]
FINE = _written(RELU + SWEEP, {"control": 0.97, "lr-0.01": 0.8, "lr-1": 0.9})
BAND = "published = [0.95, 0.99]"
OUTCOME_CASES: list[tuple[str, Make, Make, str, str]] = [
    ("P007", _written(RELU, {"control": 0.9}, missing=GONE), FINE, "question relu", "`relu` never ran"),
    (
        "P008",
        _written(SWEEP, {"control": 0.8, "lr-1": 0.97}),
        FINE,
        "question rate",
        "`optim.lr` on validation, 1, is the largest",
    ),
    ("P009", _written(RELU, {"control": 0.9}, diverged=[("relu", 1)]), FINE, "relu", "1 of 2 runs diverged and counts"),
    (
        "P010",
        _written(RELU, {"control": 0.7}, published=BAND),
        _written(RELU, {"control": 0.97}, published=BAND),
        "control",
        "lies below the published 95.00 to 99.00 %",
    ),
    ("P011", _written(RELU, {"control": 0.9, "relu": 0.02}), FINE, "relu", "2 of 2 runs are not shown to do better"),
    ("P012", _written(RELU, {"control": 0.1, "relu": 0.9}), FINE, "control", "says nothing"),
    ("P013", _with_other_labels, FINE, "relu", "other images than the control"),
    (
        "P013",
        _with_other_photos(test=0.2, group="numbering"),
        _with_other_photos(group="numbering"),
        "relu",
        "other images than the control",
    ),
    ("P013", _with_other_photos(test=0.2), _with_other_photos(size=28), "relu", "other images than the control"),
    ("P013", _with_other_photos(name="fashion-mnist"), FINE, "relu", "other images than the control"),
    ("P028", _with_logits(_never_3), FINE, "relu", "1 of 2 runs never predicts class `3`."),
    (
        "P029",
        _with_curves(train_loss=[0.3, 0.15, 0.9, 0.4, 0.3]),
        _with_curves(train_loss=[0.3, 0.15, 0.2, 0.1, 0.05]),
        "relu",
        "The training loss of 2 of 2 runs jumped, at most from 0.1500 to 0.9000 at epoch 3.",
    ),
    (
        "P030",
        _with_curves(val_accuracy=[0.5, 0.6, 0.7, 0.8, 0.85], val_loss=[1, 0.9, 0.8, 0.7, 0.6]),
        _with_curves(val_accuracy=[0.5, 0.8, 0.84, 0.85, 0.86], val_loss=[1, 0.9, 0.8, 0.7, 0.6]),
        "relu",
        "over the last epoch validation accuracy rose by 5.00 points, more than the margin of 2 points, and validation "
        "loss fell by 0.1000.",
    ),
    (
        "P031",
        _with_curves(val_loss=[0.3, 0.05, 0.06, 0.07, 0.08]),
        _with_curves(val_loss=[0.3, 0.09, 0.06, 0.06, 0.065]),
        "relu",
        "Over-fitted in loss, not in accuracy: validation loss rose from 0.0500 around epoch 2 to 0.0800, while the",
    ),
    (
        "P032",
        _with_probes(dead=70, saturated=0.1),
        _with_probes(dead=7, saturated=0.1),
        "relu",
        "Many dead units, 83.33 % in `act4` (mean of 2 runs).",
    ),
    (
        "P033",
        _with_logits(lambda logits: np.where(logits == logits.max(axis=1, keepdims=True), 1.0, -1.0)),
        FINE,
        "relu",
        "In 1 of 2 runs the logits stay within −1.0000 to 1.0000, where the loss cannot fall below 0.7966 nats.",
    ),
]


@pytest.mark.parametrize("code, bad, good, where, text", OUTCOME_CASES, ids=[case[0] for case in OUTCOME_CASES])
def test_outcome_checks_fire_and_pass(code: str, bad: Make, good: Make, where: str, text: str, tmp_path: Path) -> None:
    assert text in fired(code, checks.outcome(bad(tmp_path / "bad")))[where]
    assert [finding.outcome for finding in of(code, checks.outcome(good(tmp_path / "good")))] == ["passed"]


def test_outcome_checks_do_not_apply_before_anything_ran(tmp_path: Path) -> None:
    experiment = design(RELU + SWEEP, seeds=1, published=BAND)
    missing = [(arm, 0) for arm in experiment.arms]
    findings = checks.outcome(write_results(tmp_path / "result", experiment, {"control": 0.9}, missing=missing))
    outcomes = {finding.code: finding.outcome for finding in findings}
    assert outcomes.pop("P007") == "fired"
    assert set(outcomes.values()) == {"not applicable"}


def test_over_fitting_says_in_what(tmp_path: Path) -> None:
    worse = [0.7, 0.9, 0.89, 0.87, 0.85]
    both = _with_curves(val_loss=[0.3, 0.05, 0.06, 0.07, 0.08], val_accuracy=worse)(tmp_path / "both")
    text = fired("P031", checks.outcome(both))["relu"]
    assert "in loss and accuracy: validation loss rose" in text
    assert "and validation accuracy fell by 5.00 points from its best around epoch 2, while" in text
    alone = _with_curves(val_loss=[0.3, 0.06, 0.06, 0.06, 0.06], val_accuracy=worse)(tmp_path / "alone")
    assert "in accuracy, not in loss: validation accuracy fell" in fired("P031", checks.outcome(alone))["relu"]
    kept = _with_curves("train.keep", '"best"', val_loss=[0.3, 0.05, 0.06, 0.07, 0.08])(tmp_path / "kept")
    assert not fired("P031", checks.outcome(kept))


def test_a_loss_that_jumps_with_the_shares_of_mixup_is_no_spike(tmp_path: Path) -> None:
    jumps = [0.3, 0.15, 0.9, 0.4, 0.3]
    assert "relu" in fired("P029", checks.outcome(_with_curves(train_loss=jumps)(tmp_path / "plain")))
    mixed = _with_curves("augment.mixup", "0.2", train_loss=jumps)(tmp_path / "mixed")
    assert [finding.outcome for finding in of("P029", checks.outcome(mixed))] == ["passed"]


def test_a_curve_that_only_wobbles_is_not_over_fitted(tmp_path: Path) -> None:
    rising = _with_curves(val_loss=[0.3, 0.05, 0.06, 0.07, 0.08], train_loss=[1.0, 0.1, 0.2, 0.2, 0.2])
    assert not fired("P031", checks.outcome(rising(tmp_path / "result")))


def test_saturated_units_fire_and_absent_figures_do_not(tmp_path: Path) -> None:
    text = fired("P032", checks.outcome(_with_probes(None, 0.8)(tmp_path / "saturated")))["relu"]
    assert text == "Many saturated values, 80.00 % in `act4` (mean of 2 runs)."
    assert not fired("P032", checks.outcome(_with_probes(None, None)(tmp_path / "absent")))


def test_a_hardly_trained_network_has_no_floor(tmp_path: Path) -> None:
    results = _with_logits(lambda logits: (0.01 * logits).astype(np.float32))(tmp_path / "result")
    assert not fired("P033", checks.outcome(results))


def test_constant_logits_have_no_floor(tmp_path: Path) -> None:
    """A network that has learned nothing gives each class one logit, so that these lie at the ends of their range."""
    constant = _with_logits(lambda logits: np.broadcast_to(np.linspace(-0.1, 0.1, 10), logits.shape))
    assert not fired("P033", checks.outcome(constant(tmp_path / "result")))


def test_classes_told_apart_well_have_no_floor(tmp_path: Path) -> None:
    """Logits that gather at two values, as those of two classes do, are not bounded by them."""

    def gathered(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        ends = np.where(logits == logits.max(axis=1, keepdims=True), 2.0, -2.0)
        return (ends + 0.1 * np.random.default_rng(0).standard_normal(ends.shape)).astype(np.float32)

    assert not fired("P033", checks.outcome(_with_logits(gathered)(tmp_path / "result")))


def test_one_lucky_epoch_of_one_run_is_no_turn(tmp_path: Path) -> None:
    results = _with_curves(val_loss=[0.3, 0.05, 0.06, 0.07, 0.08])(tmp_path / "result")
    one = {
        name: replace(arm, runs=arm.runs[:1], correct=arm.correct[:1], loss=arm.loss[:1])
        for name, arm in arms.load(results).items()
    }
    assert of("P031", checks.outcome(results, one))[0].outcome == "not applicable"


def test_a_turn_within_the_noise_of_the_seeds_is_none(tmp_path: Path) -> None:
    results = _with_curves(val_loss=[0.3, 0.05, 0.06, 0.07, 0.08])(tmp_path / "result")
    file = results.runs("relu")[0].folder / "epochs.jsonl"
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    records[-1]["val_loss"] = 0.04
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    assert not fired("P031", checks.outcome(results))


def test_a_rise_of_the_margin_is_not_above_it(tmp_path: Path) -> None:
    """0.86 - 0.84 is a little more than 0.02 in floating point."""
    curves = _with_curves(val_accuracy=[0.5, 0.8, 0.82, 0.84, 0.86], val_loss=[1, 0.9, 0.8, 0.7, 0.6])
    assert 0.86 - 0.84 > 0.02
    assert not fired("P030", checks.outcome(curves(tmp_path / "result")))


def test_many_dead_classes_are_counted(tmp_path: Path) -> None:
    def only_low(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.where(np.arange(10) >= 4, -100, logits).astype(np.float32)

    text = fired("P028", checks.outcome(_with_logits(only_low)(tmp_path / "result")))["relu"]
    assert text.endswith("the classes `4`, `5`, `6`, `7`, `8` and 1 more.")


def test_classes_that_only_some_runs_miss_are_named_with_their_runs(tmp_path: Path) -> None:
    results = _with_logits(_never_3)(tmp_path / "result")
    other = results.runs("relu")[0].folder / "predictions.npz"
    with np.load(other) as arrays:
        logits, labels = arrays["logits"], arrays["labels"]
    np.savez(other, logits=np.where(np.isin(np.arange(10), (3, 5)), -100, logits).astype(np.float32), labels=labels)
    text = fired("P028", checks.outcome(results))["relu"]
    assert text == "2 of 2 runs never predict some class, most often `3` (2 runs) and `5` (1 run)."


def test_a_sweep_of_words_has_no_edge(tmp_path: Path) -> None:
    sweep = SWEEP.replace("optim.lr", "model.activation").replace("0.01, 0.1, 1.0", '"tanh", "relu"')
    results = _written(sweep, {"control": 0.8, "relu": 0.97})(tmp_path / "result")
    assert of("P008", checks.outcome(results))[0].outcome == "not applicable"


def test_a_value_beyond_which_there_is_none_is_no_edge(tmp_path: Path) -> None:
    for values, is_edge in (("0.0, 0.5, 0.9", False), ("0.3, 0.5, 0.9", True)):
        sweep = SWEEP.replace("optim.lr", "optim.momentum").replace("0.01, 0.1, 1.0", values)
        first = f"momentum-{values.partition(',')[0]}"
        made = design(sweep, seeds=2)
        best = next(name for name, arm in made.arms.items() if arm.recipe.optim.momentum == float(values[:3]))
        results = write_results(tmp_path / first, made, dict.fromkeys(made.arms, 0.7) | {best: 0.97})
        assert bool(fired("P008", checks.outcome(results))) == is_edge


def test_one_collapsed_control_run_of_three_is_no_error(tmp_path: Path) -> None:
    experiment = design(RELU, seeds=3)
    results = write_results(tmp_path / "result", experiment, {"control": 0.9}, diverged=[("control", 0)])
    assert not fired("P012", checks.outcome(results))


OWN_RATE = RELU.replace('"relu" }', '"relu", "optim.lr" = "retune" }').replace(
    "arms.relu", 'together = [["model.activation", "optim.lr"]]\narms.relu'
)


def test_a_run_that_finds_what_is_rare_has_learned_something(tmp_path: Path) -> None:
    """Of 270 images of one class and 30 of another, 93.3 % against 90 %: Wilson's interval reaches down to 90 %."""
    results = _written(RELU, {"control": 0.9})(tmp_path / "result")
    stored = arms.load(results)
    labels = np.repeat([0, 1], [270, 30])
    right = np.concatenate([np.ones(270), np.zeros(30)])
    found, named = right.copy(), right.copy()
    found[269:281] = [0, *[1] * 11]
    named[269:271] = [0, 1]
    for row, expected in ((found, False), (named, True), (right, True)):
        each = {name: replace(arm, labels=labels, correct=np.stack([row] * 2)) for name, arm in stored.items()}
        fired_at = {code: list(fired(code, checks.outcome(results, each))) for code in ("P011", "P012")}
        assert fired_at == (
            {"P011": ["control", "relu"], "P012": ["control"]} if expected else {"P011": [], "P012": []}
        )


@pytest.mark.parametrize("others", [5, 6])
def test_a_perfect_run_has_learned_something_however_few_images_could_tell(others: int, tmp_path: Path) -> None:
    results = _written(RELU, {"control": 0.9})(tmp_path / "result")
    labels = np.repeat([0, 1], [400 - others, others])
    for right, is_stuck in ((np.ones(400), False), (labels == 0, True)):
        correct = np.stack([right] * 2).astype(float)
        each = {name: replace(arm, labels=labels, correct=correct) for name, arm in arms.load(results).items()}
        assert bool(fired("P012", checks.outcome(results, each))) == is_stuck


def test_each_baseline_answers_for_its_own_comparisons(tmp_path: Path) -> None:
    results = _written(RELU, {"control": 0.9})(tmp_path / "result")
    good, experiment = arms.load(results)["control"], design(OWN_RATE, seeds=2)
    assert experiment.baseline("relu") == "control-retuned"
    stuck = replace(good, correct=np.stack([good.labels == 0] * 2).astype(float))
    for dead in ("control", "control-retuned"):
        other = {"control": good, "control-retuned": replace(good, name="control-retuned"), "relu": good}
        other[dead] = replace(stuck, name=dead)
        places = of_outcome.control_collapsed(experiment, other)
        assert places is not None
        ((where, message),) = places
        assert where == dead
        assert message.startswith(f"2 of 2 runs of the {'retuned ' * (dead != 'control')}control are not shown to do")


def test_an_error_in_the_facts_makes_verdicts_invalid(tmp_path: Path) -> None:
    results = _written(RELU, {"control": 0.9})(tmp_path / "result")
    assert verdicts.compute(results)["questions"][0]["comparisons"][0]["verdict"] != "invalid"
    results.write_facts(Facts(models=(net(("relu",), bent=True, lowest=0.0),)))
    comparison = verdicts.compute(results)["questions"][0]["comparisons"][0]
    assert comparison["verdict"] == "invalid"
    assert comparison["reason"].startswith("P023: The logits pass through a nonlinearity")
