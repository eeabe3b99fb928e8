"""What is measured before training: copies across splits, and how networks behave."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from data_files import arrays, class_files, picture, write_files
from networks import GUILTY, HONEST, K, Net
from paribus import checks, data
from paribus.config import Activation, DataConfig, ModelConfig, Pooling, Value
from paribus.data import Dataset, Split
from paribus.errors import DataError, StoreError
from paribus.experiment import CONTROL_RETUNED, Arm, Experiment, Found
from paribus.facts import Behaviour, Copies, DataFacts, Facts, ModelFacts, looked_at
from paribus.models import build_model
from paribus.store import Results
from paribus.survey import copies, near_copies, survey
from paribus.survey.behaviour import observe

Images = npt.NDArray[np.uint8]
PAIR = ("test", "train")
EXPERIMENT = Experiment.parse(
    """
[experiment]
name = "small"
seeds = 12
margin = 0.02
[control]
data = { name = "digits", size = 32, val = 200 }
model = { name = "lenet5" }
optim = { lr = 0.1 }
train = { epochs = 1 }
[[question]]
id = "relu"
asks = "ReLU?"
arms.relu = { "model.activation" = "relu" }
[[question]]
id = "rate"
asks = "Which rate?"
factor = "optim.lr"
values = [0.01, 0.1]
"""
)


def codes(seen: Behaviour) -> list[str]:
    """The checks that fire for a network that behaves so."""
    facts = Facts(models=(ModelFacts(("control", "relu", "lr-0.01"), "net", K, seen),))
    return [finding.code for finding in checks.measured(EXPERIMENT, facts) if finding.outcome == "fired"]


def seen_of(build: Callable[[], nn.Module]) -> Behaviour:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return observe(build(), torch.randn(32, 1, 32, 32))


@pytest.mark.parametrize("name", HONEST)
def test_honest_networks_pass(name: str) -> None:
    assert codes(seen_of(HONEST[name])) == []


@pytest.mark.parametrize("name", GUILTY)
def test_each_guilty_network_fires_its_own_check(name: str) -> None:
    code, build = GUILTY[name]
    assert codes(seen_of(build)) == [code]


def built_in() -> Iterator[ModelConfig]:
    for activation in get_args(Activation):
        for pooling in get_args(Pooling):
            for name in ("lenet5", "lenet5-1998"):
                yield ModelConfig.model_validate({"name": name, "activation": activation, "pooling": pooling})
    yield ModelConfig.model_validate({"name": "lenet5", "dropout": 0.5})
    yield ModelConfig.model_validate({"name": "charcnn", "width": 4})


@pytest.mark.parametrize(
    "config", list(built_in()), ids=lambda config: "-".join(map(str, config.model_dump().values()))
)
def test_built_in_networks_pass(config: ModelConfig) -> None:
    assert codes(seen_of(lambda: build_model(config, (1, 32, 32), K, seed=0))) == []


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [("relu", 0, None), ("tanh", -1, 1), ("sigmoid", 0, 1), ("clamp", -10, 10), ("gelu", -0.17, None)],
)
def test_the_bounds_are_found(name: str, lowest: float | None, highest: float | None) -> None:
    seen = seen_of(GUILTY[name][1])
    assert [seen.lowest, seen.highest] == pytest.approx([lowest, highest], abs=1e-3)


def test_logits_that_only_keep_their_scale_are_given_no_bound() -> None:
    """The lowest logit that was seen behind a normalisation is no bound: training finds lower ones."""
    seen = seen_of(lambda: Net(nn.LayerNorm(K)))
    assert (seen.bent, seen.lowest, seen.highest) == (True, None, None)


def test_infinite_logits_are_given_no_bound_and_can_be_told() -> None:
    """The logarithm of mixed probabilities: minus infinity where all of them are zero."""
    mixed = seen_of(lambda: Net(lambda logits: (0.5 * logits.softmax(1) + 0.5 * logits.flip(1).softmax(1)).log()))
    assert mixed.lowest is None
    assert codes(mixed) == ["P023"]


def test_layers_and_parts_are_named() -> None:
    assert seen_of(GUILTY["nothing between"][1]).unbent == (("c1", "c2"),)
    assert seen_of(GUILTY["frozen batch norm"][1]).moving == ("stem",)
    assert seen_of(GUILTY["frozen weights moved"][1]).moving == ("part",)


def test_observing_leaves_no_trace() -> None:
    model = Net(nn.BatchNorm1d(K))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stream = torch.get_rng_state()
    first = observe(model, torch.ones(8, 1, 32, 32))
    assert torch.equal(stream, torch.get_rng_state())
    torch.manual_seed(3)
    assert observe(model, torch.ones(8, 1, 32, 32)) == first
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def pictures(number: int, seed: int = 0, channels: int = 1, side: int = 24) -> Images:
    """Smooth random pictures, none like another."""
    coarse = np.random.default_rng(seed).integers(40, 200, (number, channels, side // 3, side // 3))
    return np.kron(coarse, np.ones((1, 1, 3, 3))).astype(np.uint8)


def test_exact_copies_are_counted_by_pair_of_splits() -> None:
    train, val, test = pictures(30, 1), pictures(10, 2), pictures(20, 3)
    assert copies({"train": train, "val": val, "test": test}) == ()
    test[[4, 9]], val[3], test[11] = train[[17, 2]], train[5], val[0]
    assert copies({"train": train, "val": val, "test": test}) == (
        Copies("val", "train", 1, (3, 5)),
        Copies("test", "train", 2, (4, 17)),
        Copies("test", "val", 1, (11, 0)),
    )


@given(gain=st.floats(0.5, 1.2), shift=st.integers(-15, 15), channels=st.sampled_from([1, 3]))
def test_a_picture_again_is_found_whatever_its_brightness_and_contrast(gain: float, shift: int, channels: int) -> None:
    train, test = pictures(40, 1, channels), pictures(20, 2, channels)
    test[7] = np.clip(train[31] * gain + shift, 0, 255).astype(np.uint8)
    found = near_copies(train, test)
    is_exact = np.array_equal(test[7], train[31])
    assert found == (None if is_exact else Copies("test", "train", 1, (7, 31)))


def test_a_picture_with_noise_is_found_and_another_one_is_not() -> None:
    train, test = pictures(3000, 1), pictures(1500, 2)
    assert near_copies(train, test) is None
    noise = np.random.default_rng(0).normal(0, 3, train[0].shape)
    test[1200] = (train[2500] + noise).clip(0, 255).astype(np.uint8)
    assert near_copies(train, test) == Copies("test", "train", 1, (1200, 2500))


def test_a_blank_picture_is_like_nothing() -> None:
    train, test = pictures(10), np.zeros((3, 1, 24, 24), np.uint8)
    train[0] = 7
    assert near_copies(train, test) is None


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "exact"), [("mnist", 0), ("dhcd", 5)])
def test_the_real_sets_are_not_flooded(name: str, exact: int, data_folder: Path) -> None:
    dataset = data.load_prepared(data.prepare(DataConfig(name=name), data_folder).folder)
    assert near_copies(dataset.train.images[:20_000], dataset.test.images[:4000]) is None
    assert sum(each.images for each in copies({"train": dataset.train.images, "test": dataset.test.images})) == exact


def digits(config: DataConfig) -> Dataset:
    return data.load_prepared(data.prepare(config).folder)


def test_each_table_is_measured_once() -> None:
    loads = []

    def load(config: DataConfig) -> Dataset:
        loads.append(config)
        return digits(config)

    facts = survey(EXPERIMENT, load)
    assert len(loads) == 1
    assert [each.arms for each in facts.data] == [("control", "relu", "lr-0.01")]
    assert [each.arms for each in facts.models] == [("control", "lr-0.01"), ("relu",)]
    assert facts.unseen == ()
    (found,) = facts.data
    assert (found.image_shape, {name: sum(counts) for name, counts in found.counts.items()}) == (
        (1, 32, 32),
        {"train": 1237, "val": 200, "test": 360},
    )
    assert Facts.from_json(facts.to_json()) == facts


def roll(people: int, test_of: Callable[[int], str]) -> dict[str, bytes]:
    """A camera roll: each person shows every class in order, and is for test with some of them."""
    return {
        f"{'test' if name in test_of(person) else 'train'}/{name}/IMG_{4 * person + label:04}.png": picture(
            np.random.default_rng(4 * person + label).integers(0, 256, (8, 8), dtype=np.uint8)
        )
        for person in range(20)
        for label, name in enumerate("abcd")
    }


@pytest.mark.parametrize(
    ("test_of", "keys", "groups", "suggested"),
    [
        (lambda person: "abcd"[person % 4] if person >= 10 else "", {}, (("test", "train", 10, 10, 10),), True),
        (lambda person: "abcd" if person >= 10 else "", {}, (), True),
        (lambda person: "abcd"[person % 4], {"group": "numbering"}, (("test", "train", 17, 20, 17),), False),
        (lambda person: "abcd"[person % 4], {"group": "numbering", "test": 0.3}, (), False),
        (lambda person: "abcd"[person % 4], {"test": 0.3}, None, True),
    ],
)
def test_groups_in_two_splits_are_counted(
    tmp_path: Path, fresh_cache: Path, test_of: Any, keys: dict[str, Any], groups: Any, suggested: bool
) -> None:
    folder = write_files(tmp_path / "roll", roll(20, test_of))
    config = EXPERIMENT.control.data.model_copy(update={"name": str(folder), "val": 8, "size": None, **keys})
    control = EXPERIMENT.control.model_copy(update={"data": config})
    experiment = dataclasses.replace(EXPERIMENT, arms={"control": Arm("control", {}, control)}, questions=())
    (seen,) = survey(experiment, lambda config: data.load_prepared(data.prepare(config).folder)).data
    assert seen.groups_are_suggested is suggested and seen.shared_groups is not None
    of_test = tuple(dataclasses.astuple(each) for each in seen.shared_groups if (each.split, each.source) == PAIR)
    if groups is None:
        assert of_test[0][2] > 10, "a test split that is drawn by image shares people"
    else:
        assert of_test == groups
    # Val is drawn image by image where nobody has said what belongs together.
    assert any(each.split == "val" for each in seen.shared_groups) is suggested


def test_numbers_that_tell_nothing_are_no_groups(tmp_path: Path, fresh_cache: Path) -> None:
    dataset = data.load_data(write_files(tmp_path / "photos", class_files(arrays())))
    assert dataset.train.groups is None and dataset.train.suggested_groups is None


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("keys", "shared"),
    [
        ({"name": "sign-digits"}, (39, 40, 49)),
        ({"name": "sign-digits", "group": "numbering", "test": 0.2}, ()),
        ({"name": "dogs-vs-cats"}, None),
    ],
)
def test_groups_of_the_real_photos(data_folder: Path, keys: dict[str, Any], shared: Any) -> None:
    if not (data_folder / keys["name"]).is_dir():
        pytest.skip(f"real data is needed: there is no {keys['name']} in the folder that PARIBUS_DATA names")
    config = EXPERIMENT.control.data.model_copy(update={"val": None, **keys})
    control = EXPERIMENT.control.model_copy(update={"data": config})
    experiment = dataclasses.replace(EXPERIMENT, arms={"control": Arm("control", {}, control)}, questions=())
    facts = survey(experiment, lambda config: data.load_prepared(data.prepare(config, data_folder).folder))
    (seen,) = facts.data
    assert bool([each for each in checks.measured(experiment, facts) if each.code == "P034" and each.message]) is bool(
        shared
    )
    if shared is None:
        assert seen.shared_groups is None
    else:
        assert seen.shared_groups is not None
        found = [each for each in seen.shared_groups if (each.split, each.source) == PAIR]
        assert [(each.groups, each.of, each.images) for each in found] == ([shared] if shared else [])


def test_what_cannot_be_looked_at_is_named() -> None:
    def refuse(config: DataConfig) -> Dataset:
        raise DataError("It is not here.")

    unseen = ("The data `digits`: It is not here.",)
    assert survey(EXPERIMENT, refuse) == Facts(unseen=unseen, of=looked_at(EXPERIMENT))


TUNED = """
[[question]]
id = "adam"
asks = "Adam?"
arms.adam = { "optim.name" = "adam", "optim.lr" = "retune" }
together = [["optim.name", "optim.lr"]]
"""


def test_facts_of_a_former_design_say_so(tmp_path: Path) -> None:
    results = Results.create(tmp_path / "result", EXPERIMENT, {})
    results.write_facts(Facts(of=looked_at(EXPERIMENT)))
    assert results.facts() == Facts(of=looked_at(EXPERIMENT))
    tuned = Experiment.parse(EXPERIMENT.to_toml() + TUNED)
    chosen = tuned.resolve({name: {"optim.lr": Found(tuned.control.optim.lr)} for name in ("adam", CONTROL_RETUNED)})
    assert CONTROL_RETUNED in tuned.arms and CONTROL_RETUNED not in chosen.arms
    assert looked_at(tuned) == looked_at(chosen) != looked_at(EXPERIMENT)
    more = Results(results.folder, dataclasses.replace(EXPERIMENT, seeds=(0, 1, 2, 3)))
    assert more.facts() == results.facts(), "the first seed is the same"
    factors: dict[str, Value] = {"model.dropout": 0.5}
    arms = {**EXPERIMENT.arms, "drop": Arm("drop", factors, EXPERIMENT.control.with_factors(factors))}
    changed = Results(results.folder, dataclasses.replace(EXPERIMENT, arms=arms)).facts()
    assert changed is not None
    assert changed.unseen == ("what was changed in the experiment after data and networks had been looked at.",)


def test_a_network_that_views_maps_as_rows_is_observed(tmp_path: Path) -> None:
    """`view` refuses maps of colour images with channels last, which is how images come."""
    (tmp_path / "viewing.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(144, 5)\n"
        "    def forward(self, x):\n        return self.fc(self.conv(x).view(len(x), -1))\n",
        encoding="utf-8",
    )
    model = build_model(ModelConfig(name=f"{tmp_path / 'viewing.py'}:Net"), (3, 8, 8), 5, seed=0)
    images = torch.randn(20, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    assert codes(observe(model, images)) == ["P025"]  # It is linear; that it is told says that it was seen.


class Raises(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(1024, K)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise RuntimeError("not now")
        logits: Tensor = self.fc(x.flatten(1))
        return logits


def test_a_network_that_fails_is_named_and_the_data_are_still_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paribus.survey.networks.build_model", lambda *_: Raises())
    facts = survey(EXPERIMENT, digits)
    assert len(facts.data) == 1
    assert facts.models == ()
    assert facts.unseen[0] == (
        "The network of `control` and `lr-0.01`: `lenet5` must take a batch of images in training and in evaluation, "
        "but raised RuntimeError: not now"
    )


def test_a_network_that_cannot_be_built_is_broken_and_the_others_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("class Net:\n    pass\n", encoding="utf-8")
    factors: dict[str, Value] = {"model.name": f"{path}:Net"}
    arm = Arm("eva", factors, EXPERIMENT.control.with_factors(factors))
    facts = survey(dataclasses.replace(EXPERIMENT, arms={**EXPERIMENT.arms, "eva": arm}), digits)
    assert [each.arms for each in facts.models] == [("control", "lr-0.01"), ("relu",)]
    (broken,) = facts.broken
    assert broken.arms == ("eva",)
    assert broken.why.startswith("`model.name` must name a subclass of torch.nn.Module, but")
    assert facts.unseen == ()
    assert Facts.from_json(facts.to_json()) == facts


def test_val_that_is_test_is_not_compared_with_it() -> None:
    arm = EXPERIMENT.arms["control"].recipe.with_factors({"data.val": "test"})
    experiment = dataclasses.replace(
        EXPERIMENT, arms={"control": dataclasses.replace(EXPERIMENT.arms["control"], recipe=arm)}, questions=()
    )
    (found,) = survey(experiment, digits).data
    assert list(found.counts) == ["train", "test"]
    assert found.copies == ()


def test_the_store_keeps_facts(tmp_path: Path) -> None:
    results = Results.create(tmp_path / "result", EXPERIMENT, {})
    assert results.facts() is None
    facts = Facts(
        (DataFacts(("control",), (1, 8, 8), ("0", "1"), {"train": (3, 4), "test": (1, 1)}, (), None),),
        (ModelFacts(("control",), "net", 2, Behaviour(True, False, None, 1.0, (("a", "b"),), ("c",), 0.5)),),
        ("The data `x`: gone.",),
    )
    results.write_facts(facts)
    assert results.facts() == facts
    (results.folder / "facts.json").write_text('{"data": 3}', encoding="utf-8")
    with pytest.raises(StoreError, match=r"`.*facts.json` is damaged and cannot be read"):
        results.facts()


def test_splits_are_the_first_seeds() -> None:
    dataset = digits(EXPERIMENT.control.data)
    drawn = data.draw(dataset, EXPERIMENT.control.data, EXPERIMENT.seeds[0])
    planted = dataset.train.images.copy()
    inside, outside = int(drawn.train_indices[0]), int(np.setdiff1d(np.arange(len(planted)), drawn.train_indices)[0])
    planted[outside] = planted[inside]
    leaky = dataclasses.replace(dataset, train=Split(planted, dataset.train.labels))
    (found,) = survey(EXPERIMENT, lambda _: leaky).data
    assert [(each.split, each.source, each.images) for each in found.copies] == [("val", "train", 1)]
