"""A server on this machine that stands for another program's."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Stub(ABC):
    """Listens from the start, on a port of its own; ``address`` has no slash at its end."""

    def __init__(self) -> None:
        """Serve."""
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stub.answer(self)

            do_POST = do_PATCH = do_PUT = do_GET  # noqa: N815 (names of http.server)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @abstractmethod
    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request; ``handler.command`` is its method."""

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
