"""Bodies of requests: bounded in bytes, in time and in number, and read to their end before a connection is closed."""

from __future__ import annotations

import asyncio
import time

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

LINGER_S = 5.0
"""For which the rest of a body is read and thrown away, so that a client that still sends gets its answer."""


class Body:
    """The body of one request."""

    def __init__(self, scope: Scope, receive: Receive, most_bytes: int, seconds: float) -> None:
        """Read a body of ``most_bytes`` at most, that comes within ``seconds``."""
        headers = dict(scope["headers"])
        announced = headers.get(b"content-length", b"")
        self._receive, self._most, self._seconds = receive, most_bytes, seconds
        self._until = time.monotonic() + seconds
        self._size = 0
        self.announced = int(announced) if announced.isdigit() and len(announced) < 20 else 0
        self.done = not self.announced and b"transfer-encoding" not in headers
        self._waits = headers.get(b"expect", b"").lower() == b"100-continue"

    def too_large(self) -> HTTPException:
        """The error of a body that is."""
        most = f"{self._most / 1e6:g} MB"
        return HTTPException(413, f"a request may have {most}, and this one has more. Send a smaller picture")

    async def receive(self) -> Message:
        """The next part. HTTPException 408 or 413 outside of the bounds."""
        if self.done:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.001, self._until - time.monotonic()))
        except (TimeoutError, asyncio.TimeoutError) as error:
            told = f"the request did not come within {self._seconds:g} s. Send it again, or a smaller picture"
            raise HTTPException(408, told, {"Connection": "close"}) from error
        self._waits = False
        self._size += len(message.get("body", b""))
        self.done = message["type"] != "http.request" or not message.get("more_body", False)
        if self._size > self._most:
            raise self.too_large()
        return message

    async def finish(self, send: Send, last: Message) -> None:
        """Send the last part of an answer. What the client still sends is read first: a connection that is closed with
        unread bytes is reset, and the answer with it."""
        if self.done or self._waits:
            await send(last)
            return
        await send({**last, "more_body": True})
        until = time.monotonic() + LINGER_S
        while not self.done and (left := until - time.monotonic()) > 0:
            try:
                message = await asyncio.wait_for(self._receive(), left)
            except (TimeoutError, asyncio.TimeoutError):
                break
            self.done = message["type"] != "http.request" or not message.get("more_body", False)
        await send({"type": "http.response.body", "body": b""})
