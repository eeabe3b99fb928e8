"""From image files to uint8 pixels: decoding, resizing and padding."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from paribus.config import Fit
from paribus.errors import DataError

DECODER = 2
"""Raised where a file is decoded to other pixels than before, so that what was prepared before is prepared anew."""
_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
_SIXTEEN_BITS = 65535
_PHOTOMETRIC = 262
_RESERVE = 2
"""How many times the pixels per side that are asked for a reduced JPEG must have, so that resizing smooths it."""
# What Pillow's decoders raise on damaged files; the list grew with the formats.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    NotImplementedError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


class UnreadableImageError(DataError):
    """One image cannot be decoded; the text is the reason. Readers collect these into one DataError."""


def decode(content: bytes, size: int | None = None, fit: Fit = "squash") -> npt.NDArray[np.uint8]:
    """Decode one image file, turned upright as its EXIF orientation says.

    Transparent pixels are laid over white; 16-bit grey keeps its upper eight bits, inverted where the file says that 0
    is white. A JPEG is decoded at a half, a quarter or an eighth of its size where that leaves at least twice the
    pixels per side that are asked for.

    Args:
        content: The bytes of the file.
        size: Resize to size x size pixels, with antialiasing; None keeps the image's own size.
        fit: "squash" resizes both sides, bilinear; "crop" resizes the shorter side, bicubic, and keeps the middle.

    Returns:
        (H, W) if the image is grey, else (H, W, 3), RGB.

    Raises:
        UnreadableImageError: With the reason.
    """
    if not content:
        raise UnreadableImageError("the file is empty")
    try:
        with Image.open(io.BytesIO(content)) as opened:
            _require_sane(opened)
            if size is not None:
                opened.draft(None, (_RESERVE * size, _RESERVE * size))
            image = _upright(opened)
    except UnidentifiedImageError:
        raise UnreadableImageError("not an image of a known format") from None
    except _DAMAGE as error:
        raise UnreadableImageError(str(error) or type(error).__name__) from error
    return np.asarray(image if size is None else _resized(image, (size, size), fit))


def pixels_of(image: Image.Image, size: tuple[int, int], fit: Fit = "squash") -> npt.NDArray[np.uint8]:
    """Return an image that is open already as `decode` does, at a width and height in pixels.

    Raises:
        UnreadableImageError: With the reason.
    """
    try:
        _require_sane(image)
        upright = _upright(image)
    except _DAMAGE as error:
        raise UnreadableImageError(str(error) or type(error).__name__) from error
    return np.asarray(_resized(upright, size, fit))


def resized(images: npt.NDArray[np.uint8], size: int | None) -> npt.NDArray[np.uint8]:
    """Resize images (N, C, H, W) to size x size pixels, bilinear with antialiasing; None returns them as they are."""
    if size is None or images.shape[2:] == (size, size):
        return images
    result = np.empty((*images.shape[:2], size, size), dtype=np.uint8)
    for source, target in zip(images.reshape(-1, *images.shape[2:]), result.reshape(-1, size, size), strict=True):
        target[:] = np.asarray(Image.fromarray(source).resize((size, size), Image.Resampling.BILINEAR))
    return result


def padded(images: npt.NDArray[np.uint8], pad: int) -> npt.NDArray[np.uint8]:
    """Add a border of `pad` zeros on every side of images (N, C, H, W)."""
    return np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad))) if pad else images


def _upright(opened: Image.Image) -> Image.Image:
    _scale_transparent_colour(opened)
    opened.load()
    image = _in_eight_bits(ImageOps.exif_transpose(opened))
    return ImageOps.invert(image) if _is_negative(opened) else image


def _resized(image: Image.Image, size: tuple[int, int], fit: Fit) -> Image.Image:
    if image.size == size:
        return image
    if fit == "crop":
        return ImageOps.fit(image, size, Image.Resampling.BICUBIC)
    return image.resize(size, Image.Resampling.BILINEAR)


def _require_sane(image: Image.Image) -> None:
    # Pillow only warns up to twice this number. Turning its warning into an error would reach into other threads.
    pixels, most = image.width * image.height, Image.MAX_IMAGE_PIXELS
    if most is not None and pixels > most:
        raise ValueError(f"its {pixels:,} pixels are more than {most:,}, as a decompression bomb's would be")


def _scale_transparent_colour(opened: Image.Image) -> None:
    """Bring the transparent colour of a PNG that is not decoded yet to the eight bits of its pixels to come.

    Pillow leaves it in the file's own bits. Of 16 bits in colour the upper eight are compared, which are all it keeps.
    Of an image that somebody has loaded before, Pillow no longer tells the file's bits.
    """
    colour = opened.info.get("transparency")
    if colour is None or not isinstance(opened, PngImageFile) or not opened.tile:
        return
    form = opened.tile[0].args
    if form in ("L;2", "L;4"):
        most = 3 if form == "L;2" else 15
        opened.info["transparency"] = (colour & most) * (255 // most)
    elif form == "RGB;16B":
        opened.info["transparency"] = tuple(value >> 8 for value in colour)


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Return the image in mode L or RGB, over white where it is transparent."""
    if image.mode.startswith("I"):
        return _from_sixteen_bits(image)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, whose range is not known")
    if image.mode == "P":
        return _from_palette(image)
    if image.has_transparency_data:
        over_white = Image.new("RGBA", image.size, "white")
        over_white.alpha_composite(image.convert("RGBA"))
        return over_white.convert("L" if image.mode in _GREY_MODES else "RGB")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode in _GREY_MODES else "RGB")


def _from_sixteen_bits(image: Image.Image) -> Image.Image:
    # Pillow's own conversion to L clips at 255 instead of scaling.
    values = np.asarray(image)
    if values.min() < 0 or values.max() > _SIXTEEN_BITS:
        raise ValueError(f"its grey values span {values.min()} to {values.max()}, more than 16 bits")
    upper = (values.astype(np.uint16) >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    return Image.fromarray(upper if transparent is None else np.where(values == transparent, np.uint8(255), upper))


def _is_negative(image: Image.Image) -> bool:
    """Return whether 0 is white, which Pillow heeds in TIFF files of up to 8 bits alone."""
    return image.mode.startswith("I") and isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0


def _from_palette(image: Image.Image) -> Image.Image:
    colour = _in_eight_bits(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    channels = np.asarray(colour)
    is_grey = (channels == channels[..., :1]).all()
    return colour.getchannel(0) if is_grey else colour
