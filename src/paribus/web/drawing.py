"""From a drawing to what a network was trained on: ink scaled and placed as it is in the data set's own images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from paribus.errors import DataError

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


class DrawingError(DataError):
    """A drawing cannot be given to a network."""


@dataclass(frozen=True)
class Frame:
    """How the ink lies in the images of a data set, in pixels of one image without its padding.

    Ink is scaled, its proportions kept, until its bounding box is as large as fits into `height` x `width`. Its centre
    of mass (`by_mass`), or else that of the box, then lies at `row`, `column`, counted from the upper left corner.
    `ground` and `ink` are the pixel values, 0 to 255, of paper and of full ink.
    """

    shape: tuple[int, int]
    height: float
    width: float
    row: float
    column: float
    by_mass: bool
    ground: int
    ink: int

    @classmethod
    def of(cls, images: Pixels) -> Self | None:
        """Learn the frame from training images (N, C, H, W); None where they are no ink on plain ground, as photos are.

        MNIST teaches what its makers wrote down: 20 x 20 pixels with their proportions kept, the centre of mass in the
        middle of 28 x 28 (LeCun et al. 1998, section III-A).
        """
        chosen = images[np.linspace(0, len(images) - 1, min(len(images), _LEARNT_FROM)).astype(np.int64)]
        grey = chosen.mean(axis=1, dtype=np.float64)  # (N, H, W)
        corners = grey[:, [0, 0, -1, -1], [0, -1, 0, -1]]
        ground = float(np.median(corners))
        distance = np.abs(grey - ground)
        contrast = float(np.median(distance.max(axis=(1, 2))))
        is_plain = (np.abs(corners - ground) < _ALIKE).mean() >= _PLAIN_CORNERS
        if not is_plain or (distance < _ALIKE).mean() < _PLAIN_PIXELS or contrast < _ALIKE:
            return None
        coverage = distance[distance.max(axis=(1, 2)) > _FAINT * contrast] / contrast
        return cls._of_coverage(coverage, round(ground), _ink_of(grey, ground, contrast))

    @classmethod
    def _of_coverage(cls, coverage: Floats, ground: int, ink: int) -> Self:
        boxes = np.array([_box(each) for each in coverage])  # (N, 4): top, bottom, left, right
        sides = boxes[:, [1, 3]] - boxes[:, [0, 2]]
        masses = np.array([_centre_of_mass(each) for each in coverage])  # (N, 2)
        middles = (boxes[:, [0, 2]] + boxes[:, [1, 3]]) / 2
        by_mass = bool(masses.std(axis=0).sum() < middles.std(axis=0).sum())
        row, column = (masses if by_mass else middles).mean(axis=0).tolist()
        height, width = np.percentile(sides, _LARGE, axis=0).tolist()
        return cls((coverage.shape[1], coverage.shape[2]), height, width, row, column, by_mass, ground, ink)

    @classmethod
    def as_mnist(cls, shape: tuple[int, int], mean: float) -> Self:
        """Return MNIST's frame, for images of `shape` whose mean training pixel, 0 to 255, tells paper from ink."""
        side = min(shape) * 20 / 28
        ground, ink = (0, 255) if mean < 127.5 else (255, 0)
        return cls(shape, side, side, shape[0] / 2, shape[1] / 2, True, ground, ink)

    def at(self, shape: tuple[int, int]) -> Frame:
        """Return the frame in images of another size, such as the source's own before they are enlarged."""
        down, across = shape[0] / self.shape[0], shape[1] / self.shape[1]
        return replace(
            self,
            shape=shape,
            height=self.height * down,
            width=self.width * across,
            row=self.row * down,
            column=self.column * across,
        )

    def place(self, ink: Floats) -> Pixels:
        """Scale and place ink (H, W), 0 for paper to 1 for full ink; return the image (height, width) that it makes.

        What would lie outside the image is moved inside.

        Raises:
            DrawingError: If there is no ink.
        """
        if ink.size == 0 or ink.max() < _FAINT:
            raise DrawingError("A drawing must have ink on it, but this one is empty. Draw something.")
        top, bottom, left, right = _box(ink)
        scaled = _scaled(ink[top:bottom, left:right], self._size_of(bottom - top, right - left))
        canvas = np.zeros(self.shape)
        centre = _centre_of_mass(scaled) if self.by_mass else (scaled.shape[0] / 2, scaled.shape[1] / 2)
        begin = [
            min(max(round(place - each), 0), whole - side)
            for place, each, whole, side in zip((self.row, self.column), centre, self.shape, scaled.shape, strict=True)
        ]
        canvas[begin[0] : begin[0] + scaled.shape[0], begin[1] : begin[1] + scaled.shape[1]] = scaled
        return np.round(self.ground + (self.ink - self.ground) * canvas).astype(np.uint8)

    def _size_of(self, rows: int, columns: int) -> tuple[int, int]:
        """Return the size to which a bounding box is scaled."""
        scale = min(self.height / rows, self.width / columns)
        height, width = max(round(rows * scale), 1), max(round(columns * scale), 1)
        return min(height, self.shape[0]), min(width, self.shape[1])


def ink_on(pixels: Pixels) -> Floats:
    """Return how much ink is on a drawing, dark on light, (H, W) or (H, W, 3): (H, W) from 0 to 1."""
    return 1 - np.asarray(Image.fromarray(pixels).convert("L"), dtype=np.float64) / 255


def _ink_of(grey: Floats, ground: float, contrast: float) -> int:
    """Return the pixel value of full ink: on that side of the ground on which more lies."""
    is_light = (grey - ground).sum() > 0
    return int(np.clip(round(ground + contrast if is_light else ground - contrast), 0, 255))


def _box(coverage: Floats) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of the ink, the ends exclusive."""
    is_ink = coverage > _FAINT * coverage.max()
    rows, columns = np.flatnonzero(is_ink.any(axis=1)), np.flatnonzero(is_ink.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _centre_of_mass(coverage: Floats) -> tuple[float, float]:
    down, across = coverage.sum(axis=1), coverage.sum(axis=0)
    total = coverage.sum()
    return (
        float(down @ (np.arange(len(down)) + 0.5) / total),
        float(across @ (np.arange(len(across)) + 0.5) / total),
    )


def _scaled(ink: Floats, size: tuple[int, int]) -> Floats:
    image = Image.fromarray(ink.astype(np.float32)).resize(size[::-1], Image.Resampling.BOX)
    return np.clip(np.asarray(image, dtype=np.float64), 0, 1)


_LEARNT_FROM = 500
"""Training images that teach a frame."""
_ALIKE = 32
"""Pixel values that differ by less count as one."""
_PLAIN_CORNERS, _PLAIN_PIXELS = 0.95, 0.4
"""The shares of corners and of all pixels that are the ground's where images are ink on plain ground."""
_FAINT = 0.1
"""The share of full ink below which pixels count as paper."""
_LARGE = 95
"""The percentile of the heights and widths of all boxes that a drawing is scaled to."""
