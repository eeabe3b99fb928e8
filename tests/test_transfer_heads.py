"""Heads that are solved for: against scikit-learn, against the gradient of what they minimise, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import optimize
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional

from paribus.errors import DataError, ModelError
from paribus.transfer import (
    choose_strength,
    fit_logistic,
    heads,
    imagenet_classes,
    majority,
    nearest_neighbour,
)
from pretrained import real_weights

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def _examples(count: int, features: int, classes: int, seed: int = 0, noise: float = 2.0) -> tuple[Array, Labels]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    centres = np.random.default_rng(9).normal(size=(classes, features))
    values = centres[labels] + noise * rng.normal(size=(count, features))
    return (values * np.arange(1, features + 1) + 3).astype(np.float32), labels


@pytest.mark.parametrize("features", [8, 90])
def test_it_is_scikit_learns_solution_on_standardised_features(features: int) -> None:
    values, labels = _examples(60, features, 3)
    head = fit_logistic(values, labels, 3, strength=0.01)
    scaler = StandardScaler().fit(values.astype(np.float64))
    theirs = LogisticRegression(C=1 / (0.01 * 60), tol=1e-10, max_iter=10_000)
    theirs.fit(scaler.transform(values.astype(np.float64)), labels)
    others, _ = _examples(40, features, 3, seed=1)
    wanted = torch.from_numpy(theirs.decision_function(scaler.transform(others.astype(np.float64))))
    found = torch.from_numpy(head.logits(others)).double()
    torch.testing.assert_close(found.log_softmax(1), wanted.log_softmax(1), atol=1e-3, rtol=1e-3)
    assert head.weight.shape == (3, features) and head.weight.dtype == head.bias.dtype == np.float32 and head.steps > 3


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("features", [6, 70])
def test_the_gradient_of_what_it_minimises_is_nothing(classes: int, features: int) -> None:
    """Of two classes as of more: the mean cross-entropy, and half the strength times all squared weights."""
    values, labels = _examples(50, features, classes)
    head = fit_logistic(values, labels, classes, strength=0.03)
    exact = torch.from_numpy(values).double()
    mean, deviation = exact.mean(dim=0), exact.std(dim=0, correction=0)
    weight = (torch.from_numpy(head.weight).double() * deviation).requires_grad_()
    bias = (torch.from_numpy(head.bias).double() + torch.from_numpy(head.weight).double() @ mean).requires_grad_()
    logits = (exact - mean) / deviation @ weight.T + bias
    objective = functional.cross_entropy(logits, torch.from_numpy(labels)) + 0.03 / 2 * (weight**2).sum()
    objective.backward()
    assert weight.grad is not None and bias.grad is not None
    assert weight.grad.abs().max() < 1e-6 and bias.grad.abs().max() < 1e-6
    assert weight.abs().max() > 0.1


def test_features_that_vary_together_cost_few_steps() -> None:
    """Along principal axes in units of their curvature, L-BFGS takes under half the steps it takes by the features."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 4
    hidden = rng.normal(size=(4, 60))[labels] + 10 * rng.normal(size=(200, 60))
    values = (hidden / np.arange(1, 61) ** 2 @ rng.normal(size=(60, 60))).astype(np.float32)
    inputs = torch.from_numpy(StandardScaler().fit_transform(values.astype(np.float64)))

    def objective(given: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        both = torch.from_numpy(given).reshape(4, 61).requires_grad_()
        weight, bias = both[:, :60], both[:, 60]
        loss = functional.cross_entropy(inputs @ weight.T + bias, torch.from_numpy(labels))
        loss = loss + 0.001 / 2 * (weight**2).sum()
        loss.backward()
        assert both.grad is not None
        return loss.item(), both.grad.numpy().ravel()

    options: Any = {"maxiter": 10_000, "maxfun": 100_000, "gtol": 1e-8, "ftol": 1e-14}
    plain = optimize.minimize(objective, np.zeros(4 * 61), jac=True, method="L-BFGS-B", options=options)
    assert 3 < fit_logistic(values, labels, 4, strength=1e-3).steps < plain.nit / 2


def test_a_feature_that_never_varies_counts_for_nothing() -> None:
    values, labels = _examples(30, 4, 2)
    with_constant = np.concatenate([values, np.full((30, 1), 7, np.float32)], axis=1)
    head, plain = fit_logistic(with_constant, labels, 2, 0.1), fit_logistic(values, labels, 2, 0.1)
    assert (head.weight[:, 4] == 0).all()
    np.testing.assert_allclose(head.logits(with_constant), plain.logits(values), atol=1e-5)


def test_it_is_one_linear_layer() -> None:
    values, labels = _examples(30, 5, 3)
    head, layer = fit_logistic(values, labels, 3, 0.1), nn.Linear(5, 3)
    head.put_into(layer)
    with torch.no_grad():
        torch.testing.assert_close(layer(torch.from_numpy(values)), torch.from_numpy(head.logits(values)))


# --- The strength


def test_the_best_on_held_out_examples_is_chosen() -> None:
    values, labels = _examples(80, 40, 2, noise=4)
    chosen = choose_strength(values, labels, 2, seed=0)
    assert chosen.folds == heads.FOLDS == 5 and not chosen.at_edge
    assert list(chosen.scores) == sorted(chosen.scores) and {1e-4, 0.1, 1.0} <= chosen.scores.keys()
    assert chosen.scores[chosen.value] == min(chosen.scores.values())
    assert min(chosen.scores) < chosen.value < max(chosen.scores)


def test_scores_are_of_examples_beside_the_fit() -> None:
    values, labels = _examples(40, 10, 2)
    folds = heads._folds(labels, 2, seed=3)
    assert [np.bincount(labels[folds == fold]).tolist() for fold in range(5)] == [[4, 4]] * 5
    losses = np.empty(40)
    for fold in range(5):
        held = folds == fold
        logits = torch.from_numpy(fit_logistic(values[~held], labels[~held], 2, 0.1).logits(values[held]))
        losses[held] = functional.cross_entropy(logits, torch.from_numpy(labels[held]), reduction="none").numpy()
    assert choose_strength(values, labels, 2, seed=3).scores[0.1] == pytest.approx(losses.mean(), abs=1e-4)


def test_the_seed_draws_the_folds() -> None:
    _, labels = _examples(41, 3, 3)
    first = heads._folds(labels, 3, seed=0)
    np.random.rand(3)
    assert np.array_equal(heads._folds(labels, 3, seed=0), first)
    assert not np.array_equal(heads._folds(labels, 3, seed=1), first)
    small = np.array([0] * 9 + [1] * 3)
    folds = heads._folds(small, 2, seed=0)
    assert sorted(folds[9:]) == [0, 1, 2] and np.bincount(folds).tolist() == [4, 4, 4]


def test_the_grid_goes_on_where_its_end_is_best() -> None:
    """Nothing can be learnt: the strongest is best. All is certain: the weakest is. Each to the last that is tried."""
    values, _ = _examples(60, 3, 2)
    unrelated = np.tile(np.array([0, 1]), 30)
    strong = choose_strength(values, unrelated, 2, seed=0)
    assert strong.value > 1 and max(strong.scores) >= strong.value
    certain = np.where(unrelated, 5, -5).astype(np.float32)[:, None]
    weak = choose_strength(certain, unrelated, 2, seed=0)
    assert weak.value == pytest.approx(1e-8) == min(weak.scores) and weak.at_edge


# --- Baselines


def test_the_nearest_neighbour_by_angle() -> None:
    train = np.array([[1, 0], [0, 2], [-3, 0], [5, 5]], np.float32)
    found = nearest_neighbour(train, np.array([0, 1, 2, 1]), 3, np.array([[9, 1], [1, 1], [0, 0]], np.float32))
    np.testing.assert_allclose(found[0], [9 / 82**0.5, 10 / 164**0.5, -9 / 82**0.5], rtol=1e-6)
    assert found.dtype == np.float32 and found[1].argmax() == 1 and found[2].tolist() == [0, 0, 0]


def test_the_majority() -> None:
    found = majority(np.array([0, 1, 1, 1]), 2, 3)
    np.testing.assert_allclose(found, np.log([[0.25, 0.75]] * 3), rtol=1e-6)
    assert found.dtype == np.float32


LANDMARKS = {151: "Chihuahua", 268: "Mexican hairless", 281: "tabby, tabby cat", 285: "Egyptian cat"}
IMAGENET = [LANDMARKS.get(index, "something else") for index in range(1000)]


def test_imagenets_classes() -> None:
    logits = np.zeros((3, 1000), np.float32)
    logits[0, 200], logits[1, 283], logits[2, 0] = 9, 9, 9
    found = imagenet_classes(logits, IMAGENET, ["Cat", "dog"])
    assert found.shape == (3, 2) and found.argmax(axis=1).tolist() == [1, 0, 1]
    np.testing.assert_allclose(found[2], np.log([5, 118]), rtol=1e-6)
    with pytest.raises(ModelError, match=r"there is none for `horse`\. Sets are known for `cat`, .*Leave this"):
        imagenet_classes(logits, IMAGENET, ["dog", "horse"])
    with pytest.raises(ModelError, match=r"of ImageNet-1k, .* but has 1000 classes and no labels"):
        imagenet_classes(logits, None, ["dog", "cat"])
    with pytest.raises(ModelError, match=r"but has 1000 classes and other labels"):
        imagenet_classes(logits, IMAGENET[::-1], ["dog", "cat"])
    with pytest.raises(ModelError, match=r"but has 7 classes and other labels\. Choose weights that have both"):
        imagenet_classes(logits[:, :7], IMAGENET[:7], ["dog", "cat"])


@pytest.mark.real_data
def test_the_sets_are_dogs_and_cats() -> None:
    labels = real_weights("mobilenetv2_100.tf_in1k").labels
    assert labels is not None
    logits = np.zeros((1, 1000), np.float32)
    assert imagenet_classes(logits, labels, ["dogs", "cats"]).shape == (1, 2)
    assert [label.split(",")[0] for label in labels[heads.IMAGENET_SETS["cat"]]] == [
        "tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"
    ]  # fmt: skip
    assert "timber wolf" in labels[269] and len(labels[heads.IMAGENET_SETS["dog"]]) == 118


# --- Refusals


def test_every_class_needs_examples() -> None:
    values, labels = _examples(12, 3, 2)
    with pytest.raises(DataError, match=r"at least 1 training example in each, but they have 6, 6 and 0, of 3\. Add"):
        fit_logistic(values, labels, 3, 0.1)
    with pytest.raises(DataError, match=r"have 6 and 6, of 1\."):
        majority(labels, 1, 2)
    few = np.array([0] * 11 + [1])
    with pytest.raises(DataError, match=r"2 training examples in each, but they have 11 and 1, of 2\. Add images\.$"):
        choose_strength(values, few, 2, seed=0)
    with pytest.raises(DataError, match=r"at least two classes"):
        nearest_neighbour(values, np.zeros(12, np.int64), 1, values)


def test_features_must_be_finite() -> None:
    values, labels = _examples(12, 3, 2)
    values[3, 1] = np.nan
    with pytest.raises(DataError, match=r"Features must be finite, but some are not"):
        fit_logistic(values, labels, 2, 0.1)


@pytest.mark.parametrize(("slope", "is_found"), [(5e-8, True), (1e-3, False)])
def test_a_line_search_that_fails_has_converged_where_it_is_flat(
    slope: float, is_found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    solved = optimize.minimize

    def fail_at_the_end(*given: Any, **options: Any) -> optimize.OptimizeResult:
        end = solved(*given, **options)
        end.update(success=False, status=2, message="ABNORMAL: ", jac=np.full_like(end.x, slope))
        return end

    values, labels = _examples(40, 6, 3)
    expected = fit_logistic(values, labels, 3, 1.0)
    monkeypatch.setattr(optimize, "minimize", fail_at_the_end)
    if is_found:
        assert np.array_equal(fit_logistic(values, labels, 3, 1.0).weight, expected.weight)
    else:
        with pytest.raises(ModelError, match="L-BFGS must converge"):
            fit_logistic(values, labels, 3, 1.0)


def test_it_says_where_it_does_not_converge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "_MOST_STEPS", 2)
    values, labels = _examples(40, 6, 3)
    with pytest.raises(ModelError, match=r"L-BFGS must converge, but has not within 2 steps"):
        fit_logistic(values, labels, 3, 1e-4)
