"""Regions of a picture: where things may be, how they are cropped, and where boxes come from besides a detector."""

from __future__ import annotations

from clsclip_runtime.regions.crops import ZoomIn, box_windows, crop_windows, mask_limits
from clsclip_runtime.regions.files import RegionFile
from clsclip_runtime.regions.proposals import Proposals
from clsclip_runtime.regions.tiles import TILES, tile_windows

__all__ = ["TILES", "Proposals", "RegionFile", "ZoomIn", "box_windows", "crop_windows", "mask_limits", "tile_windows"]
