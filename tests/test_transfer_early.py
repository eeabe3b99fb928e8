"""Frozen stages that are run once: the same logits, the same training, and nothing kept where images change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paribus.augment import Augmenter
from paribus.config import AugmentConfig, Recipe
from paribus.engines import choose, torch_engine
from paribus.engines.range_test import range_test
from paribus.engines.torch_engine import TorchEngine, TorchRun
from paribus.models import build_model
from paribus.models.pretrained import Pretrained
from paribus.testing.engines import DATASET, check_engine, fit_one, spec_for
from paribus.transfer import EarlyStages, Preprocessing, Weights, find_weights
from pretrained import write_weights

SIDE = DATASET.image_shape[1]
NOTHING = Preprocessing((8, 8), (0.0,), (1.0,))


@pytest.fixture
def sidecar(tmp_path: Path, fresh_cache: Path) -> str:
    return str(write_weights(tmp_path))


def recipe(sidecar: str, train: str = "stages-1", **others: Any) -> Recipe:
    tables: dict[str, Any] = {
        "data": {"name": "easy", "val": 40},
        "model": {"name": "pretrained", "weights": sidecar, "input": SIDE, "train": train},
        "optim": {"name": "sgd", "lr": 0.005, "momentum": 0.9},
        "train": {"epochs": 3, "batch_size": 32},
    }
    return Recipe.parse(tables | others)


@pytest.mark.parametrize("architecture", ["test_resnet", "test_efficientnet", "test_vit", "test_convnext"])
@pytest.mark.parametrize("train", ["head", "stages-1"])
def test_going_on_gives_the_networks_own_logits(
    tmp_path: Path, fresh_cache: Path, architecture: str, train: str
) -> None:
    side = 160 if architecture == "test_vit" else 64
    path = write_weights(tmp_path, architecture=architecture, input_size=[3, side, side])
    model = Pretrained((3, side, side), 4, 0, weights=str(path), train=train)
    early = model.early_stages()
    assert early is not None
    images = np.random.default_rng(0).integers(0, 256, (3, 3, side, side), dtype=np.uint8)
    model.eval()
    with torch.no_grad():
        wanted = model(model.normalisation.apply(torch.from_numpy(images).float()))
        found = early.rest(early.outputs(images, f"{architecture}/{train}").outputs)
    assert found.numpy() == pytest.approx(wanted.numpy(), rel=1e-3, abs=1e-3)
    assert {name for name, _ in early.extractor.backbone.network.named_parameters()}


def test_frozen_stages_see_each_image_once(sidecar: str) -> None:
    run = TorchRun(spec_for(recipe(sidecar)), DATASET)
    assert isinstance(run.model, Pretrained) and run.early is not None
    run.epoch(1)
    given: list[Tensor] = []
    hook = next(iter(run.early.parts)).register_forward_hook(lambda part, _, outputs: given.append(outputs))
    for epoch in (2, 3):
        run.epoch(epoch)
    hook.remove()
    assert len(given) == 2 * (run.steps_per_epoch + 1)  # A pass over val is one batch.
    assert all(outputs.untyped_storage().nbytes() == 4 for outputs in given)  # One zero, as large as wanted.
    assert run.kept_train.outputs.shape == (len(DATASET.train), *run.early.shape)


def test_a_range_test_runs_frozen_stages_once_too(sidecar: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = range_test(spec_for(recipe(sidecar)), DATASET, [0.001, 0.01])
    monkeypatch.setattr(torch_engine, "MOST_KEPT", 0)
    assert kept.losses == pytest.approx(range_test(spec_for(recipe(sidecar)), DATASET, [0.001, 0.01]).losses, rel=1e-3)


def test_training_is_the_same_whether_stages_are_kept_or_run(sidecar: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_for(recipe(sidecar))
    kept_epochs, kept = fit_one(TorchEngine(), spec)
    again = fit_one(TorchEngine(), spec)[1]
    assert kept.result.features_seconds == again.result.features_seconds > 0, "told, whichever run had to compute them"
    monkeypatch.setattr(torch_engine, "MOST_KEPT", 0)
    run_epochs, run = fit_one(TorchEngine(), spec)
    assert TorchRun(spec, DATASET).early is None
    assert run.result.features_seconds == 0
    for one, other in zip(kept_epochs, run_epochs, strict=True):
        assert one.record.train_loss == pytest.approx(other.record.train_loss, rel=1e-3)
        assert one.record.val_loss == pytest.approx(other.record.val_loss, rel=1e-3)
    assert kept.predictions.logits == pytest.approx(run.predictions.logits, rel=1e-2, abs=1e-2)


def test_a_head_is_trained_by_steps_where_a_rate_is_asked_about(sidecar: str) -> None:
    chosen = recipe(sidecar, train="head")
    assert choose(chosen, DATASET.image_shape, 4).entry.name == "torch"
    check_engine(TorchEngine(), chosen)
    before = build_model(chosen.model, DATASET.image_shape, 4, 0).state_dict()
    after = fit_one(TorchEngine(), spec_for(chosen))[1].weights
    moved = {name for name, tensor in before.items() if not np.array_equal(tensor.numpy(), after[name])}
    assert moved == {"classifier.head.weight", "classifier.head.bias"}


@pytest.mark.parametrize(
    ("train", "others"),
    [("all", {}), ("stages-1", {"augment": {"hflip": True}}), ("head", {"augment": {"shift": 1.0}})],
)
def test_nothing_is_kept_where_nothing_is_frozen_or_images_change(
    sidecar: str, train: str, others: dict[str, Any]
) -> None:
    assert TorchRun(spec_for(recipe(sidecar, train, **others)), DATASET).early is None


class _Skips(nn.Module):
    """What learns reads from two frozen parts, or from one that is called twice."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first, self.second = (nn.Conv2d(1, 1, 3, padding=1) for _ in range(2))
        self.head = nn.Linear(64, 2)
        for part in (self.first, self.second):
            part.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        once = self.first(images)
        twice = self.second(once) + once if self.kind == "skip" else self.second(self.first(once))
        logits: Tensor = self.head(twice.flatten(1))
        return logits


@pytest.mark.parametrize(("kind", "serves"), [("skip", False), ("twice", False)])
def test_more_than_the_last_outputs_is_not_served(tmp_path: Path, kind: str, serves: bool) -> None:
    weights: Weights = find_weights(str(write_weights(tmp_path)))
    early = EarlyStages.of(_Skips(kind), NOTHING, weights)
    assert (early is not None) == serves


def test_modes_come_out_as_they_went_in(sidecar: str) -> None:
    model = build_model(recipe(sidecar).model, DATASET.image_shape, 4, 0)
    assert isinstance(model, Pretrained)
    model.train()
    before = {name: module.training for name, module in model.named_modules()}
    early = model.early_stages()
    assert early is not None
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    early.outputs(DATASET.train.images[:4], "some/train")
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == learning
    assert early.extractor.refusal is None, "onnxruntime serves here"
    assert {name: module.training for name, module in model.named_modules()} == before
    assert len(set(before.values())) == 2


def test_a_view_is_what_an_epoch_sees() -> None:
    images = torch.from_numpy(DATASET.train.images[:5])
    augmenter = Augmenter(AugmentConfig(hflip=True, shift=2.0), 0, 1, 5)
    changed = augmenter.change(images, torch.arange(5))
    assert torch.equal(changed, augmenter.apply(images.float(), torch.arange(5)))
    assert not torch.equal(changed, images.float())
