"""The HTTP interface."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, FastAPI, Header, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from clsclip_runtime.images.addresses import Asking, fetch
from clsclip_runtime.inference.features import ImageFeatures
from clsclip_runtime.results.result import Result
from clsclip_runtime.version import __version__
from clsclip_serve import answers
from clsclip_serve.around import Around
from clsclip_serve.asked import (
    Asked,
    AskedOfImage,
    Classes,
    Options,
    asked_of,
    checked_classes,
    is_image_id,
    options_of,
)
from clsclip_serve.engine import DrainingError
from clsclip_serve.keys import ApiKeys
from clsclip_serve.labelstudio.images import LabelStudio
from clsclip_serve.labelstudio.routes import labelstudio_routes
from clsclip_serve.metrics import CONTENT_TYPE
from clsclip_serve.open_inference import open_inference
from clsclip_serve.problems import ProblemError, add_handlers, request_id
from clsclip_serve.service import Service

_T = TypeVar("_T")

POLICY = "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
"""Nothing from outside, and no script but the page's own files."""

PUBLIC = Asking(redirects=False, public=True)
"""How a client's address is asked."""

FETCH_SECONDS = 20.0

VIEWS = {"overlay": answers.overlay, "labels": answers.labels}


PAGE = Path(__file__).parent / "page"


def create_app(
    service: Service, keys: ApiKeys | None = None, *, page: bool = True, studio: LabelStudio | None = None
) -> FastAPI:
    """The application: an ASGI program around a loaded segmenter.

    Args:
        service: that answers.
        keys: None lets everybody in.
        page: a page for people at ``/``.
        studio: the Label Studio whose pictures are fetched.
    """
    app = FastAPI(title="ClsCLIP", version=__version__, docs_url=None, redoc_url=None)
    app.state.service = service
    add_handlers(app)
    app.add_middleware(Around, service=service, keys=keys)
    app.include_router(_routes(service))
    app.include_router(open_inference(service))
    app.include_router(labelstudio_routes(service, studio, _unless_gone))
    if page:
        app.mount("/page", StaticFiles(directory=PAGE))
        app.add_route("/", _page, include_in_schema=False)
    return app


async def _page(request: Request) -> Response:
    return FileResponse(PAGE / "index.html", headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"})


def _routes(service: Service) -> APIRouter:
    router = APIRouter()
    most = service.options.max_words

    async def answer(
        request: Request, content: bytes | ImageFeatures, classes: Classes, options: Options, view: str | None
    ) -> Response:
        checked_classes(classes, most)
        if view is not None:
            if view not in VIEWS:
                raise ProblemError(422, f"view must be {' or '.join(VIEWS)}")
            drawn = service.segment(content, classes, options, lambda result, _: VIEWS[view](result))
            return Response(await _unless_gone(request, drawn), media_type="image/png")
        name = request_id(request)

        def write(result: Result, waited: float) -> dict[str, Any]:
            return answers.document(result, options, name, waited)

        return JSONResponse(await _unless_gone(request, service.segment(content, classes, options, write)))

    @router.post("/v1/segment", summary="Segment a picture")
    async def segment(
        request: Request,
        content_type: Annotated[str, Header()] = "",
        view: str | None = None,
    ) -> Response:
        """A form with ``image`` (a file), ``classes`` (once for each word) and ``options`` (JSON); or all of it in
        JSON. ``?view=overlay`` and ``?view=labels`` answer with a PNG."""
        if content_type.partition(";")[0].strip().lower() == "multipart/form-data":
            return await _of_form(request, answer, view)
        if content_type.partition(";")[0].strip().lower() != "application/json":
            raise ProblemError(415, "send multipart/form-data or application/json")
        asked = asked_of(await request.body())
        options = Options(**asked.model_dump(exclude={"image", "classes"}))
        return await answer(request, await _content(asked, service), asked.classes, options, view)

    @router.post("/v1/images", status_code=201, summary="Keep a picture for its next words")
    async def keep(request: Request) -> Response:
        """A form with ``image``, or the file itself as the body."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            async with request.form(max_files=1, max_fields=1) as form:
                content = await _uploaded(form.get("image"))
        else:
            content = await request.body()
        name, features, seconds = await service.keep(content)
        if seconds is None:
            raise ProblemError(413, "the picture is larger than all that is kept. Send it with every request")
        width, height = features.size
        found = {"image_id": name, "width": width, "height": height, "expires_in": seconds}
        return JSONResponse(found, 201, {"Location": f"/v1/images/{name}"})

    @router.post("/v1/images/{image_id}/segment", summary="Other words in a picture that is kept")
    async def segment_kept(request: Request, image_id: str, asked: Asked, view: str | None = None) -> Response:
        """As ``/v1/segment``, without the picture."""
        options = Options(**asked.model_dump(exclude={"classes"}))
        return await answer(request, _kept(service, image_id), asked.classes, options, view)

    @router.delete("/v1/images/{image_id}", status_code=204, summary="Forget a picture")
    async def forget(image_id: str) -> Response:
        """Whether it was kept or not."""
        service.kept.remove(image_id)
        return Response(status_code=204)

    @router.get("/v1/model", summary="The model, its engine and the limits")
    async def model() -> dict[str, Any]:
        """What is served."""
        return _model(service)

    @router.get("/healthz", summary="Whether the process answers")
    async def healthz() -> dict[str, str]:
        """Always, while it runs."""
        return {"status": "ok"}

    @router.get("/readyz", summary="Whether requests are taken")
    async def readyz() -> Response:
        """503 while the server ends, and where the engine fails again and again."""
        if service.stopping:
            raise DrainingError
        return JSONResponse({"status": "ready"})

    @router.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    return router


async def _unless_gone(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """Wait for an answer; a client that goes away first takes its request with it, if that waits still."""
    answer = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            raise ProblemError(499, "the client has gone away")
        return answer.result()
    finally:
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _content(asked: AskedOfImage, service: Service) -> bytes | ImageFeatures:
    """The picture of a request in JSON."""
    if asked.image.type == "id":
        return _kept(service, asked.image.value)
    if asked.image.type == "url":
        if service.options.urls == "off":
            raise ProblemError(400, "this server fetches no addresses. Send the picture itself")
        # The time of a request's queue begins when its picture is there.
        return await service.fetched(
            lambda most: fetch(asked.image.value, max_bytes=most, seconds=FETCH_SECONDS, asking=PUBLIC)
        )
    try:
        return base64.b64decode(asked.image.value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProblemError(422, f"image.value is no base64: {error}") from error


def _kept(service: Service, name: str) -> ImageFeatures:
    found = service.kept.get(name) if is_image_id(name) else None
    if found is None:
        raise ProblemError(404, "this picture is not kept, or not any more. Send it again: POST /v1/images")
    return found


async def _uploaded(value: Any) -> bytes:
    if not hasattr(value, "read"):
        raise ProblemError(422, "the form needs a file named image")
    content: bytes = await value.read()
    return content


async def _of_form(request: Request, answer: Callable[..., Awaitable[Response]], view: str | None) -> Response:
    most = request.app.state.service.options.max_words
    async with request.form(max_files=1, max_fields=most + 1) as form:
        content = await _uploaded(form.get("image"))
        unknown = sorted(set(form) - {"image", "classes", "options"})
        if unknown:
            raise ProblemError(
                422, f"the form has {', '.join(unknown)[:200]}, and image, classes and options are known"
            )
        classes = [one for one in form.getlist("classes") if isinstance(one, str)]
        options = form.get("options")
    if not classes:
        raise ProblemError(422, "the form needs classes, once for each word")
    return await answer(request, content, classes, options_of(options if isinstance(options, str) else None), view)


def _model(service: Service) -> dict[str, Any]:
    manifest, limits = service.segmenter.bundle.manifest, service.segmenter.limits
    presence = manifest.presence
    return {
        "name": manifest.name,
        "description": manifest.description,
        "license": manifest.raw.get("license"),
        "image_size": manifest.image.size,
        "precision": manifest.precision,
        "presence_threshold": None if presence is None else presence.threshold,
        "mask_threshold": manifest.mask.threshold,
        "backend": service.segmenter.backend,
        "detector": manifest.detector is not None,
        "limits": {
            "upload_bytes": int(service.options.max_upload_mb * 1e6),
            "words": service.options.max_words,
            "pixels": limits.max_pixels,
            "queue": service.options.queue,
            "timeout_s": service.options.timeout,
            "batch": service.options.batch,
        },
        "version": __version__,
    }
