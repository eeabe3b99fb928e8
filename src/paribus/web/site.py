"""What every page has: its template filled in, its navigation, the files beside it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from paribus.errors import ParibusError
from paribus.report.render import prose
from paribus.web import live, phrases, replies
from paribus.web.catalogue import Catalogue
from paribus.web.memory import Memory
from paribus.web.replies import FOR_EVER, RefusedError, shown
from paribus.web.schema import Listed
from paribus.wording import count, interval, margin, percent

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class Site:
    """What the routers share."""

    catalogue: Catalogue
    memory: Memory = field(default_factory=Memory)

    def listed(self) -> list[Listed]:
        """Return every result folder with how far it is or what is wrong with it, the last written first."""
        found = []
        for name in self.catalogue.folders():
            try:
                found.append(Listed(folder=name, progress=live.progress(self.catalogue.open(name), self.memory)))
            except ParibusError as error:
                found.append(Listed(folder=name, progress=None, problem=str(error)))
        return sorted(found, key=lambda each: -((each.progress and each.progress.changed) or 0))

    def page(self, request: Request, template: str, **content: Any) -> Response:
        """Fill in a page's template and send it, tagged.

        Args:
            request: Whose page it is.
            template: A file of `templates/` that extends `page.html.j2`.
            content: What it shows. `experiment`, the name of a result folder, gives the page that one's navigation,
                and `tab` says which of `TABS` is open.
        """
        return replies.tagged(request, self._render(template, content), "text/html; charset=utf-8")

    def error_page(self, request: Request, status: int, sentence: str) -> Response:
        """Return an error as JSON or, to a browser that asked for a page, as a page."""
        if replies.wants_json(request):
            return replies.error(status, sentence)
        html = self._render("error.html.j2", {"status": status, "sentence": sentence})
        return HTMLResponse(html.encode(errors="replace"), status)

    def static(self, request: Request, name: str) -> Response:
        """Send a file that pages refer to.

        Raises:
            RefusedError: If there is none of this name.
        """
        if name == PLOTLY:
            return replies.tagged(request, _plotly(), "text/javascript; charset=utf-8", FOR_EVER)
        if name not in self._files:
            raise RefusedError(
                404, f"A file must be one that pages refer to, but got `{shown(name)}`. Load the page anew."
            )
        media_type = _MEDIA_TYPES[name.rpartition(".")[2]]
        return replies.tagged(request, self._files[name], media_type)

    @cached_property
    def _files(self) -> dict[str, bytes]:
        folder = resources.files("paribus.web") / "static"
        return {each.name: each.read_bytes() for each in folder.iterdir()}

    def _render(self, template: str, content: dict[str, Any]) -> str:
        plain = {"experiment": None, "tab": None, "tabs": TABS, "plotly": f"/static/{PLOTLY}?{_plotly_version()}"}
        return _environment().get_template(template).render(plain | content)


def address(*parts: str) -> str:
    """Return a path of this server from its parts, each quoted whole."""
    return "".join(f"/{quote(part, safe='', errors='surrogateescape')}" for part in parts)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("paribus.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals.update({each.__name__: each for each in (address, interval, percent, *_PHRASES)})
    environment.filters.update({each.__name__: each for each in (count, percent, margin, phrases.moment, prose)})
    return environment


@cache
def _plotly() -> bytes:
    """The JavaScript of the installed plotly, which draws the curves."""
    return (resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes()


def plotly_styles() -> list[str]:
    """Return the style sheets that plotly's JavaScript puts into a page: an empty one for rules, and its maps'."""
    literals = re.findall(
        r"""createElement\("style"\)[^']{0,200}\.textContent='((?:[^'\\]|\\.)*)'""", _plotly().decode()
    )
    return ["", *(re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), literal) for literal in literals)]


@cache
def _plotly_version() -> str:
    from importlib.metadata import version

    return hashlib.sha256(version("plotly").encode()).hexdigest()[:8]


PLOTLY = "plotly.js"
TABS = {"overview": ("Overview", ()), "compare": ("Run against run", ("compare",)), "try": ("Try it", ("try",))}
"""Pages of an experiment: their title in the navigation, and what their address has after the experiment's name."""
_ESCAPES = {"n": "\n", "t": "\t"}
_PHRASES = (
    phrases.state_text,
    phrases.arm_text,
    phrases.places,
    phrases.measures,
    phrases.share,
    phrases.difference_text,
)
_MEDIA_TYPES = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
