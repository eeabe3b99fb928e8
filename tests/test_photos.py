"""Image files of every kind that people have, good and bad: what becomes of each."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from paribus.data.pixels import UnreadableImageError, decode, pixels_of

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


def png_of_bits(depth: int, colour_type: int, row: bytes, transparent: bytes = b"") -> bytes:
    """A PNG of 40 x 30 pixels in a form that Pillow reads and does not write; all rows are alike."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 40, 30, depth, colour_type, 0, 0, 0)
    pixels = zlib.compress((b"\0" + row) * 30)
    colour = chunk(b"tRNS", transparent) if transparent else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + colour + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def tiff_of_bits(order: str, photometric: int, pixel: tuple[int, ...], kind: str = "H") -> bytes:
    """A plain TIFF of 40 x 30 equal pixels; `order` is "<" or ">", and photometric 0 means that 0 is white."""
    pixels = struct.pack(f"{order}{len(pixel)}{kind}", *pixel) * 1200
    depths = 8 + 2 + 12 * 9 + 4  # Behind the header and the directory of nine entries.
    directory = (
        (256, "I", 1, 40),
        (257, "I", 1, 30),
        (258, "H", 1, 8 * struct.calcsize(kind)) if len(pixel) == 1 else (258, "I", len(pixel), depths),
        (259, "H", 1, 1),
        (262, "H", 1, photometric),
        (273, "I", 1, depths + 2 * len(pixel)),
        (277, "H", 1, len(pixel)),
        (278, "I", 1, 30),
        (279, "I", 1, len(pixels)),
    )
    content = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(directory))
    for tag, form, count, value in directory:
        short = form == "H" or tag == 258
        content += struct.pack(f"{order}HHI", tag, 3 if short else 4, count)
        content += struct.pack(f"{order}HH", value, 0) if form == "H" else struct.pack(f"{order}I", value)
    depth_of_each = struct.pack(f"{order}{len(pixel)}H", *[8 * struct.calcsize(kind)] * len(pixel))
    return content + struct.pack(f"{order}I", 0) + depth_of_each + pixels


BRIGHT = tuple(256 * value + 77 for value in COLOUR)
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
    "PNG, transparent colour": (saved(PLAIN, "png", transparency=COLOUR), (255, 255, 255)),
    "PNG, another transparent colour": (saved(PLAIN, "png", transparency=(0, 0, 0)), COLOUR),
    "PNG, transparent grey": (saved(SHADE, "png", transparency=GREY), 255),
    "PNG, another transparent grey": (saved(SHADE, "png", transparency=0), GREY),
    "PNG, grey with alpha": (saved(with_alpha(SHADE, 255), "png"), GREY),
    "PNG, one bit": (saved(Image.new("1", (40, 30), 1), "png"), 255),
    "PNG, 16 bits": (saved(sixteen(GREY * 256 + 77), "png"), GREY),
    "PNG, 16 bits in colour": (png_of_bits(16, 2, struct.pack(">3H", *BRIGHT) * 40), COLOUR),
    "PNG, 16 bits in colour, transparent": (png_of_bits(16, 6, struct.pack(">4H", *BRIGHT, 0) * 40), (255, 255, 255)),
    "PNG, 16 bits, transparent grey": (saved(sixteen(GREY * 256 + 77), "png", transparency=GREY * 256 + 77), 255),
    "PNG, 16 bits, a transparent grey beside": (saved(sixteen(GREY * 256), "png", transparency=GREY * 256 + 1), GREY),
    "PNG, 16 bits in colour, transparent colour": (
        png_of_bits(16, 2, struct.pack(">3H", *BRIGHT) * 40, struct.pack(">3H", *BRIGHT)),
        (255, 255, 255),
    ),
    "PNG, 16 bits in colour, another transparent colour": (
        png_of_bits(16, 2, struct.pack(">3H", *BRIGHT) * 40, struct.pack(">3H", *COLOUR)),
        COLOUR,
    ),
    "PNG, one of four greys transparent": (png_of_bits(2, 0, b"\xaa" * 10, b"\0\2"), 255),
    "PNG, another of four greys transparent": (png_of_bits(2, 0, b"\xaa" * 10, b"\0\1"), 170),
    "PNG, one of sixteen greys transparent": (png_of_bits(4, 0, b"\xcc" * 20, b"\0\x0c"), 255),
    "PNG, one of two greys transparent": (png_of_bits(1, 0, b"\0" * 5, b"\0\0"), 255),
    "GIF, transparent grey": (saved(SHADE, "gif", transparency=GREY), 255),
    "PNG, four greys": (png_of_bits(2, 0, b"\xaa" * 10), 170),
    "PNG, sixteen greys": (png_of_bits(4, 0, b"\xcc" * 20), 204),
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
    "TIFF, 16 bits, bytes the other way round": (tiff_of_bits(">", 1, (BRIGHT[0],)), GREY),
    "TIFF, 16 bits in colour": (tiff_of_bits("<", 2, BRIGHT), COLOUR),
    "TIFF, 16 bits in colour, the other way round": (tiff_of_bits(">", 2, BRIGHT), COLOUR),
    "TIFF, 0 is white": (tiff_of_bits("<", 0, (255 - GREY,), "B"), GREY),
    "TIFF, 16 bits, 0 is white": (tiff_of_bits("<", 0, (65535 - 256 * GREY,)), GREY),
    "TIFF, palette": (saved(PLAIN.quantize(4), "tiff"), COLOUR),
    "TIFF, JPEG inside": (saved(PLAIN, "tiff", compression="jpeg", quality=95), COLOUR),
    "TIFF, several pages": (saved(PLAIN, "tiff", save_all=True, append_images=[OTHER.copy()]), COLOUR),
    "PNG, moving": (saved(PLAIN, "png", save_all=True, append_images=[OTHER.copy()]), COLOUR),
    "PNG, more behind its end": (saved(PLAIN, "png") + b"more", COLOUR),
    "JPEG, more behind its end": (saved(PLAIN, "jpeg", quality=95) + bytes(500), COLOUR),
    "JPEG, another colour space": (saved(PLAIN, "jpeg", quality=95, keep_rgb=True), COLOUR),
    "one pixel": (saved(Image.new("RGB", (1, 1), COLOUR), "png"), COLOUR),
    "a line of pixels": (saved(Image.new("RGB", (1, 500), COLOUR), "png"), COLOUR),
}
NOISE = saved(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), "jpeg")
BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "a web page": (b"<!doctype html><title>404</title>", "not an image of a known format"),
    "noise": (bytes(range(256)) * 8, "not an image of a known format"),
    "a document": (b"%PDF-1.7\n1 0 obj", "not an image of a known format"),
    "a drawing": (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "not an image of a known format"),
    "HEIC of a phone": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), "not an image of a known format"),
    "a film": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(200), "not an image of a known format"),
    "a zip": (b"PK\x03\x04" + bytes(60), "not an image of a known format"),
    "a PNG with a wrong checksum": (saved(PLAIN, "png").replace(b"IDAT", b"IDAU"), "broken|truncated|image"),
    "a JPEG of a few bytes": (b"\xff\xd8\xff\xe0\0\x10JFIF", "not an image|truncated|Truncated|could not"),
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
    "TIFF, 16 bits, 0 is white, the other way round": (tiff_of_bits(">", 0, (65535 - 256 * GREY,)), "known format"),
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


def test_a_transparent_colour_looks_as_alpha_does() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[1:3] = COLOUR
    alpha = np.where(pixels.any(axis=-1), 255, 0).astype(np.uint8)
    with_colour = saved(Image.fromarray(pixels), "png", transparency=(0, 0, 0))
    with_channel = saved(Image.fromarray(np.dstack([pixels, alpha])), "png")
    assert np.array_equal(decode(with_colour), decode(with_channel))
    assert decode(with_colour)[0, 0].tolist() == [255, 255, 255] and decode(with_colour)[1, 0].tolist() == [*COLOUR]
    with Image.open(io.BytesIO(with_colour)) as opened:
        assert np.array_equal(pixels_of(opened, (4, 4)), decode(with_colour))


@pytest.mark.parametrize("name", BAD)
def test_is_refused_with_a_reason(name: str) -> None:
    content, reason = BAD[name]
    with pytest.raises(UnreadableImageError, match=reason):
        decode(content, SIDE)


def corners(width: int, height: int) -> npt.NDArray[np.uint8]:
    """A picture whose four quarters differ, in colour."""
    pixels = np.full((height, width, 3), (40, 60, 80), np.uint8)
    pixels[: height // 2, : width // 2] = (240, 20, 20)
    pixels[: height // 2, width // 2 :] = (20, 240, 20)
    pixels[height // 2 :, : width // 2] = (20, 20, 240)
    return pixels


UPRIGHT: dict[int, Callable[[Any], Any]] = {
    1: lambda shown: shown,
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    5: lambda shown: shown.swapaxes(0, 1),
    6: lambda shown: np.rot90(shown, -1),
    7: lambda shown: shown[::-1, ::-1].swapaxes(0, 1),
    8: lambda shown: np.rot90(shown),
}
"""What must be done to the stored rows, by EXIF orientation."""


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(
    ("form", "options"), [("jpeg", {"quality": 95}), ("png", {}), ("webp", {"lossless": True}), ("tiff", {})]
)
def test_is_turned_upright(form: str, options: dict[str, Any], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = corners(48, 32)
    found, expected = decode(saved(Image.fromarray(pixels), form, exif=exif, **options)), UPRIGHT[orientation](pixels)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_huge_jpeg_of_any_kind_is_turned_upright_at_reduced_scale(mode: str, progressive: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(corners(1600, 1200)).convert(mode)
    content = saved(image, "jpeg", exif=exif, quality=95, progressive=progressive)
    sizes: list[tuple[int, int]] = []
    load = JpegImageFile.load

    def note(opened: JpegImageFile) -> Any:
        sizes.append(opened.size)
        return load(opened)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JpegImageFile, "load", note)
        found = decode(content, 64, "crop")
    whole = np.asarray(image.convert("L" if mode == "L" else "RGB").rotate(-90, expand=True).resize((64, 85)))[10:74]
    assert sizes[0] == (200, 150)  # An eighth.
    assert found.shape == whole.shape and np.abs(found.astype(int) - whole).mean() < 3
