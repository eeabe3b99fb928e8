"""Random changes to batches of training images, each a function of (seed, epoch, image) alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from paribus.config import AugmentConfig
from paribus.errors import ConfigError
from paribus.seeding import numpy_generator

NODES = 8
"""Nodes of the elastic noise along each side: a smoothing width of 4.6 pixels at 32, where Simard used 4 at 29."""
TRIES = 10
"""How many crops are drawn for an image until one fits into it."""
PIXELS = 1 << 17
"""How many pixels change colour at a time on a CPU: few enough for its cache. Whole batches take longer."""
GREY = (0.299, 0.587, 0.114)
"""What red, green and blue weigh in grey (ITU-R BT.601)."""


@dataclass(frozen=True)
class Mixing:
    """How a batch is mixed: each of its rows keeps `share` and gets the rest of the row that `partners` (B,) names."""

    share: float
    partners: Tensor

    def apply(self, rows: Tensor) -> Tensor:
        """Return float rows (B, ...) mixed: images, or the share of each class."""
        return torch.lerp(rows, rows[self.partners], 1 - self.share)


class Augmenter:
    """What happens to every image of one epoch.

    All images are drawn for at once, each kind of change from a stream of its own: the draws of an image depend
    neither on the batch it is in nor on the number of images, and an arm that adds rotations keeps its shifts.

    Args:
        config: Which changes, and how large.
        seed: The run's seed.
        epoch: From 1.
        num_examples: How many images there are to draw for.
        device: Where the images will be.
        size: (H, W) that random crops are resized to: what the network looks at. None keeps that of the images.
    """

    def __init__(
        self,
        config: AugmentConfig,
        seed: int,
        epoch: int,
        num_examples: int,
        device: torch.device | str = "cpu",
        size: tuple[int, int] | None = None,
    ) -> None:
        self.config, self.epoch, self.seed, self.size = config, epoch, seed, size
        self.num_examples, self.device = num_examples, torch.device(device)
        self.hflip = self._uniform("hflip") < 0.5 if config.hflip else None
        self.vflip = self._uniform("vflip") < 0.5 if config.vflip else None
        self.shift = self._symmetric("shift", 2) * config.shift if config.shift else None
        self.angle = self._symmetric("rotate") * config.rotate if config.rotate else None
        self.scale = 1 + self._symmetric("scale") * config.scale if config.scale else None
        self.noise = self._normal("elastic", 2, NODES, NODES) * config.elastic if config.elastic else None
        self.tries = self._uniform("crop", TRIES, 2) if config.crop_scale else None
        self.corner = self._uniform("corner", 2) if config.crop_scale else None
        self.brightness = self._factor("brightness", config.brightness)
        self.contrast = self._factor("contrast", config.contrast)
        self.saturation = self._factor("saturation", config.saturation)
        self.hue = self._symmetric("hue") * config.hue if config.hue else None

    def crop(self, images: Tensor, indices: Tensor) -> Tensor:
        """Cut the drawn part out of each image and resize it to `size`: bilinear, with antialiasing.

        It comes before `apply`, on bytes: resizing these is several times as fast as resizing floats on a CPU. Parts
        are drawn as torchvision's `RandomResizedCrop` draws them (Szegedy et al. 2015): area and ratio anew until the
        part fits, ten times at most; then the largest part of an allowed shape.

        Args:
            images: Raw pixels as uint8 (B, C, H, W); on `device`.
            indices: Which examples they are, int64 (B,) in 0 to num_examples - 1; on `device`.

        Returns:
            uint8 (B, C, *size); `images` itself if nothing is to be cut.
        """
        if self.tries is None or self.corner is None:
            return images
        height, width = images.shape[2:]
        heights, widths = self._first_that_fits(self.tries[indices], height, width)
        tops, lefts = self.corner[indices].unbind(1)
        tops = torch.minimum((tops * (height - heights + 1)).floor(), height - heights)
        lefts = torch.minimum((lefts * (width - widths + 1)).floor(), width - widths)
        boxes = torch.stack([tops, tops + heights, lefts, lefts + widths], dim=1).long().tolist()
        parts = [image[:, top:end, left:right] for image, (top, end, left, right) in zip(images, boxes, strict=True)]
        return torch.cat([_resized(part, self.size or (height, width)) for part in parts])

    def change(self, images: Tensor, indices: Tensor) -> Tensor:
        """Return images uint8 (B, C, H, W) with all their changes, float 0 to 255.

        Args:
            images: As they were prepared.
            indices: Which examples they are, int64 (B,).
        """
        images = self.crop(images, indices).to(torch.float32).contiguous(memory_format=torch.channels_last)
        return self.apply(images, indices)

    def apply(self, images: Tensor, indices: Tensor) -> Tensor:
        """Return the images changed: flipped; scaled, rotated, shifted and bent; then their colours, in this order.

        What moves pixels, but for the flips, is one bilinear sampling, with 0 beyond the border. Angles turn
        counter-clockwise, in degrees; shifts are (right, down) in pixels. Colours change as in torchvision's
        `ColorJitter`, but always in the order brightness, contrast, saturation, hue.

        Args:
            images: Raw pixels as float (B, C, H, W), in which 0 is background; on `device`.
            indices: Which examples they are, int64 (B,) in 0 to num_examples - 1; on `device`.

        Returns:
            Float (B, C, H, W); `images` itself if nothing is to be changed.

        Raises:
            ConfigError: If the saturation or hue of grey images is to be changed.
        """
        return self._coloured(self._moved(images, indices), indices)

    def mixing(self, step: int, batch_size: int) -> Mixing | None:
        """Return how the batch of a step is mixed (Zhang et al. 2018), None where it is not.

        Args:
            step: Of the epoch, from 0; the shares are drawn for it.
            batch_size: How many images the batch has.
        """
        if not self.config.mixup:
            return None
        generator = numpy_generator(self.seed, "mixup", self.epoch, step)
        share = generator.beta(self.config.mixup, self.config.mixup)
        return Mixing(share, torch.from_numpy(generator.permutation(batch_size)).to(self.device))

    def _moved(self, images: Tensor, indices: Tensor) -> Tensor:
        if self.hflip is not None:
            images = torch.where(self.hflip[indices, None, None, None], images.flip(3), images)
        if self.vflip is not None:
            images = torch.where(self.vflip[indices, None, None, None], images.flip(2), images)
        if self.shift is None and self.angle is None and self.scale is None and self.noise is None:
            return images
        height, width = images.shape[2:]
        places = _places(images, *self._turns(indices))
        if self.noise is not None:
            places = places + self._displacements(self.noise[indices], height, width)
        return _sample(images, places)

    def _coloured(self, images: Tensor, indices: Tensor) -> Tensor:
        changes = (
            ("brightness", self.brightness, _brightened),
            ("contrast", self.contrast, _contrasted),
            ("saturation", self.saturation, _saturated),
            ("hue", self.hue, _turned),
        )
        asked = [(name, draws, change) for name, draws, change in changes if draws is not None]
        if not asked:
            return images
        names = [name for name, _, _ in asked if name in ("saturation", "hue")]
        if names and images.shape[1] != len(GREY):
            raise ConfigError(
                f"`augment.{names[0]}` needs images in colour, but these are grey. Take it out; brightness and "
                "contrast can be changed."
            )
        result = torch.empty_like(images, memory_format=torch.channels_last)
        height, width = images.shape[2:]
        step = max(1, PIXELS // (height * width)) if images.device.type == "cpu" else len(images)
        for begin in range(0, len(images), step):
            some = slice(begin, begin + step)
            part = images[some].contiguous()  # Whole planes at a time, which is twice as fast.
            for _, draws, change in asked:
                part = change(part, draws[indices[some]].view(-1, 1, 1, 1))
            result[some] = part
        return result

    def _first_that_fits(self, tries: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return the height and width in pixels (B,) of the first part that lies in the image; tries (B, TRIES, 2)."""
        assert self.config.crop_scale is not None
        (least, most), (narrow, wide) = self.config.crop_scale, self.config.crop_ratio
        areas = (least + (most - least) * tries[..., 0]) * (height * width)
        ratios = torch.exp(math.log(narrow) + math.log(wide / narrow) * tries[..., 1])
        last = min(max(width / height, narrow), wide)
        largest = max(1, min(height, round(width / last))), max(1, min(width, round(height * last)))
        heights = functional.pad((areas / ratios).sqrt().round(), (0, 1), value=largest[0])
        widths = functional.pad((areas * ratios).sqrt().round(), (0, 1), value=largest[1])
        fits = (heights >= 1) & (heights <= height) & (widths >= 1) & (widths <= width)
        first = fits.int().argmax(dim=1, keepdim=True)
        return heights.gather(1, first)[:, 0], widths.gather(1, first)[:, 0]

    def _turns(self, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return angle in radians (B,), scale (B,) and shift in pixels (B, 2) of each image."""
        zeros = torch.zeros(len(indices), device=self.device)
        angle = zeros if self.angle is None else self.angle[indices] * (math.pi / 180)
        scale = zeros + 1 if self.scale is None else self.scale[indices]
        shift = torch.stack([zeros, zeros], dim=1) if self.shift is None else self.shift[indices]
        return angle, scale, shift

    def _displacements(self, noise: Tensor, height: int, width: int) -> Tensor:
        """Return (B, H, W, 2): noise (B, 2, nodes, nodes) spread by a Gaussian, in units of the half sides."""
        rows, columns = _spread(height, self.device), _spread(width, self.device)
        pixels = rows @ noise @ columns.T
        return pixels.permute(0, 2, 3, 1) * torch.tensor([2 / width, 2 / height], device=self.device)

    def _uniform(self, kind: str, *shape: int) -> Tensor:
        """Return uniform draws from 0 to 1, (num_examples, *shape)."""
        generator = numpy_generator(self.seed, "augment", self.epoch, kind)
        drawn = generator.random((self.num_examples, *shape)).astype(np.float32)
        return torch.from_numpy(drawn).to(self.device)

    def _factor(self, kind: str, largest: float) -> Tensor | None:
        """Return factors from 1 - largest, but at least 0, to 1 + largest; None where there is nothing to change."""
        least = max(0.0, 1 - largest)
        return self._uniform(kind) * (1 + largest - least) + least if largest else None

    def _symmetric(self, kind: str, *shape: int) -> Tensor:
        return self._uniform(kind, *shape) * 2 - 1

    def _normal(self, kind: str, *shape: int) -> Tensor:
        generator = numpy_generator(self.seed, "augment", self.epoch, kind)
        drawn = generator.standard_normal((self.num_examples, *shape), dtype=np.float32)
        return torch.from_numpy(drawn).to(self.device)


def rotate(images: Tensor, degrees: float) -> Tensor:
    """Return the images turned counter-clockwise about their middle: bilinear, with 0 beyond the border.

    Args:
        images: Raw pixels as float (B, C, H, W), in which 0 is background.
        degrees: How far; negative turns clockwise.
    """
    zeros = images.new_zeros(len(images))
    return _sample(
        images, _places(images, zeros + degrees * (math.pi / 180), zeros + 1, torch.stack([zeros, zeros], 1))
    )


def _places(images: Tensor, angle: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return (B, H, W, 2): where in the image, in units of its half sides, each place of the result comes from.

    The inverse of p -> scale * rotation * p + shift, with the y axis down.
    """
    height, width = images.shape[2:]
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    right, down = shift.unbind(1)
    rows = [
        torch.stack([cos, -sin * (height / width), -(cos * right - sin * down) * (2 / width)], dim=1),
        torch.stack([sin * (width / height), cos, -(sin * right + cos * down) * (2 / height)], dim=1),
    ]
    return functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)


def _sample(images: Tensor, places: Tensor) -> Tensor:
    return functional.grid_sample(images, places, mode="bilinear", padding_mode="zeros", align_corners=False)


def _spread(size: int, device: torch.device) -> Tensor:
    """Return (size, nodes): Gaussian weights of the nodes at each pixel, each row of unit length.

    Independent noise of variance 1 at the nodes so gives variance 1 at every pixel. The Gaussian is as wide as the
    nodes are apart (Simard, Steinkraus, Platt 2003 smooth a field drawn per pixel; ours is drawn on a coarse grid).
    """
    pixels = torch.linspace(0, NODES - 1, size, device=device)
    nodes = torch.arange(NODES, device=device)
    weights = torch.exp(-((pixels[:, None] - nodes) ** 2) / 2)
    return functional.normalize(weights, dim=1)


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return uint8 (1, C, *size) of an image uint8 (C, H, W)."""
    # Bytes with channels last are what torch resizes fastest on a CPU; on a GPU it resizes floats only.
    on_cpu = image.device.type == "cpu"
    image = image[None].contiguous(memory_format=torch.channels_last) if on_cpu else image[None].float()
    resized: Tensor = functional.interpolate(image, size, mode="bilinear", antialias=True)
    return resized if on_cpu else resized.round_().clamp_(0, 255).to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    """Return (B, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = (images[:, channel : channel + 1] for channel in range(3))
    return (red * GREY[0]).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])


def _brightened(images: Tensor, factors: Tensor) -> Tensor:
    return (images * factors).clamp_(0, 255)


def _contrasted(images: Tensor, factors: Tensor) -> Tensor:
    return torch.lerp(_grey(images).mean(dim=(1, 2, 3), keepdim=True), images, factors).clamp_(0, 255)


def _saturated(images: Tensor, factors: Tensor) -> Tensor:
    return torch.lerp(_grey(images), images, factors).clamp_(0, 255)


def _turned(images: Tensor, turns: Tensor) -> Tensor:
    """Return the images with their hues turned, a full turn being 1; value and chroma stay (Smith 1978).

    Choices are written as interpolations by 0 or 1, which are exact and here ten times as fast as `torch.where`.
    """
    red, green, blue = images.unbind(1)
    high, low = images.amax(dim=1), images.amin(dim=1)
    chroma = high - low
    hue = (red - green).add_(chroma, alpha=4)
    hue.lerp_((blue - red).add_(chroma, alpha=2), (high == green).float()).lerp_(green - blue, (high == red).float())
    hue.div_(chroma.clamp(min=1e-6)).add_(6 * turns[:, 0])
    hue.sub_((hue / 6).floor_(), alpha=6)  # From 0, red, over 2, green, and 4, blue, to 6.
    shares = torch.stack([(hue - 3).abs_() - 1, 2 - (hue - 2).abs_(), 2 - (hue - 4).abs_()], dim=1).clamp_(0, 1)
    return shares.mul_(chroma[:, None]).add_(low[:, None])
