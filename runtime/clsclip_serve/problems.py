"""Errors as ``application/problem+json`` (RFC 9457), with the runtime's own sentences."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from clsclip_runtime.errors import (
    ClsclipRuntimeError,
    ImageError,
    OptionError,
    RegionError,
    WordError,
    one_line,
    printable,
)
from clsclip_serve.engine import DrainingError, LateError, QueueFullError

RETRY_AFTER_S = 1
BAD_INPUT = (ImageError, WordError, OptionError, RegionError)
"""Errors of what was asked; the others are the server's."""

_KNOWN = {int(one) for one in HTTPStatus}
_LOG = logging.getLogger("clsclip_serve")


class ProblemError(Exception):
    """A request that cannot be answered as asked.

    Attributes:
        status: HTTP code.
        detail: a sentence.
        headers: of the answer.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        """An answer with this code and sentence."""
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


def problem(status: int, detail: str, request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer."""
    title = HTTPStatus(status).phrase if status in _KNOWN else "Client Closed Request"
    body = {"type": "about:blank", "title": title, "status": status}
    body |= {"detail": printable(detail), "id": request_id}
    return Response(json.dumps(body), status, dict(headers or {}), "application/problem+json")


def as_problem(error: BaseException) -> ProblemError:
    """What a client is told of an error."""
    later = {"Retry-After": str(RETRY_AFTER_S)}
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, QueueFullError):
        return ProblemError(503, "as many requests wait as may. Try again later", later)
    if isinstance(error, DrainingError):
        return ProblemError(503, "the server is about to end. Try again later", later)
    if isinstance(error, LateError):
        return ProblemError(504, "the request waited longer than it may. Try again later", later)
    if isinstance(error, BAD_INPUT):
        return ProblemError(400, one_line(error))
    if isinstance(error, ClsclipRuntimeError):
        return ProblemError(500, one_line(error))
    _LOG.exception("a request failed", exc_info=error)
    return ProblemError(500, "the server failed in a way that it does not know. Its log says more")


def add_handlers(app: FastAPI) -> None:
    """Turn every error of a handler into a problem."""

    def known(request: Request, error: Exception) -> Response:
        found = as_problem(error)
        return problem(found.status, found.detail, request.state.id, found.headers)

    def by_code(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 (it is registered for that)
        detail = error.detail if isinstance(error.detail, str) else HTTPStatus(error.status_code).phrase
        return problem(error.status_code, detail, request_id(request), error.headers)

    def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 (it is registered for that)
        return problem(422, "; ".join(sentence(one) for one in error.errors()[:5]), request_id(request))

    for kind in (ProblemError, ClsclipRuntimeError, QueueFullError, DrainingError, LateError):
        app.add_exception_handler(kind, known)
    app.add_exception_handler(HTTPException, by_code)
    app.add_exception_handler(RequestValidationError, invalid)


def sentence(one: Mapping[str, Any], whole: str = "the request") -> str:
    """One complaint of pydantic's, with its place; ``whole`` is what it calls all of the request."""
    place = ".".join(str(part) for part in one.get("loc", ()) if part not in ("body",)) or whole
    told = str(one.get("msg", "is wrong"))
    return f"{place}: {told}" if place else told


def request_id(request: Request) -> str:
    """The request's identifier."""
    return str(getattr(request.state, "id", ""))
