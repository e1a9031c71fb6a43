"""Video files, cameras and pipes: made by PyAV."""

from __future__ import annotations

import errno
import io
import os
import socket
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from clsclip_runtime.errors import VideoError
from clsclip_runtime.video import (
    capture,
    decoding,
    open_camera,
    open_piped_video,
    open_stream,
    open_video,
)
from tests.runtime.video.made import make_video, number_of, numbered, read_video


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".webm"])
def test_every_frame_of_a_file(tmp_path: Path, suffix: str) -> None:
    source = open_video(make_video(tmp_path / f"a{suffix}", 40, fps=12.5))
    assert (source.fps, source.size, source.count, source.live) == (12.5, (96, 64), 40, False)
    frames = list(source.frames())
    source.close()
    source.close()
    assert [frame.index for frame in frames] == list(range(40))
    assert [number_of(frame.image) for frame in frames] == list(range(40))
    assert [frame.seconds for frame in frames] == pytest.approx([index / 12.5 for index in range(40)], abs=0.001)
    assert frames[3].image.shape == (64, 96, 3)
    assert frames[3].image.dtype == np.uint8
    red, green, blue = frames[3].image[-8:].mean(axis=(0, 1))
    assert red > 200 > 50 > max(green, blue)


def test_each_nth_frame(tmp_path: Path) -> None:
    frames = list(open_video(make_video(tmp_path / "a.mp4", 20)).frames(7))
    assert [(frame.index, number_of(frame.image)) for frame in frames] == [(0, 0), (7, 7), (14, 14)]


def test_places_that_no_file_has(tmp_path: Path) -> None:
    file = capture._File(make_video(tmp_path / "a.mp4", 3))
    assert file.seek(-1) == -errno.EINVAL
    assert file.seek(5) == 5
    file.close()
    assert file.seek(5) == -errno.EBADF


def test_a_disk_that_fails_while_a_video_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read, left = make_video(tmp_path / "a.mkv", 200, width=640, height=480), capture._File.read, [10**9]

    def failing(self: capture._File, count: int) -> bytes:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(self, count)

    monkeypatch.setattr(capture._File, "read", failing)
    left[0] = 0
    with pytest.raises(VideoError, match=r"not a video that can be read.*Input/output error"):
        open_video(path)
    left[0] = 10**9
    source = open_video(path)
    frames = source.frames()
    next(frames)
    left[0] = 0
    with pytest.raises(VideoError, match=r"broke off after \d+ frames: Input/output error"):
        list(frames)
    source.close()


def test_a_frame_whose_pixels_cannot_be_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert, calls = decoding.image_of, [0]

    def failing(frame: Any) -> Any:
        calls[0] += 1
        if calls[0] == 4:  # the first call measures
            raise av.error.OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return convert(frame)

    monkeypatch.setattr(decoding, "image_of", failing)
    source, frames = open_video(make_video(tmp_path / "a.mkv", 6)), []
    with pytest.raises(VideoError, match=r"1 of 6 frames of .* are damaged, the first is frame 2"):
        for frame in source.frames():
            frames.append(frame.index)
    assert frames == [0, 1, 3, 4, 5]


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


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_each_frame_has_its_own_time_where_the_rate_varies(tmp_path: Path, suffix: str) -> None:
    times = [0, 0.04, 0.08, 0.5, 0.52, 2.0]
    frames = list(open_video(make_video(tmp_path / f"a{suffix}", 6, times=times)).frames())
    assert [frame.seconds for frame in frames] == pytest.approx(times, abs=0.002)
    assert [number_of(frame.image) for frame in frames] == list(range(6))


def test_time_begins_with_the_first_frame(tmp_path: Path) -> None:
    frames = list(open_video(make_video(tmp_path / "a.mkv", 3, times=[7.0, 7.5, 8.25])).frames())
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.5, 1.25], abs=0.002)


@pytest.mark.parametrize(("width", "height"), [(96, 64), (1280, 720)])
@pytest.mark.parametrize(("matrix", "told"), [("ITU709", 1), ("ITU601", 5), ("ITU601", None)])
def test_colors_are_those_that_the_file_means(
    tmp_path: Path, width: int, height: int, matrix: str, told: int | None
) -> None:
    """The matrix that the file tells; ITU 601, as FFmpeg and OpenCV take it, where it tells none."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[:, : width // 2], rgb[:, width // 2 :] = (20, 200, 40), (200, 60, 30)
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if told is not None:
            stream.codec_context.colorspace = told
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p", dst_colorspace=matrix)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (one,) = open_video(path).frames()
    for x, color in ((width // 4, (20, 200, 40)), (3 * width // 4, (200, 60, 30))):
        assert np.abs(one.image[height // 2, x].astype(int) - color).max() <= 4


def test_a_video_without_pictures_is_told(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match=r"a\.mp4 has no pictures"):
        open_video(tmp_path / "a.mp4")


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
        ("no frames", "has no pictures|has no frames"),
    ],
)
def test_files_that_are_no_videos_are_told(tmp_path: Path, how: str, message: str) -> None:
    with pytest.raises(VideoError, match=message):
        open_video(spoiled(tmp_path, how))


def test_a_file_of_zero_frames_is_told(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="has no frames"):
        open_video(make_video(tmp_path / "a.avi", 0))


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


def test_a_damaged_file_gives_the_rest_and_is_told_at_the_end(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 60)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2
    content[start : start + 300] = bytes(300)
    path.write_bytes(content)
    numbers = []
    with pytest.raises(VideoError, match=r"of \d+ frames of .*a.mp4 are damaged, the first is frame \d+"):
        for frame in open_video(path).frames():
            numbers.append(frame.index)
    assert numbers[:20] == list(range(20))
    assert 55 <= len(numbers) <= 60
    assert numbers == sorted(set(numbers))


def test_a_name_is_never_an_address_or_a_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "a.mp4", 2).rename("file:%03d.mp4")
    assert len(list(open_video("file:%03d.mp4").frames())) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no names that are not Unicode")
def test_a_name_may_hold_any_bytes(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 2).rename(tmp_path / os.fsdecode(b"\xff\xfe.mp4"))
    assert len(list(open_video(path).frames())) == 2


def test_a_playlist_cannot_make_other_files_or_addresses_be_read(tmp_path: Path) -> None:
    make_video(tmp_path / "secret.ts", 5)
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        asked.listen()
        asked.settimeout(0.2)
        for target in (f"file:{tmp_path}/secret.ts", f"http://127.0.0.1:{asked.getsockname()[1]}/a.ts"):
            text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n"
            (tmp_path / "list.mp4").write_text(text)
            with pytest.raises(VideoError, match=r"list\.mp4 is a list of other files or addresses"):
                list(open_video(tmp_path / "list.mp4").frames())
            with pytest.raises(VideoError):
                list(open_piped_video(io.BytesIO(text.encode())).frames())
        with pytest.raises(TimeoutError):
            asked.accept()


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_a_video_in_a_pipe(tmp_path: Path, suffix: str) -> None:
    content = make_video(tmp_path / f"a{suffix}", 20).read_bytes()
    source = open_piped_video(io.BytesIO(content))
    assert (source.name, source.live, source.count, source.size) == ("<stdin>", True, None, (96, 64))
    frames = list(source.frames())
    assert [number_of(frame.image) for frame in frames] == list(range(20))
    assert [frame.seconds for frame in frames] == pytest.approx([index / 25 for index in range(20)], abs=0.002)


def test_a_pipe_that_is_no_video_is_told() -> None:
    with pytest.raises(VideoError, match=r"<stdin> is not a video that can be read from a pipe .*-f matroska -"):
        open_piped_video(io.BytesIO(b"not a video\n" * 50))
    with pytest.raises(VideoError, match="<stdin> is not a video"):
        open_piped_video(io.BytesIO())


def test_a_camera_that_is_not_there_is_told() -> None:
    with pytest.raises(VideoError, match="cannot open camera 97: there is none"):
        open_camera(97)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera of five frames, which FFmpeg makes, in the place of the system's."""
    device = ("testsrc=size=64x48:rate=100,trim=end_frame=5", "lavfi", {})
    monkeypatch.setattr(capture, "_camera", lambda _av, _number: device)


@pytest.mark.usefixtures("pretended")
def test_a_camera_has_no_end_that_is_known_and_time_of_the_clock() -> None:
    camera = open_camera(0)
    assert (camera.name, camera.live, camera.count, camera.size) == ("camera 0", True, None, (64, 48))
    frames = camera.frames()
    seconds = [next(frames).seconds for _ in range(5)]
    assert seconds == sorted(seconds)
    assert seconds[0] < 0.5


@pytest.mark.usefixtures("pretended")
def test_a_camera_that_hangs_up_is_told() -> None:
    given = []
    with pytest.raises(VideoError, match=r"camera 0 hung up after 5 frames\. Is it still connected\?"):
        for frame in open_camera(0).frames():
            given.append(frame.index)
    assert given == list(range(5))


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("linux", ("/dev/video1", "v4l2")),
        ("darwin", ("1", "avfoundation")),
        ("win32", ("video=Second", "dshow")),
    ],
)
def test_cameras_are_numbered_on_every_system(
    monkeypatch: pytest.MonkeyPatch, system: str, expected: tuple[str, str]
) -> None:
    class Devices:
        @staticmethod
        def enumerate_input_devices(_: str) -> list[SimpleNamespace]:
            kinds = [("First", ["video"]), ("Microphone", ["audio"]), ("Second", ["video", "audio"])]
            return [SimpleNamespace(name=name, media_types=types) for name, types in kinds]

    monkeypatch.setattr(sys, "platform", system)
    assert capture._camera(Devices(), 1)[:2] == expected


def test_pyav_is_asked_for_by_the_name_that_pip_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "a.mp4", 2)
    monkeypatch.setitem(sys.modules, "av", None)
    for opened in (lambda: open_video(path), lambda: open_camera(0), lambda: open_stream("rtsp://127.0.0.1/")):
        with pytest.raises(VideoError, match=r"\[video\]'$"):
            opened()


def test_numbered_pictures_survive_the_codecs(tmp_path: Path) -> None:
    for suffix in (".mp4", ".avi"):
        frames, fps = read_video(make_video(tmp_path / f"a{suffix}", 512, fps=10))
        assert [number_of(frame) for frame in frames] == list(range(512))
        assert fps == 10
