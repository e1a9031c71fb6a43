"""Concatenated pictures: the same pictures whatever the chunks, and a clear error for anything else."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clsclip_runtime.errors import VideoError
from clsclip_runtime.video.splitter import split_images


def encode(size: tuple[int, int], seed: int, kind: str) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    out = io.BytesIO()
    if kind == "thumbnail":  # a whole picture inside another's metadata
        image.save(out, "JPEG", exif=b"Exif\0\0" + encode((4, 4), seed, "jpeg") + b"\xff\xd9")
    elif kind == "grey":
        image.convert("L").save(out, "PPM")
    elif kind == "deep":
        out.write(b"P6\n# made by hand\n%d %d\n65535\n" % size + pixels.astype(">u2").tobytes())
    else:
        options = {"progressive": {"progressive": True}, "restarts": {"restart_marker_blocks": 1}}
        format_ = {"png": "PNG", "ppm": "PPM"}.get(kind, "JPEG")
        image.save(out, format_, **options.get(kind, {}))
    return out.getvalue()


KINDS = ("jpeg", "progressive", "restarts", "thumbnail", "png", "ppm", "grey", "deep")
IMAGES = st.builds(
    encode, st.tuples(st.integers(1, 24), st.integers(1, 24)), st.integers(0, 99), st.sampled_from(KINDS)
)


def in_chunks(data: bytes, sizes: list[int]) -> Callable[[int], bytes]:
    """A ``read`` whose chunks have the given sizes, over and over."""

    def cut() -> Iterator[bytes]:
        at = turn = 0
        while at < len(data):
            size = sizes[turn % len(sizes)]
            yield data[at : at + size]
            at, turn = at + size, turn + 1

    chunks = cut()
    return lambda _: next(chunks, b"")


@given(st.lists(IMAGES, max_size=5), st.lists(st.integers(1, 3000), min_size=1, max_size=5))
def test_any_chunks_give_the_same_pictures(images: list[bytes], sizes: list[int]) -> None:
    assert list(split_images(in_chunks(b"".join(images), sizes), "x")) == images


@pytest.mark.parametrize("kind", KINDS)
def test_one_byte_at_a_time(kind: str) -> None:
    images = [encode((9, 7), seed, kind) for seed in range(2)]
    assert list(split_images(in_chunks(b"".join(images), [1]), "x")) == images


@given(IMAGES, IMAGES, st.data())
def test_a_stream_that_is_cut_off_gives_what_is_whole(first: bytes, second: bytes, data: st.DataObject) -> None:
    length = data.draw(st.integers(1, len(second) - 1))
    split = split_images(io.BytesIO(first + second[:length]).read, "pipe")
    assert next(split) == first
    with pytest.raises(VideoError, match="pipe"):
        next(split)


@given(IMAGES, st.binary(min_size=2, max_size=300).filter(lambda data: data[:1] not in (b"\xff", b"\x89", b"P")))
def test_garbage_between_pictures_is_told(image: bytes, garbage: bytes) -> None:
    split = split_images(io.BytesIO(image + garbage + image).read, "pipe")
    assert next(split) == image
    with pytest.raises(VideoError, match=rf"pipe, picture 2 \(byte {len(image):,}\): .*begin no known picture"):
        next(split)


@given(st.binary(max_size=400), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"P6 ", b"P5\n#"]))
def test_garbage_never_does_worse(garbage: bytes, start: bytes) -> None:
    split = split_images(io.BytesIO(start + garbage).read, "x")
    try:
        given_back = b"".join(split)
    except VideoError:
        return
    assert given_back == start + garbage


def test_a_picture_is_given_before_the_next_begins() -> None:
    image = encode((5, 5), 0, "jpeg")
    asked = []

    def read(_: int) -> bytes:
        asked.append(None)
        return image

    split = split_images(read, "x")
    for number in range(1, 4):
        assert next(split) == image
        assert len(asked) == number


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"P6 1 1 0 \0\0\0", "maximum 0"),
        (b"P6 1 x", "header is not complete"),
        (b"P6" + b" " * 5000, "header is not complete"),
        (b"P6 99999 99999 255 ", "larger than 256 MiB"),
        (b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffIDAT0000", "larger than 256 MiB"),
        (b"\xff\xd8\xff\xe0\0\x02abc", "begins with 61 62, not a marker"),
        (b"GIF89a", "begin no known picture"),
    ],
)
def test_nonsense_is_told(data: bytes, message: str) -> None:
    with pytest.raises(VideoError, match=message):
        list(split_images(io.BytesIO(data).read, "x"))


def test_a_picture_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clsclip_runtime.video.splitter._MOST_BYTES", 1 << 18)
    start = encode((5, 5), 0, "jpeg")[:-2]
    reads = iter([start])
    with pytest.raises(VideoError, match="larger than"):
        list(split_images(lambda count: next(reads, os.urandom(count).replace(b"\xff", b"\0")), "x"))
