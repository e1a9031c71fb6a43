from __future__ import annotations

import io
import os
import threading

import numpy as np
import pytest
from PIL import Image

from clsclip_runtime.errors import OptionError, VideoError
from clsclip_runtime.video import EncodedFrames, FrameSource, RawFrames
from tests.runtime.video.made import number_of, numbered


def encoded(index: int, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(numbered(index)).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "PPM"])
def test_pictures_are_frames(kind: str) -> None:
    source = EncodedFrames(io.BytesIO(b"".join(encoded(index, kind) for index in range(5))), fps=10)
    assert (source.fps, source.size, source.count, source.live) == (10, None, None, True)
    frames = list(source.frames())
    assert [(frame.index, frame.seconds, number_of(frame.image)) for frame in frames] == [
        (index, index / 10, index) for index in range(5)
    ]
    assert source.size == (96, 64)


def test_each_nth_picture_is_decoded_and_no_other() -> None:
    damaged = bytearray(encoded(1))
    damaged[50] ^= 255
    source: FrameSource = EncodedFrames(io.BytesIO(encoded(0) + damaged + encoded(2)))
    assert [number_of(frame.image) for frame in source.frames(2)] == [0, 2]


def test_a_damaged_picture_is_told_after_those_before_it() -> None:
    damaged = bytearray(encoded(1))
    damaged[50] ^= 255
    frames = EncodedFrames(io.BytesIO(encoded(0) + damaged)).frames()
    assert next(frames).index == 0
    with pytest.raises(VideoError, match="<stdin>, picture 2: the picture is damaged or incomplete"):
        next(frames)


def test_garbage_is_told_after_the_frames_before_it() -> None:
    frames = EncodedFrames(io.BytesIO(encoded(0, "JPEG") + b"\r\n--boundary\r\n")).frames()
    assert next(frames).index == 0
    with pytest.raises(VideoError, match="ffmpeg -i IN -f image2pipe"):
        next(frames)


def test_raw_frames() -> None:
    source = RawFrames(io.BytesIO(b"".join(numbered(index).tobytes() for index in range(4))), (96, 64))
    assert (source.fps, source.size, source.live) == (None, (96, 64), True)
    frames = list(source.frames())
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, numbered(index))
    assert [frame.index for frame in RawFrames(io.BytesIO(bytes(7 * 3)), (1, 1)).frames(3)] == [0, 3, 6]


def test_a_raw_frame_that_is_cut_off_asks_for_the_size() -> None:
    frames = RawFrames(io.BytesIO(bytes(96 * 64 * 3 + 100)), (96, 64)).frames()
    assert next(frames).index == 0
    with pytest.raises(VideoError, match=r"within frame 2, after 100 of 18,432 bytes.*really 96x64"):
        next(frames)


@pytest.mark.parametrize("size", [(0, 5), (5, -1), (10**5, 10**5)])
def test_sizes_that_make_no_sense_are_told(size: tuple[int, int]) -> None:
    with pytest.raises(OptionError, match=r"raw frames of .* are not possible"):
        RawFrames(io.BytesIO(), size)


def test_a_pipe_that_gives_nothing_is_told() -> None:
    with pytest.raises(VideoError, match="before its first picture"):
        list(EncodedFrames(io.BytesIO()).frames())
    with pytest.raises(VideoError, match="before its first frame"):
        list(RawFrames(io.BytesIO(), (2, 2)).frames())


def test_a_frame_comes_before_the_pipe_gives_more() -> None:
    """A buffered reader would wait for a full buffer, and a live picture would be late."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as pipe:
        frames = EncodedFrames(pipe).frames()
        for index in range(3):
            os.write(writer, encoded(index))
            got = []
            thread = threading.Thread(target=lambda got=got: got.append(next(frames)))
            thread.start()
            thread.join(10)
            assert [number_of(frame.image) for frame in got] == [index]
        os.close(writer)
        assert next(frames, None) is None
