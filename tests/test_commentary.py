from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paribus import arms, checks, verdicts
from paribus.commentary import Material, Sentence, comment
from paribus.config import Recipe
from paribus.experiment import Experiment
from paribus.report import write_report
from paribus.store import Results
from paribus.testing.synthetic import write_results
from quoted_values import layers_of, resolve, unexplained, write_layer_norms, write_probes

TOML = """
[experiment]
name = "prose"
seeds = @seeds
margin = 0.01
[control]
data = { name = "digits", size = 32, val = 200 }
model = { name = "lenet5" }
optim = { name = "sgd", lr = 0.1 }
train = { epochs = 4, batch_size = 128 }
[[question]]
id = "relu"
asks = "ReLU?"
arms.relu = { "model.activation" = "relu" }
[[question]]
id = "loss"
asks = "ReLU and the loss?"
metric = "test_loss"
arms.relu = { "model.activation" = "relu" }
[[question]]
id = "batch"
asks = "Larger batches?"
arms.b256 = { "train.batch_size" = 256 }
arms.b512 = { "train.batch_size" = 512 }
[[question]]
id = "epochs"
asks = "Longer?"
arms.long = { "train.epochs" = 12 }
[[question]]
id = "both"
asks = "Do they add up?"
arms.max = { "model.pooling" = "max" }
arms.relu-max = { "model.activation" = "relu", "model.pooling" = "max" }
together = [["model.activation", "model.pooling"]]
[[question]]
id = "network"
asks = "Another network?"
arms.charcnn = { "model.name" = "charcnn" }
[[question]]
id = "rate"
asks = "Which rate?"
factor = "optim.lr"
values = [0.01, 0.1, 1.0]
[[question]]
id = "activation"
asks = "Which activation?"
factor = "model.activation"
values = ["tanh", "relu"]
"""


def experiment(seeds: int) -> Experiment:
    return Experiment.parse(TOML.replace("@seeds", str(seeds)))


def write(folder: Path, seeds: int, accuracy: Mapping[str, float], **options: Any) -> Results:
    return write_results(folder, experiment(seeds), accuracy, **{"test_examples": 400, **options})


CASES: dict[str, tuple[int, dict[str, float], dict[str, Any]]] = {
    "differences": (4, {"control": 0.9, "relu": 0.98, "b256": 0.7, "b512": 0.89, "lr-1": 0.97}, {}),
    "nothing": (3, {"control": 0.95}, {"test_examples": 1500}),
    "one seed": (1, {"control": 0.8, "relu": 0.95}, {}),
    "diverged": (3, {"control": 0.9}, {"diverged": [("relu", 0), ("lr-1", 0), ("lr-1", 1), ("long", 2)]}),
    "gaps": (3, {"control": 0.9}, {"missing": [("relu", 1), ("b256", 0), ("b256", 1), ("b256", 2), ("control", 0)]}),
    "invalid": (2, {"control": 0.05, "relu": 0.9}, {}),
    "two seeds": (2, {"control": 0.99, "relu": 0.5, "lr-0.01": 0.985}, {}),
}


def measure(results: Results, seed: int = 0) -> None:
    """Give every finished run probes and layer norms that differ from arm to arm by more than from seed to seed."""
    rng = np.random.default_rng(seed)
    for index, arm in enumerate(results.experiment.arms):
        for run in results.runs(arm):
            write_layer_norms(run, 0.1 * (1 + index) + 0.01 * rng.random(), 1.0)
            if run.result.status == "finished":
                change = 0.02 * index + 0.002 * rng.random()
                lost = {"accuracy_shifted_1": 0.9 - change, "accuracy_shifted_2": 0.8 - 2 * change}
                layers = layers_of(results.experiment, arm, 0.1 * (1 + index % 3) + 0.05 * rng.random())
                write_probes(run, calibration_error=0.01 + change, confidence=0.95 + change, layers=layers, **lost)


@pytest.fixture(params=[*CASES, "measured"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Results, dict[str, Any]]:
    seeds, accuracy, options = CASES.get(request.param, CASES["differences"])
    results = write(tmp_path / "result", seeds, accuracy, **options)
    if request.param == "measured":
        measure(results)
    return results, verdicts.compute(results)


def same(found: Any, quoted: Any) -> bool:
    """Alike, numbers but for the order in which floats are added."""
    are_numbers = isinstance(found, float | int) and isinstance(quoted, float | int)
    return math.isclose(found, quoted, rel_tol=1e-9, abs_tol=1e-15) if are_numbers else bool(found == quoted)


def test_every_number_in_every_sentence_comes_from_the_store(case: tuple[Results, dict[str, Any]]) -> None:
    results, content = case
    for question in content["questions"]:
        for sentence in question["comment"]:
            for item in sentence["evidence"]:
                assert same(resolve(item, results, question), item["value"]), item
            assert unexplained(sentence) == [], sentence["text"]


def test_paragraphs_go_through_their_parts_are_short_and_never_say_the_same_twice(
    case: tuple[Results, dict[str, Any]],
) -> None:
    order = ["answer", "evidence", "limits", "next"]
    for question in case[1]["questions"]:
        texts = [sentence["text"] for sentence in question["comment"]]
        parts = [sentence["part"] for sentence in question["comment"]]
        assert parts == sorted(parts, key=order.index)
        assert (parts[0], parts.count("next")) == ("answer", 1)
        assert 2 <= len(texts) <= 9
        assert len(set(texts)) == len(texts)
        for text in texts:
            assert re.match(r"[A-Z`1-9]", text)
            assert text.endswith(".")
            assert not re.search(r"None|nan|\binf\b|  |\.\.|(?<![\d.,])1 (points|runs|seeds|values|epochs)\b", text), (
                text
            )


def test_prose_agrees_with_the_verdict(case: tuple[Results, dict[str, Any]]) -> None:
    phrases = {
        "better": "is better than the control",
        "worse": "is worse than the control",
        "equivalent": "and the control are equivalent",
        "undecided": "is undecided",
        "invalid": "No verdict on",
    }
    for question in case[1]["questions"]:
        prose = " ".join(sentence["text"] for sentence in question["comment"])
        for each in question["comparisons"]:
            expected = phrases[each["verdict"]] if each["difference"] is not None else "Nothing can be said about"
            assert expected in prose
        said = {each["verdict"] for each in question["comparisons"]}
        for verdict, phrase in phrases.items():
            assert phrase not in prose or verdict in said


def test_the_test_of_numbers_can_fail(tmp_path: Path) -> None:
    content = verdicts.compute(write(tmp_path / "result", 3, {"control": 0.9, "relu": 0.97}))
    sentences = content["questions"][0]["comment"]
    assert unexplained(sentences[0]) == []
    wrong = sentences[0]["text"].replace("3 seeds", "8 seeds")
    assert unexplained({"text": wrong, "evidence": sentences[0]["evidence"]}) == ["8"]
    (cost,) = [each for each in sentences if "takes" in each["text"]]
    assert unexplained(cost) == []
    assert unexplained({**cost, "text": cost["text"].replace("takes ", "takes 7")}) != []


def texts_of(results: Results, question: str, part: str = "") -> list[str]:
    content = verdicts.compute(results)
    comment = next(each["comment"] for each in content["questions"] if each["id"] == question)
    return [each["text"] for each in comment if part in ("", each["part"])]


def test_a_single_arm_gets_loss_speed_cost_and_what_comes_next(tmp_path: Path) -> None:
    texts = texts_of(write(tmp_path / "result", 4, {"control": 0.9, "relu": 0.97}), "relu")
    assert texts[0].startswith("`relu` is better than the control: mean test accuracy ")
    expected = ("The test loss of", "A validation accuracy of", "A run of `relu` takes", "Next: ")
    assert [each for each in expected if not any(text.startswith(each) for text in texts)] == []


def test_batch_sizes_are_told_by_what_is_held_equal(tmp_path: Path) -> None:
    more = """
arms.b512-long = { "train.batch_size" = 512, "train.epochs" = 16 }
arms.b256-fast = { "train.batch_size" = 256, "optim.lr" = 0.2 }
together = [["train.batch_size", "train.epochs"], ["train.batch_size", "optim.lr"]]
"""
    text = TOML.replace('asks = "Larger batches?"', f'asks = "Larger batches?"{more}')
    results = write_results(
        tmp_path / "result", Experiment.parse(text.replace("@seeds", "3")), {"control": 0.9}, test_examples=400
    )
    answers = {re.findall(r"`([^`]+)`", each)[0]: each for each in texts_of(results, "batch", "answer")}
    starts = {
        "b256": "At equal epochs, ",
        "b256-fast": "At equal epochs and a learning rate of 0.2 against 0.1, ",
        "b512-long": "At equal updates (16 epochs against 4), ",
        "b512": "At equal epochs, ",
    }
    assert {arm: answers[arm].startswith(start) for arm, start in starts.items()} == dict.fromkeys(starts, True)
    assert (
        "Updates made in a run: the control 64, `b512-long` 64, `b256-fast` 32, `b256` 32 and `b512` 16."
        in texts_of(results, "batch")
    )


def test_a_comparison_with_another_baseline_names_it(tmp_path: Path) -> None:
    results = write(tmp_path / "result", 4, {"control": 0.9, "relu": 0.97, "max": 0.8})
    content, stored = verdicts.compute(results), arms.load(results)
    entry = dict(content["questions"][0])
    entry["comparisons"] = [entry["comparisons"][0] | {"control": "max"}]
    sentences = comment(Material(results.experiment.questions[0], entry, results.experiment, stored, []))
    assert sentences[0].text.startswith("`relu` is better than `max`: mean test accuracy ")
    assert {item["run"].partition("/")[0] for item in sentences[0].evidence} == {"relu", "max"}
    assert any(re.search(r"^A run of `relu` takes .*, one of `max` ", each.text) for each in sentences)


def cost_of(content: dict[str, Any]) -> dict[str, Any]:
    sentences: list[dict[str, Any]] = content["questions"][0]["comment"]
    (cost,) = [each for each in sentences if each["text"].startswith("A run of `relu` takes")]
    return cost


def took(results: Results, arm: str, key: str, figures: Sequence[float]) -> Results:
    for seed, figure in enumerate(figures):
        file = results.run_folder(arm, seed) / "result.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {key: figure}), encoding="utf-8")
    return Results.open(results.folder)


def test_a_run_costs_the_same_in_the_sentence_as_in_the_table(tmp_path: Path) -> None:
    results = took(write(tmp_path / "result", 3, {"control": 0.9}), "control", "seconds", (10.0, 20.0, 60.0))
    results = took(results, "relu", "seconds", (12.0, 18.0, 99.0))
    shutil.rmtree(results.run_folder("relu", 2))
    content = verdicts.compute(results)
    assert cost_of(content)["text"] == "A run of `relu` takes 15 s, one of the control 20 s."
    write_report(results, content)
    assert "15 s<br>0.75 × control" in (results.folder / "report.md").read_text(encoding="utf-8")


def test_what_features_took_is_told_beside_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = write(tmp_path / "result", 3, {"control": 0.9})
    results = took(results, "control", "features_seconds", (20.0, 21.0, 22.0))
    content = verdicts.compute(results)
    cost = cost_of(content)
    assert cost["text"].endswith("; the features took 21 s for the control (once for all runs).")
    assert unexplained(cost) == []
    assert all(same(resolve(item, results, content["questions"][0]), item["value"]) for item in cost["evidence"])
    assert content["arms"]["control"]["features_seconds"] == 21
    write_report(results, content)
    report = (results.folder / "report.md").read_text(encoding="utf-8")
    assert "features 21 s, once" in report and "all runs together, without the features of frozen networks" in report
    monkeypatch.setattr(Recipe, "has_own_views", True)
    assert cost_of(verdicts.compute(results))["text"].endswith("took 21 s for the control (for each run).")
    write_report(results, content)
    assert "features 21 s, for each seed" in (results.folder / "report.md").read_text(encoding="utf-8")


def test_speed_names_who_does_not_reach_the_target(tmp_path: Path) -> None:
    (text,) = [
        each
        for each in texts_of(write(tmp_path / "result", 3, {"control": 0.95, "relu": 0.5}), "relu")
        if each.startswith("A validation accuracy")
    ]
    assert re.search(r"is reached by the control after .*; not in every run by `relu`\.$", text)
    (alone,) = [
        each
        for each in texts_of(write(tmp_path / "one", 1, {"control": 0.95, "relu": 0.5}), "relu")
        if each.startswith("A validation accuracy")
    ]
    assert alone.endswith("; not by `relu`.")


def test_the_hardest_classes_are_named_where_the_network_changes(tmp_path: Path) -> None:
    results = write(tmp_path / "result", 3, {"control": 0.8, "charcnn": 0.95})
    (text,) = [each for each in texts_of(results, "network") if each.startswith("The hardest classes for `charcnn`")]
    runs = results.runs("charcnn")
    found = [run.predictions() for run in runs]
    by_class = [np.mean([each.correct[each.labels == label].mean() for each in found]) for label in range(10)]
    order = sorted(range(10), key=lambda label: (by_class[label], label))[:3]
    assert re.findall(r"`(\d)`", text) == [str(label) for label in order]
    assert f"`{order[0]}` ({100 * by_class[order[0]]:.2f} %)" in text
    assert not [each for each in texts_of(results, "relu") if "hardest" in each]


def test_two_changes_at_once_are_told_beside_each_alone(tmp_path: Path) -> None:
    results = write(tmp_path / "result", 3, {"control": 0.8, "relu": 0.85, "max": 0.83, "relu-max": 0.95})
    (text,) = [each for each in texts_of(results, "both") if each.startswith("Each change alone")]
    means = {arm: np.mean([run.result.test_accuracy for run in results.runs(arm)]) for arm in results.experiment.arms}
    beyond = 100 * (means["relu-max"] - means["relu"] - means["max"] + means["control"])
    assert f"{100 * means['relu']:.2f} % with `relu` and {100 * means['max']:.2f} % with `max`" in text
    assert f"`relu-max` adds {beyond:+.2f} points (95 % interval over seeds " in text.replace("\u2212", "-")
    ends = [
        float(end) for end in re.findall(r"over seeds ([+-][\d.]+) to ([+-][\d.]+)", text.replace("\u2212", "-"))[0]
    ]
    assert text.endswith(
        ": they do not simply add up." if ends[0] * ends[1] > 0 else ": whether they simply add up is open."
    )


def test_factors_that_are_lists_are_told_apart_too(tmp_path: Path) -> None:
    more = 'arms.cropped = { "augment.crop_scale" = [0.5, 1.0] }\n'
    text = TOML.replace("@seeds", "3").replace("arms.max =", f"{more}arms.max =")
    accuracy = {"control": 0.8, "relu": 0.85, "max": 0.83, "relu-max": 0.95}
    results = write_results(tmp_path / "result", Experiment.parse(text), accuracy, test_examples=400)
    assert len([each for each in texts_of(results, "both") if each.startswith("Each change alone")]) == 1


FALLING, TURNING = (0.3, 0.25, 0.2, 0.15, 0.1), (0.3, 0.1, 0.12, 0.15, 0.2)
CLIMBING, DROPPING = (0.8, 0.85, 0.9, 0.93, 0.95), (0.8, 0.95, 0.94, 0.92, 0.9)


@pytest.mark.parametrize(
    ("val_loss", "val_accuracy", "expected"),
    [
        (FALLING, CLIMBING, "The validation loss of `long` does not rise: it ends at its lowest, 0.1000, with a train"),
        (FALLING, CLIMBING, "Its validation accuracy does not fall: it ends at its highest, 95.00 %."),
        (
            (0.3, 0.25, 0.22, 0.2, 0.201),
            CLIMBING,
            "The validation loss of `long` rises too little to be called over-fitting: it is",
        ),
        (
            TURNING,
            CLIMBING,
            "`long` over-fits in loss: validation loss is lowest after epoch 2, at 0.1000, and ends at",
        ),
        (
            TURNING,
            DROPPING,
            "Its validation accuracy falls: it is highest after epoch 2, at 95.00 %, and ends at 90.00",
        ),
        (TURNING, (0.8, 0.85, 0.9, 0.905, 0.9), "Its validation accuracy does not clearly fall: it is highest after"),
    ],
)
def test_over_fitting_is_told_by_loss_and_by_accuracy(
    val_loss: Sequence[float], val_accuracy: Sequence[float], expected: str, tmp_path: Path
) -> None:
    """By the rule of check P031, so that the paragraph and the check say the same."""
    results = write(tmp_path / "result", 3, {"control": 0.9})
    content, stored = verdicts.compute(results), arms.load(results)
    runs = []
    for run in stored["long"].runs:
        course = [
            dataclasses.replace(record, train_loss=1 / record.epoch, val_loss=loss, val_accuracy=accuracy)
            for record, loss, accuracy in zip(run.epochs, val_loss, val_accuracy, strict=False)
        ]
        assert len(course) == len(val_loss)
        runs.append(dataclasses.replace(run, epochs=tuple(course)))
    stored["long"] = dataclasses.replace(stored["long"], runs=tuple(runs))
    question = results.experiment.questions[3]
    sentences = comment(Material(question, content["questions"][3], results.experiment, stored, []))
    assert all(isinstance(sentence, Sentence) for sentence in sentences)
    assert [each.text for each in sentences if each.text.startswith(expected)], [each.text for each in sentences]
    over_fits = any("over-fits" in each.text or "accuracy falls" in each.text for each in sentences)
    fired = checks.CHECKS["P031"].on_outcome
    assert fired is not None
    assert over_fits == ("long" in dict(fired(results.experiment, stored) or []))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((), "a training loss of {}."),
        (("train.label_smoothing=0.1",), "a training loss of {}, which label smoothing raises."),
        (
            ("augment.mixup=0.2", "train.label_smoothing=0.1"),
            "a training loss of {}, which mixup and label smoothing raise.",
        ),
    ],
)
def test_what_raises_a_training_loss_is_said_beside_it(settings: Sequence[str], said: str, tmp_path: Path) -> None:
    design = Experiment.parse(experiment(3).to_toml(), [f"control.{each}" for each in settings])
    results = write_results(tmp_path / "result", design, {"control": 0.9})
    training = np.mean([run.epochs[-1].train_loss or 0.0 for run in results.runs("long")])
    (text,) = [each for each in texts_of(results, "epochs") if "a training loss of" in each]
    assert text.endswith(said.format(f"{training:.4f}"))


def test_a_real_difference_is_below_the_margin_only_where_its_interval_is(tmp_path: Path) -> None:
    results = write(tmp_path / "result", 4, {"control": 0.9})
    content, stored = verdicts.compute(results), arms.load(results)
    entry = dict(content["questions"][0])
    ways = {0.009: "; the difference is real but below the margin of 1 point.", 0.012: "1 point is open."}
    for upper, end in ways.items():
        found = {"verdict": "better", "difference": 0.006, "ci95": [0.003, upper]}
        entry["comparisons"] = [entry["comparisons"][0] | found]
        sentences = comment(Material(results.experiment.questions[0], entry, results.experiment, stored, []))
        assert sentences[0].text.endswith(end)


# The mechanism.


def test_the_mechanism_tells_what_differs_and_nothing_else(tmp_path: Path) -> None:
    results = write(tmp_path / "result", 5, {"control": 0.9, "relu": 0.9})
    for index, run in enumerate(results.runs("control")):
        write_probes(run, calibration_error=0.02 + 0.001 * index, accuracy_shifted_2=0.7 + 0.001 * index)
    for index, run in enumerate(results.runs("relu")):
        write_probes(run, calibration_error=0.08 + 0.002 * index, accuracy_shifted_2=0.704 - 0.001 * index)
    (text,) = [each for each in texts_of(results, "relu") if each.startswith("Measured alongside")]
    assert text == "Measured alongside, `relu` against the control: the calibration error is 8.40 % against 2.20 %."
    assert not re.search(
        "because|cause|therefore|hence", " ".join(texts_of(results, "relu")).replace("because check", "")
    )


def test_dead_units_are_told_alone_where_the_other_activation_cannot_have_any(tmp_path: Path) -> None:
    results = write(tmp_path / "result", 4, {"control": 0.9, "relu": 0.9})
    for arm, share in (("control", 0.3), ("relu", 0.2)):
        for index, run in enumerate(results.runs(arm)):
            write_probes(run, layers=layers_of(results.experiment, arm, share + 0.025 * index))
    (text,) = [each for each in texts_of(results, "relu") if each.startswith("Measured alongside")]
    assert "23.75 % of the units of `relu` are dead" in text
    assert "in its most saturated layer the control has 33.75 % of its values at a bound of the activation" in text


@pytest.mark.parametrize("seeds", [2, 4])
def test_the_mechanism_needs_three_seeds_and_probes_of_every_run(seeds: int, tmp_path: Path) -> None:
    results = write(tmp_path / "result", seeds, {"control": 0.9, "relu": 0.9})
    for arm, share in (("control", 0.02), ("relu", 0.5)):
        for index, run in enumerate(results.runs(arm)):
            write_probes(run, calibration_error=share * (1 + 0.01 * index))
    told = [each for each in texts_of(results, "relu") if "calibration" in each]
    assert bool(told) == (seeds > 2)
    (results.runs("relu")[0].folder / "probes.json").unlink()
    assert not [each for each in texts_of(results, "relu") if "calibration" in each]
