"""Draw a character or drop an image, and see what networks say of it: the page, and the same in the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from paribus.errors import one_of
from paribus.web.replies import RefusedError, shown
from paribus.web.schema import Problem
from paribus.web.site import Site
from paribus.web.uploads import require_size
from paribus.web.workbench import Answers, Asked, Kind, Workbench, finished_seeds

if TYPE_CHECKING:
    from fastapi import APIRouter

MOST_ARMS = 2
_AT_ONCE = 2
_MOST_WAITING = 256


def router(site: Site) -> APIRouter:
    """Return the routes of the page and of the API."""
    import anyio
    from fastapi import APIRouter

    routes = APIRouter()
    workbench = Workbench()
    turns = anyio.Semaphore(_AT_ONCE)

    @routes.get("/experiments/{name}/try", include_in_schema=False)
    def page(request: Request, name: str) -> Response:
        results = site.catalogue.open(name)
        finished = {arm: finished_seeds(results, arm) for arm in results.experiment.arms}
        return site.page(
            request,
            "try.html.j2",
            experiment=name,
            tab="try",
            title=results.experiment.title,
            seeds={arm: seeds for arm, seeds in finished.items() if seeds},
            takes_photos=results.experiment.control.model.name == "pretrained",
        )

    @routes.post(
        "/api/try",
        openapi_extra=_REQUEST,
        responses={status: {"model": Problem} for status in (400, 404, 409, 413, 415, 422, 429)},
        summary="Classify a drawing or an image, and look inside",
    )
    async def try_it(request: Request) -> Answers:
        """Say what one or two trained networks make of one image.

        The image is read and forgotten: nothing is written. Answers with 400 where the form is no form, 404 where there
        is no such run, 409 where a run cannot be used, 413 where the image is too large, 415 where it is none, 422
        where it is damaged or something is missing, 429 where too many wait.
        """
        async with request.form(max_files=1, max_fields=len(_FIELDS) + 1) as form:
            image = _image_in(request, form)
            if turns.statistics().tasks_waiting >= _MOST_WAITING:
                raise RefusedError(429, f"At most {_MOST_WAITING} images may wait, but so many do. Try again later.")
            async with turns:  # Images that wait are on the disk.
                asked = _asked(form, await image.read())
                name = _text(form, "experiment")
                return await anyio.to_thread.run_sync(lambda: workbench.answers(site.catalogue.open(name), asked))

    return routes


def _image_in(request: Request, form: FormData) -> UploadFile:
    """Return the file of a form.

    Raises:
        RefusedError: If the form is none, or its file is missing, empty or too large.
    """
    kind_of_body = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind_of_body != "multipart/form-data":
        raise RefusedError(
            415, f"An image must be sent as multipart/form-data, but got `{shown(kind_of_body)}`. Send a form."
        )
    image = form.get("image")
    if not isinstance(image, UploadFile):
        raise RefusedError(422, "The field `image` must be a file, but there is none. Add one.")
    require_size(image.size or 0)
    return image


def _asked(form: FormData, content: bytes) -> Asked:
    """Read the fields of a form.

    Raises:
        RefusedError: If one is missing or unknown, or has another value than it may.
    """
    unknown = [name for name in form if name not in (*_FIELDS, "image")]
    if unknown:
        raise RefusedError(422, one_of("A field", (*_FIELDS, "image"), shown(unknown[0])))
    arms = tuple(str(each) for each in form.getlist("arm"))
    if not 1 <= len(arms) <= MOST_ARMS:
        raise RefusedError(
            422, f"The field `arm` must be there once or twice, but is there {len(arms)} times. Name one or two."
        )
    kind, seed, invert = (_text(form, name) for name in ("kind", "seed", "invert"))
    if kind not in ("drawing", "image"):
        raise RefusedError(422, one_of("The field `kind`", ("drawing", "image"), shown(kind)))
    if not seed.isascii() or not seed.isdecimal() or len(seed) > _LONGEST_SEED:
        raise RefusedError(
            422, f"The field `seed` must be a whole number from 0, but got `{shown(seed)}`. Give that of a run."
        )
    if invert not in ("", "true", "false"):
        raise RefusedError(
            422, f"The field `invert` must be true or false, but got `{shown(invert)}`. Leave it out for false."
        )
    return Asked(arms, int(seed), cast("Kind", kind), invert == "true", content)


def _text(form: FormData, name: str) -> str:
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


_LONGEST_SEED = 12
_FIELDS: dict[str, Any] = {
    "experiment": {"type": "string", "description": "The name of a result folder."},
    "arm": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MOST_ARMS},
    "seed": {"type": "integer", "minimum": 0},
    "kind": {
        "type": "string",
        "enum": ["drawing", "image"],
        "description": "The ink of a drawing, dark on light, is scaled and placed as the training images are.",
    },
    "invert": {"type": "boolean", "default": False, "description": "Let black and white of an image change places."},
}
_FORM = {
    "type": "object",
    "properties": {**_FIELDS, "image": {"type": "string", "format": "binary"}},
    "required": ["experiment", "arm", "seed", "kind", "image"],
}
_REQUEST = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}}
