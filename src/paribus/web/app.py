"""The application: its routers, what becomes of errors, and the guard around it all."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from paribus import __version__
from paribus.errors import ParibusError
from paribus.web import api, pages, tryit
from paribus.web.catalogue import Catalogue
from paribus.web.replies import RefusedError, shown
from paribus.web.security import Guard, Rules
from paribus.web.site import Site, plotly_styles

if TYPE_CHECKING:
    from fastapi import FastAPI


def create_app(folder: Path, hosts: Collection[str] = (), *, any_address: bool = False) -> FastAPI:
    """Return the application that serves a result folder, or a folder of them.

    Args:
        folder: What `paribus run` wrote, or the folder around it.
        hosts: Names under which it may be asked for, besides `security.LOCAL_HOSTS`.
        any_address: Whether it may be asked for under any IP address.

    Raises:
        StoreError: If the folder is not there.
    """
    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError

    site = Site(Catalogue(folder))
    app = FastAPI(
        title="paribus",
        version=__version__,
        description="The results of controlled experiments, read-only, and their networks to try.",
        docs_url=None,  # FastAPI's pages load scripts from elsewhere.
        redoc_url=None,
        redirect_slashes=False,
    )
    for router in _ROUTERS:
        app.include_router(router(site))

    def refuse(request: Request, error: Exception) -> Response:
        status, sentence = _told(error, request)
        return site.error_page(request, status, sentence)

    for kind in (ParibusError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, refuse)
    rules = Rules(hosts, any_address, plotly_styles())
    app.add_middleware(Guard, rules=rules, error_page=site.error_page)
    return app


def _told(error: Exception, request: Request) -> tuple[int, str]:
    """Return the status and the sentence of what went wrong."""
    from fastapi.exceptions import RequestValidationError

    if isinstance(error, RefusedError):
        return error.status, str(error)
    if isinstance(error, ParibusError):  # A result folder that is damaged: nothing that the request could mend.
        return 500, str(error)
    if isinstance(error, RequestValidationError):
        faults = [f"`{shown(str(each['loc'][-1]))}`: {each['msg'].lower()}" for each in error.errors()]
        return 422, f"What is asked for must be complete and valid, but is not: {'; '.join(faults)}. Correct it."
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return 404, (
            f"There must be a page at this address, but there is none at `{shown(request.url.path)}`. The first page "
            "leads to all."
        )
    if error.status_code == 405:
        return 405, (
            f"This address must be asked for otherwise, but got {shown(request.method)}. The page /api tells how."
        )
    return error.status_code, str(error.detail)


_ROUTERS = (pages.router, api.router, tryit.router)
"""Each takes the `Site` and returns its routes."""
