"""The next experiment: the rule that applies, and that the command or the arm is accepted."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from paribus import experiments, verdicts
from paribus.cli import main
from paribus.commentary.next_experiment import command
from paribus.experiment import Experiment, Found
from paribus.facts import BrokenModel, Facts
from paribus.launch import conduct
from paribus.launch.conduct import RunOptions
from paribus.store import Results
from paribus.testing.synthetic import write_results
from paribus.wording import NONE_WOULD, rounded_up, would_decide

HEAD = """
[experiment]
name = "prose"
seeds = @seeds
margin = 0.01
[control]
data = { name = "digits", size = 32, val = 200 }
model = { name = "lenet5" }
optim = { name = "sgd", lr = 0.1 }
train = { epochs = 6, batch_size = 128 }
[[question]]
id = "q"
asks = "What?"
"""
RELU = 'arms.relu = { "model.activation" = "relu" }'
MAX = 'arms.max = { "model.pooling" = "max" }'
BATCH = 'arms.b512 = { "train.batch_size" = 512 }'
OWN_RATE = 'arms.own = { "train.batch_size" = 512, "optim.lr" = 0.4 }\ntogether = [["train.batch_size", "optim.lr"]]'
LONG = 'arms.long = { "train.epochs" = 12 }'
RATES = 'factor = "optim.lr"\nvalues = [0.01, 0.1, 1.0]'


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Results lie where `paribus run` would put them."""
    monkeypatch.chdir(tmp_path)


def write(question: str, seeds: object, accuracy: Mapping[str, float], **options: Any) -> Results:
    experiment = Experiment.parse(HEAD.replace("@seeds", str(seeds)) + question)
    return write_results(Path("results/prose"), experiment, accuracy, **{"test_examples": 400, **options})


def settle(results: Results) -> Results:
    """Let no run still improve at its end, and no validation loss rise."""
    for arm in results.experiment.arms:
        for run in results.runs(arm):
            change(run.folder, lambda epoch: {"val_accuracy": 0.9, "val_loss": 0.3})
    return results


def change(folder: Path, figures: Any) -> None:
    path = folder / "epochs.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps(line | figures(line["epoch"])) + "\n" for line in lines), encoding="utf-8")


def last(results: Results) -> str:
    sentence = verdicts.compute(results)["questions"][0]["comment"][-1]
    assert sentence["part"] == "next"
    return str(sentence["text"])


def asked_for(text: str, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """Give the sentence's command to the command line, and return the experiment that it would run."""
    found: list[Experiment] = []

    def run(experiment: Experiment, options: RunOptions) -> Results:
        found.append(experiment)
        raise KeyboardInterrupt

    monkeypatch.setattr(conduct, "run", run)
    program, *words = shlex.split(re.findall(r"`(paribus [^`]+)`", text)[0])
    assert program == "paribus"
    assert main(words) == 130
    return found[0]


def test_missing_runs_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    results = write(RELU, 3, {"control": 0.9}, missing=[("relu", 1)])
    assert last(results) == "Next: `paribus run results/prose/experiment.toml` trains the runs that are missing."
    assert asked_for(last(results), monkeypatch) == results.experiment


@pytest.mark.parametrize(
    ("arms", "whose"),
    [(("relu",), "of `relu`"), (("control", "relu"), "of every arm"), (("control",), "of the control")],
)
def test_a_network_that_does_not_run_is_mended_first(
    arms: tuple[str, ...], whose: str, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = [(arm, seed) for arm in arms for seed in range(3)]
    results = write(RELU, 3, {"control": 0.9}, missing=missing)
    results.write_facts(Facts(broken=(BrokenModel(arms, "it raises an error"),)))
    assert last(results) == f"Next: mend the network {whose}; `paribus explain P035` says how."
    assert main(["explain", "P035"]) == 0
    assert "P035" in capsys.readouterr().out


def test_what_forbids_a_verdict_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    text = last(write(RELU, 2, {"control": 0.05, "relu": 0.9}))
    assert text == "Next: mend what check `P012` names; `paribus explain P012` says how."
    assert main(shlex.split(re.findall(r"`paribus ([^`]+)`", text)[0])) == 0
    assert "P012" in capsys.readouterr().out


def test_seeds_that_decide_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    results = write(RELU, 5, {"control": 0.9, "relu": 0.91}, test_examples=2000)
    content = verdicts.compute(results)
    (comparison,) = content["questions"][0]["comparisons"]
    needed = rounded_up(comparison["seeds_needed"])
    assert comparison["verdict"] == "undecided"
    assert needed > 5
    text = last(results)
    assert f"--set experiment.seeds={needed}` has seeds enough to decide about `relu`." in text
    assert asked_for(text, monkeypatch).seeds == tuple(range(needed))


@pytest.mark.parametrize(
    ("needed", "seeds", "decided"),
    [
        ((406, 409), 410, "`relu` and `max`"),
        ((406, 411), 410, "`relu`"),
        ((991, 12), 12, "`max`"),
        ((6, 991), 6, "`relu`"),
    ],
)
def test_seeds_are_rounded_up_as_the_verdict_tells_them(needed: tuple[int, int], seeds: int, decided: str) -> None:
    """And every arm is named about which so many decide."""
    results = settle(write(f"{RELU}\n{MAX}", 5, {"control": 0.9}))
    changes = [{"verdict": "undecided", "seeds_needed": each, "test_images_needed": None} for each in needed]
    text = next_after(results, verdicts.compute(results), *changes)
    assert text.endswith(f"--set experiment.seeds={seeds}` has seeds enough to decide about {decided}.")
    assert would_decide(min(needed), None) == f"about {seeds} seeds would decide"


@pytest.mark.parametrize(("seeds", "expected"), [(1, (0, 1, 2, 3, 4)), ([7, 2], (7, 2, 0, 1, 3))])
def test_few_seeds_become_five_with_those_that_ran(
    seeds: object, expected: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = write(RELU, seeds, {"control": 0.9, "relu": 0.905}, test_examples=60)
    assert asked_for(last(results), monkeypatch).seeds == expected


def appended(question: str, text: str) -> Experiment:
    """The experiment with what the sentence's code says added to its only question."""
    added = [each for each in re.findall(r"`([^`]+)`", text) if re.match(r"(values|arms\.\S+|together) = ", each)]
    assert added
    kept = [
        line
        for line in question.splitlines()
        if not any(line.partition(" = ")[0] == each.partition(" = ")[0] for each in added)
    ]
    others = [line.partition(" = ")[2][1:-1] for line in question.splitlines() if line.startswith("together")]
    added = [f"{each[:-1]}, {', '.join(others)}]" if each.startswith("together") else each for each in added]
    return Experiment.parse(HEAD.replace("@seeds", "5") + "\n".join([*kept, *added]))


@pytest.mark.parametrize(
    ("accuracy", "beyond"), [({"lr-1": 0.97, "lr-0.01": 0.5}, 10.0), ({"lr-0.01": 0.97, "lr-1": 0.5}, 0.001)]
)
def test_a_sweep_goes_on_beyond_its_edge(accuracy: Mapping[str, float], beyond: float) -> None:
    results = write(RATES, 4, {"control": 0.6, **accuracy})
    text = last(results)
    assert text.startswith("Next: extend the sweep beyond its best value, with `values = [")
    wider = appended(RATES, text)
    (question,) = wider.questions
    values = [wider.arms[arm].recipe.optim.lr for arm in question.arms]
    assert sorted(values) == sorted([0.01, 0.1, 1.0, beyond])


def test_a_sweep_is_not_extended_beyond_what_a_recipe_takes() -> None:
    momenta = 'factor = "optim.momentum"\nvalues = [0.1, 0.5, 0.9]'
    results = settle(write(momenta, 5, {"control": 0.6, "momentum-0.9": 0.97, "momentum-0.1": 0.5}))
    for run in results.runs("momentum-0.9"):
        change(run.folder, lambda epoch: {"val_accuracy": 0.97})
    assert "values = [" not in last(results)


def test_a_shared_rate_asks_for_an_arm_with_its_own() -> None:
    text = last(settle(write(BATCH, 5, {"control": 0.9, "b512": 0.7})))
    assert text.startswith("Next: find a learning rate of its own for `b512`, with `arms.b512-retuned = { ")
    assert appended(BATCH, text).arms["b512-retuned"].is_retuned


def test_equal_updates_are_asked_for_where_the_rate_is_there() -> None:
    question = f"{BATCH}\n{OWN_RATE}"
    text = last(settle(write(question, 5, {"control": 0.9, "b512": 0.7, "own": 0.7})))
    assert text.startswith("Next: let `b512` make as many updates as the control, with `arms.b512-same-steps = { ")
    assert appended(question, text).arms["b512-same-steps"].recipe.train.epochs == 24


@pytest.mark.parametrize("factor", ['"optim.momentum" = 0.9', '"optim.name" = "adam"'])
def test_a_shared_rate_is_found_anew_for_other_optimisers(factor: str) -> None:
    question = f'arms."other1.5" = {{ {factor} }}'
    text = last(settle(write(question, 5, {"control": 0.9, "other1.5": 0.7})))
    assert appended(question, text).arms["other1.5-retuned"].is_retuned


def test_over_fitting_asks_for_the_best_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    results = settle(write(LONG, 5, {"control": 0.7, "long": 0.9}))
    assert "keep=best" not in last(results)
    for index, run in enumerate(results.runs("long")):
        change(run.folder, lambda epoch, own=index: {"val_loss": 0.2 + 0.01 * (1 + 0.01 * own) * abs(epoch - 4)})
    assert asked_for(last(results), monkeypatch).control.train.keep == "best"


def test_a_control_that_still_improves_is_trained_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    results = settle(write(f"{RELU}\n{LONG}", 5, {"control": 0.7, "relu": 0.9, "long": 0.9}))
    assert last(results) == "Next: nothing to run; every comparison of this question is decided."
    for index, run in enumerate(results.runs("control")):
        change(
            run.folder,
            lambda epoch, own=index: {"val_accuracy": 0.5 + (0.05 + 0.001 * own) * epoch, "val_loss": 1 / epoch},
        )
    # Twice the epochs is what `long` trains, and an arm must differ from the control.
    assert asked_for(last(results), monkeypatch).control.train.epochs == 18


def test_more_test_images_are_no_setting() -> None:
    results = settle(write(RELU, 5, {"control": 0.9}))
    content = verdicts.compute(results)
    needs = {"verdict": "undecided", "seeds_needed": None}
    for images, expected in ((900, "only more test images would decide"), (None, f"{NONE_WOULD} would decide")):
        assert next_after(results, content, needs | {"test_images_needed": images}) == (
            f"Next: nothing to run; {expected} about `relu`."
        )


def next_after(results: Results, content: dict[str, Any], *changes: Mapping[str, Any]) -> str:
    from paribus import arms
    from paribus.commentary import Material, comment

    entry = dict(content["questions"][0])
    entry["comparisons"] = [each | change for each, change in zip(entry["comparisons"], changes, strict=True)]
    material = Material(results.experiment.questions[0], entry, results.experiment, arms.load(results), [])
    return comment(material)[-1].text


def test_a_shipped_experiment_is_given_by_its_name_with_the_seeds_that_ran() -> None:
    shipped = Experiment.load(experiments.find("lenet-digits"))
    assert command(shipped) == "paribus run lenet-digits"
    found = shipped.resolve({"b128-retuned": {"optim.lr": Found(0.3)}})
    assert found != shipped
    assert command(found) == "paribus run lenet-digits"
    fewer = Experiment.load(experiments.find("lenet-digits"), ["experiment.seeds=3"])
    assert command(fewer) == "paribus run lenet-digits --set experiment.seeds=3"
    assert command(fewer, "experiment.seeds=14") == "paribus run lenet-digits --set experiment.seeds=14"
    assert command(fewer, "control.train.keep=best") == (
        "paribus run lenet-digits --set experiment.seeds=3 --set control.train.keep=best"
    )
    changed = Experiment.load(experiments.find("lenet-digits"), ["control.train.epochs=5"])
    assert command(changed) == "paribus run results/lenet-digits/experiment.toml"
