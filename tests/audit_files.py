"""Small folders of pictures to audit, without faults, and what an audit finds in them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_files import write_files
from paribus.audit import Audit, Finding, Options, examine

Files = dict[str, bytes]


def photo(seed: int, side: int = 64) -> Image.Image:
    """Return a picture with structure of its own: smooth noise in colour."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


def saved(image: Image.Image, form: str = "png", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def clean(per_class: int = 6) -> Files:
    """Return a data set without faults: two classes, train and test; names without numbers that count."""
    return {
        f"{split}/{name}/{chr(97 + index)}.png": saved(photo(1000 * part + 100 * label + index))
        for part, split in enumerate(("train", "test"))
        for label, name in enumerate(("cat", "dog"))
        for index in range(per_class)
    }


def audited(tmp_path: Path, files: Files, options: Options | None = None) -> Audit:
    return examine(str(write_files(tmp_path / "photos", files)), options or Options())


def the(audit: Audit, kind: str) -> Finding:
    (found,) = [finding for finding in audit.findings if finding.kind == kind]
    return found


def kinds(audit: Audit) -> list[str]:
    return [finding.kind for finding in audit.findings]
