"""One training step: mixed batches, parts of a batch, lower precision, and averages of the weights after steps."""

from __future__ import annotations

import gc
import math
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from paribus.augment import Augmenter
from paribus.config import AugmentConfig, Recipe, TrainConfig
from paribus.data import draw
from paribus.engines import gradients
from paribus.engines.torch_engine import TorchEngine, TorchRun
from paribus.errors import ConfigError, ModelError
from paribus.evaluate import logits_of
from paribus.models import build_model
from paribus.optim import WeightAverage
from paribus.testing.engines import DATASET, check_engine, fit_one, spec_for

TRAIN = TrainConfig(epochs=3, batch_size=32)
LOW = TRAIN.model_copy(update={"precision": "bfloat16"})
needs_bfloat16 = pytest.mark.skipif(
    not gradients.computes_in_bfloat16(), reason="this processor does not compute in bfloat16"
)


def recipe(model: dict[str, Any] | None = None, augment: dict[str, Any] | None = None, **train: Any) -> Recipe:
    return Recipe.parse(
        {
            "data": {"name": "easy", "val": 40},
            "model": model or {"name": "lenet5"},
            "optim": {"lr": 0.05, "momentum": 0.9},
            "augment": augment or {},
            "train": {"epochs": 3, "batch_size": 32, **train},
        }
    )


def gradients_of(model: nn.Module) -> list[Tensor]:
    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    return [each.clone() for each in found]


def small(*layers: nn.Module) -> nn.Sequential:
    """A network that keeps 68 bytes of an image (3, 2, 2) for its way back: 12 inputs and 5 rectified values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), *layers, nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3)).train()


IMAGES = torch.randn(8, 3, 2, 2, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 2, 1])


@pytest.mark.parametrize("at_once", [1, 3, 8, 100])
@pytest.mark.parametrize("targets", [LABELS, functional.one_hot(LABELS, 3) * 0.7 + 0.1])
def test_parts_add_up_to_the_gradients_of_the_mean_loss(targets: Tensor, at_once: int) -> None:
    model, train = small(), TRAIN.model_copy(update={"label_smoothing": 0.1})
    logits = model(IMAGES)
    loss = functional.cross_entropy(logits, targets, label_smoothing=0.1)
    loss.backward()
    wanted = gradients_of(model)
    loss_sum, correct = gradients.add_gradients(model, IMAGES, targets, at_once, train)
    assert loss_sum.item() == pytest.approx(8 * loss.item(), rel=1e-5)
    assert correct.item() == (logits.argmax(dim=1) == LABELS).sum().item()
    found = gradients_of(model)
    assert len(found) == len(wanted) == 4
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("budget", "at_once"), [(1, 1), (68, 1), (68 * 3, 3), (68 * 4, 4), (68 * 7, 4), (68 * 8, 8), (1 << 30, 8)]
)
def test_a_batch_is_cut_into_equal_parts_that_keep_to_the_budget(
    budget: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "BUDGET", budget)
    assert gradients.images_at_once(small(), IMAGES, 8, TRAIN) == at_once
    assert gradients.images_at_once(small(), IMAGES[:1], 1, TRAIN) == 1


def test_the_budget_is_the_one_that_users_are_told() -> None:
    page = (Path(__file__).parents[1] / "docs" / "decisions" / "transfer-learning.md").read_text(encoding="utf-8")
    assert f"equal parts that keep at most {gradients.BUDGET >> 30} GiB" in page


def test_what_is_frozen_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    for parameter in (*model[1].parameters(), *model[2].parameters()):
        parameter.requires_grad = False
    monkeypatch.setattr(gradients, "BUDGET", 20 * 8)  # Five values per image are what the last layer needs.
    assert gradients.images_at_once(model, IMAGES, 8, TRAIN) == 8


@needs_bfloat16
def test_at_half_the_bytes_parts_are_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "BUDGET", 20_000)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.Tanh())
    images = torch.randn(2, 3, 16, 16)
    whole, half = (gradients.images_at_once(model, images, 64, each) for each in (TRAIN, LOW))
    assert 1 < whole < half


def test_batch_normalisation_that_looks_at_a_batch_gets_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "BUDGET", 1)
    norm = nn.BatchNorm1d(12)
    model = small(norm)
    assert gradients.images_at_once(model, IMAGES, 8, TRAIN) == 8
    monkeypatch.setattr(norm, "train", lambda mode=True: norm)
    norm.training = False
    assert gradients.images_at_once(model, IMAGES, 8, TRAIN) == 1
    without_statistics = small(nn.BatchNorm1d(12, track_running_stats=False).eval())
    assert gradients.images_at_once(without_statistics, IMAGES, 8, TRAIN) == 8


def test_a_whole_batch_must_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "_memory", lambda: 200)
    with pytest.raises(ModelError, match=r"`train.batch_size` of 8 its values .* lower `train.batch_size`, or set"):
        gradients.images_at_once(small(nn.BatchNorm1d(12)), IMAGES, 8, TRAIN)
    assert gradients.images_at_once(small(), IMAGES, 8, TRAIN) == 8
    for memory in (None, 1 << 30):
        monkeypatch.setattr(gradients, "_memory", lambda memory=memory: memory)
        assert gradients.images_at_once(small(nn.BatchNorm1d(12)), IMAGES, 8, TRAIN) == 8


def test_memory_is_that_of_the_machine_or_of_a_smaller_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(gradients, "CONTAINER_LIMIT", limit)
    machine = gradients._memory()
    assert machine is not None and machine > 1 << 28
    for text, memory in (("max\n", machine), ("1000\n", 1000), (f"{1 << 62}\n", machine)):
        limit.write_text(text, encoding="ascii")
        assert gradients._memory() == memory
    monkeypatch.delattr(os, "sysconf")
    assert gradients._memory() is None


def test_measuring_moves_nothing_and_holds_on_to_nothing() -> None:
    model = small(nn.BatchNorm1d(12), nn.Dropout(0.5))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    stream = torch.random.get_rng_state()
    outputs: list[weakref.ref[Tensor]] = []
    model[-1].register_forward_hook(lambda _, __, output: outputs.append(weakref.ref(output)))
    gradients.images_at_once(model, IMAGES, 8, TRAIN)
    gc.disable()
    try:
        assert len(outputs) == 1 and outputs[0]() is None
    finally:
        gc.enable()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), stream)
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_run_in_parts_keeps_the_engines_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit_one(TorchEngine(), spec_for(recipe()))[0]
    monkeypatch.setattr(gradients, "BUDGET", 1 << 18)
    run = TorchRun(spec_for(recipe()), DATASET)
    run.pass_over_train(1)
    assert run._at_once is not None and 1 < run._at_once < 32
    parts = fit_one(TorchEngine(), spec_for(recipe()))[0]
    for one, other in zip(whole, parts, strict=True):
        assert one.record.train_loss == pytest.approx(other.record.train_loss, rel=1e-3)
    check_engine(TorchEngine(), recipe(model={"name": "lenet5", "dropout": 0.2}, augment={"mixup": 0.2}))


@needs_bfloat16
def test_bfloat16_is_for_steps_and_float32_for_what_is_evaluated() -> None:
    chosen = recipe(precision="bfloat16")
    check_engine(TorchEngine(), chosen)
    plain, (low, end) = fit_one(TorchEngine(), spec_for(recipe()))[0], fit_one(TorchEngine(), spec_for(chosen))
    losses = [(one.record.train_loss, other.record.train_loss) for one, other in zip(plain, low, strict=True)]
    assert losses[0][0] != losses[0][1]
    assert losses[0][0] == pytest.approx(losses[0][1], rel=0.02)
    assert {array.dtype for array in end.weights.values()} == {np.dtype(np.float32)}
    run = TorchRun(spec_for(chosen), DATASET)
    run.load_weights(end.weights)
    logits = logits_of(run.model, run.val, run.normalisation)
    assert torch.equal(logits, run.logits(run.val))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(logits, logits_of(run.model, run.val, run.normalisation))


def test_bfloat16_needs_a_processor_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.raises(ConfigError, match=r'"bfloat16"` needs a processor that computes in it, .* Set it to "float32"'):
        TorchRun(spec_for(recipe(precision="bfloat16")), DATASET)
    TorchRun(spec_for(recipe()), DATASET)


def test_a_build_without_one_dnn_is_not_asked_for_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops, "mkldnn", object())  # It has no such question, as on Apple silicon.
    with pytest.raises(ConfigError, match=r'"bfloat16"` needs a processor that computes in it, .* Set it to "float32"'):
        TorchRun(spec_for(recipe(precision="bfloat16")), DATASET)
    TorchRun(spec_for(recipe()), DATASET)


def mixing_of(seed: int, epoch: int, step: int, alpha: float = 0.2) -> tuple[float, list[int]]:
    mixing = Augmenter(AugmentConfig(mixup=alpha), seed, epoch, 8).mixing(step, 8)
    assert mixing is not None
    return mixing.share, mixing.partners.tolist()


def test_how_a_batch_is_mixed_is_drawn_for_its_step() -> None:
    first = mixing_of(0, 1, 0)
    torch.manual_seed(5), np.random.seed(5)
    assert mixing_of(0, 1, 0) == first
    others = [mixing_of(1, 1, 0), mixing_of(0, 2, 0), mixing_of(0, 1, 1)]
    assert len({share for share, _ in (first, *others)}) == 4
    assert sorted(first[1]) == list(range(8))
    assert Augmenter(AugmentConfig(), 0, 1, 8).mixing(0, 8) is None


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_are_drawn_from_beta(alpha: float) -> None:
    shares = np.array([mixing_of(0, 1, step, alpha)[0] for step in range(2000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.04)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


@given(alpha=st.floats(0, 1e3, exclude_min=True))
def test_every_share_is_a_share(alpha: float) -> None:
    assert 0 <= mixing_of(0, 1, 0, alpha)[0] <= 1


def test_a_mixed_step_is_the_one_that_the_paper_writes_out() -> None:
    """The loss of mixed images is the mixture of their losses for both classes; right is the larger share's class."""
    chosen = recipe(augment={"mixup": 0.4}, label_smoothing=0.1)
    run = TorchRun(spec_for(chosen), DATASET)
    indices, augmenter = run.batches(1)[2], run.augmenter(1)
    mixing = augmenter.mixing(2, len(indices))
    assert mixing is not None
    loss_sum, correct = run.add_gradients(run.model.train(), indices, augmenter, 2)
    images, labels = run.normalisation.apply(run.train.gather(indices)), run.train.labels[indices]
    share, partners = mixing.share, mixing.partners
    logits = run.model(share * images + (1 - share) * images[partners])
    losses = [functional.cross_entropy(logits, each, label_smoothing=0.1) for each in (labels, labels[partners])]
    mixed = share * losses[0] + (1 - share) * losses[1]
    assert loss_sum.item() == pytest.approx(len(indices) * mixed.item(), rel=1e-4)
    larger = labels if share > 0.5 else labels[partners]
    assert correct.item() == (logits.argmax(dim=1) == larger).sum().item()
    found = gradients_of(run.model)
    mixed.backward()
    for one, other in zip(found, gradients_of(run.model), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_an_average_is_the_weighted_mean_of_the_weights_after_each_step() -> None:
    model, decay = nn.BatchNorm1d(3), 0.7
    average = WeightAverage(nn.BatchNorm1d(3), decay)
    seen: dict[str, list[Tensor]] = {"weight": [], "running_mean": []}
    for step in range(1, 6):
        for index, tensor in enumerate((model.weight.data, model.running_mean)):
            assert tensor is not None
            tensor.fill_(step**2 + index)
        assert model.num_batches_tracked is not None
        model.num_batches_tracked.fill_(step)
        average.add(model, step)
        for name, tensors in seen.items():
            tensors.append(model.state_dict()[name].clone())
            weights = torch.tensor([decay ** (step - 1 - index) for index in range(step)])
            wanted = (torch.stack(tensors) * weights[:, None]).sum(dim=0) / weights.sum()
            torch.testing.assert_close(average.network.state_dict()[name], wanted)
    assert average.network.state_dict()["num_batches_tracked"] == 5


def test_an_averaged_run_trains_as_any_other_and_evaluates_the_average() -> None:
    plain, averaged = recipe(batch_size=200), recipe(batch_size=200, average=0.5)  # One step per epoch.
    epochs, end = fit_one(TorchEngine(), spec_for(averaged))
    steps, _ = fit_one(TorchEngine(), spec_for(plain))
    records = [(one.record, other.record) for one, other in zip(epochs, steps, strict=True)]
    assert [one.train_loss for one, _ in records] == [other.train_loss for _, other in records]
    assert [one.val_loss == other.val_loss for one, other in records] == [True, False, False]
    for name, array in end.weights.items():
        first, second, third = (each.state[f"model/{name}"] for each in steps)
        np.testing.assert_allclose(array, (first + 2 * second + 4 * third) / 7, rtol=1e-4, atol=1e-6)
    drawn = draw(DATASET, averaged.data, 0)
    run = TorchRun(spec_for(averaged), DATASET)
    model = build_model(averaged.model, DATASET.image_shape, DATASET.num_classes, 0)
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in end.weights.items()})
    loss = functional.cross_entropy(logits_of(model, run.val, run.normalisation), torch.from_numpy(drawn.val.labels))
    assert epochs[-1].record.val_loss == pytest.approx(loss.item(), rel=1e-5)
    assert not math.isclose(loss.item(), steps[-1].record.val_loss or 0.0, rel_tol=1e-5)
