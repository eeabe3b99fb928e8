"""The trials of a plan: which arms share one, because an image of an epoch costs them the same."""

from __future__ import annotations

from typing import Any

import pytest

from paribus import data, engines
from paribus.config import Recipe
from paribus.experiment import RunSpec
from paribus.launch import trial_process
from paribus.launch.launcher import Pack

SGD = Recipe.parse(
    {
        "data": {"name": "digits", "size": 28, "val": 200, "train_size": 300},
        "model": {"name": "lenet5"},
        "optim": {"lr": 0.05, "momentum": 0.9},
        "train": {"epochs": 4, "batch_size": 32},
    }
)
ELASTIC = SGD.with_factors({"augment.elastic": 2.0})


def trials_of(recipes: list[Recipe], monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many trials tell the time of runs like these."""
    tried: list[RunSpec] = []

    class Counting:
        def seconds_per_example(self, spec: RunSpec, _: data.Dataset) -> float:
            tried.append(spec)
            return 1.0

    monkeypatch.setattr(engines, "load", lambda _: Counting())
    prepared, measured = data.prepare(SGD.data), dict[str, float]()
    for recipe in recipes:
        pack = Pack((RunSpec("arm", 0, recipe, prepared.fingerprint, "torch-1"),), "torch", prepared.folder)
        told = trial_process._seconds_per_epoch(pack, measured)
        assert told == {"seconds": recipe.factor("data.train_size")}
    return len(tried)


@pytest.mark.parametrize(
    ("factors", "is_tried"),
    [
        ({"optim.lr": 0.2, "optim.momentum": 0.5, "train.epochs": 9}, False),
        ({"data.train_size": 200}, False),
        ({"optim.momentum": 0.0}, True),
        ({"optim.nesterov": True}, True),
        ({"optim.weight_decay": 0.1}, True),
        ({"optim.name": "adam", "optim.momentum": 0.0}, True),
        ({"train.average": 0.9}, True),
        ({"train.batch_size": 64}, True),
        ({"augment.elastic": 2.0}, True),
    ],
)
def test_arms_share_a_trial_only_where_their_steps_cost_the_same(
    factors: dict[str, Any], is_tried: bool, fresh_cache: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trials_of([SGD, SGD.with_factors(factors)], monkeypatch) == 1 + is_tried


def test_arms_that_draw_for_all_images_share_a_trial_only_where_they_train_on_as_many(
    fresh_cache: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the whole source that is drawn for: an arm with fewer images has more of it to each of them."""
    assert trials_of([ELASTIC, ELASTIC.with_factors({"optim.lr": 0.2})], monkeypatch) == 1
    assert trials_of([ELASTIC, ELASTIC.with_factors({"data.train_size": 200})], monkeypatch) == 2
