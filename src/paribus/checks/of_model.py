"""The rules that look at networks as they behaved on real images before training."""

from __future__ import annotations

import math

from paribus.checks.places import Places, of_arms
from paribus.experiment import Experiment
from paribus.facts import Facts, ModelFacts
from paribus.wording import listed, loss, named

_NOTICED = 0.001  # Nats; a lower floor hinders nothing.


def bent_logits(experiment: Experiment, facts: Facts) -> Places:
    """P023: the logits are no affine function of what the last layers with weights give."""
    if not facts.models:
        return None
    return [
        place
        for model in facts.models
        if model.behaviour.bent and not model.behaviour.sums_to_one
        for place in of_arms(experiment, model.arms, f"The logits pass through a nonlinearity: {_seen(model)}.")
    ]


def softmax_logits(experiment: Experiment, facts: Facts) -> Places:
    """P024: what the network gives are probabilities, and cross-entropy takes their softmax again."""
    if not facts.models:
        return None
    return [
        place
        for model in facts.models
        if model.behaviour.sums_to_one
        for place in of_arms(
            experiment,
            model.arms,
            f"The outputs are never negative and sum to one: softmax is applied before cross-entropy, which applies it "
            f"again. {_floor(model, 1.0)}.",
        )
    ]


def nothing_between(experiment: Experiment, facts: Facts) -> Places:
    """P025: a layer with weights below another, and nothing nonlinear on the way from the image to the second."""
    if not facts.models:
        return None
    return [
        place
        for model in facts.models
        if model.behaviour.unbent
        for place in of_arms(
            experiment,
            model.arms,
            f"Nothing nonlinear stands between {listed([f'{named(pair)}' for pair in model.behaviour.unbent])}: "
            "what comes out is an affine function of the image, which one layer could compute.",
        )
    ]


def frozen_part_moves(experiment: Experiment, facts: Facts) -> Places:
    """P026: a part with frozen parameters only has buffers or parameters that training changes."""
    if not facts.models:
        return None
    return [
        place
        for model in facts.models
        if model.behaviour.moving
        for place in of_arms(
            experiment,
            model.arms,
            f"The parameters of {named(model.behaviour.moving)} are frozen, but a pass in training mode changes what "
            "it holds.",
        )
    ]


def modes_differ(experiment: Experiment, facts: Facts) -> Places:
    """P027: training and evaluation mode give other logits, without dropout and batch statistics."""
    if not facts.models:
        return None
    return [
        place
        for model in facts.models
        if model.behaviour.mode_gap > 0
        for place in of_arms(
            experiment,
            model.arms,
            f"With dropout off and running statistics the logits still differ by up to {model.behaviour.mode_gap:.2g} "
            "between training and evaluation mode: images are treated differently in the two.",
        )
    ]


def does_not_run(experiment: Experiment, facts: Facts) -> Places:
    """P035: the network of an arm cannot be built, or gives no logits for its images."""
    if not facts.models and not facts.broken:
        return None
    return [place for model in facts.broken for place in of_arms(experiment, model.arms, model.why)]


def loss_floor(lowest: float, highest: float, num_classes: int) -> float:
    """Return the least cross-entropy in nats that logits within two bounds can have, ln(1 + (K - 1) e^-(range))."""
    return math.log1p((num_classes - 1) * math.exp(lowest - highest))


def _seen(model: ModelFacts) -> str:
    low, high = model.behaviour.lowest, model.behaviour.highest
    if low is not None and high is not None:
        bounds = f"they stay within {_number(low)} to {_number(high)}"
        is_high = loss_floor(low, high, model.num_classes) >= _NOTICED
        return f"{bounds}. {_floor(model, high - low)}" if is_high else bounds
    if low == 0:
        return (
            "they are never negative, as behind a ReLU. A class whose sum is negative on every image gets no gradient "
            "and may die: it is then never predicted"
        )
    if low is not None:
        return f"they are never below {_number(low)}"
    if high is not None:
        return f"they are never above {_number(high)}"
    return "a step forth and the same step back change them by different amounts"


def _floor(model: ModelFacts, width: float) -> str:
    floor = loss_floor(0, width, model.num_classes)
    return f"Over {model.num_classes} classes the loss cannot fall below {loss(floor)} nats"


def _number(value: float) -> str:
    return loss(value).rstrip("0").rstrip(".") or "0"
