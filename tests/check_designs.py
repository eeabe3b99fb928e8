"""Designs on which checks are tried, and what of their findings tests look at."""

from __future__ import annotations

from paribus.checks import Finding
from paribus.experiment import Experiment

HEAD = """
[experiment]
name = "small"
seeds = {seeds}
margin = 0.02
{published}
[control]
data = {{ name = "{data}", size = 32, val = {val} }}
model = {{ name = "lenet5" }}
optim = {{ name = "sgd", lr = 0.1 }}
augment = {{ hflip = {hflip} }}
train = {{ {train} epochs = {epochs}, batch_size = 128 }}
"""
RELU = """
[[question]]
id = "relu"
asks = "ReLU?"
arms.relu = { "model.activation" = "relu" }
"""
SWEEP = """
[[question]]
id = "rate"
asks = "Which rate?"
factor = "optim.lr"
values = [0.01, 0.1, 1.0]
"""
BATCH = """
[[question]]
id = "batch"
asks = "512?"
arms.b512 = { "train.batch_size" = 512 }
"""
SAME_STEPS = """arms.b512-same-steps = { "train.batch_size" = 512, "train.epochs" = 8 }
together = [["train.batch_size", "train.epochs"]]
"""
RETUNED = """arms.b512-retuned = { "train.batch_size" = 512, "optim.lr" = 0.3 }
together = [["train.batch_size", "optim.lr"]]
"""
ADAM = """
[[question]]
id = "adam"
asks = "Adam?"
arms.adam = { "optim.name" = "adam" }
"""
PAIR = """
[[question]]
id = "pair"
asks = "ReLU and max pooling?"
arms.relu-max = { "model.activation" = "relu", "model.pooling" = "max" }
together = [["model.activation", "model.pooling"]]
"""
SHUFFLE = """
[[question]]
id = "order"
asks = "In the stored order?"
arms.ordered = { "train.shuffle" = false }
"""
OTHER_RATE_FOR_SGD = """arms.low = { "optim.lr" = 0.01 }
"""


def design(questions: str, **settings: str | int) -> Experiment:
    given = {"seeds": 5, "val": "200", "hflip": "false", "data": "digits", "published": "", "train": "", "epochs": 2}
    return Experiment.parse(HEAD.format(**(given | settings)) + questions)


def of(code: str, findings: list[Finding]) -> list[Finding]:
    found = [finding for finding in findings if finding.code == code]
    assert found
    return found


def fired(code: str, findings: list[Finding]) -> dict[str, str]:
    return {finding.where: finding.message for finding in of(code, findings) if finding.outcome == "fired"}
