"""Connections on which no request comes: closed after a while, with a sentence."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
"""For which a connection may be without a whole head of a request. uvicorn closes connections that are quiet between
requests after 5 s, and never those that sent a part of a head, or nothing at all."""

LAST_S = 0.3
"""For which a connection may still bring a request while the server ends."""

_TOLD = b'{"type":"about:blank","title":"Request Timeout","status":408,"detail":"the head of the request did not come"}'
_ANSWER = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/problem+json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_TOLD), _TOLD)
)


class WatchedProtocol(H11Protocol):
    """HTTP/1.1 whose heads must come in time."""

    _watch: asyncio.TimerHandle | None = None
    _seen: object = None

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

    def shutdown(self) -> None:
        """End once the request that runs is answered, or when none has come for a moment.

        uvicorn closes connections between requests at once, and those that were just accepted: what a client has sent
        by then, and nobody has read, would be lost. It is read now, and answered 503.
        """
        if self._quiet:
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
        if quiet and (self.cycle is None or self.cycle is self._seen):
            self.transport.write(_ANSWER)
            self.transport.close()
            return
        self._seen = self.cycle if quiet else None
        self._watch = self.loop.call_later(HEAD_S, self._check)
