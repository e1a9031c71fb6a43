"""Connections on which no request comes: closed after a while, with a sentence."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
"""For which a connection may be without a whole head of a request. uvicorn closes connections that are quiet between
requests after 5 s, and never those that sent a part of a head, or nothing at all."""

LAST_S = 1.0
"""For which a connection may still bring a request while the server ends."""

LINGER_S = 2.0
"""For which what a refused client still sends is read: a connection that is closed on it is reset, and what it was told
is lost."""


def _problem(status: int, title: str, detail: str) -> bytes:
    """A whole answer. Texts are ASCII without quotes."""
    told = f'{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}"}}'
    head = f"HTTP/1.1 {status} {title}\r\nContent-Type: application/problem+json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(told)}\r\n\r\n{told}".encode("ascii")


_LATE = _problem(408, "Request Timeout", "the head of the request did not come")
_CUT = _problem(400, "Bad Request", "the body ended before it had the length that was announced")
_UNREADABLE = _problem(400, "Bad Request", "the request is no HTTP that can be read, or its head is too long")


class WatchedProtocol(H11Protocol):
    """HTTP/1.1 whose heads must come in time."""

    _watch: asyncio.TimerHandle | None = None
    _seen: object = None
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch."""
        super().connection_made(transport)
        self._seen = object()
        self._watch = self.loop.call_later(HEAD_S, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        """Watch no longer."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; what a refused client still sends is thrown away."""
        if not self._refused:
            super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Tell that it is no HTTP, in the form of all errors, and close when it has been read."""
        self._refuse(_UNREADABLE)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    def eof_received(self) -> None:
        """Tell a client that sends no more, but may listen, that its body is not whole. Then it is closed."""
        if self.conn.their_state is h11.SEND_BODY and not self._refused:
            self._refuse(_CUT)

    def _refuse(self, answer: bytes) -> None:
        """Give the last answer of this connection, unless another has begun."""
        self._refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # it writes nothing more
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(answer)
        self.flow.resume_reading()

    def shutdown(self) -> None:
        """End once the request that runs is answered, or when none has come for a moment.

        uvicorn closes connections between requests at once, and those that were just accepted: what a client has sent
        by then, and nobody has read, would be lost. It is read now, and answered 503.
        """
        if self._refused:
            self.transport.close()
        elif self._quiet:
            self.loop.call_later(LAST_S, self._last)
        else:
            super().shutdown()

    def _last(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()

    @property
    def _quiet(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _check(self) -> None:
        """Close it if it has had no request since the last time, or never."""
        quiet = self._quiet
        if self._refused:
            return
        if quiet and (self.cycle is None or self.cycle is self._seen):
            self.transport.write(_LATE)
            self.transport.close()
            return
        self._seen = self.cycle if quiet else None
        self._watch = self.loop.call_later(HEAD_S, self._check)
