from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paribus import arms, checks, verdicts, wording
from paribus.commentary import Sentence, comment
from paribus.experiment import Experiment
from paribus.store import Results
from paribus.testing.synthetic import write_results

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
NUMBER = re.compile(r"[+\u2212]?\d[\d,]*(?:\.\d+)?")
DURATION = re.compile(r"takes (.*), one of the control (.*)\.")


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is about a crash, and waiting for the disk would be most of the time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


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


def resolve(item: Mapping[str, Any], results: Results, entry: Mapping[str, Any]) -> Any:
    """Look a quoted value up in the store and the verdicts, by the rules of docs/results-format.md alone."""
    name, _, seed = item["run"].partition("/")
    table, _, key = item["key"].partition(".")
    if not seed:
        place: Any = {
            "comparison": next((each for each in entry["comparisons"] if each["arm"] == name), {}),
            "sweep": next((row for row in (entry["sweep"] or {}).get("values", []) if row["arm"] == name), {}),
            "question": entry,
        }.get(table)
        if place is None:
            return results.experiment.arms[name].recipe.factor(item["key"])
        for part in key.split("."):
            place = place[int(part)] if part.isdigit() else place[part]
        return place
    run = next(run for run in results.runs(name) if run.result.seed == int(seed))
    if table != "epochs":
        return getattr(run.result, item["key"])
    column, _, what = key.partition(".")
    figures = {each.epoch: getattr(each, column) for each in run.epochs if getattr(each, column) is not None}
    if what.startswith("first_at>="):
        return min(epoch for epoch, value in figures.items() if value >= float(what.removeprefix("first_at>=")))
    lowest_at = min(figures, key=lambda epoch: (figures[epoch], epoch))
    return {"last": figures[max(figures)], "lowest_at": lowest_at}.get(
        what, {"lowest": min(figures.values()), "highest": max(figures.values())}.get(what)
    )


FRACTIONS = re.compile(r"accuracy|difference|ci95|margin")


def explained(number: str, evidence: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a printed number is a quoted value, a mean of them over an arm's runs, or a count of them."""
    groups: dict[tuple[str, str], list[Any]] = defaultdict(list)
    counted: dict[str, int] = defaultdict(int)
    for item in evidence:
        groups[item["run"].partition("/")[0], item["key"]].append(item["value"])
        counted[item["key"]] += 1
    candidates = [*map(len, groups.values()), *counted.values()]
    candidates += [values.count("diverged") for values in groups.values()]
    figures = [float(count) for count in candidates]
    for (_, key), values in groups.items():
        _, _, target = key.partition(">=")
        known = [float(value) for value in values if type(value) in (int, float)]
        known += [float(np.mean(known))] if known else []
        figures += [*known, *([100 * value for value in known] if FRACTIONS.search(key) else [])]
        figures += [100 * float(target)] if target else []
    printed, decimals = float(number.replace(",", "").replace("\u2212", "-")), len(number.partition(".")[2])
    is_rounded = decimals > 0 or abs(printed) >= 100  # Smaller whole numbers are written where they are exact.
    slack = 1e-9 + (0.5 * 10**-decimals if is_rounded else 0)
    return any(abs(printed - each) <= slack for each in figures)


def without_durations(text: str, evidence: Sequence[Mapping[str, Any]]) -> str:
    """A sentence about cost, short of the durations that are the means of the seconds it quotes."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for item in evidence:
        if item["key"] == "seconds":
            seconds[item["run"].partition("/")[0]].append(item["value"])
    right = [wording.duration(float(np.mean(values))) for values in seconds.values()]
    found = DURATION.search(text)
    return text if found is None or list(found.groups()) != right else DURATION.sub("", text)


def unexplained(sentence: Mapping[str, Any]) -> list[str]:
    text = without_durations(re.sub(r"`[^`]*`", "", sentence["text"]), sentence["evidence"])
    text = text.replace("95 % interval", "").replace("Diverged runs", "")
    if "below 0.001" in text:
        assert any(item["key"] == "comparison.p_holm" and item["value"] < 0.001 for item in sentence["evidence"])
        text = text.replace("below 0.001", "")
    return [number for number in NUMBER.findall(text) if not explained(number, sentence["evidence"])]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Results, dict[str, Any]]:
    seeds, accuracy, options = CASES[request.param]
    results = write(tmp_path / "result", seeds, accuracy, **options)
    return results, verdicts.compute(results)


def test_every_number_in_every_sentence_comes_from_the_store(case: tuple[Results, dict[str, Any]]) -> None:
    results, content = case
    for question in content["questions"]:
        for sentence in question["comment"]:
            for item in sentence["evidence"]:
                assert resolve(item, results, question) == item["value"], item
            assert unexplained(sentence) == [], sentence["text"]


def test_paragraphs_are_short_and_never_say_the_same_twice(case: tuple[Results, dict[str, Any]]) -> None:
    for question in case[1]["questions"]:
        texts = [sentence["text"] for sentence in question["comment"]]
        assert 1 <= len(texts) <= 5
        assert len(set(texts)) == len(texts)
        for text in texts:
            assert re.match(r"[A-Z`1-9]", text)
            assert text.endswith(".")
            assert not re.search(r"None|nan|\binf\b|  |\.\.|(?<![\d.,])1 (points|runs|seeds|values|epochs)\b", text), (
                text
            )


def test_prose_agrees_with_the_verdict(case: tuple[Results, dict[str, Any]]) -> None:
    words = {
        "better": "is better than the control",
        "worse": "is worse than the control",
        "equivalent": "and the control are equivalent",
        "undecided": "is undecided",
        "invalid": "No verdict on",
    }
    for question in case[1]["questions"]:
        prose = " ".join(sentence["text"] for sentence in question["comment"])
        for each in question["comparisons"]:
            expected = words[each["verdict"]] if each["difference"] is not None else "Nothing can be said about"
            assert expected in prose
        said = {each["verdict"] for each in question["comparisons"]}
        for verdict, phrase in words.items():
            assert phrase not in prose or verdict in said


def test_the_test_of_numbers_can_fail(tmp_path: Path) -> None:
    content = verdicts.compute(write(tmp_path / "result", 3, {"control": 0.9, "relu": 0.97}))
    sentence = content["questions"][0]["comment"][0]
    assert unexplained(sentence) == []
    wrong = sentence["text"].replace("3 seeds", "8 seeds")
    assert unexplained({"text": wrong, "evidence": sentence["evidence"]}) == ["8"]
    cost = content["questions"][0]["comment"][-1]
    assert unexplained(cost) == []
    assert unexplained({**cost, "text": cost["text"].replace("takes ", "takes 7")}) != []


def _texts(results: Results, question: str) -> list[str]:
    content = verdicts.compute(results)
    return next([s["text"] for s in q["comment"]] for q in content["questions"] if q["id"] == question)


def test_limits_of_a_batch_size_question_are_said_however_many_arms_it_has(tmp_path: Path) -> None:
    texts = _texts(write(tmp_path / "result", 3, {"control": 0.9}), "batch")
    assert "The comparisons of `b256` and `b512` hold at the shared learning rate of 0.1 only." in texts
    assert "At equal epochs the control makes 64 updates, `b256` 32 and `b512` 16." in texts
    texts = _texts(
        write(tmp_path / "gaps", 3, {"control": 0.9}, missing=[("b256", seed) for seed in range(3)]), "batch"
    )
    assert "The comparison of `b512` holds at the shared learning rate of 0.1 only." in texts


def test_a_single_arm_gets_loss_speed_and_cost(tmp_path: Path) -> None:
    texts = _texts(write(tmp_path / "result", 4, {"control": 0.9, "relu": 0.97}), "relu")
    assert texts[0].startswith("`relu` is better than the control: mean test accuracy ")
    assert [bool(re.search(word, text)) for word, text in zip(("loss", "after", "takes"), texts[1:], strict=True)] == [
        True
    ] * 3


@pytest.mark.parametrize(
    "val_loss, val_accuracy, expected",
    [
        ((0.3, 0.2, 0.1), (0.8, 0.9, 0.95), "The validation loss of `long` does not rise"),
        (
            (0.3, 0.1, 0.2),
            (0.8, 0.9, 0.9),
            "`long` over-fits in loss but not in accuracy: validation loss rises from 0.100",
        ),
        ((0.3, 0.1, 0.2), (0.8, 0.95, 0.9), "`long` over-fits in loss and in accuracy"),
    ],
)
def test_over_fitting_is_told_by_loss_and_by_accuracy(
    val_loss: Sequence[float], val_accuracy: Sequence[float], expected: str, tmp_path: Path
) -> None:
    import dataclasses

    results = write(tmp_path / "result", 2, {"control": 0.9})
    content = verdicts.compute(results)
    stored = arms.load(results)
    course = tuple(
        dataclasses.replace(record, val_loss=loss, val_accuracy=accuracy)
        for record, loss, accuracy in zip(stored["long"].runs[0].epochs, val_loss, val_accuracy, strict=False)
    )
    runs = tuple(dataclasses.replace(run, epochs=course) for run in stored["long"].runs)
    stored["long"] = dataclasses.replace(stored["long"], runs=runs)
    question = results.experiment.questions[3]
    sentences = comment(question, content["questions"][3], results.experiment, stored, [])
    assert all(isinstance(sentence, Sentence) for sentence in sentences)
    assert any(sentence.text.startswith(expected) for sentence in sentences)


def test_a_sweep_names_its_best_value_and_its_edge(tmp_path: Path) -> None:
    results = write(tmp_path / "result", 3, {"control": 0.8, "lr-0.01": 0.7, "lr-1": 0.97})
    texts = _texts(results, "rate")
    assert texts[0].startswith("Of 3 values of `optim.lr`, 1 is best on validation")
    assert "edge of what was tried" in texts[1]
    assert "question rate" in [f.where for f in checks.outcome(results) if f.outcome == "fired"]


def test_a_sweep_whose_best_is_the_control_says_so(tmp_path: Path) -> None:
    texts = _texts(
        write(tmp_path / "result", 3, {"control": 0.97, "relu": 0.7, "lr-0.01": 0.7, "lr-1": 0.8}), "activation"
    )
    assert texts[0].startswith("Of 2 values of `model.activation`, `tanh` is best on validation")
    assert texts[1].startswith("It is the control's own `model.activation`")


def test_diverged_runs_are_told(tmp_path: Path) -> None:
    diverged = [("lr-1", 0), ("lr-1", 1)]
    texts = _texts(write(tmp_path / "result", 3, {"control": 0.9}, diverged=diverged), "rate")
    assert "2 of 3 runs of `lr-1` diverged and count as they are." in texts
