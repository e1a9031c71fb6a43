"""The C++ resize against Pillow's, byte for byte, and the encoder's input against the Python runtime's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clsclip_runtime.bundle.specs import ImageSpec
from clsclip_runtime.images import open_image, preprocess
from tests.cpp.parts import Parts, PartsError
from tests.shared_data import shared_data

Pixels = npt.NDArray[np.uint8]

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
FORMATS = {"rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4, "gray": 1}
FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("raw") / "picture"


def given_image(raw: Path, pixels: Pixels, order: str = "rgb", pad: int = 0, upwards: bool = False) -> dict[str, Any]:
    """A picture (H, W, C) in the order of ``order``, in a file; rows are ``pad`` bytes apart, or upside down."""
    height, width, channels = pixels.shape
    rows = np.full((height, width * channels + pad), 77, np.uint8)
    rows[:, : width * channels] = pixels.reshape(height, -1)
    (rows[::-1] if upwards else rows).tofile(raw)
    stride = -rows.shape[1] if upwards else rows.shape[1]
    return {"file": str(raw), "width": width, "height": height, "stride": stride, "format": order}


def as_pillow(pixels: Pixels, order: str) -> Image.Image:
    """The picture as the Python runtime makes it RGB."""
    if order == "gray":
        return open_image(np.ascontiguousarray(pixels[:, :, 0])).image
    if order.startswith("bgr"):
        pixels = pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    return open_image(np.ascontiguousarray(pixels)).image


def random_pixels(seed: int, height: int, width: int, channels: int) -> Pixels:
    """Noise, flat parts and hard edges: the filters' over- and undershoots are clipped."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, channels), np.uint8)
    hard = rng.random((height, width)) < 0.5
    pixels[hard] = np.where(rng.random((int(hard.sum()), 1)) < 0.5, 0, 255)
    return pixels


def by_pillow(image: Image.Image, size: tuple[int, int], resampling: Image.Resampling) -> Image.Image:
    """Resized by the rule of Pillow 13, whatever Pillow is here: one direction at a time, in the order of that rule.

    Earlier versions always shorten rows first, and differ where clipping or rounding between the two does.
    """
    if resampling is Image.Resampling.NEAREST:
        return image.resize(size, resampling)
    (width, height), (new_width, new_height) = image.size, size
    across_first = height > new_height and height - new_height > (width - new_width) * 2
    between = (width, new_height) if across_first else (new_width, height)
    resized = image.resize(between, resampling).resize(size, resampling)
    if int(PIL.__version__.split(".")[0]) >= 13:
        assert resized == image.resize(size, resampling)
    return resized


def planes(parts: Parts, image: dict[str, Any], window: Any, size: tuple[int, int], resampling: str) -> Pixels:
    answer = parts("resize", **image, window=list(window), to=list(size), filter=resampling)
    return np.array(answer, np.uint8).reshape(-1, size[1], size[0])


def assert_equals_pillow(
    parts: Parts, raw: Path, pixels: Pixels, order: str, window: Any, size: tuple[int, int], resampling: str, **how: Any
) -> None:
    found = planes(parts, given_image(raw, pixels, order, **how), window, size, resampling)
    image = as_pillow(pixels, order).crop(tuple(window))
    wanted = np.asarray(by_pillow(image, size, Image.Resampling[resampling.upper()])).transpose(2, 0, 1)
    assert np.array_equal(np.broadcast_to(found, wanted.shape), wanted)


@st.composite
def resizes(draw: st.DrawFn) -> dict[str, Any]:
    width, height = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    window = (left, top, draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height)))
    order = draw(st.sampled_from(list(FORMATS)))
    return {
        "pixels": random_pixels(draw(st.integers(0, 99)), height, width, FORMATS[order]),
        "order": order,
        "window": window,
        "size": (draw(st.integers(1, 70)), draw(st.integers(1, 70))),
        "resampling": draw(st.sampled_from(FILTERS)),
        "pad": draw(st.integers(0, 5)),
        "upwards": draw(st.booleans()),
    }


@settings(max_examples=400)
@given(resizes())
def test_resize_equals_pillow(parts: Parts, raw: Path, case: dict[str, Any]) -> None:
    assert_equals_pillow(parts, raw, **case)


@pytest.mark.parametrize("resampling", FILTERS)
@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (1, 1, (32, 32)),
        (1, 700, (32, 3)),
        (9000, 2, (16, 16)),  # thousands of old pixels make one
        (3, 5000, (1, 1)),
        (2, 2, (301, 203)),
        (64, 48, (64, 20)),  # one side stays
        (64, 48, (20, 48)),
        (40, 40, (40, 40)),
    ],
)
def test_unusual_shapes_equal_pillow(
    parts: Parts, raw: Path, width: int, height: int, size: tuple[int, int], resampling: str
) -> None:
    pixels = random_pixels(width, height, width, 3)
    assert_equals_pillow(parts, raw, pixels, "rgb", (0, 0, width, height), size, resampling)


def test_a_large_photograph_equals_pillow(parts: Parts, raw: Path) -> None:
    pixels = random_pixels(1, 1500, 2000, 3)
    for window in [(0, 0, 2000, 1500), (411, 33, 1999, 1200)]:
        assert_equals_pillow(parts, raw, pixels, "rgb", window, (224, 224), "bicubic")


@pytest.mark.parametrize("order", ["rgba", "bgra"])
def test_every_value_and_transparency_is_laid_on_white_as_pillow_does(parts: Parts, raw: Path, order: str) -> None:
    value, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    pixels = np.stack([value, 255 - value, value ^ 85, alpha], axis=2)
    assert_equals_pillow(parts, raw, pixels, order, (0, 0, 256, 256), (256, 256), "bicubic")


@settings(max_examples=40)
@given(resizes())
def test_the_encoders_input_is_the_python_runtimes(parts: Parts, raw: Path, case: dict[str, Any]) -> None:
    image = given_image(raw, case["pixels"], case["order"])
    spec = ImageSpec(case["size"][0], MEAN, STD, "squash", case["resampling"])
    found = parts(
        "preprocess", **image, window=case["window"], size=spec.size, mean=MEAN, std=STD, filter=spec.interpolation
    )
    image = as_pillow(case["pixels"], case["order"]).crop(case["window"])
    resized = by_pillow(image, (spec.size, spec.size), Image.Resampling[spec.interpolation.upper()])
    wanted = preprocess(resized, spec)
    assert np.array_equal(np.array(found, np.float32).reshape(wanted.shape), wanted)


def test_photographs_equal_pillow(parts: Parts, raw: Path) -> None:
    files = sorted(shared_data("pictures").rglob("*.jpg"))[:6]
    for file in files:
        pixels = np.asarray(open_image(file).image)
        window = (0, 0, pixels.shape[1], pixels.shape[0])
        assert_equals_pillow(parts, raw, pixels, "rgb", window, (224, 224), "bicubic")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": [0, 0, 5, 4]}, "window 0,0,5,4 is not in the picture of 4x4"),
        ({"window": [-1, 0, 2, 2]}, "is not in the picture"),
        ({"window": [2, 2, 2, 3]}, "is not in the picture"),
        ({"width": 0, "window": [0, 0, 1, 1]}, "has no pixels"),
        ({"height": -3, "window": [0, 0, 1, 1]}, "has no pixels"),
        ({"width": 1 << 21}, "sides are limited"),
        ({"stride": 11}, "stride is 11 bytes"),
        ({"to": [0, 3]}, "cannot be made 0x3"),
    ],
)
def test_unusable_pictures_are_refused(parts: Parts, raw: Path, change: dict[str, Any], message: str) -> None:
    question = {**given_image(raw, random_pixels(0, 4, 4, 3)), "window": [0, 0, 4, 4], "to": [2, 2]}
    with pytest.raises(PartsError, match=message) as caught:
        parts("resize", **{**question, "filter": "bicubic", **change})
    assert caught.value.kind == "ImageError"


def test_an_unknown_filter_is_refused(parts: Parts, raw: Path) -> None:
    with pytest.raises(PartsError, match="no resize filter 'cubic'") as caught:
        parts("resize", **given_image(raw, random_pixels(0, 4, 4, 3)), to=[2, 2], filter="cubic")
    assert caught.value.kind == "BundleError"
