"""What every request has: an identifier, the check of its key, its figures, and a sentence if it fails."""

from __future__ import annotations

import re
import secrets
import time

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clsclip_serve.keys import ApiKeys
from clsclip_serve.metrics import Metrics
from clsclip_serve.problems import as_problem, problem

OPEN = ("/healthz", "/readyz", "/")
"""Routes that want no key: the page asks for one."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_REJECTED = {413: "size", 503: "queue", 504: "late"}


class Around:
    """An ASGI program around the application."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, keys: ApiKeys | None) -> None:
        """``keys`` None lets everybody in."""
        self._app, self._metrics, self._keys = app, metrics, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        given = request.headers.get("x-request-id", "")
        name = given if _ID.fullmatch(given) else f"req-{secrets.token_hex(8)}"
        request.state.id = name
        begun, status = time.perf_counter(), 0

        async def send_more(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                spent = f"total;dur={1000 * (time.perf_counter() - begun):.1f}"
                more = (("x-request-id", name), ("server-timing", spent), ("x-content-type-options", "nosniff"))
                message["headers"] = [*message["headers"], *((key.encode(), value.encode()) for key, value in more)]
            await send(message)

        if (
            self._keys is not None
            and scope["path"] not in OPEN
            and not self._keys.open(request.headers.get("authorization"))
        ):
            answer = problem(401, "give an API key: Authorization: Bearer KEY", name, {"WWW-Authenticate": "Bearer"})
            await answer(scope, receive, send_more)
        else:
            try:
                await self._app(scope, receive, send_more)
            except Exception as error:
                found = as_problem(error)
                if status == 0:
                    await problem(found.status, found.detail, name, found.headers)(scope, receive, send_more)
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.requests.labels(route, status).inc()
        self._metrics.seconds.labels(route).observe(time.perf_counter() - begun)
        if status in _REJECTED:
            self._metrics.rejected.labels(_REJECTED[status]).inc()
