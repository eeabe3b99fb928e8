"""Rates beside heads that are solved for, and why rates of a part and of the whole differ."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paribus import rate_range, tuning
from paribus.commentary import Material as Prose
from paribus.commentary.rates import rates as rates_in_words
from paribus.errors import ConfigError
from paribus.experiment import CONTROL, CONTROL_RETUNED, Experiment
from paribus.store import MadeFor, RateChoice, TriedRate, Tuning
from pretrained import write_weights

HEADS = """
[experiment]
name = "heads"
title = "Heads"
seeds = 2
margin = 0.05
[control]
data = {{ name = "digits", val = 150 }}
model = {{ name = "pretrained", weights = "{weights}", train = "{control}", input = 32 }}
optim = {{ name = "{optimiser}" {lr} }}
train = {{ epochs = 1 }}
[[question]]
id = "more"
asks = "More than the head?"
arms.more = {{ {arm} "optim.lr" = "retune" }}
together = [["model.train", "optim.name", "optim.lr"], ["model.batch_norm", "optim.lr"], ["model.head", "optim.lr"]]
"""
SOLVED = {"control": "head", "optimiser": "lbfgs", "lr": ""}
TRAINED = {"control": "all", "optimiser": "sgd", "lr": ", lr = 0.05"}
ADAM = '"model.train" = "all", "optim.name" = "adam",'


def test_beside_a_solved_head_an_arm_is_retuned_alone(tmp_path: Path) -> None:
    weights = write_weights(tmp_path)
    experiment = Experiment.parse(HEADS.format(weights=weights, arm=ADAM, **SOLVED))
    assert list(experiment.arms) == [CONTROL, "more"]
    assert experiment.baseline("more") == CONTROL
    assert tuning.center(experiment.arms["more"], experiment.control) == 0.001
    trained = HEADS.format(weights=weights, arm='"model.train" = "stages-1",', **TRAINED)
    other = Experiment.parse(trained)
    assert tuning.center(other.arms["more"], other.control) == 0.05
    assert rate_range.wanted(experiment, {}) == {}
    head = HEADS.format(weights=weights, arm='"model.head" = "nearest",', **SOLVED)
    with pytest.raises(
        ConfigError, match=r"must stand where a network is trained, but `question\.more\.arms\.more` solves"
    ):
        Experiment.parse(head)


@pytest.mark.parametrize(
    ("arm", "control", "is_said"),
    [
        (ADAM, SOLVED, True),
        ('"model.train" = "stages-1",', TRAINED, True),
        ('"model.batch_norm" = "update",', TRAINED, False),
    ],
)
def test_why_rates_differ_is_told_from_the_literature_where_parts_learn(
    arm: str, control: dict[str, str], is_said: bool, tmp_path: Path
) -> None:
    experiment = Experiment.parse(HEADS.format(weights=write_weights(tmp_path), arm=arm, **control))
    tried = (TriedRate(0.001, 0.9, 0.1, 0),)
    rate = RateChoice(0.001, True, (10_000,), "torch-1", (0.001,), tried)
    names = [name for name in ("more", CONTROL_RETUNED) if name in experiment.arms]
    tunings = {name: Tuning(name, MadeFor({}, {}, "", None), rate=rate) for name in names}
    question = experiment.questions[0]
    sentences = rates_in_words(Prose(question, {"comparisons": []}, experiment, {}, [], (), tunings))
    reasons = [each.text for each in sentences if "known from the literature and was not measured here" in each.text]
    assert len(reasons) == is_said
    if is_said:
        assert re.match(
            r"(The control|`more`) trains only part of the pretrained network and (the control|`more`)", reasons[0]
        )
