"""Augmentation: exact where a closed form exists, and a function of (seed, epoch, image) alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paribus.augment import Augmenter
from paribus.config import AugmentConfig

EVERYTHING = AugmentConfig(shift=2.0, rotate=15.0, scale=0.1, elastic=1.0, hflip=True, vflip=True)


def random_images(count: int, height: int = 28, width: int = 28, channels: int = 1) -> torch.Tensor:
    shape = (count, channels, height, width)
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape).astype(np.float32))


def with_draws(config: AugmentConfig, **draws: Any) -> Augmenter:
    """An augmenter whose draws are given by hand."""
    augmenter = Augmenter(config, 0, 1, 3)
    for name, value in draws.items():
        setattr(augmenter, name, torch.tensor(value, dtype=torch.float32))
    return augmenter


@pytest.mark.parametrize(("right", "down"), [(2, 0), (0, 3), (-4, 1), (30, 0)])
def test_an_integer_shift_moves_pixels_and_fills_with_background(right: int, down: int) -> None:
    images = random_images(3, 24, 28, channels=3)
    augmenter = with_draws(AugmentConfig(shift=30.0), shift=[[right, down]] * 3)
    expected = torch.zeros_like(images)
    source = images[:, :, max(-down, 0) : 24 - max(down, 0), max(-right, 0) : max(28 - max(right, 0), 0)]
    expected[:, :, max(down, 0) : 24 - max(-down, 0), max(right, 0) : 28 - max(-right, 0)] = source
    torch.testing.assert_close(augmenter.apply(images, torch.arange(3)), expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_quarter_turns_equal_rot90(quarter_turns: int) -> None:
    images = random_images(3)
    augmenter = with_draws(AugmentConfig(rotate=180.0), angle=[90.0 * quarter_turns] * 3)
    expected = torch.rot90(images, quarter_turns, (2, 3))
    torch.testing.assert_close(augmenter.apply(images, torch.arange(3)), expected, rtol=0, atol=5e-3)


def test_a_shift_comes_after_a_turn() -> None:
    images = random_images(3)
    augmenter = with_draws(AugmentConfig(rotate=90.0, shift=3.0), angle=[90.0] * 3, shift=[[3.0, 0.0]] * 3)
    expected = torch.nn.functional.pad(torch.rot90(images, 1, (2, 3))[..., :-3], (3, 0))
    torch.testing.assert_close(augmenter.apply(images, torch.arange(3)), expected, rtol=0, atol=5e-3)


def test_a_turn_keeps_distances_in_images_that_are_not_square() -> None:
    images = torch.zeros(3, 1, 20, 40)
    images[:, 0, 9:11, 24:26] = 1.0  # 5 pixels right of the centre.
    augmenter = with_draws(AugmentConfig(rotate=90.0), angle=[90.0] * 3)
    expected = torch.zeros_like(images)
    expected[:, 0, 4:6, 19:21] = 1.0  # 5 pixels above it.
    torch.testing.assert_close(augmenter.apply(images, torch.arange(3)), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("scale", [0.5, 0.8, 1.25])
def test_scaling_changes_lengths_by_its_factor(scale: float) -> None:
    images = torch.zeros(3, 1, 64, 64)
    images[:, :, 16:48, 16:48] = 1.0
    augmenter = with_draws(AugmentConfig(scale=0.5), scale=[scale] * 3)
    area = augmenter.apply(images, torch.arange(3)).sum(dim=(1, 2, 3))
    torch.testing.assert_close(area, torch.full((3,), 1024 * scale**2), rtol=0.03, atol=0)


@pytest.mark.parametrize(("config", "axis"), [(AugmentConfig(hflip=True), 3), (AugmentConfig(vflip=True), 2)])
def test_flips_are_exact(config: AugmentConfig, axis: int) -> None:
    images = random_images(64)
    augmenter = Augmenter(config, 0, 1, 64)
    flips = augmenter.hflip if axis == 3 else augmenter.vflip
    assert flips is not None
    assert 10 < int(flips.sum()) < 54
    expected = torch.stack([image.flip(axis - 1) if flip else image for image, flip in zip(images, flips, strict=True)])
    assert torch.equal(augmenter.apply(images, torch.arange(64)), expected)


def test_off_returns_the_images_themselves() -> None:
    images = random_images(4)
    assert Augmenter(AugmentConfig(), 0, 1, 4).apply(images, torch.arange(4)) is images


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 39), min_size=1, max_size=12), st.integers(40, 90))
def test_an_image_is_changed_alike_in_any_batch_and_any_set(chosen: list[int], larger: int) -> None:
    images, indices = random_images(40), torch.tensor(chosen)
    whole = Augmenter(EVERYTHING, 5, 2, 40).apply(images, torch.arange(40))
    part = Augmenter(EVERYTHING, 5, 2, larger).apply(images[indices], indices)
    torch.testing.assert_close(part, whole[indices], rtol=0, atol=1e-3)


def test_same_seed_same_bits_after_the_global_streams_were_disturbed() -> None:
    images, indices = random_images(8), torch.arange(8)
    first = Augmenter(EVERYTHING, 3, 1, 8).apply(images, indices)
    torch.rand(5)
    np.random.seed(9)
    state = torch.get_rng_state()
    assert torch.equal(first, Augmenter(EVERYTHING, 3, 1, 8).apply(images, indices))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("seed", "epoch"), [(4, 1), (3, 2)])
@pytest.mark.parametrize("kind", ["hflip", "shift", "angle", "scale", "noise"])
def test_another_seed_or_epoch_draws_otherwise(seed: int, epoch: int, kind: str) -> None:
    first, other = Augmenter(EVERYTHING, 3, 1, 50), Augmenter(EVERYTHING, seed, epoch, 50)
    assert not torch.equal(getattr(first, kind), getattr(other, kind))


def test_adding_one_change_keeps_the_draws_of_the_others() -> None:
    alone, all_of_them = Augmenter(AugmentConfig(shift=2.0), 3, 1, 50), Augmenter(EVERYTHING, 3, 1, 50)
    assert alone.shift is not None and all_of_them.shift is not None
    assert alone.angle is None
    assert torch.equal(alone.shift, all_of_them.shift)


def test_draws_fill_their_ranges_evenly() -> None:
    augmenter = Augmenter(EVERYTHING, 0, 1, 20_000)
    assert augmenter.shift is not None and augmenter.angle is not None and augmenter.scale is not None
    for draws, centre, half in ((augmenter.shift, 0, 2), (augmenter.angle, 0, 15), (augmenter.scale, 1, 0.1)):
        unit = (draws - centre) / half
        assert -1 <= unit.min() < -0.99 and 0.99 < unit.max() <= 1
        assert abs(unit.mean()) < 0.02
        assert unit.std() == pytest.approx(1 / math.sqrt(3), abs=0.01)


@pytest.mark.parametrize("size", [28, 32, 45])
def test_elastic_displacements_have_their_deviation_at_every_pixel_and_are_smooth(size: int) -> None:
    augmenter = Augmenter(AugmentConfig(elastic=1.5), 0, 1, 4000)
    assert augmenter.noise is not None
    pixels = augmenter._displacements(augmenter.noise, size, size) * size / 2
    assert pixels.shape == (4000, size, size, 2)
    torch.testing.assert_close(pixels.std(dim=0), torch.full((size, size, 2), 1.5), rtol=0.07, atol=0)
    assert abs(pixels.mean()) < 0.02
    steps = (pixels[:, 1:] - pixels[:, :-1]).std() / 1.5
    assert steps < 1.2 * (7 / (size - 1)) / math.sqrt(2)  # The slope of a field smoothed by the distance of nodes.


def test_pixels_stay_in_range() -> None:
    images = random_images(50)
    changed = Augmenter(EVERYTHING, 0, 1, 50).apply(images, torch.arange(50))
    assert changed.min() >= 0 and changed.max() <= 255.001
    assert changed.shape == images.shape and changed.dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_agrees_with_the_cpu() -> None:
    images, indices = random_images(8), torch.arange(8)
    on_gpu = Augmenter(EVERYTHING, 0, 1, 8, "cuda").apply(images.cuda(), indices.cuda())
    torch.testing.assert_close(on_gpu.cpu(), Augmenter(EVERYTHING, 0, 1, 8).apply(images, indices), rtol=0, atol=0.05)
