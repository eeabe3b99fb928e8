"""The mistakes of docs/mistakes.md, one test each: caught, or impossible. Their numbers are those of the page."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from check_designs import ADAM, PAIR, RELU, SHUFFLE, SWEEP, design, fired
from networks import GUILTY, Residual, Unbent
from paribus import checks, data, verdicts
from paribus.arms import best_on_val, load
from paribus.batches import Batches, Normalisation
from paribus.checks import CHECKS, WHOLE, Finding
from paribus.config import Recipe
from paribus.data import Dataset
from paribus.engines import RunEnd
from paribus.engines.torch_engine import TorchEngine
from paribus.errors import ConfigError, DataError, ModelError
from paribus.experiment import Experiment
from paribus.facts import Facts, ModelFacts
from paribus.launch import conduct
from paribus.models import build_model
from paribus.survey.behaviour import observe
from paribus.testing.engines import DATASET, fit_one, spec_for
from paribus.testing.synthetic import write_results

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "mistakes.md").read_text(encoding="utf-8")
STUDENT = ROOT / "examples" / "public-failure" / "student_net.py"


def of_network(model: torch.nn.Module) -> list[Finding]:
    seen = ModelFacts(("control", "relu"), "net", 10, observe(model, torch.randn(32, 1, 32, 32)))
    return checks.measured(design(RELU), Facts(models=(seen,)))


def recipe(**tables: object) -> Recipe:
    given: dict[str, object] = {
        "data": {"name": "easy", "val": 40},
        "model": {"name": "lenet5"},
        "optim": {"lr": 1e-9},
        "train": {"epochs": 1, "batch_size": 32},
    }
    return Recipe.parse(given | tables)


def test_1_an_activation_on_the_logits_is_an_error() -> None:
    text = "\n".join(
        [
            '[experiment]\nname = "student"\nmargin = 0.01\n[control]\noptim = { lr = 0.1 }\ntrain = { epochs = 1 }',
            'data = { name = "digits", size = 32 }',
            f'model = {{ name = "{STUDENT}:StudentNet", activation = "tanh" }}',
            RELU,
        ]
    )
    experiment = Experiment.parse(text)
    findings = fired("P023", checks.measured(experiment, conduct.look(experiment)))
    assert "The logits pass through a nonlinearity: they stay within −1 to 1." in findings["control"]
    assert "Over 10 classes the loss cannot fall below 0.7966 nats." in findings["control"]
    assert "never negative, as behind a ReLU" in findings["relu"]
    assert CHECKS["P023"].level == "error"


def test_2_two_factors_are_refused_or_named() -> None:
    with pytest.raises(ConfigError, match=r"An arm must change one factor, but .* changes 2"):
        design(re.sub(r"together = .*\n", "", PAIR))
    assert "relu-max" in fired("P017", checks.design(design(PAIR)))


def test_3_training_data_in_stored_order_are_named() -> None:
    assert WHOLE in fired("P016", checks.design(design(RELU, train="shuffle = false,")))
    assert not fired("P016", checks.design(design(SHUFFLE)))


def test_4_one_seed_gives_no_verdict(tmp_path: Path) -> None:
    experiment = design(RELU, seeds=1)
    assert "One seed gives no verdict at all" in fired("P001", checks.design(experiment))[WHOLE]
    results = write_results(tmp_path / "result", experiment, {"control": 0.6, "relu": 0.95}, test_examples=2000)
    (comparison,) = verdicts.compute(results)["questions"][0]["comparisons"]
    assert comparison["p"] < 1e-6
    assert comparison["verdict"] == "undecided"


def test_5_the_training_loss_is_the_mean_over_the_epoch() -> None:
    """At a rate of next to nothing the weights stay, so that it must be the loss over all training images."""
    spec = spec_for(recipe())
    ((event,), _) = fit_one(TorchEngine(), spec)
    drawn = data.draw(DATASET, spec.recipe.data, spec.seed)
    model = build_model(spec.recipe.model, DATASET.image_shape, DATASET.num_classes, spec.seed)
    train, indices = Batches(DATASET.train), torch.from_numpy(drawn.train_indices)
    images = Normalisation.of(train.images, indices).apply(train.gather(indices))
    with torch.no_grad():
        losses = functional.cross_entropy(model(images), train.labels[indices], reduction="none")
    assert event.record.train_loss == pytest.approx(float(losses.mean()), rel=1e-5)
    assert len(indices) % 32 != 0
    assert float(losses[-(len(indices) % 32) :].mean()) != pytest.approx(float(losses.mean()), rel=1e-5)


def test_6_a_question_that_was_never_run_is_named(tmp_path: Path) -> None:
    experiment = design(RELU + ADAM, seeds=2)
    missing = [("adam", 0), ("adam", 1)]
    findings = checks.outcome(write_results(tmp_path / "result", experiment, {"control": 0.9}, missing=missing))
    assert fired("P007", findings) == {"question adam": "The question is asked, but `adam` never ran."}


def test_7_a_text_that_names_other_data_is_named() -> None:
    experiment = design(RELU.replace("ReLU?", "Sign language digits: ReLU?"), data="dogs-vs-cats")
    assert "question relu" in fired("P014", checks.design(experiment))


def test_8_flipped_characters_are_named() -> None:
    assert "control" in fired("P006", checks.design(design(RELU, hflip="true", data="mnist")))


def test_9_preparing_images_otherwise_in_training_is_named_and_ours_is_one_for_both() -> None:
    assert WHOLE in fired("P027", of_network(GUILTY["scaled in training"][1]()))
    drawn = data.draw(DATASET, recipe().data, 0)
    brighter = dataclasses.replace(
        DATASET, test=data.Split((DATASET.test.images // 2).astype(np.uint8), DATASET.test.labels)
    )
    ends = [list(TorchEngine().fit([spec_for(recipe())], each, {}))[-1] for each in (DATASET, brighter)]
    model = build_model(recipe().model, DATASET.image_shape, DATASET.num_classes, ends[0].spec.seed).eval()
    training = Normalisation.of(Batches(DATASET.train).images, torch.from_numpy(drawn.train_indices))
    for end, dataset in zip(ends, (DATASET, brighter), strict=True):
        assert isinstance(end, RunEnd)
        test = Batches(dataset.test)
        with torch.no_grad():
            expected = model(training.apply(test.gather(torch.arange(len(test)))))
        torch.testing.assert_close(torch.from_numpy(end.predictions.logits), expected, rtol=1e-3, atol=1e-4)


def test_10_val_and_test_are_looked_at_whole() -> None:
    spec = spec_for(recipe())
    _, end = fit_one(TorchEngine(), spec)
    assert end.result.val_examples == 40
    assert end.result.test_examples == len(DATASET.test) == len(end.predictions.logits)
    assert np.array_equal(end.predictions.labels, DATASET.test.labels)


@pytest.mark.parametrize("settings", [{"keep": "best"}, {"patience": 2}])
def test_11_the_test_set_can_choose_no_epoch(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r'`data.val = "test"` must not choose anything'):
        recipe(data={"name": "easy", "val": "test"}, train={"epochs": 3, **settings})


def test_11_the_test_set_can_choose_no_value(tmp_path: Path) -> None:
    assert "question rate" in fired("P003", checks.design(design(SWEEP, val='"test"')))
    assert CHECKS["P003"].level == "error"
    results = write_results(tmp_path / "result", design(SWEEP, seeds=2), {"control": 0.9, "lr-1": 0.7, "lr-0.01": 0.5})
    before = best_on_val(results.experiment.questions[0], load(results))
    for run in results.runs("lr-0.01"):
        labels = run.predictions().labels
        perfect = 10 * np.eye(10, dtype=np.float32)[labels]
        np.savez(run.folder / "predictions.npz", logits=perfect, labels=labels)
    assert best_on_val(results.experiment.questions[0], load(results)) == before == "control"


def test_12_copies_of_an_image_in_test_are_named(tmp_path: Path) -> None:
    experiment = design(RELU)

    def leaky(_: object) -> Dataset:
        dataset = data.load_prepared(data.prepare(experiment.control.data).folder)
        images = dataset.test.images.copy()
        drawn = data.draw(dataset, experiment.control.data, experiment.seeds[0])
        images[:20] = dataset.train.images[drawn.train_indices[:20]]
        images[20] = dataset.train.images[drawn.train_indices[20]] // 2 + 20
        return dataclasses.replace(dataset, test=data.Split(images, dataset.test.labels))

    from paribus.survey import survey

    findings = checks.measured(experiment, survey(experiment, leaky))
    assert fired("P018", findings)[WHOLE].startswith("20 test images are in train too")
    assert fired("P019", findings)[WHOLE].startswith("20 test images of 360 (5.56 %) are training images")
    assert fired("P020", findings)[WHOLE].startswith("1 test image is in train too, such as test image 20")


def test_13_frozen_batch_norm_that_moves_is_an_error() -> None:
    assert "The parameters of `stem` are frozen, but" in fired("P026", of_network(Residual(freeze=True)))[WHOLE]
    assert CHECKS["P026"].level == "error"


def test_14_one_rate_for_two_optimisers_is_named() -> None:
    assert "adam" in fired("P004", checks.design(design(ADAM)))


def test_15_pooling_as_the_only_nonlinearity_is_named() -> None:
    assert "between `c1` and `c2`" in fired("P025", of_network(Unbent()))[WHOLE]


def test_a_classifier_of_another_size_is_refused() -> None:
    with pytest.raises(ModelError, match=r"must give logits, float \(2, 7\) for two images and 7 classes, but gave"):
        build_model(recipe(model={"name": "networks:Net"}).model, (1, 32, 32), 7, seed=0)


def test_classes_that_differ_between_splits_are_refused(tmp_path: Path) -> None:
    images = np.zeros((4, 8, 8), np.uint8)
    train, test = np.asarray([0, 1, 0, 1]), np.asarray([0, 1, 2, 1])
    np.savez(tmp_path / "set.npz", x_train=images, y_train=train, x_test=images, y_test=test)
    with pytest.raises(DataError, match=r"Labels must lie in 0 to 1 for the 2 classes"):
        data.prepare(Recipe.parse({**TABLES, "data": {"name": str(tmp_path / "set.npz")}}).data)


TABLES = {"model": {"name": "lenet5"}, "optim": {"lr": 0.1}, "train": {"epochs": 1}}


def test_the_page_has_every_mistake_and_every_code_it_names_exists() -> None:
    numbers = re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)
    assert numbers == [str(number) for number in range(1, 16)]
    assert set(re.findall(r"P\d{3}", PAGE)) <= set(CHECKS)
    first = set(re.findall(r"^\| \d+ \|[^|]*\|[^|]*?(P\d{3})", PAGE, re.MULTILINE))
    assert len(first) == 13  # All but the fifth and the tenth, which are impossible.
    assert first <= set(re.findall(r'"(P\d{3})"', Path(__file__).read_text(encoding="utf-8")))
