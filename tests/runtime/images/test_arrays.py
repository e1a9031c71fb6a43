"""Arrays as pictures: the order of channels, and the line that mends what is refused."""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from clsclip_runtime import ImageError, OptionError, Segmenter
from clsclip_runtime.images import open_image
from tests.runtime.tiny_bundle import paint

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (6, 9, 3), np.uint8)


def pixels(source: Any, **options: Any) -> npt.NDArray[np.uint8]:
    return np.asarray(open_image(source, **options).image)


def cure(source: Any) -> str:
    """The expression that the refusal gives."""
    with pytest.raises(ImageError) as caught:
        open_image(source)
    return str(caught.value).rpartition(". Give: ")[2]


def test_the_order_of_opencv(tmp_path: Any) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), IMAGE[..., ::-1])
    assert (pixels(cv2.imread(str(path)), channels="bgr") == pixels(path)).all()
    alpha = np.dstack([IMAGE, np.full((6, 9), 255, np.uint8)])
    assert (pixels(cv2.cvtColor(alpha, cv2.COLOR_RGBA2BGRA), channels="bgr") == IMAGE).all()
    gray = IMAGE[..., 0]
    assert (pixels(gray, channels="bgr") == gray[..., None]).all()


def test_an_order_of_what_is_no_array_is_refused(tmp_path: Any) -> None:
    with pytest.raises(OptionError, match="channels must be rgb or bgr, and it is 'BGR'"):
        open_image(IMAGE, channels="BGR")
    with pytest.raises(OptionError, match="is for arrays, and this picture is a str"):
        open_image(str(tmp_path / "a.png"), channels="bgr")
    with pytest.raises(OptionError, match="is for arrays, and this picture is a DecodedImage"):
        open_image(open_image(IMAGE), channels="bgr")


def test_every_call_takes_the_order(segmenter: Segmenter) -> None:
    scene = paint({"red": (slice(1, 5), slice(1, 5))})
    turned = np.ascontiguousarray(scene[..., ::-1])
    wanted = segmenter(scene, "red").mask("red")
    assert wanted.any()
    assert not segmenter(turned, "red").mask("red").any()
    assert (segmenter(turned, "red", channels="bgr").mask("red") == wanted).all()
    assert (segmenter.batch([turned], "red", channels="bgr")[0].mask("red") == wanted).all()
    segmenter.set_image(turned, channels="bgr")
    assert (segmenter.predict("red").mask("red") == wanted).all()
    with pytest.raises(OptionError, match="channels must be rgb or bgr"):
        segmenter.batch([], "red", channels="gbr")


def test_a_generator_of_pictures(segmenter: Segmenter) -> None:
    scene = paint({"red": (slice(1, 5), slice(1, 5))})
    found = segmenter.batch((one for one in (scene, scene[::-1].copy())), "red")
    assert (found[0].mask("red") == found[1].mask("red")[::-1]).all()
    assert len(segmenter.batch(map(open_image, [scene]), (one for one in ["red"]))) == 1


UNUSUAL = {
    "CHW": IMAGE.transpose(2, 0, 1),
    "CHW of floats": (IMAGE.transpose(2, 0, 1) / 255).astype(np.float32),
    "HWC of floats": IMAGE / 255,
    "floats up to 255": IMAGE.astype(np.float64),
    "one of a batch": IMAGE[None],
    "one of a batch, CHW": IMAGE.transpose(2, 0, 1)[None],
    "16 bits": IMAGE.astype(np.uint16) * 257,
    "whole numbers": IMAGE.astype(np.int64),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_the_line_that_a_refusal_gives_mends_the_array(kind: str) -> None:
    array = UNUSUAL[kind]
    mended = eval(cure(array), {"array": array})
    assert (pixels(mended) == IMAGE).all()


@pytest.mark.parametrize("array", [IMAGE[..., :1], IMAGE[..., 0][None], IMAGE[..., 0] / 255, IMAGE[..., 0] > 99])
def test_gray_in_other_forms(array: Any) -> None:
    mended = eval(cure(array), {"array": array})
    wanted = (IMAGE[..., 0] > 99) * 255 if array.dtype == bool else IMAGE[..., 0]
    assert (pixels(mended) == wanted[..., None]).all()


def test_several_pictures_in_one_array_go_to_batch() -> None:
    arrays = np.stack([IMAGE.transpose(2, 0, 1)] * 2)
    with pytest.raises(ImageError, match=r"segmenter\.batch") as caught:
        open_image(arrays)
    (line,) = re.findall(r"batch: (\[.*\])", str(caught.value))
    assert all((pixels(one) == IMAGE).all() for one in eval(line, {"arrays": arrays}))


@pytest.mark.parametrize(
    "array", [np.zeros((5, 6, 2)), np.zeros((0, 4, 3), np.uint8), np.zeros(7), np.array("a"), IMAGE * 1e9]
)
def test_what_nobody_can_mend_is_refused_without_a_line(array: Any) -> None:
    with pytest.raises(ImageError, match="must be uint8 of shape") as caught:
        open_image(array)
    assert "Give" not in str(caught.value)


def test_lists_are_refused() -> None:
    with pytest.raises(ImageError, match=r"numpy.asarray\(picture, 'uint8'\)"):
        open_image(IMAGE.tolist())


TENSORS = ["CHW", "CHW of floats", "HWC of floats", "one of a batch, CHW", "whole numbers"]


@pytest.mark.parametrize("kind", TENSORS)
def test_tensors(kind: str) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(np.ascontiguousarray(UNUSUAL[kind])).requires_grad_("float" in kind)
    mended = eval(cure(tensor), {"tensor": tensor})
    assert (pixels(mended) == IMAGE).all()


def test_batches_of_tensors() -> None:
    torch = pytest.importorskip("torch")
    tensors = torch.stack([torch.from_numpy(UNUSUAL["CHW of floats"])] * 2)
    with pytest.raises(ImageError, match="torch Tensor of float32 and shape") as caught:
        open_image(tensors)
    (line,) = re.findall(r"batch: (\[.*\])", str(caught.value))
    assert all((pixels(one) == IMAGE).all() for one in eval(line, {"tensors": tensors}))


def test_arrays_of_other_libraries() -> None:
    class Array:
        """As jax and tensorflow have them."""

        shape, dtype = (3, 6, 9), np.dtype(np.float32)

        def __array__(self, *_: Any, **__: Any) -> npt.NDArray[np.float32]:
            return UNUSUAL["CHW of floats"]

    image = Array()
    mended = eval(cure(image), {"picture": image, "numpy": np})
    assert (pixels(mended) == IMAGE).all()
