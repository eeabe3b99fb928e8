"""What an uploaded image must be before anything of it is decoded: small enough, and of a kind that is known."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from paribus.web.replies import RefusedError, shown

MOST_BYTES = 10 * 2**20
MOST_PIXELS = 50_000_000
MOST_DRAWN_PIXELS = 2048 * 2048
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_ANIMATED = ("PNG", "WEBP", "GIF")  # Not MPO, JPEG files in which some phones put a second picture.


def require_image(content: bytes, most_pixels: int = MOST_PIXELS) -> None:
    """Refuse what is no image, or too large a one, by its heading alone: none of its pixels are decoded.

    Args:
        content: The bytes of the file; its name and the type that it claims have no say.
        most_pixels: Width times height that are served.

    Raises:
        RefusedError: 413 for too many bytes or pixels, 415 for another kind of file, 422 for a damaged one.
    """
    require_size(len(content))
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            pixels = image.width * image.height
            is_animated = image.format in _ANIMATED and getattr(image, "is_animated", False)
    except UnidentifiedImageError:
        raise RefusedError(
            415, f"A file must be an image, {_named(FORMATS)}, but this is none of these. Save it as one of them."
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels(most_pixels, None) from None
    except (OSError, ValueError, EOFError, OverflowError, SyntaxError) as error:
        raise RefusedError(
            422, f"An image must be whole, but the heading of this one is damaged: {shown(str(error))}. Save it anew."
        ) from None
    if pixels > most_pixels:
        raise _too_many_pixels(most_pixels, pixels)
    if is_animated:
        raise RefusedError(422, "An image must be still, but this one is animated. Send one picture of it.")


def require_size(size: int) -> None:
    """Refuse a file that is empty or has more than `MOST_BYTES`.

    Raises:
        RefusedError: 422 or 413.
    """
    if size == 0:
        raise RefusedError(422, "A file must be an image, but this one is empty. Choose another.")
    if size > MOST_BYTES:
        raise RefusedError(
            413,
            f"An image must have at most {MOST_BYTES // 2**20} MiB, but this one has {size / 2**20:.1f}. Save it "
            "smaller.",
        )


def _too_many_pixels(most: int, found: int | None) -> RefusedError:
    has = "more than can be decoded safely" if found is None else f"{found:,}"
    return RefusedError(413, f"An image must have at most {most:,} pixels, but this one has {has}. Save it smaller.")


def _named(formats: tuple[str, ...]) -> str:
    *first, last = formats
    return f"{', '.join(first)} or {last}"
