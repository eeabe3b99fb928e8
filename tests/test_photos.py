"""Image files of every kind that people have, good and bad: what becomes of each."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paribus.data.pixels import UnreadableImageError, decode

COLOUR, GREY = (200, 100, 50), 200
SIDE = 24
PLAIN = Image.new("RGB", (40, 30), COLOUR)
SHADE = Image.new("L", (40, 30), GREY)


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.copy().save(buffer, form, **options)  # Pillow leaves its encoder's options in the image.
    return buffer.getvalue()


def with_alpha(image: Image.Image, alpha: int) -> Image.Image:
    image = image.convert("LA" if image.mode == "L" else "RGBA")
    image.putalpha(alpha)
    return image


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(PLAIN, "jpeg", exif=exif, quality=95)


def sixteen(value: int, kind: type[np.generic] = np.uint16) -> Image.Image:
    return Image.fromarray(np.full((30, 40), value, kind))


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose heading claims a size; its pixels are missing."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(head)) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IEND\xaeB`\x82"


OTHER = Image.new("RGB", (40, 30), (0, 0, 0))
GOOD: dict[str, tuple[bytes, tuple[int, int, int] | int]] = {
    "JPEG": (saved(PLAIN, "jpeg", quality=95), COLOUR),
    "JPEG, progressive": (saved(PLAIN, "jpeg", quality=95, progressive=True), COLOUR),
    "JPEG, grey": (saved(SHADE, "jpeg"), GREY),
    "JPEG, CMYK": (saved(PLAIN.convert("CMYK"), "jpeg", quality=95), COLOUR),
    "JPEG, turned": (turned(6), COLOUR),
    "JPEG, mirrored": (turned(2), COLOUR),
    "JPEG, two pictures": (
        saved(PLAIN, "mpo", save_all=True, append_images=[OTHER.copy()], quality=95),
        COLOUR,
    ),
    "PNG": (saved(PLAIN, "png"), COLOUR),
    "PNG, grey": (saved(SHADE, "png"), GREY),
    "PNG, palette": (saved(PLAIN.convert("P", palette=Image.Palette.ADAPTIVE), "png"), COLOUR),
    "PNG, palette, transparent": (saved(PLAIN.quantize(4), "png", transparency=0), 255),
    "PNG, opaque alpha": (saved(with_alpha(PLAIN, 255), "png"), COLOUR),
    "PNG, transparent": (saved(with_alpha(PLAIN, 0), "png"), (255, 255, 255)),
    "PNG, grey with alpha": (saved(with_alpha(SHADE, 255), "png"), GREY),
    "PNG, one bit": (saved(Image.new("1", (40, 30), 1), "png"), 255),
    "PNG, 16 bits": (saved(sixteen(GREY * 256 + 77), "png"), GREY),
    "WebP": (saved(PLAIN, "webp", quality=95), COLOUR),
    "WebP, lossless": (saved(PLAIN, "webp", lossless=True), COLOUR),
    "WebP, transparent": (saved(with_alpha(PLAIN, 0), "webp", lossless=True, exact=True), (255, 255, 255)),
    "WebP, moving": (saved(PLAIN, "webp", save_all=True, append_images=[OTHER.copy()], lossless=True), COLOUR),
    "GIF": (saved(PLAIN, "gif"), COLOUR),
    "GIF, moving": (saved(PLAIN, "gif", save_all=True, append_images=[OTHER.copy()]), COLOUR),
    "BMP": (saved(PLAIN, "bmp"), COLOUR),
    "BMP, palette": (saved(PLAIN.convert("P", palette=Image.Palette.ADAPTIVE), "bmp"), COLOUR),
    "TIFF": (saved(PLAIN, "tiff"), COLOUR),
    "TIFF, packed": (saved(PLAIN, "tiff", compression="tiff_lzw"), COLOUR),
    "TIFF, CMYK": (saved(PLAIN.convert("CMYK"), "tiff"), COLOUR),
    "TIFF, 16 bits": (saved(sixteen(GREY * 256), "tiff"), GREY),
    "TIFF, several pages": (saved(PLAIN, "tiff", save_all=True, append_images=[OTHER.copy()]), COLOUR),
    "one pixel": (saved(Image.new("RGB", (1, 1), COLOUR), "png"), COLOUR),
    "a line of pixels": (saved(Image.new("RGB", (1, 500), COLOUR), "png"), COLOUR),
}
NOISE = saved(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), "jpeg")
BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "a web page": (b"<!doctype html><title>404</title>", "not an image of a known format"),
    "noise": (bytes(range(256)) * 8, "not an image of a known format"),
    "a document": (b"%PDF-1.7\n1 0 obj", "not an image of a known format"),
    "half a JPEG": (NOISE[: len(NOISE) // 2], "truncated"),
    "the heading of a JPEG": (NOISE[:400], "Truncated File Read"),
    "half a PNG": (saved(Image.effect_noise((64, 64), 50), "png")[:900], "truncated"),
    "half a WebP": (
        saved(Image.effect_noise((64, 64), 50).convert("RGB"), "webp", lossless=True)[:2000],
        "not an image|could not|truncated",
    ),
    "a PNG without pixels": (png_of_size(40, 30), "truncated|broken|image"),
    "a PNG of no width": (png_of_size(0, 30), "."),
    "a bomb": (png_of_size(15_000, 15_000), "decompression bomb"),
    "TIFF of fractions": (saved(sixteen(1, np.float32), "tiff"), "floating-point numbers"),
    "TIFF of more than 16 bits": (saved(sixteen(70_000, np.int32), "tiff"), "70000, more than 16 bits"),
}


@pytest.mark.parametrize("fit", ["squash", "crop"])
@pytest.mark.parametrize("name", GOOD)
def test_is_read(name: str, fit: Any) -> None:
    content, colour = GOOD[name]
    image = decode(content, SIDE, fit)
    assert image.shape == ((SIDE, SIDE) if isinstance(colour, int) else (SIDE, SIDE, 3))
    assert np.abs(image.astype(int) - colour).max() <= 6
    assert decode(content).shape[:2] != (SIDE, SIDE)


@pytest.mark.parametrize("name", BAD)
def test_is_refused_with_a_reason(name: str) -> None:
    content, reason = BAD[name]
    with pytest.raises(UnreadableImageError, match=reason):
        decode(content, SIDE)
