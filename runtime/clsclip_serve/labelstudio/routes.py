"""The five calls of Label Studio's machine learning backends, below ``/label-studio``."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Request

from clsclip_runtime.errors import printable
from clsclip_runtime.results.labelstudio import labelstudio_region, labelstudio_values
from clsclip_runtime.results.result import Result
from clsclip_serve.asked import Classes, Options, checked_classes
from clsclip_serve.labelstudio import asked
from clsclip_serve.labelstudio.config import LabelConfig
from clsclip_serve.labelstudio.images import LabelStudio, private_note
from clsclip_serve.problems import ProblemError, as_problem
from clsclip_serve.service import Service

SECONDS = 90.0
"""In which all tasks of a request are begun: Label Studio waits for 100."""

FETCH_SECONDS = 20.0
_DIGITS = 6
_LOG = logging.getLogger("clsclip_serve")
_T = TypeVar("_T")

Unless = Callable[[Request, Any], Awaitable[Any]]
"""Waits for an answer unless the client goes away."""


def labelstudio_routes(service: Service, studio: LabelStudio | None, unless_gone: Unless) -> APIRouter:
    """The routes.

    Args:
        service: that answers.
        studio: whose pictures are fetched; None fetches none, and says so.
        unless_gone: waits for an answer unless the client goes away.
    """
    router = APIRouter(prefix="/label-studio", tags=["Label Studio"])
    model = service.segmenter.bundle.manifest.name

    @router.get("", summary="What to enter in Label Studio")
    @router.get("/health", summary="Whether the backend answers")
    async def health(request: Request) -> dict[str, Any]:
        """Asked by Label Studio when a backend is connected, and then and again; it waits for a second."""
        note = private_note(request.url.hostname or "")
        found: dict[str, Any] = {"status": "UP", "model_class": "ClsCLIP", "model_version": model}
        return found | ({} if note is None else {"note": note})

    @router.post("/setup", summary="Connect a project")
    async def setup(sent: asked.Setup) -> dict[str, Any]:
        """Checks the project's labeling configuration; 400 if no prediction would fit into it."""
        if sent.schema_:
            _checked(lambda: LabelConfig.parse(sent.schema_))
        return {"model_version": model}

    @router.post("/predict", summary="Predictions for tasks")
    async def predict(request: Request, sent: asked.Predict) -> dict[str, Any]:
        """As many results as tasks, in their order. What fails of several is ``{"error": …}`` in its place, which Label
        Studio writes into its log; a single task that fails is an error of the whole."""
        config = _checked(lambda: LabelConfig.parse(sent.label_config))
        wanted = _checked(lambda: asked.request_of(config, sent.drawn))
        checked_classes({name: list(words) for name, words in wanted.classes.items()}, service.options.max_words)
        for note in wanted.notes:
            _LOG.warning("Label Studio: %s", printable(note))
        until, alone = time.monotonic() + SECONDS, len(sent.tasks) == 1
        results = [
            await unless_gone(request, _one(service, studio, config, wanted, task, until, alone=alone))
            for task in sent.tasks
        ]
        return {"results": results, "notes": list(wanted.notes)}

    @router.get("/versions", summary="Versions of the model")
    async def versions() -> dict[str, Any]:
        """The one that is served."""
        return {"versions": [model]}

    @router.post("/webhook", summary="What happens in a project")
    async def webhook() -> dict[str, Any]:
        """Read and not used: the model does not learn here."""
        return {"status": "not used: the model does not learn from annotations"}

    return router


async def _one(
    service: Service,
    studio: LabelStudio | None,
    config: LabelConfig,
    wanted: asked.Request,
    task: asked.Task,
    until: float,
    *,
    alone: bool,
) -> dict[str, Any]:
    try:
        left = until - time.monotonic()
        if left <= 0:
            raise ProblemError(504, f"not begun within {SECONDS:g} s. Ask for predictions of fewer tasks at once")
        value = _value(task.data, config.image_key)
        if studio is None:
            raise ProblemError(
                400,
                f"the picture of task {task.id} lies in a Label Studio that this server does not know. Start "
                "clsclip-serve with --label-studio http://HOST:PORT, and LABEL_STUDIO_API_KEY=TOKEN",
            )
        seconds = min(FETCH_SECONDS, max(left, 1.0))
        content = await service.fetched(lambda most: studio.image(value, task.id, max_bytes=most, seconds=seconds))
        return await _predicted(service, content, config, wanted)
    except Exception as error:
        problem = as_problem(error)
        _LOG.warning("Label Studio: task %s: %s", task.id, printable(problem.detail))
        if alone:
            raise problem from error
        return {"error": problem.detail}


async def _predicted(service: Service, content: bytes, config: LabelConfig, wanted: asked.Request) -> dict[str, Any]:
    def write(result: Result, waited: float) -> dict[str, Any]:
        return prediction(result, config)

    def options(size: tuple[int, int]) -> Options:
        return Options(regions=wanted.boxes(size))

    classes: Classes = {name: list(words) for name, words in wanted.classes.items()}
    return await service.segment(content, classes, options, write)


def prediction(result: Result, config: LabelConfig) -> dict[str, Any]:
    """A result as a prediction: a region for each label that has pixels, or one for each of its outlines.

    Args:
        result: whose classes are labels of the configuration.
        config: of the project.
    """
    regions: list[dict[str, Any]] = []
    scores: list[float] = []
    for one in result:
        if not one.area:
            continue
        control = config.labels[one.name].control
        score = {} if one.presence is None else {"score": round(one.presence, _DIGITS)}
        scores += score.values()
        for value in labelstudio_values(one.rle(), control.kind):
            names = (control.name, control.to_name)
            about = {"id": secrets.token_hex(5)} | score
            regions.append(about | labelstudio_region(result.size, control.kind, value, one.name, names))
    average = round(sum(scores) / len(scores), _DIGITS) if scores else 0.0
    return {"model_version": result.model, "score": average, "result": regions}


def _value(data: dict[str, Any], key: str) -> object:
    if key in data:
        return data[key]
    found: object = data
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _checked(run: Callable[[], _T]) -> _T:
    """Tell the log as well: of an answer that is an error, Label Studio shows the code alone."""
    try:
        return run()
    except ProblemError as error:
        _LOG.warning("Label Studio: %s", printable(error.detail))
        raise
