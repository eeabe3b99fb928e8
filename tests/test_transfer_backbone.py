"""Backbones: built with their weights to the last tensor, divided into stages, and frozen where they are frozen."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from paribus.errors import ModelError, WeightsError
from paribus.transfer import Backbone, Classifier, Preprocessing, Weights, build_backbone, find_weights, frozen, stages
from paribus.transfer.backbone import state_digests
from pretrained import CLASSES, SIZE, real_weights, tiny_weights


@pytest.fixture
def backbone(tmp_path: Path) -> Backbone:
    return build_backbone(tiny_weights(tmp_path), 0)


def _changed(weights: Weights, **tensors: torch.Tensor | None) -> Weights:
    """Return weights whose file holds other tensors; None takes one away."""
    assert weights.file is not None
    state = load_file(weights.file) | tensors
    file = weights.file.with_name("changed.safetensors")
    save_file({name.replace("__", "."): each for name, each in state.items() if each is not None}, file)
    return dataclasses.replace(weights, file=file)


def test_it_computes_what_timm_computes(tmp_path: Path, backbone: Backbone) -> None:
    weights = backbone.weights
    assert weights.file is not None
    theirs: Any = timm.create_model(weights.architecture, num_classes=CLASSES).eval()
    theirs.load_state_dict(load_file(weights.file))
    images = torch.randn(3, 3, SIZE, SIZE)
    with torch.no_grad():
        logits = build_backbone(weights, 0, own_head=True).network(images)
        torch.testing.assert_close(logits, theirs(images))
        torch.testing.assert_close(backbone.network(images), theirs.forward_head(theirs.forward_features(images), True))
    assert logits.shape == (3, CLASSES) and backbone.num_features == 96
    assert not backbone.network.training


def test_nothing_is_drawn_from_the_global_stream(tmp_path: Path) -> None:
    weights = tiny_weights(tmp_path)
    before = torch.get_rng_state()
    first = Classifier(build_backbone(weights, 0).network, 96, 5, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    again = Classifier(build_backbone(weights, 0).network, 96, 5, seed=1)
    other = Classifier(first.backbone, 96, 5, seed=2)
    assert state_digests(first) == state_digests(again)
    assert not torch.equal(first.head.weight, other.head.weight) and not torch.equal(first.head.bias, other.head.bias)
    assert 0.9 * 96**-0.5 < first.head.weight.abs().max() <= 96**-0.5


def test_from_scratch_the_seed_decides() -> None:
    weights = find_weights("none", "test_resnet")
    first = build_backbone(weights, 0, size=SIZE).digest
    torch.rand(3)
    assert build_backbone(weights, 0, size=SIZE).digest == first != build_backbone(weights, 1, size=SIZE).digest


def test_counters_may_be_absent_and_nothing_else(tmp_path: Path) -> None:
    weights = tiny_weights(tmp_path)
    whole = build_backbone(weights, 0)
    assert build_backbone(_changed(weights, **{"bn1.num_batches_tracked": None}), 0).built == whole.built
    for tensors, text in (
        ({"bn1.running_var": None}, r"but it lacks `bn1\.running_var`\. Correct `architecture`"),
        ({"extra": torch.zeros(1)}, r"but it also holds `extra`\."),
        ({"fc.bias": torch.zeros(9)}, r"but it has other shapes of `fc\.bias`\."),
    ):
        with pytest.raises(WeightsError, match=text):
            build_backbone(_changed(weights, **tensors), 0)
    names = [f"layer{place}.0.bn1.weight" for place in range(1, 5)]
    with pytest.raises(WeightsError, match=r"lacks `layer1.0.bn1.weight`, `layer2.* and 1 more\."):
        build_backbone(_changed(weights, **dict.fromkeys(names)), 0)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    weights = tiny_weights(tmp_path)
    (tmp_path / "text.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match=r"must be a safetensors file, but cannot be read"):
        build_backbone(dataclasses.replace(weights, file=tmp_path / "text.safetensors"), 0)
    with pytest.raises(
        ModelError, match=r"build `test_resnet` with .*, but it raised TypeError: .*Correct the weights' `model_args`"
    ):
        build_backbone(dataclasses.replace(weights, model_args={"widht": 1}), 0)
    with pytest.raises(WeightsError, match=r"as its sidecar states, 95, but gives 96"):
        build_backbone(dataclasses.replace(weights, num_features=95), 0)
    with pytest.raises(ModelError, match=r"must give one row of features per image, but gave \(2, 96, 1, 1\)"):
        build_backbone(dataclasses.replace(weights, model_args={"global_pool": ""}), 0)
    with pytest.raises(WeightsError, match=r"must come with a head where .*, but those of `test_resnet` .* have none"):
        build_backbone(find_weights("none", "test_resnet"), 0, own_head=True)


def test_the_hubs_file_is_loaded_by_timm(tmp_path: Path) -> None:
    weights = dataclasses.replace(find_weights("none", "test_resnet"), source="hub", num_classes=1000)
    theirs = timm.create_model("test_resnet")
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    ours = build_backbone(dataclasses.replace(weights, file=tmp_path / "model.safetensors"), 0, own_head=True)
    images = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(ours.network(images), theirs.eval()(images))
    state = {name: tensor for name, tensor in theirs.state_dict().items() if name != "bn1.weight"}
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"(?s)it raised RuntimeError: .*bn1\.weight"):
        build_backbone(dataclasses.replace(weights, file=tmp_path / "model.safetensors"), 0)


def test_another_input_size() -> None:
    """A transformer is built for the size; one that its patches do not divide is refused."""
    weights = find_weights("none", "test_vit")
    assert build_backbone(weights, 0, size=64).preprocessing.size == (64, 64)
    with pytest.raises(ModelError, match=r"`test_vit` must take images \(2, 3, 70, 70\), but its forward raised"):
        build_backbone(weights, 0, size=70)


# --- Preprocessing


def test_images_are_cropped_and_normalised() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 7, 9), dtype=np.uint8))
    shown = Preprocessing((4, 4), (0.5, 0.4, 0.3), (0.5, 0.25, 0.2)).apply(images)
    middle = images[:, :, 1:5, 2:6].double() / 255
    mean, std = (
        torch.tensor(each, dtype=torch.float64).view(1, 3, 1, 1) for each in ((0.5, 0.4, 0.3), (0.5, 0.25, 0.2))
    )
    torch.testing.assert_close(shown.double(), (middle - mean) / std, atol=1e-6, rtol=1e-5)
    assert shown.dtype == torch.float32 and shown.is_contiguous(memory_format=torch.channels_last)


def test_grey_becomes_three_channels_and_floats_stay_as_they_are() -> None:
    seen = Preprocessing((4, 4), (0.5,) * 3, (0.5,) * 3)
    grey = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4)
    shown = seen.apply(grey)
    assert shown.shape == (1, 3, 4, 4) and torch.equal(shown[:, 0], shown[:, 2])
    floats = grey.float()
    assert torch.equal(seen.apply(floats), shown) and torch.equal(floats, grey.float())
    torch.testing.assert_close(shown[:, :1], (grey / 255 - 0.5) / 0.5)


def test_images_that_do_not_fit_are_refused() -> None:
    seen = Preprocessing((4, 4), (0.5,), (0.5,))
    with pytest.raises(ModelError, match=r"looks at, 4x4 pixels, but are 3x5\. Prepare them larger with `data.size`"):
        seen.apply(torch.zeros(1, 1, 3, 5))
    with pytest.raises(ModelError, match=r"have the 1 channels that the backbone takes, but have 3"):
        seen.apply(torch.zeros(1, 3, 4, 4))


# --- Stages

STAGES = {
    "mobilenetv1_100": (6, "blocks.4.1.bn2.bias"),
    "mobilenetv2_100": (8, "bn2.bias"),
    "resnet18": (5, "layer4.1.bn2.bias"),
    "convnext_atto": (5, "head.norm.bias"),
    "test_vit": (7, "norm.bias"),
}


@pytest.mark.parametrize("architecture", STAGES)
def test_stages_are_in_order_with_and_without_head(architecture: str) -> None:
    count, last = STAGES[architecture]
    with torch.device("meta"):
        whole, headless = (timm.create_model(architecture, num_classes=classes) for classes in (5, 0))
    found = stages(headless)
    assert list(found) == [name for name, _ in headless.named_parameters()]
    assert set(found.values()) == set(range(count)) and found[last] == count - 1
    assert next(iter(found.values())) == 0
    with_head = stages(whole)
    assert {name: with_head[name] for name in found} == found
    assert {with_head[name] for name in with_head.keys() - found.keys()} == {count}


def test_stages_of_a_classifier(backbone: Backbone) -> None:
    classifier = Classifier(backbone.network, 96, 5, seed=0)
    found = stages(classifier)
    assert set(found) == {name for name, _ in classifier.named_parameters()}
    assert found["head.weight"] == found["head.bias"] == 5 and found["backbone.layer4.0.conv1.weight"] == 4
    assert classifier(torch.zeros(2, 3, SIZE, SIZE)).shape == (2, 5)


def test_a_network_without_stages_is_refused() -> None:
    with pytest.raises(ModelError, match=r"must tell its stages by `group_matcher`.* but `Linear` does not"):
        stages(nn.Linear(2, 2))


# --- Frozen


def test_frozen_means_frozen(backbone: Backbone) -> None:
    network, before = backbone.network, state_digests(backbone.network)
    network.train()
    with frozen(network) as still:
        assert still is network and not any(module.training for module in network.modules())
        assert not network(torch.randn(4, 3, SIZE, SIZE)).requires_grad
    assert network.training and state_digests(network) == before
    assert {"bn1.running_mean", "bn1.num_batches_tracked", "bn1.weight"} <= before.keys()


def _train_mode(network: Any) -> None:
    network.train()
    network(torch.randn(4, 3, SIZE, SIZE))


def _one_layer_in_train_mode(network: Any) -> None:
    network.bn1.train()


def _statistics(network: Any) -> None:
    network.train()
    network(torch.randn(4, 3, SIZE, SIZE))
    network.eval()


def _counter(network: Any) -> None:
    network.bn1.num_batches_tracked += 1


def _weight(network: Any) -> None:
    network.layer2[0].conv1.weight.data[0, 0, 0, 0] += 1e-7


@pytest.mark.parametrize(
    ("move", "text"),
    [
        (
            _train_mode,
            r"must stay in eval mode, but \d+ of its modules are in training mode, first `the network itself`",
        ),
        (_one_layer_in_train_mode, r"but \d of its modules are in training mode, first `bn1`"),
        (
            _statistics,
            r"must not move, but \d+ of its \d+ parameters and buffers changed, first `bn1\.num_batches_track",
        ),
        (_counter, r"but 1 of its \d+ parameters and buffers changed, first `bn1\.num_batches_tracked`"),
        (_weight, r"but 1 of its \d+ parameters and buffers changed, first `layer2\.0\.conv1\.weight`"),
    ],
)
def test_what_moves_is_caught(backbone: Backbone, move: Any, text: str) -> None:
    with pytest.raises(ModelError, match=text), frozen(backbone.network):
        move(backbone.network)


def test_an_error_inside_is_not_hidden(backbone: Backbone) -> None:
    with pytest.raises(ZeroDivisionError), frozen(backbone.network):
        _train_mode(backbone.network)
        _ = 1 / 0
    assert not backbone.network.training


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["mobilenetv2_100.tf_in1k", "mobilenetv1_100.tf_in1k"])
def test_real_weights_fit(name: str) -> None:
    weights = real_weights(name)
    assert build_backbone(weights, 0, size=64).num_features == weights.num_features
