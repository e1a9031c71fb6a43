"""Pictures at http and https addresses, within bounds on bytes and time.

Whoever can give an address can make this machine ask for it, inside its own network as well. A server that takes its
clients' addresses asks with ``Asking(public=True, redirects=False)``.
"""

from __future__ import annotations

import base64
import io
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Literal
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from clsclip_runtime.errors import ImageError
from clsclip_runtime.images.formats import MAX_BYTES, SUFFIXES
from clsclip_runtime.images.public_hosts import PublicConnection
from clsclip_runtime.paths import public_address, readable
from clsclip_runtime.version import __version__

TIMEOUT_S = 30.0
"""Limit on the seconds that an address may take in all."""

_ASK_TIMEOUT_S = 10.0
_CHUNK = 1 << 16
_SCHEMES = ("http", "https")


class StreamAddressError(ImageError):
    """What an address gives is a video or a camera's stream, not a picture."""


class RefusedError(ImageError):
    """The server at an address refuses, or sends elsewhere.

    Attributes:
        status: HTTP code.
        location: where it sends to; empty if nowhere.
    """

    def __init__(self, message: str, status: int, location: str) -> None:
        """An answer that is none."""
        super().__init__(message)
        self.status, self.location = status, location


@dataclass(frozen=True)
class Asking:
    """How an address is asked.

    Attributes:
        headers: sent too, and to no other server.
        body: sent by POST.
        redirects: follow them; else they are a ``RefusedError``.
        public: https alone, and only hosts that everybody can reach; no proxy stands between.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    redirects: bool = True
    public: bool = False


_PLAIN = Asking()


def fetch(address: str, *, max_bytes: int = MAX_BYTES, seconds: float = TIMEOUT_S, asking: Asking = _PLAIN) -> bytes:
    """The encoded picture at an address.

    Args:
        address: ``http://`` or ``https://``; a user and a password in it are sent.
        max_bytes: refuse more.
        seconds: for all of it.
        asking: what is sent, and to whom.

    Raises:
        ImageError: it cannot be reached, gives no picture, or exceeds a bound.
        RefusedError: the server answers with an error.
        StreamAddressError: it gives a video or a stream.
    """
    name = public_address(address)
    data = bytearray()
    with _answer(address, seconds, asking) as answer:
        kind = answer.headers.get_content_type()
        if kind.startswith("video/") or kind == "multipart/x-mixed-replace":
            raise StreamAddressError(f"{name} gives a video or a camera's stream ({kind}), not a picture")
        announced = answer.headers.get("Content-Length", "")
        too_many = (
            f"{name} has more than the {max_bytes >> 20:,} MiB that a picture may have. Load it into a file first"
        )
        if announced.isdecimal() and int(announced) > max_bytes:
            raise ImageError(too_many)
        while chunk := answer.read1(_CHUNK):
            data += chunk
            if len(data) > max_bytes:
                raise ImageError(too_many)
        if announced.isdecimal() and len(data) < int(announced):
            raise ImageError(f"{name} ended after {len(data):,} of {int(announced):,} bytes. Try again")
    return bytes(data)


def suffix_of_address(address: str) -> str:
    """The suffix of the file that an address names, in lower case, with its dot; empty without one."""
    path = re.split(r"[?#]", address.partition("://")[2], maxsplit=1)[0].partition("/")[2]
    found = re.search(r"\.[A-Za-z0-9]+$", path)
    return "" if found is None else found[0].lower()


def kind_of_address(address: str) -> Literal["picture", "stream"]:
    """What an http or https address gives: by its suffix, else by what the server says. Unreachable: a stream."""
    if suffix_of_address(address) in SUFFIXES:
        return "picture"
    try:
        with _answer(address, _ASK_TIMEOUT_S) as answer:
            return "picture" if answer.headers.get_content_maintype() == "image" else "stream"
    except ImageError:
        return "stream"


@contextmanager
def _answer(address: str, seconds: float, asking: Asking = _PLAIN) -> Iterator[HTTPResponse]:
    """The server's answer, of which nothing but the headers has been read. ImageError whatever goes wrong."""
    name = public_address(address)
    scheme = address.partition(":")[0].lower()
    if scheme not in _SCHEMES:
        raise ImageError(
            f"no picture can be read from {readable(address[:80])}: of addresses, http:// and https:// are read. "
            "Load it into a file first"
        )
    if asking.public and scheme != "https":
        raise ImageError(f"{name} cannot be read: of addresses, https:// is fetched here")
    try:
        with _opener(seconds, asking).open(_request(address, asking), timeout=seconds) as answer:
            yield answer
    except ImageError:
        raise
    except HTTPError as error:
        error.close()
        told = f"{name} cannot be read: the server answered {error.code} {error.reason}"
        raise RefusedError(told, error.code, error.headers.get("Location", "")) from error
    except TimeoutError as error:
        raise _late(name, seconds) from error
    except URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _late(name, seconds) from error
        raise ImageError(f"{name} cannot be read: {error.reason}. Check the address and the network") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{name} cannot be read: {reason}. Check the address and the network") from error


def _late(name: str, seconds: float) -> ImageError:
    return ImageError(f"{name} took longer than {seconds:g} s. Try again, or load it into a file first")


def _request(address: str, asking: Asking) -> Request:
    """A request without the user in its address, who goes into a header."""
    parts = urlsplit(address)
    headers = {"User-Agent": f"clsclip/{__version__}", "Accept": "image/*, */*;q=0.5"}
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
    request = Request(_quoted(plain), asking.body, headers)  # noqa: S310 - the scheme was checked
    for name, value in asking.headers.items():
        request.add_unredirected_header(name, value)
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        # Not told to whom the server redirects.
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(secret.encode()).decode()}")
    return request


def _quoted(address: str) -> str:
    """An address with what must not stand in one, such as spaces and letters beyond ASCII, quoted."""
    parts = urlsplit(address)
    host = parts.netloc.encode("idna").decode() if not parts.netloc.isascii() else parts.netloc
    rest = urlunsplit(parts._replace(scheme="", netloc=""))
    return f"{parts.scheme}://{host}" + "".join(
        one if "!" <= one <= "~" else "".join(f"%{byte:02X}" for byte in one.encode("utf-8", "surrogateescape"))
        for one in rest
    )


def _opener(seconds: float, asking: Asking) -> OpenerDirector:
    """What opens http and https, and follows redirects to them alone."""
    deadline = time.monotonic() + seconds
    opener = OpenerDirector()
    handlers = [UnknownHandler(), HTTPDefaultErrorHandler(), HTTPErrorProcessor()]
    if asking.redirects:
        handlers.append(HTTPRedirectHandler())
    if asking.public:
        handlers.append(_Https(deadline, PublicConnection))
    else:
        handlers += [ProxyHandler(), _Http(deadline), _Https(deadline, HTTPSConnection)]
    for handler in handlers:
        opener.add_handler(handler)
    return opener


class _Http(HTTPHandler):
    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._deadline = deadline

    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(_timed, HTTPConnection, self._deadline), req)


class _Https(HTTPSHandler):
    def __init__(self, deadline: float, kind: type[HTTPSConnection]) -> None:
        super().__init__()
        self._deadline, self._kind = deadline, kind

    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(_timed, self._kind, self._deadline), req)


def _timed(kind: Any, deadline: float, host: str, **options: Any) -> Any:
    """A connection whose answer must have come by a deadline; the timeout of a socket is only that of one step."""
    connection = kind(host, **options)
    connection.response_class = partial(_TimedResponse, deadline)
    return connection


class _TimedResponse(HTTPResponse):
    def __init__(self, deadline: float, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_TimedReader(sock, deadline))


class _TimedReader(io.RawIOBase):
    """Bytes of a socket until a deadline; TimeoutError then."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock, self._deadline = sock, deadline
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return self._file.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
