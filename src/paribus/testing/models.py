"""The conformance suite for models: what every network must do to be trained and compared fairly."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Build = Callable[[int], nn.Module]


def check_model(build: Build, image_shape: tuple[int, int, int], num_classes: int) -> None:
    """Try a network from all sides; every built-in model passes, with every option.

    Args:
        build: Returns a new network for a seed, for example
            ``lambda seed: build_model(config, image_shape, num_classes, seed)``.
        image_shape: (C, H, W).
        num_classes: Number of logits.

    Raises:
        AssertionError: If the network breaks a rule; the text says which.
    """
    images = torch.randn(16, *image_shape, generator=torch.Generator().manual_seed(0))
    _check_seed(build)
    _check_logits(build(0), images, num_classes)
    _check_gradients(build(0), images, num_classes)
    _check_evaluation(build(0), images)
    _check_round_trip(build, images)
    _check_linear_output(build(0), images)


def _check_seed(build: Build) -> None:
    before = torch.get_rng_state()
    first = build(0).state_dict()
    _require(torch.equal(before, torch.get_rng_state()), "Building must leave torch's global stream as it was.")
    with torch.random.fork_rng(devices=[]):
        torch.rand(7)
        second = build(0).state_dict()
    _require(_equal(first, second), "The same seed must give the same weights, whatever the global stream holds.")
    _require(not _equal(first, build(1).state_dict()), "Another seed must give other weights.")


def _check_logits(model: nn.Module, images: Tensor, num_classes: int) -> None:
    for mode in (True, False):
        model.train(mode)
        logits = model(images)
        expected = (len(images), num_classes)
        _require(logits.shape == expected, f"Logits must have the shape {expected}, but got {tuple(logits.shape)}.")
        _require(logits.dtype == torch.float32, f"Logits must be float32, but got {logits.dtype}.")
        _require(bool(logits.isfinite().all()), "Logits must be finite on normal images.")


def _check_gradients(model: nn.Module, images: Tensor, num_classes: int) -> None:
    model.train()
    loss = functional.cross_entropy(model(images), torch.arange(len(images)) % num_classes)
    loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            _require(parameter.grad is not None, f"The gradient must reach every parameter, but not `{name}`.")
            finite = parameter.grad is not None and bool(parameter.grad.isfinite().all())
            _require(finite, f"Gradients must be finite, but that of `{name}` is not.")


@torch.no_grad()
def _check_evaluation(model: nn.Module, images: Tensor) -> None:
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    together = model(images)
    _require(torch.equal(together, model(images)), "Evaluation must give the same logits twice.")
    _require(_equal(before, model.state_dict()), "Evaluation must not change parameters or buffers.")
    alone = torch.cat([model(image[None]) for image in images])
    _require(
        torch.allclose(together, alone, rtol=1e-3, atol=1e-4),
        "Evaluation must treat each image alone, but the logits depend on the batch.",
    )


@torch.no_grad()
def _check_round_trip(build: Build, images: Tensor) -> None:
    first, second = build(0).eval(), build(1).eval()
    second.load_state_dict(first.state_dict())
    _require(
        torch.equal(first(images), second(images)),
        "`state_dict` must hold all that decides the logits, but a copy gives others.",
    )


@torch.no_grad()
def _check_linear_output(model: nn.Module, images: Tensor) -> None:
    """With all parameters ten times as large, logits leave [-1, 1] on both sides unless something bounds them."""
    model.eval().double()
    for parameter in model.parameters():
        parameter.mul_(10)
    logits = model(images.double())
    if not logits.isfinite().all():
        return  # Too deep a network to tell anything this way.
    _require(bool((logits.abs() > 1).any()), "Logits must not be squashed, but they all lie in [-1, 1].")
    _require(bool((logits < 0).any()), "Logits must not pass through an activation, but none is negative.")


def _equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise AssertionError(rule)
