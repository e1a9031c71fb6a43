"""Pictures at addresses: a server of our own gives good ones, other things, too much, too slowly, or not at all."""

from __future__ import annotations

import http.server
import io
import json
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsclip_runtime import ImageError, Segmenter, open_image
from clsclip_runtime.cli.infer import main
from clsclip_runtime.images import addresses
from clsclip_runtime.images.addresses import (
    Asking,
    RefusedError,
    StreamAddressError,
    fetch,
    kind_of_address,
    suffix_of_address,
)
from clsclip_runtime.images.public_hosts import connect_public, is_public
from tests.runtime.images.corpus import cases
from tests.runtime.tiny_bundle import paint

SCENE = paint({"red": (slice(1, 4), slice(1, 5))})


def png() -> bytes:
    content = io.BytesIO()
    Image.fromarray(SCENE).save(content, "PNG")
    return content.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    seen: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("Authorization")))
        path = self.path.partition("?")[0]
        if path in ("/good.png", "/image", "/a%20b%C3%A9.png"):
            self._send(png(), "image/png")
        elif path == "/page" or path == "/page.png":
            self._send(b"<!DOCTYPE html><title>Login</title>", "text/html")
        elif path == "/camera.jpg":
            self._send(b"--x\r\n", "multipart/x-mixed-replace; boundary=x")
        elif path == "/short.png":
            self._send(png()[:50], "image/png", length=len(png()))
        elif path == "/announced.png":
            self._send(b"", "image/png", length=1 << 40)
        elif path == "/endless.png":
            self._send(None, "image/png", length=None)
        elif path == "/slow.png":
            self._send(b"", "image/png", length=None)
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.05)
        elif path in ("/moved.png", "/elsewhere.png", "/ftp.png", "/file.png", "/round.png"):
            to = {"/moved.png": "/good.png", "/ftp.png": "ftp://127.0.0.1/x.png", "/file.png": "file:///etc/passwd"}
            self.send_response(302)
            self.send_header("Location", to.get(path, "/round.png"))
            self.end_headers()
        else:
            self.send_error(404)

    def _send(self, body: bytes | None, kind: str, length: int | None = -1) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        if length == -1:
            length = len(body or b"")
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if body is not None:
            self.wfile.write(body)
            return
        for _ in range(64):
            self.wfile.write(bytes(1 << 16))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    seen: list[tuple[str, str | None]] = []
    quiet = type("Quiet", (Handler,), {"seen": seen})

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # clients that hang up are part of the tests

    with Server(("127.0.0.1", 0), quiet) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", seen
        running.shutdown()


Served = tuple[str, list[tuple[str, "str | None"]]]


def test_a_picture_at_an_address(server: Served, segmenter: Segmenter) -> None:
    base, seen = server
    host = base.partition("//")[2]
    image = open_image(f"{base}/good.png?width=10#part")
    assert (np.asarray(image.image) == SCENE).all()
    assert image.source == f"{base}/good.png?width=10#part"
    assert seen == [("/good.png?width=10", None)]
    assert segmenter(f"{base}/moved.png", ["red"])["red"].area == segmenter(SCENE, ["red"])["red"].area > 0
    secret = open_image(f"http://user:secret@{host}/good.png")
    assert secret.source == f"http://user:***@{host}/good.png"
    assert seen[-1] == ("/good.png", "Basic dXNlcjpzZWNyZXQ=")
    assert open_image(f"{base}/a bé.png").size == (32, 32)
    with pytest.raises(ImageError) as error:
        open_image(f"http://user:secret@{host}/none.png")
    assert "404" in str(error.value) and "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("page.png", "is a web page, which is not read. Check the address"),
        ("none.png", "the server answered 404"),
        ("short.png", "ended after 50 of"),
        ("announced.png", "more than the 512 MiB"),
        ("ftp.png", "cannot be read"),
        ("file.png", "cannot be read"),
        ("round.png", "cannot be read"),
    ],
)
def test_what_is_no_picture_is_an_error(server: Served, path: str, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        open_image(f"{server[0]}/{path}")


def test_bounds_on_bytes_and_time(server: Served) -> None:
    base, _ = server
    with pytest.raises(ImageError, match="more than the 1 MiB"):
        fetch(f"{base}/endless.png", max_bytes=1 << 20)
    start = time.monotonic()
    with pytest.raises(ImageError, match=r"took longer than 0\.3 s"):
        fetch(f"{base}/slow.png", seconds=0.3)
    assert time.monotonic() - start < 3


def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/x.png"
        with pytest.raises(ImageError, match=r"took longer than 0\.2 s"):
            fetch(address, seconds=0.2)
    with pytest.raises(ImageError, match="Check the address and the network"):
        fetch(address, seconds=5)  # nobody listens any more


def test_streams_are_told_from_pictures(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    base, seen = server
    with pytest.raises(StreamAddressError, match="camera's stream"):
        fetch(f"{base}/camera.jpg")
    del seen[:]
    assert kind_of_address(f"{base}/none.PNG?x=1") == "picture"
    assert seen == []  # by its suffix, nobody was asked
    assert [kind_of_address(f"{base}/{path}") for path in ("image", "page", "none")] == ["picture", "stream", "stream"]
    monkeypatch.setattr(addresses, "_ASK_TIMEOUT_S", 0.1)
    assert kind_of_address("http://[oops") == "stream"


@pytest.mark.parametrize(
    ("address", "suffix"),
    [
        ("http://host/a.PNG", ".png"),
        ("http://host/a.png?b=c.mp4#d.gif", ".png"),
        ("http://host.png", ""),
        ("http://host/a.b/c", ""),
        ("http://[oops/x.jpg", ".jpg"),
    ],
)
def test_suffixes(address: str, suffix: str) -> None:
    assert suffix_of_address(address) == suffix


@pytest.mark.parametrize("address", ["rtsp://host/x", "s3://bucket/x.png", "file:///x.png", "data:image/png;base64,AA"])
def test_other_schemes_are_named(address: str) -> None:
    with pytest.raises(ImageError, match="http:// and https:// are read"):
        open_image(address)


@pytest.mark.usefixtures("embedded_tiny")
def test_the_command(server: Served, capfd: pytest.CaptureFixture[str]) -> None:
    base, _ = server
    assert (
        main([f"{base}/good.png?w=1", f"{base}/image", f"{base}/none.png", "--classes", "red", "--out", "out", "-q"])
        == 1
    )
    assert sorted(path.name for path in Path("out").glob("*.png")) == [
        *("good_overlay.png", "good_red.png", "image_overlay.png", "image_red.png")
    ]
    assert "/none.png cannot be read: the server answered 404" in capfd.readouterr().err


@pytest.mark.usefixtures("embedded_tiny")
def test_an_address_that_turns_out_to_be_a_stream_is_read_as_one(
    server: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    base, _ = server
    assert main([f"{base}/camera.jpg", "--classes", "red", "--out", "out", "-q"]) == 1
    assert "/camera.jpg" in (told := capfd.readouterr().err) and "not a picture" not in told


@pytest.mark.usefixtures("embedded_tiny")
def test_warnings_of_a_decoder_are_notes(capfd: pytest.CaptureFixture[str]) -> None:
    content = cases()["jpeg_exif_cut.jpg"].content
    Path("cut.jpg").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["cut.jpg", "--classes", "red", "--json"]) == 0
    told = capfd.readouterr()
    assert told.err == ""
    assert "a warning: Corrupt EXIF data" in json.loads(told.out)["notes"][0]


def test_who_may_not_be_sent_elsewhere_is_told(server: tuple[str, list[tuple[str, str | None]]]) -> None:
    address, seen = server
    with pytest.raises(RefusedError, match="302") as told:
        fetch(f"{address}/moved.png", asking=Asking(redirects=False))
    assert told.value.location.endswith("/good.png")
    assert fetch(f"{address}/good.png", asking=Asking({"Authorization": "Token x"}, redirects=False)) == png()
    assert seen[-1] == ("/good.png", "Token x")


PRIVATE = """127.0.0.1 10.1.2.3 172.16.0.1 192.168.0.1 169.254.169.254 100.64.0.1 0.0.0.0 255.255.255.255 224.0.0.1
192.0.2.1 ::1 :: fe80::1%eth0 fc00::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 2002:7f00:1::1 64:ff9b::7f00:1 2001:0:7f00:1::1
2001:db8::1 ff02::1"""


def test_private_hosts_are_known() -> None:
    assert [one for one in PRIVATE.split() if is_public(one)] == []
    assert all(map(is_public, ("8.8.8.8", "1.1.1.1", "2606:4700:4700::1111")))


def test_private_hosts_are_not_connected_to(
    server: tuple[str, list[tuple[str, str | None]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, seen = server
    secure = plain.replace("http://", "https://")
    for address in (plain, f"{secure}/good.png", secure.replace("127.0.0.1", "localhost"), "https://[::1]/a.png"):
        with pytest.raises(ImageError, match=r"private network|https://"):
            fetch(address, asking=Asking(redirects=False, public=True), seconds=3)
    # One private address among several is enough: whoever connects takes any of them.
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 443)) for host in ("8.8.8.8", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: both)
    with pytest.raises(ImageError, match="private network"):
        connect_public("rebinding.example", 443, 1)
    assert seen == []


def test_what_was_checked_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 443)) for host in ("8.8.8.8", "1.1.1.1")]

    def connect(place: tuple[str, int], timeout: float) -> str:
        asked.append(place)
        if place[0] == "8.8.8.8":
            raise OSError("no route")
        return "connected"

    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: found)
    monkeypatch.setattr(socket, "create_connection", connect)
    assert connect_public("two.example", 443, 1) == "connected"
    assert asked == [("8.8.8.8", 443), ("1.1.1.1", 443)]
