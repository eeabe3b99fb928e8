"""The pages for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from paribus.web import live, replies, versus
from paribus.web.overview import overview
from paribus.web.replies import RefusedError, shown
from paribus.web.security import REPORT_POLICY
from paribus.web.site import Site
from paribus.web.verdict_table import STRIP_WIDTH, verdict_rows

if TYPE_CHECKING:
    from fastapi import APIRouter


def router(site: Site) -> APIRouter:
    """Return the pages' routes."""
    from fastapi import APIRouter

    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    def experiments(request: Request) -> Response:
        return site.page(request, "experiments.html.j2", listed=site.listed(), folder=site.catalogue.folder)

    @routes.get("/experiments/{name}")
    def experiment(request: Request, name: str) -> Response:
        results = site.catalogue.open(name)
        about, progress = overview(name, results, site.memory), live.progress(results, site.memory)
        content = {"about": about, "progress": progress, "rows": list(verdict_rows(about)), "strip": STRIP_WIDTH}
        return site.page(request, "experiment.html.j2", experiment=name, tab="overview", **content)

    @routes.get("/experiments/{name}/compare")
    def compare(request: Request, name: str, first: str = "", second: str = "") -> Response:
        results = site.catalogue.open(name)
        choices = versus.choices(results.experiment)
        found = versus.confront(results, site.memory, first, second) if first and second else None
        sides = _first_choice(results.experiment.arms) if found is None else (first, second)
        content = {"choices": choices, "sides": sides, "found": found, "title": results.experiment.title}
        return site.page(request, "compare.html.j2", experiment=name, tab="compare", **content)

    @routes.get("/experiments/{name}/report")
    def report(request: Request, name: str) -> Response:
        path = site.catalogue.open(name).folder / "report.html"
        if not path.is_file():
            raise RefusedError(
                404, f"`{shown(name)}` must have a report, but has none yet. `paribus run` writes it when it ends."
            )
        response = replies.tagged(request, path.read_bytes(), "text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = REPORT_POLICY
        return response

    @routes.get("/api")
    def api(request: Request) -> Response:
        return site.page(request, "api.html.j2", paths=request.app.openapi()["paths"])

    @routes.get("/static/{name}")
    def static(request: Request, name: str) -> Response:
        return site.static(request, name)

    return routes


def _first_choice(arms: Iterable[str]) -> tuple[str, str]:
    """The control and the first arm beside it, where there is one."""
    names = list(arms)
    return names[0], names[min(1, len(names) - 1)]
