"""Augmentation: exact where a closed form exists, and a function of (seed, epoch, image) alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as transforms

from paribus.augment import Augmenter
from paribus.batches import Batches
from paribus.config import AugmentConfig, Recipe
from paribus.data import Split
from paribus.errors import ConfigError

EVERYTHING = AugmentConfig(shift=2.0, rotate=15.0, scale=0.1, elastic=1.0, hflip=True, vflip=True)
CROP = AugmentConfig(crop_scale=[0.08, 1.0])
COLOUR = AugmentConfig(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
PHOTOS = AugmentConfig.parse(
    EVERYTHING.model_dump() | {"crop_scale": [0.08, 1.0]} | COLOUR.model_dump(include={"brightness", "contrast"})
)


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


def random_bytes(count: int, height: int = 40, width: int = 40, channels: int = 3) -> torch.Tensor:
    return random_images(count, height, width, channels).to(torch.uint8)


def crops(config: AugmentConfig, height: int, width: int, count: int = 4000) -> torch.Tensor:
    """Heights and widths (N, 2) that are drawn."""
    augmenter = Augmenter(config, 0, 1, count)
    assert augmenter.tries is not None
    return torch.stack(augmenter._first_that_fits(augmenter.tries, height, width), dim=1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(32, 32), (20, 48), (70, 70)])
def test_crops_are_resized_as_torchvision_resizes_them(channels: int, size: tuple[int, int]) -> None:
    images, indices = random_bytes(12, 40, 56, channels), torch.arange(12)
    augmenter = Augmenter(CROP, 0, 1, 12, size=size)
    assert augmenter.tries is not None and augmenter.corner is not None
    heights, widths = augmenter._first_that_fits(augmenter.tries, 40, 56)
    places = torch.stack([heights, widths], dim=1)
    corners = (augmenter.corner * (torch.tensor([41, 57]) - places)).floor().int().tolist()
    found = augmenter.crop(images, indices)
    assert found.dtype == torch.uint8 and found.shape == (12, channels, *size)
    for image, corner, place, result in zip(images, corners, places.int().tolist(), found, strict=True):
        expected = transforms.resized_crop(image, *corner, *place, list(size), antialias=True)
        assert (result.int() - expected.int()).abs().max() <= 1


def test_crops_are_drawn_as_torchvision_draws_them() -> None:
    """Means and deviations of height and width over many draws, also where most tries do not fit."""
    image, size = torch.zeros(1, 60, 90), (4000, 2)
    for scale in ([0.08, 1.0], [0.7, 1.0]):
        found = crops(AugmentConfig(crop_scale=scale), 60, 90)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            drawn = [RandomResizedCrop.get_params(image, scale, [3 / 4, 4 / 3])[2:] for _ in range(size[0])]
        expected = torch.tensor(drawn, dtype=torch.float32)
        torch.testing.assert_close(found.mean(dim=0), expected.mean(dim=0), rtol=0.02, atol=0)
        torch.testing.assert_close(found.std(dim=0), expected.std(dim=0), rtol=0.05, atol=0)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.lists(st.floats(0.01, 1), min_size=2, max_size=2).map(sorted),
    st.lists(st.floats(0.1, 10), min_size=2, max_size=2).map(sorted),
)
def test_every_crop_lies_in_its_image(height: int, width: int, scale: list[float], ratio: list[float]) -> None:
    config = AugmentConfig(crop_scale=scale, crop_ratio=ratio)
    augmenter, images = Augmenter(config, 1, 1, 20, size=(5, 5)), random_bytes(20, height, width)
    places = crops(config, height, width, 20)
    assert places.min() >= 1 and (places <= torch.tensor([height, width])).all()
    assert augmenter.crop(images, torch.arange(20)).shape == (20, 3, 5, 5)


def test_where_no_try_fits_the_largest_part_of_an_allowed_shape_is_cut_out() -> None:
    assert crops(AugmentConfig(crop_scale=[1.0, 1.0], crop_ratio=[1.0, 1.0]), 60, 90, 5).tolist() == [[60, 60]] * 5
    assert crops(AugmentConfig(crop_scale=[1.0, 1.0], crop_ratio=[2.0, 3.0]), 60, 90, 5).tolist() == [[45, 90]] * 5


COLOURS: dict[str, tuple[st.SearchStrategy[float], float, Any]] = {
    "brightness": (st.floats(0, 2.5), 1.0, transforms.adjust_brightness),
    "contrast": (st.floats(0, 2.5), 1.0, transforms.adjust_contrast),
    "saturation": (st.floats(0, 2.5), 1.0, transforms.adjust_saturation),
    "hue": (st.floats(-0.5, 0.5), 0.0, transforms.adjust_hue),
}


@pytest.mark.parametrize("name", COLOURS)
@given(data=st.data())
def test_colours_change_as_torchvision_changes_them(name: str, data: st.DataObject) -> None:
    strategy, _, adjust = COLOURS[name]
    values = data.draw(st.lists(strategy, min_size=3, max_size=3))
    images = random_images(3, 9, 11, channels=3)
    images[0] = images[0, :1]  # No hue.
    images[1, :, :, :6] = images[1, :, :, :6].clamp(60, 61)
    found = with_draws(COLOUR, **unchanged() | {name: values}).apply(images, torch.arange(3))
    expected = torch.stack([adjust(image / 255, value) * 255 for image, value in zip(images, values, strict=True)])
    # Torchvision's weights of red, green and blue are rounded, and add up to 0.9999.
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05 if name in ("contrast", "saturation") else 0.01)


def unchanged() -> dict[str, list[float]]:
    return {name: [neutral] * 3 for name, (_, neutral, _) in COLOURS.items()}


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30))
def test_settings_that_change_nothing_return_the_pixels(height: int, width: int) -> None:
    images, indices = random_bytes(3, height, width), torch.arange(3)
    whole = AugmentConfig(crop_scale=[1.0, 1.0], crop_ratio=[width / height, width / height])
    assert torch.equal(Augmenter(whole, 0, 1, 3).crop(images, indices), images)
    coloured = with_draws(COLOUR, **unchanged()).apply(images.float(), indices)
    torch.testing.assert_close(coloured, images.float(), rtol=0, atol=1e-3)


def test_colours_leave_what_they_are_given_as_it_was() -> None:
    images = random_images(4, channels=3)
    kept = images.clone()
    Augmenter(COLOUR, 0, 1, 4).apply(images, torch.arange(4))
    assert torch.equal(images, kept)


def test_colours_change_in_one_order() -> None:
    images = random_images(3, 9, 11, channels=3)
    draws = {"brightness": [1.4] * 3, "contrast": [1.3] * 3, "saturation": [0.6] * 3, "hue": [0.1] * 3}
    expected = images / 255
    for name, (_, _, adjust) in COLOURS.items():
        expected = torch.stack([adjust(image, draws[name][0]) for image in expected])
    found = with_draws(COLOUR, **draws).apply(images, torch.arange(3))
    torch.testing.assert_close(found, expected * 255, rtol=0, atol=0.02)


@pytest.mark.parametrize("name", ["saturation", "hue"])
def test_grey_images_have_no_colours(name: str) -> None:
    augmenter = Augmenter(AugmentConfig.parse({name: 0.3}), 0, 1, 3)
    with pytest.raises(ConfigError, match=f"`augment.{name}` needs images in colour, but these are grey. Take it out"):
        augmenter.apply(random_images(3), torch.arange(3))
    plain = Augmenter(AugmentConfig(brightness=0.3, contrast=0.3), 0, 1, 3)
    assert plain.apply(random_images(3), torch.arange(3)).shape == (3, 1, 28, 28)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 29), min_size=1, max_size=9), st.integers(30, 70))
def test_a_photo_is_changed_alike_in_any_batch_and_any_set(chosen: list[int], larger: int) -> None:
    split = Split(random_bytes(30).numpy(), np.zeros(30, dtype=np.int64))
    indices, config = torch.tensor(chosen), PHOTOS.model_copy(update={"saturation": 0.3, "hue": 0.2})
    whole = Batches(split).gather(torch.arange(30), Augmenter(config, 5, 2, 30, size=(24, 24)))
    part = Batches(split).gather(indices, Augmenter(config, 5, 2, larger, size=(24, 24)))
    assert part.shape == (len(chosen), 3, 24, 24) and part.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(part, whole[indices], rtol=0, atol=0.02)
    assert not torch.equal(whole[0], whole[1])


@pytest.mark.parametrize("kind", ["tries", "corner", "brightness", "contrast", "saturation", "hue"])
def test_photos_are_drawn_for_anew_with_each_seed_and_epoch(kind: str) -> None:
    config = COLOUR.model_copy(update={"crop_scale": [0.5, 1.0]})
    first, *others = (getattr(Augmenter(config, *at, 50), kind) for at in ((3, 1), (4, 1), (3, 2)))
    assert not any(torch.equal(first, other) for other in others)
    assert torch.equal(first, getattr(Augmenter(config, 3, 1, 50), kind))


def test_colours_are_drawn_from_their_ranges() -> None:
    augmenter = Augmenter(AugmentConfig(brightness=0.4, contrast=1.5, hue=0.1), 0, 1, 20_000)
    for draws, least, most in (
        (augmenter.brightness, 0.6, 1.4),
        (augmenter.contrast, 0, 2.5),
        (augmenter.hue, -0.1, 0.1),
    ):
        assert draws is not None
        unit = (draws - least) / (most - least)
        assert -1e-6 <= unit.min() < 0.01 and 0.99 < unit.max() <= 1 + 1e-6
        assert abs(unit.mean() - 0.5) < 0.01


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"crop_scale": [0.5]}, r"must be the least and the largest share of the area.* got \[0.5\]. The usual range"),
        ({"crop_scale": [0.0, 1.0]}, r"`augment.crop_scale` must be .* got \[0.0, 1.0\]"),
        ({"crop_scale": [0.9, 0.1]}, r"`augment.crop_scale` must be .* got \[0.9, 0.1\]"),
        ({"crop_scale": [0.5, 1.5]}, r"`augment.crop_scale` must be .* got \[0.5, 1.5\]"),
        (
            {"crop_scale": [0.5, 1], "crop_ratio": [2.0, 1.0]},
            r"the least and the largest width over height.* \[2.0, 1.0",
        ),
        ({"crop_ratio": [1.0, 1.0]}, r"shapes what `augment.crop_scale` cuts out, but got \[1.0, 1.0\] without it"),
        ({"hue": 0.6}, r"`augment.hue` must be at most 0.5, but got 0.6"),
        ({"brightness": -0.1}, r"`augment.brightness` must be at least 0, but got -0.1"),
        ({"colour": 1.0}, r"Unknown key `augment.colour`.* Known keys: shift, "),
    ],
)
def test_settings_that_cannot_be(keys: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        AugmentConfig.parse(keys, "augment")


def test_recipes_without_the_newer_changes_are_told_apart_as_before() -> None:
    recipe = {"data": {"name": "digits"}, "model": {"name": "lenet5"}, "optim": {"lr": 0.1}, "train": {"epochs": 1}}
    assert set(Recipe.parse(recipe).identity()["augment"]) == set(EVERYTHING.model_dump(exclude_defaults=True))
    cropped = Recipe.parse(recipe | {"augment": {"crop_scale": [0.5, 1]}}).identity()["augment"]
    assert cropped["crop_scale"] == [0.5, 1] and "crop_ratio" not in cropped


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_agrees_with_the_cpu() -> None:
    images, indices = random_images(8), torch.arange(8)
    on_gpu = Augmenter(EVERYTHING, 0, 1, 8, "cuda").apply(images.cuda(), indices.cuda())
    torch.testing.assert_close(on_gpu.cpu(), Augmenter(EVERYTHING, 0, 1, 8).apply(images, indices), rtol=0, atol=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_crops_and_colours_as_the_cpu_does() -> None:
    images, indices = random_bytes(8), torch.arange(8)
    config = COLOUR.model_copy(update={"crop_scale": [0.1, 1.0]})
    on_cpu, on_gpu = Augmenter(config, 0, 1, 8), Augmenter(config, 0, 1, 8, "cuda")
    crop = on_cpu.crop(images, indices)
    assert (on_gpu.crop(images.cuda(), indices.cuda()).cpu().int() - crop.int()).abs().max() <= 1
    changed = on_gpu.apply(crop.float().cuda(), indices.cuda()).cpu()
    torch.testing.assert_close(changed, on_cpu.apply(crop.float(), indices), rtol=0, atol=0.05)
