"""Pictures that are arrays already: which are taken, and the line that mends those which are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from clsclip_runtime.errors import ImageError, OptionError
from clsclip_runtime.images.conversion import to_rgb
from clsclip_runtime.images.decoded import DecodedImage
from clsclip_runtime.images.formats import check_size, too_large_for_memory

CHANNELS = ("rgb", "bgr")
"""Orders of an array's channels; alpha is the last in both."""

_WANTED = "An array must be uint8 of shape (H, W), (H, W, 3) or (H, W, 4)"


def check_channels(channels: object) -> None:
    """Raise OptionError unless this is one of ``CHANNELS``."""
    if channels not in CHANNELS:
        raise OptionError(f"channels must be rgb or bgr, and it is {channels!r}")


def of_array(array: npt.NDArray[np.uint8], max_pixels: int, channels: str) -> DecodedImage:
    """An array as an image.

    Args:
        array: uint8 (H, W) gray, (H, W, 3), or (H, W, 4) with straight alpha.
        max_pixels: larger ones are refused.
        channels: ``rgb`` or ``bgr``, the order of its colors.

    Raises:
        ImageError: it is of another shape or type; the message has the line that mends it, where there is one.
    """
    shape_known = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not shape_known or array.size == 0:
        raise ImageError(_refusal("array", "an array", array.dtype, array.shape, _numpy_cure(array)))
    check_size((array.shape[1], array.shape[0]), "the array", max_pixels)
    notes: dict[str, None] = {}
    try:
        if channels == "bgr" and array.ndim == 3:
            array = array[..., [2, 1, 0, 3][: array.shape[2]]]
        rgb = to_rgb(Image.fromarray(np.ascontiguousarray(array)), "the array", notes, own=True)
    except MemoryError as error:
        raise too_large_for_memory("the array") from error
    return DecodedImage(rgb, "<array>", tuple(notes))


def refuse_foreign(source: Any) -> None:
    """Raise ImageError for tensors, lists of numbers and what else can be made an array: with the line that does so."""
    if isinstance(source, (list, tuple)):
        raise ImageError(
            f"a picture cannot be a {type(source).__name__}. Of numbers, give: numpy.asarray(picture, 'uint8'); of "
            "pictures, call segmenter.batch(pictures, ...)"
        )
    library = type(source).__module__.partition(".")[0]
    known = ("__array__", "__array_interface__", "__cuda_array_interface__", "__dlpack__")
    if library != "torch" and not any(hasattr(source, name) for name in known):
        return
    shape, kind = tuple(getattr(source, "shape", ())), str(getattr(source, "dtype", "")).removeprefix("torch.")
    if library == "torch":
        raise ImageError(_refusal("tensor", "a torch Tensor", kind, shape, _torch_cure(shape, kind)))
    to_host = "numpy.asarray(picture.get())" if library == "cupy" else "numpy.asarray(picture)"
    cure = _scaled(to_host + _transposed(shape[-3:]), kind, 1.0 if "float" in kind else 255.0)
    raise ImageError(_refusal("picture", f"a {library} {type(source).__name__}", kind, shape, cure))


def _refusal(name: str, what: str, kind: object, shape: tuple[int, ...], cure: str | None) -> str:
    text = f"a picture cannot be {what} of {kind} and shape {tuple(shape)}. {_WANTED}"
    if cure is None:
        return f"{text}, none of them 0"
    if len(shape) == 4 and shape[0] != 1:
        return f"{text}. Give several pictures to segmenter.batch: [{cure} for {name} in {name}s]"
    return f"{text}. Give: {cure}"


def _numpy_cure(array: npt.NDArray[Any]) -> str | None:
    """An expression of ``array`` that is taken; None where nobody knows one."""
    shape = array.shape[-3:]
    if array.size == 0 or array.dtype.kind not in "buif" or array.ndim not in (2, 3, 4):
        return None
    if len(shape) == 3 and not (shape[0] in (1, 3, 4) or shape[2] in (1, 3, 4)):
        return None
    finite = array[np.isfinite(array)]
    single = "array[0]" if array.ndim == 4 and len(array) == 1 else "array"
    return _scaled(single + _transposed(shape), array.dtype.name, float(finite.max(initial=0)))


def _transposed(shape: tuple[int, ...]) -> str:
    """What makes a shape (H, W) or (H, W, C)."""
    if len(shape) != 3 or shape[2] in (3, 4):
        return ""
    if shape[2] == 1:
        return "[..., 0]"
    return "[0]" if shape[0] == 1 else ".transpose(1, 2, 0)" if shape[0] in (3, 4) else ""


def _scaled(text: str, kind: str, largest: float) -> str | None:
    """An expression whose values, up to ``largest``, are made uint8; None where their scale cannot be known."""
    if kind == "uint8":
        return text
    if kind.startswith("bool"):
        return f"{text}.astype('uint8') * 255"
    if "float" in kind and largest <= 1:
        return f"({text}.clip(0, 1) * 255).round().astype('uint8')"
    if largest <= 255:
        return f"{text}.clip(0, 255).round().astype('uint8')"
    return f"({text}.clip(0, 65535) // 257).astype('uint8')" if "int" in kind and largest <= 65535 else None


def _torch_cure(shape: tuple[int, ...], kind: str) -> str:
    """An expression of ``tensor`` that is taken."""
    text = "tensor[0].detach().cpu()" if len(shape) == 4 and shape[0] == 1 else "tensor.detach().cpu()"
    one = shape[-3:]
    if len(one) == 3 and one[2] not in (3, 4):
        text += "[..., 0]" if one[2] == 1 else "[0]" if one[0] == 1 else ".permute(1, 2, 0)"
    if "float" in kind:
        text += ".float().clamp(0, 1).mul(255).round().byte()"
    elif kind != "uint8":
        text += ".byte().mul(255)" if kind == "bool" else ".byte()"
    return text + ".numpy()"
