"""What every request has: an identifier, the check of its key, a bounded body, figures, and a sentence if it fails."""

from __future__ import annotations

import re
import secrets
import time

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clsclip_serve.bodies import Body
from clsclip_serve.engine import QueueFullError
from clsclip_serve.keys import ApiKeys
from clsclip_serve.problems import as_problem, problem
from clsclip_serve.service import Service

OPEN = ("/healthz", "/readyz", "/")
"""Routes that want no key: the page asks for one."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_REJECTED = {408: "slow", 413: "size", 503: "queue", 504: "late"}
_GONE = 499
_SPARE = 64
"""Requests whose bodies may come in, beside those that wait."""


class Around:
    """An ASGI program around the application."""

    def __init__(self, app: ASGIApp, *, service: Service, keys: ApiKeys | None) -> None:
        """``keys`` None lets everybody in."""
        self._app, self._service, self._keys = app, service, keys
        self._metrics = service.metrics
        self._most_bytes = int(service.options.max_upload_mb * 1e6)
        self._most_bodies = 2 * service.options.queue + _SPARE
        self._bodies = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        given = request.headers.get("x-request-id", "")
        name = given if _ID.fullmatch(given) else f"req-{secrets.token_hex(8)}"
        request.state.id = name
        body = Body(scope, receive, self._most_bytes, self._service.options.upload_timeout)
        begun, status = time.perf_counter(), 0

        async def send_more(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                spent = f"total;dur={1000 * (time.perf_counter() - begun):.1f}"
                more = [("x-request-id", name), ("server-timing", spent), ("x-content-type-options", "nosniff")]
                if self._service.stopping:  # the next request goes to another server
                    more.append(("connection", "close"))
                message["headers"] = [*message["headers"], *((key.encode(), value.encode()) for key, value in more)]
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                await body.finish(send, message)
            else:
                await send(message)

        self._bodies += not body.done
        counted = not body.done
        try:
            refused = self._refused(request, body, name)
            if refused is not None:
                await refused(scope, body.receive, send_more)
            else:
                await self._app(scope, body.receive, send_more)
        except ClientDisconnect:  # it went away before its body had come: nobody waits for an answer
            status = _GONE
        except Exception as error:
            found = as_problem(error)
            if status == 0:
                await problem(found.status, found.detail, name, found.headers)(scope, body.receive, send_more)
        finally:
            self._bodies -= counted
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.requests.labels(route, status).inc()
        self._metrics.seconds.labels(route).observe(time.perf_counter() - begun)
        if status in _REJECTED:
            self._metrics.rejected.labels(_REJECTED[status]).inc()

    def _refused(self, request: Request, body: Body, name: str) -> Response | None:
        """The answer to a request that the application need not see."""
        if (
            self._keys is not None
            and request.scope["path"] not in OPEN
            and not self._keys.open(request.headers.get("authorization"))
        ):
            return problem(401, "give an API key: Authorization: Bearer KEY", name, {"WWW-Authenticate": "Bearer"})
        if body.announced > self._most_bytes:
            error = body.too_large()
            return problem(413, error.detail, name)
        if not body.done and self._bodies > self._most_bodies:
            full = as_problem(QueueFullError())
            return problem(full.status, full.detail, name, full.headers)
        return None
