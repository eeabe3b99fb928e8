"""The table of checks, its pages, and the checks of designs: each has a case that fires and one that does not."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from check_designs import (
    ADAM,
    BATCH,
    OTHER_RATE_FOR_SGD,
    PAIR,
    RELU,
    RETUNED,
    SAME_STEPS,
    SHUFFLE,
    SWEEP,
    design,
    fired,
    of,
)
from paribus import checks
from paribus.checks import CHECKS, WHOLE, Finding
from paribus.experiment import Experiment
from test_checks_measured import FACTS_CASES
from test_checks_outcome import OUTCOME_CASES

PAGES = Path(__file__).parents[1] / "docs" / "checks"
DESIGN_CASES: list[tuple[str, Experiment, Experiment, str, str]] = [
    (
        "P001",
        design(RELU, seeds=5),
        design(RELU, seeds=6),
        WHOLE,
        "below 0.0625, but Holm over 1 comparison asks for 0.05",
    ),
    ("P002", design(RELU, val='"test"'), design(RELU), WHOLE, "looks at the test images"),
    ("P003", design(SWEEP, val='"test"'), design(SWEEP), "question rate", "chosen on the test images"),
    (
        "P004",
        design(ADAM),
        design(RELU + BATCH + RETUNED),
        "adam",
        "`optim.name` changes while `optim.lr` stays at 0.1",
    ),
    ("P005", design(BATCH), design(BATCH + SAME_STEPS), "b512", "0.25 times the updates"),
    ("P006", design(RELU, hflip="true", data="mnist"), design(RELU, data="mnist"), "relu", "image of `mnist`"),
    (
        "P014",
        design(RELU.replace("ReLU?", "Sign language: ReLU?"), data="signs/dogs-vs-cats"),
        design(RELU.replace("ReLU?", "Dogs vs. cats, after MNIST: ReLU?"), data="signs/dogs-vs-cats"),
        "question relu",
        "The text names `sign-digits`, but the images are of `dogs-vs-cats`.",
    ),
    ("P016", design(RELU, train="shuffle = false,"), design(SHUFFLE), WHOLE, "`train.shuffle` is false"),
    ("P017", design(PAIR), design(PAIR + RELU), "relu-max", "`model.activation` and `model.pooling` change together"),
]


@pytest.mark.parametrize("code, bad, good, where, text", DESIGN_CASES, ids=[case[0] for case in DESIGN_CASES])
def test_design_checks_fire_and_pass(code: str, bad: Experiment, good: Experiment, where: str, text: str) -> None:
    assert text in fired(code, checks.design(bad))[where]
    assert [finding.outcome for finding in of(code, checks.design(good))] == ["passed"]


@pytest.mark.parametrize(
    "code, experiment",
    [
        ("P001", design("")),
        ("P003", design(RELU)),
        ("P004", design(RELU)),
        ("P005", design(RELU)),
        ("P006", design(RELU, data="fashion-mnist", hflip="true")),
        ("P014", design(RELU.replace("ReLU?", "MNIST?"), data="photos.zip")),
        ("P017", design(RELU)),
    ],
)
def test_design_checks_that_do_not_apply_say_so(code: str, experiment: Experiment) -> None:
    assert of(code, checks.design(experiment)) == [Finding(code, "not applicable", WHOLE, "")]


def test_a_pair_of_which_fairness_asks_the_second_is_no_pair() -> None:
    assert not fired("P017", checks.design(design(BATCH + SAME_STEPS)))
    assert not fired("P017", checks.design(design(BATCH.replace("arms.b512", "arms.other") + RETUNED)))
    other = PAIR.replace("model.activation", "schedule.name").replace('"relu"', '"cosine"')
    assert list(fired("P017", checks.design(design(other)))) == ["relu-max"]
    warmed = other.replace("model.pooling", "schedule.warmup_epochs").replace('"max"', "1.0")
    assert not fired("P017", checks.design(design(warmed)))


PHOTOS = """
[experiment]
name = "photos"
seeds = 6
margin = 0.02
[control]
data = { name = "photos", test = 0.2, size = 256 }
model = { name = "pretrained", weights = "some", input = 224 }
optim = { name = "lbfgs" }
train = { epochs = 1 }
[[question]]
id = "all"
asks = "More?"
together = [[ KEYS ]]
arms.other = { CHANGES }
"""
FINE_TUNED = {"model.train": '"all"', "optim.name": '"adamw"', "optim.lr": "0.001", "train.epochs": "5"}


@pytest.mark.parametrize(
    ("changes", "fires"),
    [
        ({"data.size": "128", "model.input": "112"}, False),
        ({"data.size": "128", "data.fit": '"crop"', "model.input": "112"}, False),
        ({"data.fit": '"crop"', "data.size": "128"}, False),
        ({"model.weights": '"hub"', "model.backbone": '"resnet18"'}, False),
        ({"model.weights": '"other"', "model.input": "112"}, True),
        ({**FINE_TUNED, "schedule.name": '"cosine"', "model.start": '"head"', "train.batch_size": "32"}, False),
        ({**FINE_TUNED, "augment.hflip": "true"}, True),
        ({**FINE_TUNED, "model.input": "112"}, True),
    ],
)
def test_keys_that_belong_together_are_one_factor(changes: dict[str, str], fires: bool) -> None:
    keys = ", ".join(f'"{key}"' for key in changes)
    text = ", ".join(f'"{key}" = {value}' for key, value in changes.items())
    experiment = Experiment.parse(PHOTOS.replace("KEYS", keys).replace("CHANGES", text))
    assert bool(fired("P017", checks.design(experiment))) is fires


def test_of_two_trained_networks_how_they_train_is_a_factor() -> None:
    trained = PHOTOS.replace('weights = "some"', 'weights = "some", train = "all"').replace(
        '"lbfgs"', '"sgd", lr = 0.1'
    )
    changes = '"model.train" = "stages-1", "schedule.name" = "cosine", "model.batch_norm" = "update"'
    text = trained.replace("KEYS", '"model.train", "schedule.name", "model.batch_norm"').replace("CHANGES", changes)
    message = fired("P017", checks.design(Experiment.parse(text)))["other"]
    assert message.endswith("a difference can be put down to all of them together only.")


def test_the_same_factor_at_another_value_does_not_tell_a_pair_apart() -> None:
    assert fired("P017", checks.design(design(PAIR + RELU.replace('"relu" }', '"gelu" }'))))


def test_one_factor_of_three_that_has_an_arm_leaves_two_confounded() -> None:
    three = PAIR.replace('"model.pooling" = "max"', '"model.pooling" = "max", "optim.weight_decay" = 0.01')
    three = three.replace('"model.pooling"]', '"model.pooling", "optim.weight_decay"]')
    found = fired("P017", checks.design(design(three + RELU)))
    assert found["relu-max"].startswith("`model.pooling` and `optim.weight_decay` change together")


def test_an_unshuffled_control_is_named_where_its_arm_is_not() -> None:
    shuffled = SHUFFLE.replace("false", "true")
    assert list(fired("P016", checks.design(design(shuffled, train="shuffle = false,")))) == ["control"]


@pytest.mark.parametrize(
    ("title", "data", "fires"),
    [
        ("LeNet-5 on MNIST", "fashion-mnist", True),
        ("LeNet-5 on Fashion-MNIST", "fashion-mnist", False),
        ("LeNet-5 on Fashion MNIST", "mnist", True),
        ("From MNIST to Devanagari", "dhcd", False),
        ("Handwritten digits", "mnist", False),
        ("CIFAR-10 at last", "folders/sign-digits", True),
        ("Sign language", "folders/sign_digits.zip", False),
        ("Weights of ImageNet", "dogs-vs-cats.zip", False),
    ],
)
def test_a_title_is_held_against_the_data(title: str, data: str, fires: bool) -> None:
    experiment = design(RELU, data=data, published=f'title = "{title}"')
    assert (list(fired("P014", checks.design(experiment))) == [WHOLE]) is fires


def test_seven_comparisons_need_nine_seeds() -> None:
    arms = "".join(f'arms.a{n} = {{ "optim.lr" = 0.{n} }}\n' for n in range(2, 9))
    questions = f'\n[[question]]\nid = "many"\nasks = "Many?"\n{arms}'
    assert "9 seeds are the least" in fired("P001", checks.design(design(questions, seeds=8)))[WHOLE]
    assert not fired("P001", checks.design(design(questions, seeds=9)))


def test_a_rate_for_another_arm_is_no_retuning() -> None:
    assert "adam" in fired("P004", checks.design(design(ADAM + OTHER_RATE_FOR_SGD)))


def test_momentum_and_batch_size_sweeps_are_bound_to_a_rate_too() -> None:
    momentum = RELU.replace('"model.activation" = "relu"', '"optim.momentum" = 0.9')
    sweep = SWEEP.replace("optim.lr", "train.batch_size").replace("0.01, 0.1, 1.0", "128, 512")
    assert "relu" in fired("P004", checks.design(design(momentum)))
    assert list(fired("P004", checks.design(design(sweep)))) == ["batch-size-512"]


def test_an_arm_alone_can_validate_on_test() -> None:
    experiment = design(RELU.replace('"model.activation" = "relu"', '"data.val" = "test"'))
    assert list(fired("P002", checks.design(experiment))) == ["relu"]


def test_every_check_has_its_teeth() -> None:
    codes = [case[0] for case in DESIGN_CASES] + [case[0] for case in FACTS_CASES] + [case[0] for case in OUTCOME_CASES]
    assert set(CHECKS) == set(codes)


def test_the_table_is_complete() -> None:
    assert list(CHECKS) == [f"P{number:03}" for number in range(1, len(CHECKS) + 1)]
    for check in CHECKS.values():
        looks = [rule for rule in (check.on_design, check.on_facts, check.on_outcome) if rule is not None]
        assert len(looks) == 1
        assert check.why.endswith(".")
        assert check.advice.endswith(".")
        assert not check.title.endswith(".")


def test_every_check_has_a_page_and_every_page_a_check() -> None:
    assert sorted(path.stem for path in PAGES.glob("P*.md")) == sorted(CHECKS)


@pytest.mark.parametrize("code", CHECKS)
def test_the_page_of_a_check_has_its_title_its_level_and_all_parts(code: str) -> None:
    check, page = CHECKS[code], (PAGES / f"{code}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {code}: {check.title}\n\nLevel: {check.level}. Looks at the ")
    assert (check.on_outcome is None) == ("before anything is trained" in page)
    parts = ["How it is detected.", "Why it matters.", "What to do.", "Fires.", "Does not fire."]
    assert re.findall(r"^\*\*(.*?)\*\* \S", page, re.MULTILINE) == parts


@pytest.mark.parametrize("code", CHECKS)
def test_each_rule_names_its_code(code: str) -> None:
    rule = CHECKS[code].on_design or CHECKS[code].on_facts or CHECKS[code].on_outcome
    assert re.match(rf"{code}: ", inspect.getdoc(rule) or "")


def test_only_fired_errors_forbid_and_only_where_they_fire() -> None:
    experiment = design(RELU + SWEEP)
    relu, rate = experiment.questions
    assert CHECKS["P003"].level == "error"
    assert CHECKS["P004"].level == "warning"
    assert checks.forbids(Finding("P003", "fired", "question relu", ""), relu, "relu")
    assert not checks.forbids(Finding("P003", "fired", "question relu", ""), rate, "relu")
    assert not checks.forbids(Finding("P003", "passed", "question relu", ""), relu, "relu")
    assert not checks.forbids(Finding("P004", "fired", "question relu", ""), relu, "relu")
    assert checks.forbids(Finding("P013", "fired", "relu", ""), relu, "relu")
    assert not checks.forbids(Finding("P013", "fired", "lr-1", ""), relu, "relu")
    assert checks.forbids(Finding("P023", "fired", "control", ""), relu, "relu")
    assert checks.forbids(Finding("P012", "fired", "control", ""), relu, "control")
    assert not checks.forbids(Finding("P012", "fired", "control", ""), relu, "control-retuned")
    assert checks.forbids(Finding("P012", "fired", WHOLE, ""), relu, "relu")
