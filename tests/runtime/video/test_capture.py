"""Video files, cameras and streams: made by OpenCV, served by a server of this test."""

from __future__ import annotations

import http.server
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from clsclip_runtime.errors import VideoError
from clsclip_runtime.video import open_camera, open_stream, open_video
from clsclip_runtime.video.capture import Capture, public_address
from tests.runtime.video.made import make_video, number_of, numbered, read_video


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_every_frame_of_a_file(tmp_path: Path, suffix: str) -> None:
    source = open_video(make_video(tmp_path / f"a{suffix}", 40, fps=12.5))
    assert (source.fps, source.size, source.count, source.live) == (12.5, (96, 64), 40, False)
    frames = list(source.frames())
    source.close()
    source.close()
    assert [frame.index for frame in frames] == list(range(40))
    assert [number_of(frame.image) for frame in frames] == list(range(40))
    assert [frame.seconds for frame in frames] == pytest.approx([index / 12.5 for index in range(40)])
    assert frames[3].image.shape == (64, 96, 3)
    assert frames[3].image.dtype == np.uint8
    red, green, blue = frames[3].image[-8:].mean(axis=(0, 1))
    assert red > 200 > 50 > max(green, blue)


def test_each_nth_frame(tmp_path: Path) -> None:
    frames = list(open_video(make_video(tmp_path / "a.mp4", 20)).frames(7))
    assert [(frame.index, number_of(frame.image)) for frame in frames] == [(0, 0), (7, 7), (14, 14)]


def test_rotation_of_the_metadata_is_respected(tmp_path: Path) -> None:
    """The same file with the matrix of its track's header turned by 90 degrees, as a phone held upright writes it."""
    path = make_video(tmp_path / "a.mp4", 3)
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    one = 1 << 16
    assert struct.unpack(">9i", content[matrix : matrix + 36]) == (one, 0, 0, 0, one, 0, 0, 0, one << 14)
    content[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, one << 14)
    path.write_bytes(content)
    (first, *_) = open_video(path).frames()
    assert first.image.shape == (96, 64, 3)
    turned = np.rot90(numbered(0), -1)  # the red band, at the bottom before, is at the left now
    assert np.abs(first.image[:, :8].astype(int) - turned[:, :8]).mean() < 25


def spoiled(tmp_path: Path, how: str) -> Path:
    path = tmp_path / f"{how}.mp4"
    if how == "empty":
        path.touch()
    elif how == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif how == "half":
        content = make_video(path, 60).read_bytes()
        path.write_bytes(content[: len(content) // 2])
    elif how == "no frames":
        make_video(path, 0)
    elif how == "folder":
        path.mkdir()
    elif how == "text":
        path.write_text("not a video\n" * 50)
    return path


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("absent", "cannot read .*absent.mp4: No such file"),
        ("folder", "is not a file"),
        ("empty", r"is empty \(0 bytes\)"),
        ("noise", "is not a video that can be read"),
        ("text", "is not a video that can be read"),
        ("half", "is not a video that can be read"),
        ("no frames", "is not a video that can be read"),
    ],
)
def test_files_that_are_no_videos_are_told(tmp_path: Path, how: str, message: str) -> None:
    with pytest.raises(VideoError, match=message):
        open_video(spoiled(tmp_path, how))


def test_a_file_of_zero_frames_is_told(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="has no frames"):
        list(open_video(make_video(tmp_path / "a.avi", 0)).frames())


def test_a_file_that_is_cut_off_gives_its_frames_and_is_told(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.avi", 100)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    given = []
    with pytest.raises(VideoError, match=r"a.avi ends after \d+ of 100 frames: it is damaged or cut off"):
        for frame in open_video(path).frames():
            given.append(number_of(frame.image))
    assert 30 < len(given) < 70
    assert given[:-1] == list(range(len(given) - 1))  # the last one may be half


def test_a_name_is_never_an_address_or_a_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "a.mp4", 2).rename("file:%03d.mp4")
    assert len(list(open_video("file:%03d.mp4").frames())) == 2


def test_a_camera_that_is_not_there_is_told() -> None:
    with pytest.raises(VideoError, match="cannot open camera 97: there is none"):
        open_camera(97)


def test_a_camera_has_no_end_that_is_known_and_time_of_the_clock(tmp_path: Path) -> None:
    capture = cv2.VideoCapture(str(make_video(tmp_path / "a.mp4", 5)))
    camera = Capture(capture, "camera 0", live=True, wall_clock=True)
    assert camera.live
    assert camera.count is None
    seconds = [frame.seconds for frame in camera.frames()]
    assert seconds == sorted(seconds)
    assert seconds[0] < 0.5


def test_opencv_is_asked_for_by_the_name_that_pip_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "a.mp4", 2)
    monkeypatch.setitem(sys.modules, "cv2", None)
    for opened in (lambda: open_video(path), lambda: open_camera(0), lambda: open_stream("rtsp://127.0.0.1/")):
        with pytest.raises(VideoError, match=r"\[video\]'$"):
            opened()


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
    source = open_stream(address + path)
    assert source.live
    assert source.count is None
    frames = list(source.frames())
    source.close()
    assert [number_of(frame.image) for frame in frames] == list(range(20))
    seconds = [frame.seconds for frame in frames]
    assert seconds == sorted(seconds)
    assert seconds[-1] > seconds[0]


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
    class Silent:
        def get(self, _: int) -> float:
            return 0.0

        def grab(self) -> bool:
            threading.Event().wait(0.05)
            return False

    with pytest.raises(VideoError, match=r"gave no frame for 0\.05 s"):
        list(Capture(Silent(), "rtsp://host/", live=True, timeout_s=0.05).frames())


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


def test_numbered_pictures_survive_the_codecs(tmp_path: Path) -> None:
    for suffix in (".mp4", ".avi"):
        frames, fps = read_video(make_video(tmp_path / f"a{suffix}", 512, fps=10))
        assert [number_of(frame) for frame in frames] == list(range(512))
        assert fps == 10
