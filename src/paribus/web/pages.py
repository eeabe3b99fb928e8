"""The pages for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from paribus.web.site import Site

if TYPE_CHECKING:
    from fastapi import APIRouter


def router(site: Site) -> APIRouter:
    """Return the pages' routes."""
    from fastapi import APIRouter

    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    def experiments(request: Request) -> Response:
        return site.page(request, "experiments.html.j2", names=list(site.catalogue.folders()))

    @routes.get("/experiments/{name}")
    def experiment(request: Request, name: str) -> Response:
        results = site.catalogue.open(name)
        return site.page(request, "experiment.html.j2", experiment=name, tab="overview", design=results.experiment)

    @routes.get("/static/{name}")
    def static(request: Request, name: str) -> Response:
        return site.static(request, name)

    return routes
