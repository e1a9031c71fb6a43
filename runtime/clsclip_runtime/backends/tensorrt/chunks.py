"""Calls that are larger than an engine takes, cut into ones that it takes, and their results put together.

Axes are known by name: ``C`` crops, ``K`` classes, ``P`` pairs. A pair points at a crop and a class by index, so a cut
through the pairs takes along only the crops and classes that its pairs point at. Arrays on the device are cut and put
together there, along their first axis.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from clsclip_runtime.arrays import Array, DeviceArray, concatenate, join_rows, to_host
from clsclip_runtime.errors import BackendError

Axes: TypeAlias = Mapping[str, Sequence[str | None]]
"""For every tensor, the names of its axes; None for fixed ones."""

Limits: TypeAlias = Mapping[str, tuple[int, int]]
"""For every axis name, the fewest and the most that one call takes."""

Feeds: TypeAlias = Mapping[str, Array]
Call: TypeAlias = Callable[[dict[str, Array]], dict[str, Array]]

POINTERS = {"crop_index": "C", "class_index": "K"}
"""Inputs that point along another axis."""


@dataclass(frozen=True)
class Pairs:
    """One cut through the pairs: which pairs, and the crops and classes that they point at."""

    pairs: slice
    rows: dict[str, npt.NDArray[np.int64]]


def sizes_of(feeds: Feeds, axes: Axes) -> dict[str, int]:
    """How many there are along every axis.

    Raises:
        BackendError: two inputs disagree, or there is nothing along an axis.
    """
    sizes: dict[str, int] = {}
    for name, array in feeds.items():
        for size, axis in zip(array.shape, axes[name], strict=True):
            if axis is not None and sizes.setdefault(axis, size) != size:
                raise BackendError(f"{name} has {size} along {axis}, and another input has {sizes[axis]}")
    for axis, size in sizes.items():
        if size < 1:
            raise BackendError(f"there is nothing along {axis}. Give at least one")
    return sizes


def run_in_chunks(call: Call, feeds: Feeds, inputs: Axes, outputs: Axes, limits: Limits) -> dict[str, Array]:
    """Run ``call`` on as many parts of ``feeds`` as it takes.

    Args:
        call: takes inputs within the limits, gives outputs; on the device only those that vary along no axis but
            their first.
        feeds: inputs of any size.
        inputs, outputs: their axes.
        limits: of one call.

    Raises:
        BackendError: the inputs disagree in size, or one on the device must be cut along another axis than its first.
    """
    sizes = sizes_of(feeds, inputs)
    if all(limits[axis][0] <= size <= limits[axis][1] for axis, size in sizes.items()):
        return call(dict(feeds))
    if "P" in sizes:
        return _run_pairs(call, feeds, inputs, outputs, limits)
    results: dict[str, npt.NDArray[Any]] = {}
    kept: dict[str, dict[int, DeviceArray]] = {}
    for tile in tiles(sizes, limits):
        part = {name: _cut(array, inputs[name], tile) for name, array in feeds.items()}
        made = call({name: _pad(array, inputs[name], limits) for name, array in part.items()})
        for name, array in made.items():
            if isinstance(array, DeviceArray):
                rows = tile[outputs[name][0] or ""]
                kept.setdefault(name, {})[rows.start] = array[: rows.stop - rows.start]
            else:
                _place(results, name, array, outputs[name], tile, sizes)
    return results | {name: concatenate(list(found.values())) for name, found in kept.items()}


def tiles(sizes: Mapping[str, int], limits: Limits) -> Iterator[dict[str, slice]]:
    """Blocks that cover all axes, none larger than the limits."""
    blocks = [
        [slice(start, min(start + limits[axis][1], size)) for start in range(0, size, limits[axis][1])]
        for axis, size in sizes.items()
    ]
    for combination in itertools.product(*blocks):
        yield dict(zip(sizes, combination, strict=True))


def cut_pairs(pointers: Mapping[str, npt.NDArray[np.int64]], limits: Limits) -> Iterator[Pairs]:
    """Runs of pairs that point at no more crops and classes than one call takes.

    Args:
        pointers: (P,) positions along every axis that pairs point at.
        limits: of one call; ``P`` and those axes.
    """
    count = len(next(iter(pointers.values())))
    start = 0
    while start < count:
        end = min(count, start + limits["P"][1])
        for axis, indices in pointers.items():
            # How many different ones the first n pairs point at never falls with n.
            firsts = np.sort(np.unique(indices[start:end], return_index=True)[1])
            if len(firsts) > limits[axis][1]:
                end = start + int(firsts[limits[axis][1]])
        rows = {axis: np.unique(indices[start:end]) for axis, indices in pointers.items()}
        yield Pairs(slice(start, end), rows)
        start = end


def _run_pairs(call: Call, feeds: Feeds, inputs: Axes, outputs: Axes, limits: Limits) -> dict[str, Array]:
    feeds = {name: to_host(array) if name in POINTERS else array for name, array in feeds.items()}
    pointers = {axis: np.asarray(feeds[name]) for name, axis in POINTERS.items() if name in feeds}
    parts: dict[str, list[Array]] = {}
    for cut in cut_pairs(pointers, limits):
        part: dict[str, Array] = {}
        for name, array in feeds.items():
            axis = inputs[name][0]
            if name in POINTERS:
                pointing = pointers[POINTERS[name]]
                rows = cut.rows[POINTERS[name]]
                part[name] = np.searchsorted(rows, pointing[cut.pairs]).astype(pointing.dtype)
            else:
                part[name] = _rows(array, cut.rows[axis]) if axis in cut.rows else array
        made = call({name: _pad(array, inputs[name], limits) for name, array in part.items()})
        for name, array in made.items():
            parts.setdefault(name, []).append(array[: cut.pairs.stop - cut.pairs.start])
    return {name: concatenate(found) for name, found in parts.items()}


def _rows(array: Array, rows: npt.NDArray[np.int64]) -> Array:
    """Rows in ascending order; on the device those that follow one another stay where they are."""
    if isinstance(array, DeviceArray) and len(rows) == rows[-1] + 1 - rows[0]:
        return array[int(rows[0]) : int(rows[-1]) + 1]
    return join_rows([(array, rows)])


def _cut(array: Array, axes: Sequence[str | None], tile: Mapping[str, slice]) -> Array:
    where = tuple(slice(None) if axis is None else tile[axis] for axis in axes)
    if not isinstance(array, DeviceArray):
        return array[where]
    for size, one in zip(array.shape[1:], where[1:], strict=True):
        _first_only(one.indices(size) == (0, size, 1), array)
    return array[where[0]]


def _pad(array: Array, axes: Sequence[str | None], limits: Limits) -> Array:
    """Repeat the last along every axis that has fewer than one call takes."""
    for at, axis in enumerate(axes):
        if axis is not None and array.shape[at] < limits[axis][0]:
            rows = np.minimum(np.arange(limits[axis][0]), array.shape[at] - 1)
            if isinstance(array, DeviceArray):
                _first_only(at == 0, array)
                array = array.take(rows)
            else:
                array = array.take(rows, axis=at)
    return array


def _first_only(fine: bool, array: DeviceArray) -> None:
    if not fine:
        raise BackendError(
            f"{array} is on the GPU and does not fit into one call of the engine, and there only rows can be cut. "
            "Give it in host memory, or build an engine for other sizes"
        )


def _place(
    results: dict[str, npt.NDArray[Any]],
    name: str,
    array: npt.NDArray[Any],
    axes: Sequence[str | None],
    tile: Mapping[str, slice],
    sizes: Mapping[str, int],
) -> None:
    whole = tuple(size if axis is None else sizes[axis] for size, axis in zip(array.shape, axes, strict=True))
    target = results.setdefault(name, np.empty(whole, array.dtype))
    where = tuple(slice(None) if axis is None else tile[axis] for axis in axes)
    used = tuple(slice(None) if axis is None else slice(0, tile[axis].stop - tile[axis].start) for axis in axes)
    target[where] = array[used]
