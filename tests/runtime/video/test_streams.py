"""Streams of the network: served by a server of this test, by another program, or by none."""

from __future__ import annotations

import http.server
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import cv2
import pytest

from clsclip_runtime.errors import VideoError
from clsclip_runtime.paths import public_address
from clsclip_runtime.video import (
    Frame,
    Reconnecting,
    open_stream,
)
from tests.runtime.video.made import make_video, number_of, numbered


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server of ``/clip.mp4`` and of ``/camera``, which sends 20 JPEG pictures and hangs up, and 404 else."""
    clip = make_video(tmp_path / "clip.mp4", 20).read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if self.path == "/clip.mp4":
                self.send_response(200)
                self.send_header("Content-Length", str(len(clip)))
                self.end_headers()
                self.wfile.write(clip)
            elif self.path == "/camera":
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
                self.end_headers()
                for index in range(20):
                    jpeg = cv2.imencode(".jpg", numbered(index)[..., ::-1])[1].tobytes()
                    head = b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
                    self.wfile.write(head + jpeg + b"\r\n")
            else:
                self.send_error(404)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/clip.mp4", "/camera"])
def test_a_stream_is_read_to_its_end(address: str, path: str) -> None:
    """The end of a clip is its end. A camera's is somebody's hanging up."""
    source = open_stream(address + path)
    assert source.live
    assert source.count is None
    frames = []
    with pytest.raises(VideoError, match="hung up after 20 frames") if path == "/camera" else nullcontext():
        for frame in source.frames():
            frames.append(frame)
    source.close()
    assert [number_of(frame.image) for frame in frames] == list(range(20))
    seconds = [frame.seconds for frame in frames]
    assert seconds == sorted(seconds)
    assert seconds[-1] > seconds[0]


def test_a_camera_that_hangs_up_is_connected_again(address: str) -> None:
    source = Reconnecting(lambda: open_stream(address + "/camera"), 2, wait_s=0.01)
    frames = []
    with pytest.raises(VideoError, match="hung up after 20 frames"):
        for frame in source.frames(3):
            frames.append(frame)
    # 0, 3, ..., 18 of each connection; a later one begins at the next index that 3 divides.
    assert [number_of(frame.image) for frame in frames] == list(range(0, 20, 3)) * 3
    assert [frame.index for frame in frames] == list(range(0, 63, 3))
    seconds = [frame.seconds for frame in frames]
    assert seconds == sorted(seconds)
    (note,) = source.notes
    assert "tried 2 times to connect again" in note


def test_connections_that_fail_count_and_closing_ends_the_waiting() -> None:
    calls = []

    class Source:
        name, fps, size, count, live, notes = "camera", None, None, None, True, ()

        def frames(self, every: int = 1) -> Iterator[Frame]:
            yield Frame(numbered(0), 0, 0.0)
            raise VideoError("hung up")

        def close(self) -> None:
            pass

    def connect() -> Source:
        calls.append(1)
        if 1 < len(calls) < 4:
            raise VideoError("nobody answers")
        return Source()

    source = Reconnecting(connect, 4, wait_s=0.001)
    indexes = []
    with pytest.raises(VideoError, match="hung up"):
        for frame in source.frames():
            indexes.append(frame.index)
    assert (len(calls), indexes) == (5, [0, 1, 2])
    calls.clear()
    waiting = Reconnecting(connect, 4, wait_s=60)
    threading.Timer(0.1, waiting.close).start()
    start = time.monotonic()
    with pytest.raises(VideoError, match="hung up"):
        list(waiting.frames())
    assert time.monotonic() - start < 10


def test_a_stream_that_is_not_there_is_told(address: str) -> None:
    with pytest.raises(VideoError, match="it was refused, or what it gives is no video"):
        open_stream(address + "/nothing.mp4")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and never listens
        with pytest.raises(VideoError, match=r"cannot open the stream rtsp://me:\*{3}@127\.0\.0\.1"):
            open_stream(f"rtsp://me:secret@127.0.0.1:{unused.getsockname()[1]}/door")


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_stream_that_is_silent_is_told_in_time(scheme: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(VideoError, match=r"no answer in 0\.5 s"):
            open_stream(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/door", timeout_s=0.5)


def test_a_stream_that_falls_silent_is_told(tmp_path: Path) -> None:
    """It sends half of a video and then nothing, and does not hang up."""
    content = make_video(tmp_path / "a.ts", 50, width=320, height=240).read_bytes()
    ended = threading.Event()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + content[: len(content) // 2])
                ended.wait(20)

        thread = threading.Thread(target=serve)
        thread.start()
        frames = open_stream(f"http://127.0.0.1:{server.getsockname()[1]}/a.ts", timeout_s=0.5).frames()
        numbers = []
        with pytest.raises(VideoError, match=r"gave no frame for 0\.5 s"):
            for frame in frames:
                numbers.append(number_of(frame.image))
        ended.set()
        thread.join()
    assert numbers[:10] == list(range(10))


LISTEN = {"rtsp_flags": "listen", "listen_timeout": "5"}


@pytest.mark.parametrize("options", [{}, {"rtsp_transport": "udp"}], ids=["tcp", "udp"])
def test_rtsp(options: dict[str, str]) -> None:
    """FFmpeg sends to itself: this end listens, as a camera does not, but all else is as from a camera."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"rtsp://127.0.0.1:{free.getsockname()[1]}/door"

    sender = [sys.executable, "-m", "tests.runtime.video.rtsp_sender", address, options.get("rtsp_transport", "tcp")]
    with subprocess.Popen(sender) as process:
        source = open_stream(address, options=LISTEN | options, timeout_s=5)
        numbers = []
        with pytest.raises(VideoError, match="hung up after"):
            for frame in source.frames():
                numbers.append(number_of(frame.image))
        source.close()
        assert process.wait(20) == 0
    assert len(numbers) >= 15
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://me:secret@host:554/door?x=1", "rtsp://me:***@host:554/door?x=1"),
        ("rtsp://me@host/door", "rtsp://me@host/door"),
        ("rtsp://host/door", "rtsp://host/door"),
        ("http://a:b:c@[::1]:80/", "http://a:***@[::1]:80/"),
        ("http://[oops/", "http://[oops/"),
    ],
)
def test_passwords_are_not_shown(address: str, shown: str) -> None:
    assert public_address(address) == shown
