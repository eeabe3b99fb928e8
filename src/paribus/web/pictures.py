"""Arrays as PNG pictures that a page shows: images, sheets of feature maps, where a network looks."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

COLUMNS = 8
MOST_MAPS = 32
HIGHLIGHT = (230, 159, 0)
"""The orange of the report's figures; static/tryit.css has the same in its legend."""
_STRONGEST = 0.8
"""How opaque the highlight is where the network looks most."""


def data_url(pixels: Pixels) -> str:
    """Return pixels as the address that holds them as a PNG: (H, W), or (H, W, 2 grey and alpha, 3 RGB or 4 RGBA)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png", compress_level=3)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def picture(image: Floats) -> Pixels:
    """Return an image (1 or 3, H, W), 0 to 255, as pixels (H, W) or (H, W, 3)."""
    pixels = np.clip(np.round(image), 0, 255).astype(np.uint8)
    return pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))


def sheet(maps: Floats) -> Pixels:
    """Lay out the first `MOST_MAPS` of some maps (C, H, W) row by row, `COLUMNS` to a row, a clear pixel between.

    Each map is scaled by itself: its least value is black, its largest white. A map of one value is black.

    Returns:
        (H, W, 2), grey and alpha.
    """
    shown = maps[:MOST_MAPS].astype(np.float64)
    columns = min(len(shown), COLUMNS)
    rows = math.ceil(len(shown) / columns)
    height, width = shown.shape[1:]
    pixels = np.zeros((rows * (height + 1) - 1, columns * (width + 1) - 1, 2), dtype=np.uint8)
    for index, each in enumerate(shown):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        place = pixels[top : top + height, left : left + width]
        least, span = each.min(), each.max() - each.min()
        place[..., 0] = np.round((each - least) * (255 / span)) if span > 0 else 0
        place[..., 1] = 255
    return pixels


def highlight(attention: Floats) -> Pixels:
    """Return attention (H, W) from 0 to 1 as a layer of `HIGHLIGHT`, (H, W, 4), the more opaque the more there is."""
    pixels = np.empty((*attention.shape, 4), dtype=np.uint8)
    pixels[..., :3] = HIGHLIGHT
    pixels[..., 3] = np.round(np.clip(attention, 0, 1) * (255 * _STRONGEST))
    return pixels
