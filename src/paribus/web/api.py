"""The JSON API: the same as the pages, read-only, described in /openapi.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, RootModel
from starlette.requests import Request
from starlette.responses import Response

from paribus.experiment import Experiment
from paribus.web import curves, live, replies, versus
from paribus.web.overview import overview
from paribus.web.replies import FOR_EVER, RefusedError, shown
from paribus.web.schema import Confrontation, Curves, ExperimentAnswer, Listed, Problem, Progress
from paribus.web.site import Site

if TYPE_CHECKING:
    from fastapi import APIRouter


def router(site: Site) -> APIRouter:
    """Return the API's routes."""
    from fastapi import APIRouter

    routes = APIRouter(prefix="/api", responses={404: {"model": Problem}, 500: {"model": Problem}})

    @routes.get("/experiments", response_model=list[Listed], summary="Every result folder, and how far it is")
    def experiments(request: Request) -> Response:
        return _sent(request, RootModel(site.listed()))

    @routes.get("/experiments/{name}", response_model=ExperimentAnswer, summary="Design, verdicts and fired checks")
    def experiment(request: Request, name: str) -> Response:
        return _sent(request, overview(name, site.catalogue.open(name), site.memory))

    @routes.get("/experiments/{name}/progress", response_model=Progress, summary="How far every run is")
    def progress(request: Request, name: str) -> Response:
        return _sent(request, live.progress(site.catalogue.open(name), site.memory))

    @routes.get("/experiments/{name}/curves", response_model=Curves, summary="Learning curves of a question's arms")
    def question_curves(request: Request, name: str, question: str | None = None) -> Response:
        results = site.catalogue.open(name)
        identity = _question(results.experiment, question)
        return _sent(request, curves.of_question(results.experiment, live.watch(results, site.memory), identity))

    @routes.get("/experiments/{name}/compare", response_model=Confrontation, summary="Two arms, or two runs")
    def compare(request: Request, name: str, first: str, second: str) -> Response:
        return _sent(request, versus.confront(site.catalogue.open(name), site.memory, first, second))

    @routes.get(
        "/experiments/{name}/images/{data}/{index}",
        response_class=Response,
        responses={200: {"content": {"image/png": {}}}},
        summary="A test image, as PNG",
    )
    def image(request: Request, name: str, data: str, index: int) -> Response:
        content = versus.image(site.catalogue.open(name), data, index)
        return replies.tagged(request, content, "image/png", FOR_EVER)

    return routes


def _sent(request: Request, answer: BaseModel) -> Response:
    return replies.tagged(request, answer.model_dump_json(), "application/json")


def _question(experiment: Experiment, asked: str | None) -> str | None:
    known = [question.id for question in experiment.questions]
    if asked is None:
        return known[0] if known else None
    if asked not in known:
        raise RefusedError(404, f"There must be a question of this id, but there is no `{shown(asked)}`.")
    return asked
