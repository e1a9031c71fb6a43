"""Requests of a form with an image and words, written byte by byte, and the answers that come to them."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.server import Served
from clsclip_runtime.images import open_image

PICTURE = Path(__file__).parents[2] / "examples" / "cluttered.png"
ANSWER_S = 240.0


def jpeg(width: int, height: int | None = None) -> bytes:
    file = io.BytesIO()
    open_image(PICTURE).image.resize((width, height or width)).save(file, "JPEG")
    return file.getvalue()


def form(image: bytes, classes: list[str], options: str = "{}") -> tuple[str, bytes]:
    edge = "x-edge-x"
    parts = [f'--{edge}\r\nContent-Disposition: form-data; name="classes"\r\n\r\n{one}\r\n'.encode() for one in classes]
    parts.append(f'--{edge}\r\nContent-Disposition: form-data; name="options"\r\n\r\n{options}\r\n'.encode())
    head = f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'.encode()
    body = b"".join(parts) + head + image + f"\r\n--{edge}--\r\n".encode()
    return f"multipart/form-data; boundary={edge}", body


def message(path: str, kind: str, body: bytes, *, length: int | None = None, more: str = "") -> bytes:
    size = len(body) if length is None else length
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n"
    return head.encode() + more.encode() + b"\r\n" + body


@dataclass(frozen=True)
class Answer:
    """A status, or ``none``, and the body, whatever its coding."""

    status: str
    body: bytes = b""


NONE = Answer("none")


def read_answer(one: socket.socket) -> Answer:
    """The answer that comes on a connection. OSError if it is reset in the middle."""
    with contextlib.closing(http.client.HTTPResponse(one)) as response:
        try:
            response.begin()
            body = response.read()
        except (http.client.HTTPException, ValueError) as error:
            if isinstance(error, http.client.RemoteDisconnected):
                return NONE
            return Answer("damaged", repr(error).encode())
        return Answer(str(response.status), body)


def exchange(served: Served, sent: bytes, *, half: bool = False) -> Answer:
    """What is answered to bytes; ``half`` says that no more will come."""
    with socket.create_connection((served.host, served.port), ANSWER_S) as one:
        try:
            one.sendall(sent)
            if half:
                one.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused while it was sent: the answer may be there all the same
        return read_answer(one)
