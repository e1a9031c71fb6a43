"""What the image processor of transformers in a folder does to pixels; one reader for CLIP and CLIPSeg.

Version 5 writes ``processor_config.json``, with the image processor's settings inside; earlier ones wrote
``preprocessor_config.json``. Both may lie in one folder, and must agree then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsclip.errors import TowersError
from clsclip.weights.documents import read_object
from clsclip_runtime.paths import is_file

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
_INSIDE = "image_processor"

FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Pillow's, by their numbers."""

Triple = tuple[float, float, float]

_SWITCHES = ("do_resize", "do_center_crop", "do_rescale", "do_normalize")
_PLAIN: tuple[Triple, Triple] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Processor:
    """Settings of an image processor, checked; None is what it leaves out.

    Attributes:
        source: name of its file, for messages.
        resizes, crops: whether it does.
        size: pixels a side of the square that it resizes to; None where it says no square.
        stated_size: as it has it, for messages.
        mean, std: of each channel; 0 and 1 where it does not normalize.
        interpolation: filter that resizes.
    """

    source: str
    resizes: bool | None = None
    crops: bool | None = None
    size: int | None = None
    stated_size: object = None
    mean: Triple | None = None
    std: Triple | None = None
    interpolation: str | None = None


def read_processor(folder: Path) -> Processor | None:
    """Read the image processor of a folder; None where it has none.

    Raises:
        TowersError: it is damaged, scales pixels otherwise than bundles do, or two files disagree.
    """
    found: list[Processor] = []
    for name in PROCESSOR_FILES:
        path = folder / name
        if not is_file(path):
            continue
        document = read_object(path)
        inside = document if name == PROCESSOR_FILES[0] else document.get(_INSIDE)
        if inside is None:  # before version 5 it held settings of texts alone
            continue
        if not isinstance(inside, Mapping):
            raise TowersError(f"{path}: its {_INSIDE} is no object of settings. Fetch the file again.")
        found.append(_checked(path, inside))
    for key in ("resizes", "crops", "size", "mean", "std", "interpolation"):
        stated = {getattr(one, key) for one in found} - {None}
        if len(stated) > 1:
            raise TowersError(
                f"{folder}: {PROCESSOR_FILES[0]} and {PROCESSOR_FILES[1]} state different {key}: "
                f"{' and '.join(sorted(map(str, stated)))}. Remove the one that does not belong to the weights."
            )
    return found[-1] if found else None


def _checked(path: Path, settings: Mapping[str, Any]) -> Processor:
    """The settings of one file."""
    own = {key: value for key, value in settings.items() if value is not None}
    for key in _SWITCHES:
        if not isinstance(own.get(key, True), bool):
            raise TowersError(f"{path}: {key} is {_shown(own[key])}, and must be true or false.")
    factor = own.get("rescale_factor", 1 / 255)
    if not _is_number(factor):
        raise TowersError(f"{path}: rescale_factor is {_shown(factor)}, and must be a number.")
    scale = factor if own.get("do_rescale", True) else 1.0
    if abs(scale * 255 - 1) > 1e-6:
        raise TowersError(f"{path} scales pixels by {scale:g}; bundles scale by 1/255.")
    filter_ = own.get("resample")
    if filter_ is not None and (type(filter_) is not int or not 0 <= filter_ < len(FILTERS)):
        raise TowersError(f"{path} resizes by the unknown filter {_shown(filter_)}.")
    mean, std = (triple(path, key, own.get(key)) for key in ("image_mean", "image_std"))
    if std is not None and min(std) <= 0:
        raise TowersError(f"{path}: image_std is {std}, and must be a std above 0.")
    if not own.get("do_normalize", True):
        mean, std = _PLAIN
    size = own.get("size")
    return Processor(
        path.name,
        own.get("do_resize"),
        own.get("do_center_crop"),
        _square(size),
        size,
        mean,
        std,
        None if filter_ is None else FILTERS[filter_],
    )


def triple(path: Path, key: str, value: object) -> Triple | None:
    """One number for all channels, or one for each; None for None. TowersError for anything else."""
    if value is None:
        return None
    values = [value] * 3 if _is_number(value) else value
    if not isinstance(values, list) or len(values) != 3 or not all(map(_is_number, values)):
        raise TowersError(f"{path}: {key} is {_shown(value)}, and must be a number or three numbers.")
    return float(values[0]), float(values[1]), float(values[2])


def _square(size: object) -> int | None:
    """A side in pixels; None where a size is no square of one size."""
    if isinstance(size, Mapping):
        size = (
            size.get("height")
            if size.keys() <= {"height", "width"} and size.get("height") == size.get("width")
            else None
        )
    return size if type(size) is int and size > 0 else None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _shown(value: object) -> str:
    return ascii(value)[:80]
