"""Random changes to batches of training images, each a function of (seed, epoch, image) alone."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from paribus.config import AugmentConfig
from paribus.seeding import numpy_generator

NODES = 8
"""Nodes of the elastic noise along each side: a smoothing width of 4.6 pixels at 32, where Simard used 4 at 29."""


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
    """

    def __init__(
        self,
        config: AugmentConfig,
        seed: int,
        epoch: int,
        num_examples: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config, self.epoch, self.seed = config, epoch, seed
        self.num_examples, self.device = num_examples, torch.device(device)
        self.hflip = self._uniform("hflip") < 0.5 if config.hflip else None
        self.vflip = self._uniform("vflip") < 0.5 if config.vflip else None
        self.shift = self._symmetric("shift", 2) * config.shift if config.shift else None
        self.angle = self._symmetric("rotate") * config.rotate if config.rotate else None
        self.scale = 1 + self._symmetric("scale") * config.scale if config.scale else None
        self.noise = self._normal("elastic", 2, NODES, NODES) * config.elastic if config.elastic else None

    def apply(self, images: Tensor, indices: Tensor) -> Tensor:
        """Return the images changed: flipped, scaled, rotated, shifted and bent, in this order.

        Everything but the flips is one bilinear sampling, with 0 beyond the border. Angles turn counter-clockwise, in
        degrees; shifts are (right, down) in pixels.

        Args:
            images: Raw pixels as float (B, C, H, W), in which 0 is background; on `device`.
            indices: Which examples they are, int64 (B,) in 0 to num_examples - 1; on `device`.

        Returns:
            Float (B, C, H, W); `images` itself if nothing is to be changed.
        """
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
