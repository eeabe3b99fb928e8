"""What goes back: refusals with their status, bodies with an ETag, and the page or the JSON of an error."""

from __future__ import annotations

import hashlib
import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from paribus.errors import ParibusError

FOR_EVER = "public, max-age=31536000, immutable"
"""`Cache-Control` of what never changes at its address."""
_LONGEST = 60


class RefusedError(ParibusError):
    """A request that is not served: its HTTP status, and a sentence that says why.

    Args:
        status: From 400 to 499.
        sentence: What must hold, what was given, what to do.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def shown(text: str) -> str:
    """Return what came in a request as a message may quote it: what cannot be printed replaced, and not too long."""
    cut = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in cut)


def tagged(request: Request, body: str | bytes, media_type: str, cache: str = "no-cache") -> Response:
    """Return a body with its ETag, or 304 without a body where the browser has this one already.

    Args:
        request: It may say what the browser has.
        body: Text is sent in UTF-8.
        media_type: Such as ``"application/json"``.
        cache: The header `Cache-Control`; as it is, the browser asks each time whether there is something new.
    """
    content = body.encode() if isinstance(body, str) else body
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', "Cache-Control": cache}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


def wants_json(request: Request) -> bool:
    """Whether an error is told in JSON: to everything below /api, and to what is no browser showing a page."""
    return request.url.path.startswith("/api/") or "text/html" not in request.headers.get("accept", "")


def error(status: int, sentence: str) -> Response:
    """Return an error as JSON."""
    # Text of a request may hold halves of surrogate pairs, which UTF-8 cannot write; escaped they are text.
    return Response(json.dumps({"error": sentence}), status, media_type=JSONResponse.media_type)
