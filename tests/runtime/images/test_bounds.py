"""Bounds on what pictures cost, and failures of one picture that stay its own."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsclip_runtime import ImageError, Limits, Segmenter, open_image
from clsclip_runtime.images import MAX_PIXELS, MAX_SIDE, SUFFIXES, conversion, open_stored, opening, read_all
from clsclip_runtime.results.files import default_stem

ROOT = Path(__file__).parents[3]


class Endless(io.RawIOBase):
    """A pipe that never ends, and never gives what it is asked for at once."""

    def read(self, size: int = -1, /) -> bytes:
        return bytes(min(1000, size))


def test_pipes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MAX_BYTES", 5 << 20)
    with pytest.raises(ImageError, match="does not end after 5 MiB"):
        read_all(Endless(), "the pipe")  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="does not end after 5 MiB"):
        open_image(Endless())  # type: ignore[arg-type]


def test_paths_that_are_no_files_are_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    for path in (pipe, Path(os.devnull), Path("/dev/zero")):
        with pytest.raises(ImageError, match="is a pipe or a device"):
            open_image(path)
    with pytest.raises(ImageError, match="File name too long"):
        open_image("x" * 300 + ".jpg")


def test_strided_and_released_views() -> None:
    content = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(content, "PNG")
    spread = bytes(byte for one in content.getvalue() for byte in (one, 0))
    assert open_image(memoryview(spread)[::2]).size == (4, 4)
    view = memoryview(spread)
    view.release()
    with pytest.raises(ImageError, match="cannot be read"):
        open_image(view)


def test_bands_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    deep = random.integers(0, 65536, (50, 30), dtype=np.uint16)
    images = [
        Image.fromarray(random.integers(0, 256, (50, 30, 4), dtype=np.uint8)),
        Image.fromarray(random.integers(0, 256, (50, 30, 3), dtype=np.uint8)).quantize(64),
        Image.fromarray(random.integers(0, 256, (50, 30, 3), dtype=np.uint8)).convert("CMYK"),
        Image.fromarray(deep),
        Image.fromarray(deep.astype(np.int32) * 9 - 500),
        Image.fromarray(random.normal(100, 300, (50, 30)).astype(np.float32)),
    ]
    whole = [open_image(image) for image in images]
    monkeypatch.setattr(conversion, "_BAND_PIXELS", 100)
    for image, before in zip(images, whole, strict=True):
        after = open_image(image)
        assert (np.asarray(after.image) == np.asarray(before.image)).all()
        assert after.notes == before.notes


def test_memory_that_is_refused_is_told(monkeypatch: pytest.MonkeyPatch, segmenter: Segmenter) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise MemoryError

    content = io.BytesIO()
    Image.new("L", (4, 4)).save(content, "PNG")
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "_to_rgb", refuse)
        for source in (content.getvalue(), Image.new("L", (4, 4)), np.zeros((4, 4), np.uint8)):
            with pytest.raises(ImageError, match="needs more memory than there is"):
                open_image(source)
    with monkeypatch.context() as patch:
        patch.setattr("clsclip_runtime.inference.call.Scheduler.run", refuse)
        with pytest.raises(ImageError, match="not enough memory to segment <array>"):
            segmenter(np.zeros((8, 8), np.uint8), ["red"])
        found = segmenter.batch([np.zeros((8, 8), np.uint8), b"no picture"], ["red"], return_errors=True)
        assert all(isinstance(one, ImageError) for one in found)


def test_limits_reach_every_kind_of_source(segmenter: Segmenter, bundle: Path) -> None:
    with Segmenter.load(bundle, "onnxruntime-cpu", limits=Limits(max_pixels=63)) as strict:
        for source in (np.zeros((8, 8), np.uint8), Image.new("RGB", (8, 8))):
            with pytest.raises(ImageError, match="the limit is 63"):
                strict(source, ["red"])


def test_masks_and_stickers_open_no_other_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = tmp_path / "ran"
    script = tmp_path / "bin" / "gs"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\necho started >> {ran}\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    mask = tmp_path / "mask.png"
    mask.write_bytes(b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%ImageData: 9 9 8 1 0 1 1 "x"\n%%EndComments\n')
    for read in (open_image, open_stored):
        with pytest.raises(ImageError, match="is PostScript"):
            read(mask)
    assert not ran.exists()


def test_masks_keep_their_indices(tmp_path: Path) -> None:
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4)
    mask = Image.frombytes("P", (4, 3), indices.tobytes())
    mask.putpalette([value for index in range(256) for value in (index * 7 % 256, index, 0)])
    mask.save(tmp_path / "mask.png")
    read = open_stored(tmp_path / "mask.png")
    assert read.mode == "P"
    assert (np.asarray(read) == indices).all()


@pytest.mark.parametrize(
    ("source", "stem"),
    [
        ("http://h/a/photo.png?w=1#x", "photo"),
        ("https://h/?id=5", "picture"),
        ("https://h", "picture"),
        ("a/photo.png", "photo"),
    ],
)
def test_names_of_results(source: str, stem: str) -> None:
    assert default_stem(source) == stem


def test_the_guide_has_every_suffix_and_limit() -> None:
    guide = (ROOT / "docs" / "guides" / "pictures.md").read_text("utf-8")
    formats = guide.partition("## Formats")[2].partition("The content decides")[0]
    assert {f".{name}" for name in re.findall(r"`([a-z0-9]+)`", formats)} == SUFFIXES
    assert f"| {MAX_PIXELS:,} |" in guide and f"| {MAX_SIDE:,} |" in guide
