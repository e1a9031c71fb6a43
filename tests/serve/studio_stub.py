"""As much of Label Studio as a backend asks of: pictures behind a token."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler

from tests.serve.stub import Stub

LEGACY, PERSONAL = "0123456789abcdef0123456789abcdef01234567", "head.body.sign"


class StudioStub(Stub):
    """A server on this machine that gives one picture to whoever has a token."""

    def __init__(self, content: bytes) -> None:
        """Serve a picture."""
        self.content = content
        self.asked: list[str] = []
        self.refreshed = 0
        super().__init__()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """See :class:`Stub`."""
        (self.get if handler.command == "GET" else self.post)(handler)

    def get(self, handler: BaseHTTPRequestHandler) -> None:
        """A picture, or what Label Studio answers in its place."""
        self.asked.append(handler.path)
        token = handler.headers.get("Authorization")
        if handler.path == "/data/cloud.png":
            self._send(handler, 303, b"", {"Location": "https://bucket.s3.example/a.png"})
        elif handler.path == "/data/login.png":
            self._send(handler, 302, b"", {"Location": "/user/login/?next=/data/login.png"})
        elif token not in (f"Token {LEGACY}", f"Bearer access-{self.refreshed}"):
            self._send(handler, 401, b"{}", {})
        elif handler.path.startswith(("/data/upload/1/", "/data/local-files/", "/tasks/7/resolve/")):
            self._send(handler, 200, self.content, {"Content-Type": "image/png"})
        else:
            self._send(handler, 404, b"", {})

    def post(self, handler: BaseHTTPRequestHandler) -> None:
        """An access token for a personal one."""
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        if handler.path == "/api/token/refresh/" and body == {"refresh": PERSONAL}:
            self.refreshed += 1
            self._send(handler, 200, json.dumps({"access": f"access-{self.refreshed}"}).encode(), {})
        else:
            self._send(handler, 401, b"{}", {})

    def _send(self, handler: BaseHTTPRequestHandler, code: int, body: bytes, headers: dict[str, str]) -> None:
        handler.send_response(code)
        for key, value in ({"Content-Length": str(len(body))} | headers).items():
            handler.send_header(key, value)
        handler.end_headers()
        handler.wfile.write(body)
