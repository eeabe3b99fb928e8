"""From a file, or an image in memory, to the pixels that the data reader would have given for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import numpy as np
import numpy.typing as npt
from PIL import Image

from paribus.config import DataConfig, Fit
from paribus.data.pixels import UnreadableImageError, decode, pixels_of
from paribus.data.reader import readable
from paribus.errors import DataError

Pixels = npt.NDArray[np.uint8]
Source = Union[str, Path, bytes, Image.Image, npt.NDArray[Any]]  # noqa: UP007  # `|` would need Pillow's types at run time.
"""The path of an image file, its bytes, an image of Pillow's, or an array (H, W) or (H, W, 1 or 3) of uint8."""


@dataclass(frozen=True)
class Preparation:
    """How images are prepared for one network: as its training images were.

    `image_shape` is (C, H, W), border included; `pad` is that border of zeros. Where the recipe resizes, images are
    fitted as it says; where it does not, as all its images had one size, another image is squashed to that size.
    """

    image_shape: tuple[int, int, int]
    fit: Fit
    pad: int
    resizes: bool

    @classmethod
    def of(cls, data: DataConfig, image_shape: tuple[int, int, int]) -> Preparation:
        """Return what a recipe's data table asks for."""
        return cls(image_shape, data.fit, data.pad, data.size is not None)

    @property
    def inner_size(self) -> tuple[int, int]:
        """Width and height without the border."""
        return self.image_shape[2] - 2 * self.pad, self.image_shape[1] - 2 * self.pad

    def prepare(self, source: Source, *, invert: bool = False) -> Pixels:
        """Return uint8 (C, H, W) of one image.

        It is turned upright as its EXIF orientation says, transparent pixels lie over white, a grey network is given
        the luma of colours (ITU-R 601), and one that sees colours three equal channels of grey.

        Args:
            source: See `Source`.
            invert: Whether black and white change places, the border apart.

        Raises:
            UnreadableImageError: With the reason, if the image cannot be decoded.
            DataError: If the file cannot be read, or an array is not of such a form.
        """
        pixels = self._decoded(source)
        if self.image_shape[0] == 1 and pixels.ndim == 3:
            pixels = np.asarray(Image.fromarray(pixels).convert("L"))
        prepared = np.zeros(self.image_shape, dtype=np.uint8)
        inner = prepared[:, self.pad : self.image_shape[1] - self.pad, self.pad : self.image_shape[2] - self.pad]
        inner[:] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        if invert:
            inner[:] = 255 - inner
        return prepared

    def is_prepared(self, images: object) -> bool:
        """Whether an object is an array of prepared images, uint8 (N, C, H, W)."""
        return isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.shape[1:] == self.image_shape

    def require_prepared(self, images: npt.NDArray[Any]) -> None:
        """Raise DataError unless an array holds prepared images."""
        if not self.is_prepared(images):
            shape = ", ".join(map(str, self.image_shape))
            raise DataError(
                f"Prepared images must be uint8 (N, {shape}), but got {images.dtype} {images.shape}. Give a list of "
                "images to have them prepared: files, or arrays (H, W) or (H, W, 3) of uint8."
            )

    def _decoded(self, source: Source) -> Pixels:
        if isinstance(source, np.ndarray):
            return pixels_of(_image_of(source), self.inner_size, self.fit)
        if isinstance(source, Image.Image):
            return pixels_of(source, self.inner_size, self.fit)
        content = source
        if not isinstance(content, bytes):
            path = Path(content)
            with readable(path):
                content = path.read_bytes()
        width, height = self.inner_size
        # A square that is asked for lets a JPEG be decoded at a part of its size, as the reader does.
        pixels = decode(content, width if self.resizes and width == height else None, self.fit)
        return pixels if pixels.shape[:2] == (height, width) else pixels_of(Image.fromarray(pixels), (width, height))


def in_one_array(images: Sequence[Pixels]) -> Pixels:
    """Stack prepared images (C, H, W) to (N, C, H, W)."""
    return np.stack(images)


def _image_of(array: npt.NDArray[Any]) -> Image.Image:
    flat = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    is_image = flat.ndim == 2 or (flat.ndim == 3 and flat.shape[2] == 3)
    if array.dtype != np.uint8 or not is_image or 0 in array.shape:
        raise DataError(
            f"An image must be an array (H, W) or (H, W, 1 or 3) of uint8, 0 to 255, but got {array.dtype} "
            f"{array.shape}. Change its type and the order of its axes."
        )
    return Image.fromarray(np.ascontiguousarray(flat))


__all__ = ["Pixels", "Preparation", "Source", "UnreadableImageError", "in_one_array"]
