"""Recipes: every table validated, every refusal in words, round trips exact."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from paribus.config import LATER_KEYS, AugmentConfig, ModelConfig, OptimConfig, Recipe, TrainConfig
from paribus.errors import (
    ConfigError,
    DataError,
    ModelError,
    ParibusError,
    RunError,
    StoreError,
    nearest,
)

TABLES: dict[str, Any] = {
    "data": {"name": "mnist", "val": 5000},
    "model": {"name": "lenet5"},
    "optim": {"lr": 0.1},
    "train": {"epochs": 20},
}


def recipe_with(**changes: Any) -> Recipe:
    """The recipe with some keys changed, written `table__key`."""
    tables = copy.deepcopy(TABLES)
    for path, value in changes.items():
        table, _, key = path.partition("__")
        tables.setdefault(table, {})[key.replace("__", ".")] = value
    return Recipe.parse(tables, "control")


def test_defaults_are_the_plain_ones() -> None:
    recipe = recipe_with()
    assert recipe.model.options == {"activation": "tanh", "pooling": "avg", "dropout": 0.0}
    assert (recipe.optim.name, recipe.optim.momentum, recipe.optim.weight_decay) == ("sgd", 0.0, 0.0)
    assert recipe.schedule.name == "constant"
    assert recipe.augment == AugmentConfig(hflip=False, vflip=False, shift=0, rotate=0, scale=0, elastic=0)
    assert (recipe.train.batch_size, recipe.train.keep, recipe.train.patience) == (128, "last", None)


@pytest.mark.parametrize("value", [5000, 0.1, "test", "off", None])
def test_val_takes_a_number_a_fraction_the_test_set_or_off(value: object) -> None:
    assert recipe_with(data__val=value).data.val == (None if value == "off" else value)


def test_whole_numbers_serve_as_fractions_are_asked() -> None:
    assert recipe_with(optim__lr=1).optim.lr == 1.0


REFUSED = {
    "unknown table": (
        "tran__epochs",
        1,
        r"Unknown key `control.tran`. Did you mean `train`\? Known keys: data, model,",
    ),
    "unknown key": ("optim__learning_rate", 1, r"Unknown key `control.optim.learning_rate`.* Known keys: name, lr,"),
    "dash for underscore": (
        "train__batch-size",
        8,
        r"Unknown key `control.train.batch-size`. Did you mean `batch_size`\?",
    ),
    "unknown option": ("model__activatoin", "relu", r"Unknown key `model.activatoin`. Did you mean `activation`\?"),
    "option of another model": ("model__width", 16, r"Unknown key `model.width`. Known keys: activation, pooling, dro"),
    "unknown model": (
        "model__name",
        "lenet",
        r"must be one of lenet5, lenet5-1998, charcnn, pretrained, or a class of yours as `file.py:Class`, but got "
        r"`lenet`. Did you mean `lenet5`\?",
    ),
    "model that is no text": ("model__name", 5, r"`control.model.name` must be a valid string, but got 5."),
    "unknown activation": (
        "model__activation",
        "rely",
        r"`model.activation` must be tanh, scaled-tanh, relu, gelu or sigmoid, but got 'rely'. Did you mean `relu`\?",
    ),
    "at least": ("train__epochs", 0, r"`control.train.epochs` must be at least 1, but got 0."),
    "above": ("optim__lr", 0, r"`control.optim.lr` must be above 0, but got 0."),
    "at most": ("augment__rotate", 181.0, r"`control.augment.rotate` must be at most 180, but got 181.0."),
    "below": ("model__dropout", 1.0, r"`model.dropout` must be below 1, but got 1.0."),
    "no number": ("optim__lr", "fast", r"`control.optim.lr` must be a valid number, but got 'fast'."),
    "not finite": ("optim__lr", float("nan"), r"`control.optim.lr` must be .*, but got nan."),
    "truth for a number": ("train__epochs", True, r"`control.train.epochs` must be a valid integer, but got True."),
    "number for truth": ("augment__hflip", 1, r"`control.augment.hflip` must be a valid boolean, but got 1."),
    "fraction for a number": ("train__epochs", 1.5, r"`control.train.epochs` must be a valid integer, but got 1.5."),
    "off where nothing is off": ("train__batch_size", None, r"`control.train.batch_size` must be .*, but got None."),
    "val of no form": (
        "data__val",
        "trst",
        r'`control.data.val` must be a number of images of at least 1, a fraction between 0 and 1, "test" or "off", '
        r"but got 'trst'.",
    ),
    "val of nothing": ("data__val", 0, r"`control.data.val` must be a number of images of at least 1, .* but got 0."),
    "val of everything": ("data__val", 1.0, r"`control.data.val` must be a number .* but got 1.0."),
    "empty name": ("data__name", "", r"`control.data.name` must be .*, but got ''."),
    "momentum elsewhere": (
        "optim",
        {"name": "adam", "lr": 0.001, "momentum": 0.9},
        r"`optim.momentum` belongs to sgd and rmsprop, but got 0.9 with adam. Set it to 0, or change `optim.name`.",
    ),
    "nesterov alone": (
        "optim__nesterov",
        True,
        r"`optim.nesterov` needs sgd with a momentum above 0, but got sgd with momentum 0. Set `optim.momentum`",
    ),
    "betas of sgd": (
        "optim__betas",
        [0.9, 0.99],
        r"`optim.betas` must be two numbers for adam or adamw, but got \[0.9",
    ),
    "one beta": ("optim", {"name": "adam", "lr": 1, "betas": [0.9]}, r"`optim.betas` must be two numbers .* \[0.9\]"),
    "beta of one": ("optim", {"name": "adam", "lr": 1, "betas": [0.9, 1]}, r"optim.betas` must be below 1, but got 1."),
    "step without keys": ("schedule__name", "step", r"go with the schedule `step`, both of them, but got name = step,"),
    "keys without step": (
        "schedule__gamma",
        0.1,
        r"go with the schedule `step`, both of them, but got name = constant",
    ),
    "warm-up twice": (
        "schedule",
        {"name": "one-cycle", "warmup_epochs": 1.0},
        r"`schedule.warmup_epochs` must be 0 with one-cycle, which warms up by itself, but got 1. Leave it out.",
    ),
    "table that is none": ("optim", 3, r"`control.optim` must be .*, but got 3."),
}


@pytest.mark.parametrize(("path", "value", "text"), REFUSED.values(), ids=REFUSED)
def test_refusals_say_what_must_hold(path: str, value: object, text: str) -> None:
    if "__" in path:
        changes = {path: value}
        with pytest.raises(ConfigError, match=text):
            recipe_with(**changes)
    else:
        with pytest.raises(ConfigError, match=text):
            Recipe.parse({**TABLES, path: value}, "control")


@pytest.mark.parametrize(("table", "key"), [("optim", "lr"), ("train", "epochs"), ("data", "name"), ("model", "name")])
def test_what_is_missing_is_named(table: str, key: str) -> None:
    tables = copy.deepcopy(TABLES)
    del tables[table][key]
    with pytest.raises(ConfigError, match=rf"`control.{table}.{key}` is missing. Add it."):
        Recipe.parse(tables, "control")
    del tables[table]
    with pytest.raises(ConfigError, match=rf"`control.{table}` is missing. Add it."):
        Recipe.parse(tables, "control")


@pytest.mark.parametrize("train", [{"keep": "best"}, {"patience": 3}])
def test_the_test_set_chooses_nothing(train: dict[str, Any]) -> None:
    tables = {**TABLES, "data": {"name": "mnist", "val": "test"}, "train": {"epochs": 20, **train}}
    with pytest.raises(
        ConfigError, match=r'`data.val = "test"` must not choose anything, but got keep = .* Give `data'
    ):
        Recipe.parse(tables, "control")


def test_a_class_of_the_user_takes_its_own_options() -> None:
    recipe = Recipe.parse({**TABLES, "model": {"name": "net.py:Net", "depth": 3}})
    assert recipe.model.options == {"depth": 3}
    assert recipe.factor("model.depth") == 3
    assert recipe.factor("model.width") is None
    assert recipe.with_factors({"model.width": 8}).model.options == {"depth": 3, "width": 8}


def test_off_is_none_for_a_class_of_the_user_too() -> None:
    control = Recipe.parse({**TABLES, "model": {"name": "net.py:Net", "norm": "off", "depth": 3}})
    assert control.model.options == {"norm": None, "depth": 3}
    arm = Recipe.parse({**TABLES, "model": {"name": "net.py:Net", "norm": "batch", "depth": 3}})
    assert arm.with_factors({"model.norm": "off"}) == arm.with_factors({"model.norm": None}) == control


def test_recipes_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        recipe_with().optim.lr = 1.0


def test_factors_are_read_by_name() -> None:
    recipe = recipe_with()
    assert recipe.factor("optim.lr") == 0.1
    assert recipe.factor("model.activation") == "tanh"
    assert recipe.factor("data.size") is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lr", r"A factor must be written `table.key` with a table of data, model, .*, but got `lr`."),
        ("optim", r"A factor must be written `table.key` .*, but got `optim`.$"),
        ("optm.lr", r"A factor must be written `table.key` .*, but got `optm.lr`. Did you mean `optim`\?"),
        ("optim.learn", r"Unknown key `optim.learn`. Keys of `optim`: name, lr, momentum"),
        ("train.batchsize", r"Unknown key `train.batchsize`. Did you mean `batch_size`\?"),
        ("model.width", r"Unknown key `model.width`."),
    ],
)
def test_factors_that_do_not_exist(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        recipe_with().factor(name)
    with pytest.raises(ConfigError, match=text):
        recipe_with().with_factors({name: 1})


def test_changed_factors_leave_the_rest_and_the_original_alone() -> None:
    control = recipe_with()
    arm = control.with_factors({"model.activation": "relu", "train.batch_size": 512})
    assert (arm.model.options["activation"], arm.train.batch_size) == ("relu", 512)
    assert arm.with_factors({"model.activation": "tanh", "train.batch_size": 128}) == control == recipe_with()


def test_changed_factors_are_validated_where_they_stand() -> None:
    with pytest.raises(ConfigError, match=r"`question.x.arms.a.train.batch_size` must be at least 1, but got 0."):
        recipe_with().with_factors({"train.batch_size": 0}, "question.x.arms.a")


def test_another_model_keeps_the_options_that_both_have() -> None:
    control = recipe_with(model__dropout=0.5, model__activation="relu")
    assert control.with_factors({"model.name": "charcnn"}).model.options == {"width": 32, "dropout": 0.5}
    paper = control.with_factors({"model.name": "lenet5-1998"}).model.options
    assert paper == {"activation": "relu", "pooling": "avg"}
    wide = control.with_factors({"model.name": "charcnn", "model.width": 16}).model.options
    assert wide == {"width": 16, "dropout": 0.5}
    assert control.with_factors({"model.name": "net.py:Net"}).model.options == {}


def test_another_model_refuses_options_that_it_has_not() -> None:
    with pytest.raises(ConfigError, match=r"Unknown key `model.pooling`. Known keys: width, dropout"):
        recipe_with().with_factors({"model.name": "charcnn", "model.pooling": "max"})


POSITIVE = st.floats(1e-6, 1e3)
PART = st.floats(0.0, 0.99)


@given(
    changes=st.fixed_dictionaries(
        {},
        optional={
            "data.val": st.one_of(st.none(), st.just("test"), st.integers(1, 9999), st.floats(0.01, 0.99)),
            "data.size": st.one_of(st.none(), st.integers(1, 1024)),
            "model.activation": st.sampled_from(["tanh", "scaled-tanh", "relu", "gelu", "sigmoid"]),
            "model.dropout": PART,
            "optim.lr": POSITIVE,
            "optim.momentum": PART,
            "optim.weight_decay": POSITIVE,
            "augment.elastic": POSITIVE,
            "augment.vflip": st.booleans(),
            "train.epochs": st.integers(1, 500),
            "train.label_smoothing": PART,
            "augment.mixup": POSITIVE,
            "train.average": st.one_of(st.none(), st.floats(0.01, 0.99)),
            "train.precision": st.sampled_from(["float32", "bfloat16", "float16"]),
        },
    )
)
def test_every_recipe_goes_through_json_and_back(changes: dict[str, Any]) -> None:
    recipe = recipe_with().with_factors(changes)
    text = json.dumps(recipe.model_dump(mode="json"), allow_nan=False)
    assert Recipe.parse(json.loads(text)) == recipe
    assert {name: recipe.factor(name) for name in changes} == changes


@pytest.mark.parametrize("name", LATER_KEYS)
def test_later_keys_change_no_identity_until_they_are_used(name: str) -> None:
    table, _, key = name.partition(".")
    assert recipe_with().factor(name) == LATER_KEYS[name]
    assert key not in recipe_with().identity()[table]


@pytest.mark.parametrize(("name", "value"), [("augment.mixup", 0.2), ("train.average", 0.9)])
def test_a_later_key_that_is_used_changes_the_identity(name: str, value: float) -> None:
    table, _, key = name.partition(".")
    assert recipe_with().with_factors({name: value}).identity()[table][key] == value


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("augment.mixup", -0.1, r"`arm.augment.mixup` must be at least 0, but got -0.1"),
        ("train.average", 1.0, r"`arm.train.average` must be below 1, but got 1.0"),
        ("train.average", 0.0, r"`arm.train.average` must be above 0, but got 0.0"),
        ("train.precision", "half", r"`arm.train.precision` must be float32, bfloat16 or float16, but got 'half'"),
    ],
)
def test_settings_of_a_step_are_bounded(name: str, value: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        recipe_with().with_factors({name: value})


def test_options_of_every_model_have_defaults() -> None:
    for name in ModelConfig.options_by_name.keys() - {"pretrained"}:  # It must be told which weights.
        assert ModelConfig(name=name).options


def test_nearest_offers_one_name_or_none() -> None:
    assert nearest("relo", ["relu", "gelu", "tanh"]) == " Did you mean `relu`?"
    assert nearest("xyz", ["relu"]) == ""
    assert nearest("SGD", ["sgd", "adam"]) == " Did you mean `sgd`?"
    assert nearest("lenet", ["LeNet5"]) == " Did you mean `LeNet5`?"


def test_a_misspelt_key_comes_before_the_one_that_is_missing_for_it() -> None:
    tables = recipe_with().model_dump()
    tables["train"] = {"epoch": 5}
    with pytest.raises(ConfigError, match=r"Unknown key `control.train.epoch`. Did you mean `epochs`\?"):
        Recipe.parse(tables, "control")


@pytest.mark.parametrize("value", [3, "digits", ["digits"]])
def test_a_table_is_asked_for_where_there_is_none(value: object) -> None:
    tables = {**recipe_with().model_dump(), "data": value}
    with pytest.raises(ConfigError, match=r"`control.data` must be a table such as \{ key = value \}, but got "):
        Recipe.parse(tables, "control")


def test_a_data_set_has_a_name() -> None:
    with pytest.raises(ConfigError, match=r"`arm.data.name` must be a text that is not empty, but got ''."):
        recipe_with().with_factors({"data.name": ""})


def test_exit_statuses_are_the_documented_ones() -> None:
    assert {kind.exit_status for kind in (ParibusError, ConfigError, DataError, ModelError, StoreError)} == {2}
    assert RunError.exit_status == 1


def test_a_table_tells_its_keys_with_the_default_first() -> None:
    assert ModelConfig.options_by_name["lenet5-1998"].told()["pooling"] == "trainable | avg | max | stride"
    assert OptimConfig.told()["lr"] == "needed"
    assert OptimConfig.told()["betas"] == "off"
    assert TrainConfig.told()["shuffle"] == "true | false"
    assert AugmentConfig.told()["crop_ratio"] == "[0.75, 1.3333]"
