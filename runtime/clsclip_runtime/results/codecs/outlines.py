"""Outlines of masks, made from their runs: polygons as annotation tools store them.

An outline goes along the edges of pixels, so that its points are corners of pixels and it encloses exactly the pixels
of the mask. Pixels that touch at a corner alone belong to different parts. A hole is joined to the line around it by a
slit: a way there and back along one line, which encloses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clsclip_runtime._types import Integers
from clsclip_runtime.masks.rle import RleMask

_RIGHT, _DOWN, _LEFT, _UP = range(4)
"""Ways of an edge; the mask lies to its right hand."""


@dataclass(frozen=True)
class _Ring:
    """One closed line. ``points`` (n, 2) int64 are its corners; ``ways`` (n) leads from each to the next."""

    points: Integers
    ways: Integers

    @property
    def is_hole(self) -> bool:
        x, y = self.points.T
        return bool((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() < 0)


@dataclass(frozen=True)
class _Traced:
    """All lines of a mask, and for the left and right edge of every run its ring and its corner there."""

    rings: list[_Ring]
    left: Integers
    right: Integers


def outlines(mask: RleMask, *, holes: bool = True, centers: bool = False) -> list[Integers]:
    """One closed polygon for each connected part of a mask, from top to bottom.

    Args:
        mask: in runs.
        holes: join holes by slits; else they are filled.
        centers: give centers of pixels in place of corners, counted from 0, as programs want them that draw a polygon
            together with its line (OpenCV's ``fillPoly``, Pillow). Else corners, as pycocotools wants them.

    Returns:
        Each (n, 2) int64, x and y.
    """
    traced = _trace(mask)
    drawn = [_centered(one) if centers else one.points for one in traced.rings]
    cuts: dict[int, dict[int, list[tuple[int, list[list[int]]]]]] = {}
    inner = [at for at, one in enumerate(traced.rings) if one.is_hole]
    if holes:
        # A slit leads to the left, so that the holes to the right of others are complete before these are.
        for hole, run in sorted(_slits(mask, traced, inner).items(), key=lambda pair: -int(mask.ends[pair[1]])):
            row, begin, end = int(mask.rows[run]), int(mask.starts[run]), int(mask.ends[run])
            points = _with_cuts(drawn[hole], cuts.get(hole, {}))
            first = int(traced.right[run, 1])
            turned = _from_corner(points, cuts.get(hole, {}), first)
            gate = [end - 1 if centers else end, row]
            owner, corner = traced.left[run].tolist()
            way = [[begin, row], gate, *turned[1:], turned[0], gate, [begin, row]]
            cuts.setdefault(owner, {}).setdefault(corner, []).append((row, way))
    return [
        np.array(_with_cuts(drawn[at], cuts.get(at, {})), np.int64)
        for at in range(len(traced.rings))
        if at not in set(inner)
    ]


def _with_cuts(points: Integers, cuts: dict[int, list[tuple[int, list[list[int]]]]]) -> list[list[int]]:
    """The points of a ring with the ways to holes put in behind their corners. These lines lead up."""
    found: list[list[int]] = []
    for at, point in enumerate(points.tolist()):
        found.append(point)
        for _, way in sorted(cuts.get(at, ()), key=lambda one: -one[0]):
            found += way
    return found


def _from_corner(
    points: list[list[int]], cuts: dict[int, list[tuple[int, list[list[int]]]]], corner: int
) -> list[list[int]]:
    """The points of a ring from one of its corners on."""
    before = corner + sum(len(way) for at, ways in cuts.items() if at < corner for _, way in ways)
    return points[before:] + points[:before]


def _slits(mask: RleMask, traced: _Traced, inner: list[int]) -> dict[int, int]:
    """For every hole the run whose right end is its leftmost edge, the highest of several."""
    found: dict[int, int] = {}
    is_inner = set(inner)
    order = np.lexsort((mask.rows, mask.ends))
    for run, ring in zip(order.tolist(), traced.right[order, 0].tolist(), strict=True):
        if ring in is_inner:
            found.setdefault(ring, run)
    return found


def _centered(ring: _Ring) -> Integers:
    """The corners moved into the pixels of the mask that they belong to."""
    points: Integers = ring.points.copy()
    into, out = np.roll(ring.ways, 1), ring.ways
    points[:, 0] -= (into == _DOWN) | (out == _DOWN)
    points[:, 1] -= (into == _LEFT) | (out == _LEFT)
    return points


def _trace(mask: RleMask) -> _Traced:
    """Follow the edges of all pixels at the mask's border."""
    stride = mask.size[0] + 1
    tails, heads, ways = _edges(mask, stride)
    order = np.argsort(tails * 4 + ways, kind="stable")
    sorted_tails, sorted_ways = tails[order], ways[order]
    # Where two pixels touch at a corner, two edges begin there: a turn to the right stays with the same pixel.
    first = np.searchsorted(sorted_tails, heads)
    second = np.minimum(first + 1, max(len(order) - 1, 0))
    turn = (sorted_tails[second] == heads) & (sorted_ways[second] == (ways + 1) % 4) if len(order) else first == second
    links = order[np.where(turn, second, first)].tolist() if len(order) else []
    rings: list[_Ring] = []
    place = np.zeros((len(tails), 2), np.int64)
    visited = bytearray(len(links))
    for start in order.tolist():
        if visited[start]:
            continue
        edges: list[int] = []
        at = start
        while not visited[at]:
            visited[at] = 1
            edges.append(at)
            at = links[at]
        line = np.array(edges, np.int64)
        is_corner = ways[line] != np.roll(ways[line], 1)
        corners = line[is_corner]
        place[line, 0] = len(rings)
        place[line, 1] = (np.cumsum(is_corner) - 1) % len(corners)
        y, x = np.divmod(tails[corners], stride)
        rings.append(_Ring(np.stack([x, y], axis=1), ways[corners]))
    runs = len(mask.rows)
    return _Traced(rings, place[:runs], place[runs : 2 * runs])


def _edges(mask: RleMask, stride: int) -> tuple[Integers, Integers, Integers]:
    """Where edges begin and end, as y x stride + x, and their ways: left ends of runs, right ends, then level ones."""
    rows, starts, ends = mask.rows * stride, mask.starts, mask.ends
    # Of level edges: what a row has and the one above lacks, and the other way round.
    own, above = (rows + starts, rows + ends), (rows + stride + starts, rows + stride + ends)
    places = np.concatenate([*own, *above])
    count = len(rows)
    steps = np.repeat([1, -1, 2, -2], count)
    order = np.argsort(places, kind="stable")
    places, states = places[order], np.cumsum(steps[order])
    last = np.append(np.diff(places) > 0, True) if len(places) else np.zeros(0, np.bool_)
    places, states = places[last], states[last]
    begins, stops, state = places[:-1], places[1:], states[:-1]
    tops, bottoms = state == 1, state == 2
    tails = np.concatenate([rows + stride + starts, rows + ends, begins[tops], stops[bottoms]])
    heads = np.concatenate([rows + starts, rows + stride + ends, stops[tops], begins[bottoms]])
    ways = np.repeat([_UP, _DOWN, _RIGHT, _LEFT], [count, count, int(tops.sum()), int(bottoms.sum())])
    return tails, heads, ways


def at_least_three(points: list[list[int]]) -> list[list[int]]:
    """Points of which the last is repeated where there are too few for a polygon: one pixel has one, a row two."""
    return points + points[-1:] * (3 - len(points))
