"""An audit as one HTML page with the images, in the look of the report."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from itertools import groupby

from PIL import Image

from paribus.audit.findings import Audit, Exhibit, Finding
from paribus.data.archive import Archive, Parts
from paribus.data.pixels import decode
from paribus.data.samples import ImageFiles
from paribus.errors import DataError
from paribus.report.render import html_page
from paribus.wording import count

MOST_IMAGES = 48
"""How many images a finding shows; whole sets, but at least a part of the first."""
_SIDE = 160
_QUALITY = 80


@dataclass(frozen=True)
class Shown:
    """One image on the page: a data URI, or an empty text where it cannot be decoded, its path, a few words."""

    uri: str
    path: str
    note: str


@dataclass(frozen=True)
class Part:
    """One finding on the page; `left` says how many images it has beside those shown."""

    finding: Finding
    sets: tuple[tuple[Shown, ...], ...]
    are_sets: bool
    left: str


def to_html(audit: Audit, reader: ImageFiles) -> str:
    """Return an audit as one HTML page that needs no other file.

    Args:
        audit: What was found.
        reader: The data set that was looked at; the images that are shown are read from it again.

    Raises:
        DataError: If the data set cannot be read any more.
    """
    with reader.opened() as archive:
        files = {sample.path: sample.file for sample in reader.samples(archive)}
        parts = [_part(finding, archive, files) for finding in audit.findings]
    return html_page("audit.html.j2", audit=audit, parts=parts, facts=_facts(audit))


def _facts(audit: Audit) -> list[tuple[str, str]]:
    sizes = {split: sum(numbers.values()) for split, numbers in audit.counts.items()}
    classes = next(iter(audit.counts.values()))
    splits = "none" if "" in sizes else ", ".join(f"{split} {number:,}" for split, number in sizes.items())
    return [
        ("Images that can be read", f"{sum(sizes.values()):,}"),
        ("Splits", splits),
        ("Classes", f"{len(classes):,}"),
        ("Findings", f"{len(audit.findings):,}"),
    ]


def _part(finding: Finding, archive: Archive, files: dict[str, Parts]) -> Part:
    sets = [tuple(members) for _, members in groupby(finding.images, key=lambda image: image.set)]
    shown: list[tuple[Exhibit, ...]] = []
    room = MOST_IMAGES
    for members in sets:
        if len(members) > room and shown:
            break
        shown.append(members[:room])
        room -= len(shown[-1])
    left = len(finding.images) - sum(map(len, shown))
    return Part(
        finding,
        tuple(tuple(_shown(image, archive, files) for image in members) for members in shown),
        any(len(members) > 1 for members in sets),
        f"{count(left, 'more image')} in the file that --json writes." if left else "",
    )


def _shown(image: Exhibit, archive: Archive, files: dict[str, Parts]) -> Shown:
    try:
        pixels = decode(archive.read(files[image.path]), _SIDE, "crop")
    except DataError:  # Unreadable files are findings themselves, and have no picture.
        return Shown("", image.path, image.note)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg", quality=_QUALITY)
    return Shown(f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}", image.path, image.note)
