"""How a call searches tiles: by what the bundle's author fitted, or by values of the runtime's own."""

from __future__ import annotations

from dataclasses import replace

from clsclip_runtime.bundle.specs import Manifest, TilesSpec
from clsclip_runtime.errors import OptionError
from clsclip_runtime.inference.presence import PresenceFilter
from clsclip_runtime.regions import TILES, ZoomIn

_SCALES, _OVERLAP = (3,), 0.25


def asks_for_tiles(regions: object) -> bool:
    """Whether ``regions`` of a call are tiles. OptionError for any other text."""
    if isinstance(regions, str) and regions != TILES:
        raise OptionError(f"regions must be boxes (N, 4), Proposals or {TILES!r}, and they are {regions!r}")
    return isinstance(regions, str)


def choose_tiles(
    manifest: Manifest, chosen: PresenceFilter | None, presence_threshold: float | None, zoom: ZoomIn | None
) -> tuple[TilesSpec, PresenceFilter | None, tuple[str, ...]]:
    """The tiles of a call.

    Args:
        manifest: of the bundle.
        chosen: the call's filter, None for none.
        presence_threshold: what the caller gave; it counts in tiles too.
        zoom: what the caller gave about crops.

    Returns:
        The tiles, the filter with its threshold in tiles, and sentences for the user.

    Raises:
        OptionError: boxes are asked for as masks, and tiles are none.
    """
    if zoom is not None and zoom.boxes_as_masks:
        raise OptionError("boxes_as_masks needs boxes of a detector or a person, and tiles are not boxes of things")
    notes: list[str] = []
    tiles = manifest.tiles
    if tiles is None:
        own = 0.0 if chosen is None else chosen.threshold
        tiles = TilesSpec(_SCALES, _OVERLAP, own)
        notes.append(
            f"the bundle has no values for tiles: {_SCALES[0]} x {_SCALES[0]} tiles, and the presence threshold of "
            "whole images"
        )
    if chosen is None:
        notes.append("tiles are searched for every class: without the presence filter expect pixels of absent classes")
    elif presence_threshold is None:
        chosen = replace(chosen, in_tiles=tiles.presence_threshold)
    if zoom is not None and zoom != ZoomIn():
        notes.append("options about crops of boxes have no effect on tiles")
    return tiles, chosen, tuple(notes)
