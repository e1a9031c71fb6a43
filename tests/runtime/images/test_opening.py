from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from clsclip_runtime import ImageError
from clsclip_runtime.bundle.specs import ImageSpec
from clsclip_runtime.images import open_image, preprocess


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(source: Any) -> npt.NDArray[np.uint8]:
    image = open_image(source).image
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.fixture
def noise() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_every_kind_of_source_gives_the_same_pixels(tmp_path: Path, noise: npt.NDArray[np.uint8]) -> None:
    image = Image.fromarray(noise)
    path = tmp_path / "noise.png"
    image.save(path)
    data = path.read_bytes()
    with path.open("rb") as file, Image.open(path) as unread:
        for source in (path, str(path), data, bytearray(data), memoryview(data), file, io.BytesIO(data), image, noise):
            assert (pixels(source) == noise).all()
        assert (pixels(unread) == noise).all()


def test_sources_have_names(tmp_path: Path, noise: npt.NDArray[np.uint8]) -> None:
    path = tmp_path / "noise.png"
    Image.fromarray(noise).save(path)
    with path.open("rb") as file:
        assert open_image(file).source == str(path)
    assert open_image(path).source == str(path)
    assert open_image(path.read_bytes()).source == "<bytes>"
    assert open_image(io.BytesIO(path.read_bytes())).source == "<file>"
    assert open_image(noise).source == "<array>"
    assert open_image(Image.fromarray(noise)).source == "<image>"


def test_later_changes_of_an_array_or_image_do_not_reach_the_picture(noise: npt.NDArray[np.uint8]) -> None:
    before = noise.copy()
    image = Image.fromarray(noise.copy())
    of_array, of_image = open_image(noise), open_image(image)
    noise[:] = 0
    image.paste((0, 0, 0), (0, 0, *image.size))
    assert (np.asarray(of_array.image) == before).all()
    assert (np.asarray(of_image.image) == before).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, noise: npt.NDArray[np.uint8]) -> None:
    upright = {
        1: noise,
        2: noise[:, ::-1],
        3: noise[::-1, ::-1],
        4: noise[::-1],
        5: noise.transpose(1, 0, 2),
        6: np.rot90(noise, -1),
        7: np.rot90(noise, 2).transpose(1, 0, 2),
        8: np.rot90(noise),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(noise), exif=exif)
    assert (pixels(data) == upright).all()
    assert (pixels(Image.open(io.BytesIO(data))) == upright).all()


def test_damaged_exif_does_not_stop_a_good_picture(noise: npt.NDArray[np.uint8]) -> None:
    data = encoded(Image.fromarray(noise), exif=b"Exif\0\0II*\0\xff\xff\xff\xffgarbage")
    assert (pixels(data) == noise).all()
    with Image.open(io.BytesIO(data)) as own:  # of the caller's image nothing is shared, and nothing changed
        image = open_image(own)
        assert len(image.notes) == 1 and "orientation was ignored" in image.notes[0]
        image.image.putpixel((0, 0), (1, 2, 3))
        assert (np.asarray(own) == noise).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_orientation_is_applied_where_the_rest_of_the_exif_cannot_be_written(kind: str) -> None:
    """An XResolution that is text, in a big-endian TIFF block: Pillow reads it and refuses to write it."""
    entries = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack(">HHI4s", 0x011A, 2, 4, b"abc\0")
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 2) + entries + struct.pack(">I", 0)
    data = encoded(Image.new("RGB", (40, 24), (200, 30, 30)), kind, exif=exif)
    with Image.open(io.BytesIO(data)) as own:
        for source in (data, own):
            image = open_image(source)
            assert image.image.size == (24, 40)
            assert image.notes == ()


def test_grey_becomes_rgb() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = grey[..., None].repeat(3, axis=2)
    assert (pixels(grey) == expected).all()
    assert (pixels(encoded(Image.fromarray(grey))) == expected).all()


def test_one_bit_is_black_and_white() -> None:
    image = Image.fromarray(np.eye(8, dtype=np.uint8) * 255).convert("1")
    assert (pixels(encoded(image))[..., 0] == np.eye(8) * 255).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA", "La", "RGBa"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    clear.paste((80, 80, 80, 255), (0, 0, 2, 4))
    if mode == "P":
        image = Image.new("P", (4, 4), 1)
        image.putpalette([80, 80, 80, 0, 0, 0])
        image.paste(0, (0, 0, 2, 4))
        image.info["transparency"] = 1
    else:
        through = {"La": "LA"}.get(mode, mode)
        image = clear.convert(through).convert(mode)
    result = pixels(image)
    assert (result[:, :2] == 80).all()
    assert (result[:, 2:] == 255).all()


def test_half_transparent_arrays_are_mixed_with_white() -> None:
    array = np.zeros((2, 2, 4), dtype=np.uint8)
    array[..., 3] = 128
    assert (pixels(array) == 127).all()


def test_a_transparent_colour_of_an_rgb_png_is_white() -> None:
    image = Image.new("RGB", (2, 1), (9, 9, 9))
    image.putpixel((1, 0), (1, 2, 3))
    assert (pixels(encoded(image, transparency=(1, 2, 3)))[0] == [[9, 9, 9], [255, 255, 255]]).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled(kind: str) -> None:
    deep = np.asarray([[0, 257, 32896, 65535]], dtype=np.uint16)
    assert (pixels(encoded(Image.fromarray(deep), kind))[0, :, 0] == [0, 1, 128, 255]).all()


def test_big_endian_16_bit_grey_is_scaled() -> None:
    image = Image.frombytes("I;16B", (2, 1), bytes([0xFF, 0xFF, 0x01, 0x01]))
    assert (pixels(image)[0, :, 0] == [255, 1]).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [([-5, 0, 65535], [0, 0, 255]), ([0, 100_000, 200_000], [0, 128, 255])],
)
def test_32_bit_grey_is_scaled(values: list[int], expected: list[int]) -> None:
    image = Image.fromarray(np.asarray([values], dtype=np.int32))
    assert (pixels(encoded(image, "TIFF"))[0, :, 0] == expected).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.5, 1], [0, 128, 255]),
        ([-1, 100, 255], [0, 100, 255]),
        ([0, 500, 1000], [0, 128, 255]),
        ([float("nan"), float("inf"), 1], [0, 0, 255]),
        ([0, 0, 0], [0, 0, 0]),
    ],
)
def test_float_grey_is_scaled(values: list[float], expected: list[int]) -> None:
    image = Image.fromarray(np.asarray([values], dtype=np.float32))
    assert (pixels(encoded(image, "TIFF"))[0, :, 0] == expected).all()


def test_cmyk_is_converted() -> None:
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    result = pixels(encoded(red, "JPEG", quality=95))
    assert (np.abs(result.astype(int) - [255, 0, 0]) < 12).all()


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert (pixels(data) == [255, 0, 0]).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_picture_is_an_error_and_never_half_grey(
    kind: str, share: float, noise: npt.NDArray[np.uint8]
) -> None:
    data = encoded(Image.fromarray(noise), kind)
    with pytest.raises(ImageError, match=r"damaged or incomplete|not a picture"):
        open_image(data[: int(len(data) * share)])


def test_a_truncated_progressive_jpeg_is_an_error(noise: npt.NDArray[np.uint8]) -> None:
    data = encoded(Image.fromarray(noise), "JPEG", progressive=True)
    for share in (0.5, 0.8, 0.97):
        with pytest.raises(ImageError, match="damaged or incomplete"):
            open_image(data[: int(len(data) * share)])


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP"]), st.integers(0, 2**32), st.integers(1, 20))
def test_damaged_bytes_are_a_picture_or_an_image_error(kind: str, seed: int, flips: int) -> None:
    random = np.random.default_rng(seed)
    data = bytearray(encoded(Image.fromarray(random.integers(0, 256, (9, 7, 3), dtype=np.uint8)), kind))
    for at in random.integers(0, len(data), flips):
        data[at] ^= int(random.integers(1, 256))
    try:
        assert open_image(bytes(data), max_pixels=10**6).image.mode == "RGB"
    except ImageError as error:
        assert "\n" not in str(error)


def test_what_is_no_picture_is_said(tmp_path: Path) -> None:
    text = tmp_path / "notes.jpg"
    text.write_text("these are words")
    empty = tmp_path / "empty.png"
    empty.touch()
    for source, message in (
        (text, r"notes\.jpg is not a picture"),
        (empty, r"empty\.png is empty"),
        (b"", "is empty"),
        (tmp_path, "is a folder"),
        (tmp_path / "none.jpg", r"no such file: .*none\.jpg"),
        (text / "below", "cannot read|no such file"),
        ("a\0b", "cannot read"),
        (io.StringIO("text"), "binary mode"),
        (3, "cannot be a int"),
        (None, "cannot be a NoneType"),
    ):
        with pytest.raises(ImageError, match=message):
            open_image(source)  # type: ignore[arg-type]


def test_a_closed_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with (tmp_path / "x").open("rb") as file:
        pass
    with pytest.raises(ImageError, match="cannot read the picture"):
        open_image(file)


def test_formats_that_start_other_programs_are_not_opened() -> None:
    eps = encoded(Image.new("RGB", (4, 4)), "EPS")
    with pytest.raises(ImageError, match="is PostScript, which is not read"):
        open_image(eps)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), dtype=np.float32),
        np.zeros((4, 4), dtype=np.uint16),
        np.zeros((4, 4, 2), dtype=np.uint8),
        np.zeros((3, 4, 4), dtype=np.uint8)[:, :, :1],
        np.zeros((0, 4, 3), dtype=np.uint8),
        np.zeros(4, dtype=np.uint8),
        np.zeros((1, 4, 4, 3), dtype=np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_of_other_types_or_shapes_are_refused(array: Any) -> None:
    with pytest.raises(ImageError, match="An array must be uint8"):
        open_image(array)


def test_arrays_need_not_be_contiguous(noise: npt.NDArray[np.uint8]) -> None:
    assert (pixels(noise[::-1, ::2]) == noise[::-1, ::2]).all()


def test_too_many_pixels_are_refused_before_decoding() -> None:
    data = encoded(Image.new("1", (3000, 2000)))
    with pytest.raises(ImageError, match=r"3000x2000, 6,000,000 pixels, and the limit is 5,999,999"):
        open_image(data, max_pixels=5_999_999)
    assert open_image(data, max_pixels=6_000_000).image.size == (3000, 2000)


def test_pillows_limit_plays_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    # It belongs to the whole process: above it Pillow warns, above twice the limit it raises.
    data = encoded(Image.new("1", (100, 100)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3_000)
    assert open_image(data).size == (100, 100)
    with pytest.raises(ImageError, match="limit is 9,999"):
        open_image(data, max_pixels=9_999)


def test_long_sides_are_refused_before_decoding() -> None:
    for size in ((65_536, 1), (1, 65_536)):
        with pytest.raises(ImageError, match="a side may have 65,535"):
            open_image(encoded(Image.new("1", size)))
    assert open_image(encoded(Image.new("1", (65_535, 1)))).size == (65_535, 1)


def test_bounds_hold_for_arrays_and_images_too() -> None:
    array = np.broadcast_to(np.uint8(7), (20_000, 20_000))
    with pytest.raises(ImageError, match="400,000,000 pixels"):
        open_image(array)
    with pytest.raises(ImageError, match="a side may have"):
        open_image(np.zeros((70_000, 1), np.uint8))
    with pytest.raises(ImageError, match="limit is 99"):
        open_image(Image.new("RGB", (10, 10)), max_pixels=99)


def test_a_bomb_of_small_bytes_is_refused() -> None:
    # A TIFF that claims 60,000 x 60,000 pixels in a few bytes.
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in ((256, 60_000), (257, 60_000), (258, 1), (259, 1), (262, 1), (273, 8), (278, 60_000), (279, 1)):
        directory[tag] = value
    buffer = io.BytesIO()
    buffer.write(b"II*\0\x08\0\0\0")
    buffer.write(directory.tobytes(8))
    with pytest.raises(ImageError, match="limit is 200,000,000"):
        open_image(buffer.getvalue())


SPEC = ImageSpec(size=16, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.3), resize="squash", interpolation="bicubic")


def test_preprocessing_squashes_and_normalises(noise: npt.NDArray[np.uint8]) -> None:
    image = Image.fromarray(noise)
    result = preprocess(image, SPEC)
    small = np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC), dtype=np.float64) / 255
    expected = ((small - SPEC.mean) / SPEC.std).transpose(2, 0, 1)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    assert np.allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (20_000, 1), (1, 20_000)])
def test_extreme_shapes_are_preprocessed(size: tuple[int, int]) -> None:
    image = open_image(encoded(Image.new("RGB", size, (255, 0, 0))))
    assert image.image.size == size
    result = preprocess(image.image, SPEC)
    assert result.shape == (3, 16, 16)
    assert np.allclose(result[0], (1 - 0.5) / 0.25)
