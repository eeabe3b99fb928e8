"""What every request must be before anything looks at it, and what every response says to the browser.

The page is for one person at one machine, so any other web page open in the same browser is the attacker: it may send
requests here, and must neither read (no CORS headers; the Host header is checked, since a name of the attacker's may
be pointed at 127.0.0.1) nor write (Origin and Sec-Fetch-Site are checked).
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paribus.web.replies import RefusedError, shown

MOST_BYTES = 11 * 2**20
"""The longest body that is read: an image of 10 MiB and the form around it."""
MOST_HEADER_BYTES = 32 * 2**10
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
ErrorPage = Callable[[Request, int, str], Response]


@dataclass(frozen=True)
class Rules:
    """What a server allows.

    `hosts` are names under which it may be asked for, besides `LOCAL_HOSTS`. `any_address`: also under any IP address,
    as it listens to other machines; a name that an attacker points here is still refused, as only names can be pointed.
    `styles` are the style sheets that a script of ours puts into pages, word for word.
    """

    hosts: Collection[str] = ()
    any_address: bool = False
    styles: Collection[str] = ()

    def headers(self) -> dict[str, str]:
        """Return what every response says to the browser; one that has a header of this name keeps its own."""
        digests = (base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() for style in self.styles)
        styles = " ".join(f"'sha256-{digest}'" for digest in digests)
        return {"Content-Security-Policy": _POLICY.format(styles=styles), **_HEADERS}


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: What is guarded.
        rules: What it allows.
        error_page: Makes the response to what is refused here.
    """

    def __init__(self, app: ASGIApp, rules: Rules, error_page: ErrorPage) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in (*LOCAL_HOSTS, *rules.hosts))
        self._any_address = rules.any_address
        self._headers = rules.headers()
        self._error_page = error_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # There are no WebSockets here.
        guarded = _Guarded(scope, send, self._headers)
        try:
            self._require_fair(Headers(scope=scope), str(scope["method"]))
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            await self._app({**scope, "method": method}, _limited(receive), guarded.send)
        except RefusedError as refusal:
            await self._refuse(guarded, scope, refusal.status, str(refusal))
        except Exception:  # A bug of ours: told in the terminal, never in the response.
            logging.getLogger(__name__).exception("a request failed: %s", shown(scope["path"]))
            await self._refuse(guarded, scope, 500, _BUG)

    def _require_fair(self, headers: Headers, method: str) -> None:
        if sum(len(name) + len(value) for name, value in headers.raw) > MOST_HEADER_BYTES:
            raise RefusedError(431, f"Headers must have at most {MOST_HEADER_BYTES // 2**10} KiB together. Send less.")
        self._require_own_host(headers)
        if method not in _METHODS:
            raise RefusedError(405, f"The method must be one of {', '.join(_METHODS)}, but got {shown(method)}.")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > MOST_BYTES:
            raise RefusedError(413, _TOO_MUCH)
        if method == "POST":
            _require_own_page(headers)

    def _require_own_host(self, headers: Headers) -> None:
        given = headers.getlist("host")
        name = _host_name(given[0]) if len(given) == 1 else ""
        if name in self._hosts or (self._any_address and _is_address(name)):
            return
        raise RefusedError(
            400,
            f"The Host header must name this server, but got `{shown(', '.join(given))}`. Open the address that "
            "`paribus serve` printed.",
        )

    async def _refuse(self, guarded: _Guarded, scope: Scope, status: int, sentence: str) -> None:
        if guarded.is_started:
            return
        response = self._error_page(Request(scope), status, sentence)
        await response(scope, _nothing, guarded.send)


class _Guarded:
    """Adds the headers to the response, leaves the body of one to HEAD away, and knows whether it has begun."""

    def __init__(self, scope: Scope, send: Send, headers: Mapping[str, str]) -> None:
        self._send = send
        self._headers = headers
        self._is_head = scope["method"] == "HEAD"
        self.is_started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_started = True
            headers = MutableHeaders(scope=message)
            for name, value in self._headers.items():
                headers.setdefault(name, value)
        elif self._is_head:
            message = {"type": "http.response.body"}
        await self._send(message)


def _limited(receive: Receive) -> Receive:
    """Count what is read of the body: a sender may lie about its length, or not tell it."""
    read = 0

    async def counted() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > MOST_BYTES:
            raise HTTPException(413, _TOO_MUCH)  # The one that FastAPI lets through while it reads a form.
        return message

    return counted


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _require_own_page(headers: Headers) -> None:
    """Refuse a write that another site's page makes a browser send."""
    site, origin = headers.get("sec-fetch-site", "same-origin"), headers.get("origin")
    own = f"http://{headers['host']}".lower()
    if site in ("same-origin", "none") and (origin is None or origin.lower() == own):
        return
    raise RefusedError(
        403, f"Only this server's own pages may send to it, but this came from `{shown(origin or site)}`."
    )


def _host_name(host: str) -> str:
    """Return the name in a Host header, without its port and an address's brackets."""
    name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    name, port = (name, port) if name else (host, "")
    if port and not port.isdecimal():
        return ""
    return name.removeprefix("[").removesuffix("]").lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


_METHODS = ("GET", "HEAD", "POST")
_BUG = "This is a bug in paribus; the terminal in which `paribus serve` runs shows what to report."
_TOO_MUCH = f"A request must have at most {MOST_BYTES // 2**20} MiB. Send less."
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Sent with every response, beside the policy."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' {styles}; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = (
    "sandbox allow-top-navigation-by-user-activation; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""For report.html: a page of its own origin without scripts, whose styles are in it."""
