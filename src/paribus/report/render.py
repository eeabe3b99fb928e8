"""From the report as data to files: one HTML file, and Markdown with its figures beside it."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from paribus.report.build import build
from paribus.report.material import Material
from paribus.report.page import Figure, Page
from paribus.store import Results

if TYPE_CHECKING:
    from jinja2 import Environment


def write_report(results: Results, verdicts: Mapping[str, Any]) -> list[Path]:
    """Write `report.html`, `report.md` and its `figures/` into the result folder.

    Rebuilding from the same folder gives the same bytes.

    Args:
        results: The folder; curves, predictions and test images are read from it.
        verdicts: The content of `verdicts.json`, format 1.

    Returns:
        The files written, the HTML first.

    Raises:
        StoreError: If the folder cannot be read or written.
    """
    page = build(Material.gather(results, verdicts))
    written = [results.write_text("report.html", to_html(page)), results.write_text("report.md", to_markdown(page))]
    written += [results.write_bytes(f"figures/{name}", content) for name, content in _figure_files(page)]
    for path in (results.folder / "figures").glob("*.*"):
        if path.suffix in (".svg", ".png") and path not in written:
            path.unlink()  # Of an earlier report, which had a question more.
    return written


def to_html(page: Page) -> str:
    """Return the report as one HTML file that needs no other."""
    return html_page("report.html.j2", page=page)


def html_page(template: str, **content: Any) -> str:
    """Fill in one of the HTML templates; `style` is the report's, and what stands between backticks is set as code."""
    environment = _environment(autoescape=True)
    environment.filters["prose"] = prose
    environment.filters["inline_svg"] = lambda figure: Markup(_inline(figure))
    environment.filters["data_uri"] = lambda png: "data:image/png;base64," + base64.b64encode(png).decode()
    style = Markup(_source(environment, "report.css"))
    return environment.get_template(template).render(style=style, **content)


def to_markdown(page: Page) -> str:
    """Return the report as Markdown that shows the files of `figures/`."""
    return markdown_page("report.md.j2", page=page)


def markdown_page(template: str, **content: Any) -> str:
    """Fill in one of the Markdown templates; the filter `md` escapes text, but for what stands between backticks."""
    environment = _environment(autoescape=False)
    environment.filters["md"] = markdown_text
    return environment.get_template(template).render(**content)


@cache  # Compiled templates serve every report of a process.
def _environment(*, autoescape: bool) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("paribus.report"),
        autoescape=autoescape,  # noqa: S701 - Markdown has its own escaping, `markdown_text`.
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _figure_files(page: Page) -> Iterator[tuple[str, bytes]]:
    for section in (*page.sections, page.diagnosis):
        for figure in section.figures:
            yield f"{figure.name}.svg", (figure.svg + "\n").encode()
        for picture in section.pictures:
            yield f"{picture.name}.png", picture.png


def _inline(figure: Figure) -> str:
    """Return the SVG for use inside HTML: sized by the page, read out, its ids unlike other figures'."""
    prefix = f"{figure.name}--"
    svg = re.sub(r'\bid="', f'id="{prefix}', figure.svg)
    svg = re.sub(r'href="#', f'href="#{prefix}', svg)
    svg = svg.replace("url(#", f"url(#{prefix}")
    opening, _, rest = svg.partition(">")
    opening = re.sub(r'\s(?:width|height)="[^"]*"', "", opening)
    return f'{opening} role="img" aria-label="{html.escape(figure.alt)}">{rest}'


def prose(text: str) -> Markup:
    """Escape text for HTML; what stands between backticks is set as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text)))


def markdown_text(text: str) -> str:
    """Escape what Markdown or HTML would take for more than text; what stands between backticks stays code."""
    parts = re.split(r"(`[^`]+`)", " ".join(text.split()))
    escaped = [part.replace("|", r"\|") if index % 2 else _escaped(part) for index, part in enumerate(parts)]
    whole = "".join(escaped)
    # A line's start must not make it a heading, a rule or a list.
    return re.sub(r"^(\d+)(?=[.)]\s)", r"\1\\", re.sub(r"^(?=#{1,6}\s|[+-][\s-])", r"\\", whole))


def _escaped(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*\[\]|~])", r"\\\1", text)
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\_", text)
