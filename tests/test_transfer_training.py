"""Heads on frozen features and fine-tuning as arms: the engines' promises, what stays frozen, what is refused."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from paribus.augment import Augmenter
from paribus.config import Recipe
from paribus.data import draw
from paribus.engines import ENGINES, choose, gradients
from paribus.engines.engine import EpochEnd, RunEnd
from paribus.engines.features_engine import FeaturesEngine, solved_head
from paribus.engines.torch_engine import TorchEngine, TorchRun
from paribus.errors import ConfigError, ModelError
from paribus.experiment import Experiment
from paribus.launch import ahead, conduct
from paribus.models import build_model
from paribus.models.pretrained import Pretrained
from paribus.store import Checkpoint
from paribus.testing.engines import DATASET, check_engine, fit_one, spec_for
from paribus.transfer import Extractor, LogisticHead, build_backbone, choose_strength, fit_logistic, majority
from pretrained import SIZE, make_digests_slow, tiny_weights, write_weights

SIDE = DATASET.image_shape[1]


@pytest.fixture
def sidecar(tmp_path: Path, fresh_cache: Path) -> str:
    """Weights of a tiny network, and a cache of features that nothing else has written to."""
    return str(write_weights(tmp_path))


def tables(sidecar: str, **model: Any) -> dict[str, Any]:
    chosen = {"name": "pretrained", "weights": sidecar, "input": SIDE, **model}
    is_head = chosen.get("train", "head") == "head"
    trained = {"name": "sgd", "lr": 0.005, "momentum": 0.9}
    return {
        "data": {"name": "easy", "val": 40},
        "model": chosen,
        "optim": {"name": "lbfgs"} if is_head else trained,
        "train": {"epochs": 1} if is_head else {"epochs": 3, "batch_size": 32},
    }


def recipe(sidecar: str, **model: Any) -> Recipe:
    return Recipe.parse(tables(sidecar, **model))


FINE_TUNED: dict[str, dict[str, Any]] = {
    "all": {"train": "all"},
    "statistics-move": {"train": "all", "batch_norm": "update"},
    "last-stage": {"train": "stages-1"},
    "lp-ft": {"train": "all", "start": "head", "strength": 10.0, "batch_norm": "update"},
    "slower-below": {"train": "all", "stage_decay": 0.5},
    "from-scratch": {"train": "all", "weights": "none", "backbone": "test_resnet", "batch_norm": "update"},
}


@pytest.mark.parametrize("name", FINE_TUNED)
def test_fine_tuning_keeps_the_engines_promises(sidecar: str, name: str) -> None:
    check_engine(TorchEngine(), recipe(sidecar, **FINE_TUNED[name]))


TRICKS: dict[str, Any] = {
    "augment.mixup": 0.2,
    "augment.hflip": True,
    "train.average": 0.9,
    "train.label_smoothing": 0.1,
    "train.keep": "best",
}


def test_fine_tuning_with_every_trick_keeps_them_too(sidecar: str) -> None:
    check_engine(TorchEngine(), recipe(sidecar, **FINE_TUNED["lp-ft"]).with_factors(TRICKS))


@pytest.mark.parametrize("factor", sorted({*TRICKS, "train.precision"} - {"augment.hflip"}))
def test_what_belongs_to_steps_is_refused_for_a_head_that_is_solved_for(sidecar: str, factor: str) -> None:
    value = TRICKS.get(factor, "bfloat16")
    with pytest.raises(ConfigError, match=r"A head that is solved for must .* no schedule, .* what else is for steps"):
        recipe(sidecar).with_factors({factor: value})


def test_large_batches_are_seen_in_parts_where_statistics_are_frozen(
    sidecar: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "BUDGET", 1 << 16)
    at_once = {}
    for name in ("all", "last-stage", "statistics-move"):
        run = TorchRun(spec_for(recipe(sidecar, **FINE_TUNED[name])), DATASET)
        run.pass_over_train(1)
        at_once[name] = run._at_once or 0
    assert 1 <= at_once["all"] < at_once["last-stage"] <= at_once["statistics-move"] == 32


@pytest.mark.parametrize("average", [None, 0.9])
def test_what_is_frozen_stays_to_the_bit(sidecar: str, average: float | None) -> None:
    chosen = recipe(sidecar, train="stages-1").with_factors({"train.average": average})
    before = build_model(chosen.model, DATASET.image_shape, DATASET.num_classes, 0)
    assert isinstance(before, Pretrained)
    after = fit_one(TorchEngine(), spec_for(chosen))[1].weights
    learns = {name for name, parameter in before.named_parameters() if parameter.requires_grad}
    moved = {name for name, tensor in before.state_dict().items() if not np.array_equal(tensor.numpy(), after[name])}
    assert moved <= learns
    assert len(moved) > 0.8 * len(learns)  # Some gradients are too small for a step to show.
    assert "classifier.head.weight" in moved
    assert 2 < len(learns) < len(before.state_dict()) / 2


@pytest.mark.parametrize(("batch_norm", "moves"), [("frozen", False), ("update", True)])
def test_running_statistics_move_only_if_asked_to(sidecar: str, batch_norm: str, moves: bool) -> None:
    chosen = recipe(sidecar, train="all", batch_norm=batch_norm)
    before = dict(build_model(chosen.model, DATASET.image_shape, DATASET.num_classes, 0).named_buffers())
    after = fit_one(TorchEngine(), spec_for(chosen))[1].weights
    means = [name for name in before if name.endswith("running_mean")]
    assert means
    assert [not np.array_equal(before[name].numpy(), after[name]) for name in means] == [moves] * len(means)


def test_earlier_stages_learn_more_slowly(sidecar: str) -> None:
    run = TorchRun(spec_for(recipe(sidecar, train="all", stage_decay=0.5)), DATASET)
    assert isinstance(run.model, Pretrained)
    rates = run.model.rates()
    assert rates["classifier.head.weight"] == 1
    assert rates["classifier.backbone.conv1.0.weight"] == min(rates.values()) == 0.5 ** (len(set(rates.values())) - 1)
    run.pass_over_train(1)
    by_scale = {group["scale"]: group["lr"] for group in run.optimizer.param_groups}
    assert by_scale == {scale: pytest.approx(0.005 * scale) for scale in set(rates.values())}


def test_lp_ft_begins_with_the_head_that_feature_extraction_gives(sidecar: str) -> None:
    spec = spec_for(recipe(sidecar, train="all", start="head"))
    run, wanted = TorchRun(spec, DATASET), solved_head(spec, DATASET)
    assert isinstance(run.model, Pretrained)
    assert np.array_equal(run.model.classifier.head.weight.detach().numpy(), wanted.weight)
    extracted = fit_one(FeaturesEngine(), spec_for(recipe(sidecar)))[1]
    assert np.array_equal(extracted.weights["head.weight"], wanted.weight)


def test_the_engine_of_a_head_is_part_of_what_begins_at_one(sidecar: str) -> None:
    """Another way to solve for it is another beginning; what begins elsewhere stays as it is."""
    known = {}
    for name, options in FINE_TUNED.items():
        chosen = recipe(sidecar, **options)
        known[name] = choose(chosen, DATASET.image_shape, DATASET.num_classes).entry.identity_of(chosen)
    torch_, features = ENGINES["torch"].identity, ENGINES["features"].identity
    assert known == dict.fromkeys(FINE_TUNED, torch_) | {"lp-ft": f"{torch_}+{features}"}
    head = recipe(sidecar)
    assert choose(head, DATASET.image_shape, DATASET.num_classes).entry.identity_of(head) == features


def test_a_trial_times_the_backbone_and_not_what_makes_sure_that_it_has_not_moved(
    sidecar: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_digests_slow(monkeypatch)
    assert 0 < FeaturesEngine().seconds_per_example(spec_for(recipe(sidecar)), DATASET) < 100


def test_more_stages_than_there_are_are_refused(sidecar: str) -> None:
    with pytest.raises(ModelError, match=r"must leave a stage frozen, but stages-9 are all .* Ask for fewer, or for"):
        build_model(recipe(sidecar, train="stages-9").model, DATASET.image_shape, 4, 0)


def test_images_smaller_than_what_the_network_sees_are_refused(sidecar: str) -> None:
    with pytest.raises(ModelError, match=f"must be at least as large as what the backbone looks at, {SIZE}x{SIZE}"):
        fit_one(TorchEngine(), spec_for(recipe(sidecar, train="all", input=None)))


def _rows(sidecar: str, seed: int = 0) -> tuple[Any, ...]:
    """Features, by the network itself, of the images that a run trains on, validates on and is tested on."""
    chosen = recipe(sidecar, train="all")
    model = build_model(chosen.model, DATASET.image_shape, DATASET.num_classes, seed).eval()
    assert isinstance(model, Pretrained)
    drawn = draw(DATASET, chosen.data, seed)
    assert drawn.val_indices is not None
    images, labels = DATASET.train.images, DATASET.train.labels

    def features(some: Any) -> Any:
        with torch.no_grad():
            return model.classifier.backbone(model.preprocessing.apply(torch.from_numpy(some))).numpy()

    parts = [(features(images[each]), labels[each]) for each in (drawn.train_indices, drawn.val_indices)]
    return (*parts, (features(DATASET.test.images), DATASET.test.labels))


def test_a_head_is_the_solution_at_a_strength_that_cross_validation_chose(sidecar: str) -> None:
    (train, labels), (val, val_labels), (test, test_labels) = _rows(sidecar)
    epochs, end = fit_one(FeaturesEngine(), spec_for(recipe(sidecar)))
    strength = choose_strength(train, labels, 4, seed=0).value
    wanted = fit_logistic(train, labels, 4, strength)
    assert end.predictions.logits == pytest.approx(wanted.logits(test), rel=1e-3, abs=1e-3)
    record = epochs[0].record
    assert record.train_accuracy == (wanted.logits(train).argmax(1) == labels).mean()
    assert record.val_accuracy == (wanted.logits(val).argmax(1) == val_labels).mean()
    assert (len(epochs), record.steps, end.result.val_examples) == (1, end.result.steps, 40)
    assert end.result.test_accuracy == (end.predictions.logits.argmax(1) == test_labels).mean()
    assert end.result.parameters == wanted.weight.size + wanted.bias.size
    fixed = fit_one(FeaturesEngine(), spec_for(recipe(sidecar, strength=10.0)))[1]
    head = LogisticHead(fixed.weights["head.weight"], fixed.weights["head.bias"], 0)
    assert np.linalg.norm(head.weight) < np.linalg.norm(wanted.weight)


def test_a_head_is_fitted_to_views_and_its_strength_chosen_beside_them(sidecar: str) -> None:
    views = {"augment": {"hflip": True, "shift": 2.0}, "train": {"epochs": 3}}
    chosen = Recipe.parse(tables(sidecar) | views)
    _, end = fit_one(FeaturesEngine(), spec_for(chosen))
    plain = fit_one(FeaturesEngine(), spec_for(recipe(sidecar)))[1]
    again = fit_one(FeaturesEngine(), spec_for(chosen))[1]
    assert np.array_equal(end.predictions.logits, again.predictions.logits)
    assert not np.allclose(end.predictions.logits, plain.predictions.logits, rtol=0.01)
    (train, labels), _, (test, _) = _rows(sidecar)
    drawn = draw(DATASET, chosen.data, 0).train_indices
    model = build_model(recipe(sidecar, train="all").model, DATASET.image_shape, 4, 0).eval()
    assert isinstance(model, Pretrained)
    images, seen = torch.from_numpy(DATASET.train.images), []
    for epoch in (1, 2, 3):
        changed = Augmenter(chosen.augment, 0, epoch, len(images)).change(images, torch.arange(len(images)))
        with torch.no_grad():
            seen.append(model.classifier.backbone(model.preprocessing.apply(changed)).numpy()[drawn])
    strength = choose_strength(train, labels, 4, seed=0, views=np.stack(seen)).value
    wanted = fit_logistic(np.concatenate(seen), np.tile(labels, 3), 4, strength)
    assert end.predictions.logits == pytest.approx(wanted.logits(test), rel=1e-2, abs=1e-2)


def test_baselines_answer_without_training(sidecar: str) -> None:
    (train, labels), _, (test, _) = _rows(sidecar)
    nearest = fit_one(FeaturesEngine(), spec_for(recipe(sidecar, head="nearest")))[1]
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (test, train)]
    assert (nearest.predictions.logits.argmax(1) == labels[(unit[0] @ unit[1].T).argmax(1)]).mean() > 0.98
    most = fit_one(FeaturesEngine(), spec_for(recipe(sidecar, head="majority")))[1]
    assert np.array_equal(most.predictions.logits, majority(labels, 4, len(test)))
    assert (nearest.weights, most.weights, most.result.parameters, most.result.steps) == ({}, {}, 0, 0)


def test_imagenets_classes_need_a_head_that_has_them(sidecar: str) -> None:
    with pytest.raises(ModelError, match="must have a head for the 1,000 classes of ImageNet-1k"):
        fit_one(FeaturesEngine(), spec_for(recipe(sidecar, head="imagenet")))


def test_heads_are_the_same_again_and_blind_to_the_test_images(sidecar: str) -> None:
    spec = spec_for(recipe(sidecar))
    one, again = (fit_one(FeaturesEngine(), spec)[1] for _ in range(2))
    assert np.array_equal(one.predictions.logits, again.predictions.logits)
    # Features are kept by the fingerprint of the data, so other test images are other data.
    darker = dataclasses.replace(DATASET.test, images=DATASET.test.images // 2)
    other_data = dataclasses.replace(DATASET, test=darker, fingerprint="other")
    *_, other = FeaturesEngine().fit([spec], other_data, {})
    assert isinstance(other, RunEnd)
    assert np.array_equal(one.weights["head.weight"], other.weights["head.weight"])
    assert not np.array_equal(one.predictions.logits, other.predictions.logits)


def test_many_seeds_look_at_the_images_once(sidecar: str, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[str] = []
    forward = nn.Module.__call__

    def counted(self: nn.Module, *args: Any, **options: Any) -> Any:
        passes.append(type(self).__name__)
        return forward(self, *args, **options)

    monkeypatch.setattr(nn.Module, "__call__", counted)
    engine, pack = FeaturesEngine(), [dataclasses.replace(spec_for(recipe(sidecar)), seed=seed) for seed in range(5)]
    counts = []
    for event in engine.fit(pack, DATASET, {}):
        if isinstance(event, EpochEnd):
            counts.append(len(passes))
    assert len(counts) == 5
    assert counts[0] == counts[-1]


def test_every_run_tells_what_features_took_and_none_has_it_in_its_own_time(
    sidecar: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = Extractor._compute

    def slowly(self: Extractor, *args: Any) -> Any:
        time.sleep(0.5)
        return compute(self, *args)

    monkeypatch.setattr(Extractor, "_compute", slowly)
    specs = [dataclasses.replace(spec_for(recipe(sidecar, strength=1.0)), seed=seed) for seed in range(3)]
    ends = [event for event in FeaturesEngine().fit(specs, DATASET, {}) if isinstance(event, RunEnd)]
    told = {end.result.features_seconds for end in ends}
    assert len(told) == 1 and min(told) > 2 * 0.5, "train and test"
    assert all(end.result.seconds < 0.5 for end in ends)
    majority = fit_one(FeaturesEngine(), spec_for(recipe(sidecar, head="majority")))[1]
    assert majority.result.features_seconds == 0


def test_a_backbone_is_built_once_and_only_for_who_looks_at_images(
    sidecar: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int | None] = []

    def counted(*args: Any, **options: Any) -> Any:
        built.append(options["size"])
        return build_backbone(*args, **options)

    monkeypatch.setattr("paribus.transfer.backbone.build_backbone", counted)
    most = spec_for(recipe(sidecar, head="majority"))
    assert FeaturesEngine().seconds_per_example(most, DATASET) == 0
    fit_one(FeaturesEngine(), most)
    assert built == []
    assert FeaturesEngine().seconds_per_example(spec_for(recipe(sidecar)), DATASET) > 0
    fit_one(FeaturesEngine(), spec_for(recipe(sidecar)))
    solved_head(spec_for(recipe(sidecar, train="all", start="head")), DATASET)
    assert built == [SIDE]


def test_a_head_that_lacks_only_its_result_is_not_recorded_twice(sidecar: str) -> None:
    spec = spec_for(recipe(sidecar))
    record, end = FeaturesEngine().fit([spec], DATASET, {})
    assert isinstance(record, EpochEnd) and isinstance(end, RunEnd)
    (again,) = FeaturesEngine().fit([spec], DATASET, {spec.digest: Checkpoint(1, record.state)})
    assert isinstance(again, RunEnd)
    assert again.result.test_loss == end.result.test_loss
    assert again.predictions.logits.tobytes() == end.predictions.logits.tobytes()


HEADS_ON_DIGITS = """
import sys
from paribus.data import load_prepared, prepare
from paribus.engines.features_engine import FeaturesEngine
from paribus.experiment import Experiment, RunSpec
recipe = Experiment.load(sys.argv[1]).control
prepared = prepare(recipe.data)
spec = RunSpec("control", 0, recipe, prepared.fingerprint, "features-3")
*_, end = FeaturesEngine().fit([spec], load_prepared(prepared.folder), {})
print(end.result.test_loss, "torch" in sys.modules, "timm" in sys.modules)
"""


def test_where_features_are_kept_heads_need_neither_torch_nor_timm(sidecar: str, tmp_path: Path) -> None:
    toml = head_on_digits(sidecar, tmp_path)
    experiment, heads = Experiment.load(toml), ("paribus.engines.features_engine", "scipy.optimize")
    assert ahead.modules(experiment, 0) == ("timm", "onnxruntime", *heads)
    assert ahead.modules(experiment, 1) == heads and ahead.lacks_features(experiment)
    command = [sys.executable, "-c", HEADS_ON_DIGITS, str(toml)]
    said = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() for _ in range(2)]
    assert said[0][1:] == ["True", "True"] and said[1][1:] == ["False", "False"]
    assert said[0][0] == said[1][0]
    assert ahead.modules(experiment, 0) == heads and not ahead.lacks_features(experiment)
    majority = Experiment.load(toml, ["control.model.head=majority"])
    assert ahead.modules(majority, 0) == heads
    trained = Experiment.load(toml, ["control.model.train=all", "control.optim.name=sgd", "control.optim.lr=0.1"])
    assert ahead.modules(trained, 0) == ahead.modules(trained, 1) == ("torch",)


def test_a_plan_counts_features_once_for_all_seeds_but_those_of_changed_images_for_each(
    sidecar: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conduct, "seconds_per_epoch", lambda packs: dict.fromkeys(packs, 50.0))
    toml = head_on_digits(sidecar, tmp_path)

    def planned(*settings: str, workers: int = 1) -> float:
        options = conduct.RunOptions(tmp_path / "none", workers=workers)
        return conduct.plan(Experiment.load(toml, settings), options).seconds

    assert not Experiment.load(toml).control.has_own_views
    assert planned("experiment.seeds=1") == planned("experiment.seeds=10") == 50
    assert planned("experiment.seeds=10", "control.augment.rotate=10") == 500
    assert planned("experiment.seeds=10", workers=2) == 50, "one process computes them"
    assert planned("experiment.seeds=10", "control.augment.rotate=10", workers=2) == 250


def head_on_digits(sidecar: str, folder: Path) -> Path:
    given = tables(sidecar, input=32, strength=0.1) | {"data": {"name": "digits", "size": 32, "train_size": 100}}
    lines = [f"{name} = {_inline(table)}" for name, table in given.items()]
    toml = folder / "head.toml"
    toml.write_text(
        "\n".join(["[experiment]", 'name = "head"', "margin = 0.01", "[control]", *lines]), encoding="utf-8"
    )
    return toml


def _inline(table: dict[str, Any]) -> str:
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in table.items()) + " }"


def test_who_serves_what(sidecar: str) -> None:
    shape = DATASET.image_shape
    head, tuned = recipe(sidecar), recipe(sidecar, train="all")
    assert choose(head, shape, 4, "auto").entry.name == "features"
    assert choose(tuned, shape, 4, "auto").entry.name == "torch"
    with pytest.raises(ConfigError, match="torch cannot train this recipe, as a head on frozen features is solved for"):
        choose(head, shape, 4, "torch")
    with pytest.raises(ConfigError, match="features cannot train this recipe, as it only solves for heads"):
        choose(tuned, shape, 4, "features")


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "nothing learnt to freeze": ({"weights": "none", "backbone": "test_resnet"}, {}, "must be trained from scratch"),
    "a hub without a name": ({"weights": "hub"}, {}, "timm's name is needed as `model.backbone`"),
    "a baseline that trains": ({"train": "all", "head": "nearest"}, {}, "`model.head` must be logistic where"),
    "a head that starts from itself": ({"start": "head"}, {}, "is where fine-tuning begins"),
    "a trained head with a strength": (
        {"strength": 1.0},
        {"optim": {"name": "sgd", "lr": 0.1}},
        "must be logistic and have no `model.strength`",
    ),
    "a trained baseline": ({"head": "nearest"}, {"optim": {"name": "sgd", "lr": 0.1}}, "but got head = nearest"),
    "lbfgs for a network": (
        {"train": "all"},
        {"optim": {"name": "lbfgs"}},
        "but got it for pretrained with train = all",
    ),
    "lbfgs with a rate": ({}, {"optim": {"name": "lbfgs", "lr": 0.5}}, "lbfgs must be left with lr = 1"),
    "a head with epochs": ({}, {"train": {"epochs": 5}}, "as many as the views of each image .* but got 5 without"),
    "a head with a schedule": ({}, {"schedule": {"name": "cosine"}}, "but `schedule.name` is cosine"),
    "views of a baseline": ({"head": "nearest"}, {"augment": {"hflip": True}}, "Only a logistic head is fitted to"),
    "half a stage": ({"train": "stages-0"}, {}, "model.train"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(sidecar: str, name: str) -> None:
    model, others, text = REFUSED[name]
    with pytest.raises(ConfigError, match=text):
        Recipe.parse(tables(sidecar, **model) | others)


def test_the_classifier_has_the_preprocessing_of_its_weights(tmp_path: Path) -> None:
    weights = tiny_weights(tmp_path)
    model = build_model(recipe(str(tmp_path / "tiny.json"), train="all").model, DATASET.image_shape, 4, 0)
    assert isinstance(model, Pretrained)
    assert model.normalisation.apply(torch.full((1, 3, 1, 1), 255.0)).flatten().tolist() == pytest.approx(
        [(1 - mean) / std for mean, std in zip(weights.mean, weights.std, strict=True)]
    )


def test_the_experiment_of_the_page_on_photos_is_valid() -> None:
    page = (Path(__file__).parents[1] / "docs" / "photos.md").read_text(encoding="utf-8")
    experiment = Experiment.parse(page.partition("```toml\n")[2].partition("```")[0])
    assert experiment.control.is_solved
    assert experiment.seeds_of("fine-tuned") == (0, 1, 2)
    assert experiment.arms["fine-tuned"].recipe.model.options["start"] == "head"
