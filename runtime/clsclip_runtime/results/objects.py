"""The objects of a result: a mask for each region and whole image that was searched, and their connected parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from clsclip_runtime.masks.cleaning import split
from clsclip_runtime.masks.rle import RleMask
from clsclip_runtime.regions.proposals import ANY
from clsclip_runtime.results.instance import Instance
from clsclip_runtime.results.pairs import WHOLE, Pairs

if TYPE_CHECKING:
    from clsclip_runtime.results.result import Result


def all_instances(result: Result) -> Iterator[Instance]:
    """See ``Result.all_instances``."""
    width, height = result.size
    for pairs in pairs_of_instances(result.pairs):
        at = pairs[0]
        index, box = int(result.pairs.classes[at]), int(result.pairs.boxes[at])
        left, top, right, bottom = (int(value) for value in result.pairs.windows[at])
        presence = float(np.fmax.reduce(result.pairs.presence[pairs]))
        known = None if np.isnan(presence) else presence
        corners = np.array([0, 0, width, height], np.float32)
        name, score = None, 1.0 if known is None else known
        if box != WHOLE and result.regions is not None:
            corners = np.clip(result.regions.boxes[box], 0, corners[[2, 3, 2, 3]])
            of_class = int(result.regions.classes[box])
            name = None if of_class == ANY else result.regions.names[of_class]
            score = float(result.regions.scores[box]) * (1.0 if name is not None or known is None else known)
        yield Instance(
            name=result.classes[index],
            index=index,
            box=(float(corners[0]), float(corners[1]), float(corners[2]), float(corners[3])),
            window=(0, 0, width, height) if box == WHOLE else (left, top, right, bottom),
            region_name=name,
            score=score,
            presence=known,
            whole_image=box == WHOLE,
            _rle=partial(result.rle_of, pairs),
        )


def pairs_of_instances(pairs: Pairs) -> Iterable[list[int]]:
    """The pairs of every instance, in the order of the classes.

    There are several where a class has several prompts, and of a whole image that was searched in tiles too.
    """
    found: dict[tuple[int, ...], list[int]] = {}
    for at in np.argsort(pairs.classes, kind="stable").tolist():
        box = int(pairs.boxes[at])
        window = () if box == WHOLE else pairs.windows[at].tolist()
        found.setdefault((int(pairs.classes[at]), box, *window), []).append(at)
    return found.values()


def parts_of(instances: Sequence[Instance]) -> tuple[Instance, ...]:
    """The connected parts of instances: each an instance with the box of its own pixels."""
    return tuple(_part(one, mask) for one in instances for mask in split(one.rle()))


def _part(whole: Instance, mask: RleMask) -> Instance:
    left, top, width, height = (float(value) for value in mask.box)
    return replace(whole, box=(left, top, left + width, top + height), _rle=lambda: mask)
