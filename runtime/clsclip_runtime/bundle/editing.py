"""Changing what a bundle says of itself: name, license, description, prompts, thresholds. No graph is touched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from clsclip_runtime.bundle.manifest import parse_manifest
from clsclip_runtime.bundle.opening import EMBEDDED, MANIFEST, TEXT_TOKENS, Bundle
from clsclip_runtime.errors import BundleError, OptionError
from clsclip_runtime.paths import write_json

PLACES: dict[str, tuple[str, ...]] = {
    "name": ("name",),
    "license": ("license", "weights"),
    "description": ("description",),
    "templates": ("text", "templates"),
    "mask_threshold": ("mask", "threshold"),
    "presence_threshold": ("presence", "threshold"),
    "least_confidence": ("presence", "least_confidence"),
}
"""What can be changed, and where it stands in the manifest."""


def edit_bundle(folder: Path, changes: Mapping[str, Any]) -> list[str]:
    """Change values of a bundle's manifest, in place: the old file stands until the new one is complete.

    Every file is verified first, and the new manifest is read as a runtime reads it. What was changed is noted in it
    (``edited``), with the values of before.

    Args:
        folder: of the bundle.
        changes: new values by the names of :data:`PLACES`.

    Returns:
        A sentence for every change.

    Raises:
        OptionError: the bundle has no place for a value, or a value means nothing in it.
        BundleError: the bundle is damaged, or a value is none that a manifest may hold.
        OutputError: the manifest cannot be written.
    """
    bundle = Bundle.open(folder)
    if bundle.folder == EMBEDDED:
        raise OptionError("the embedded model belongs to the installation. Copy its folder, and edit the copy")
    if "templates" in changes and TEXT_TOKENS in bundle.manifest.files:
        raise OptionError(
            "the bundle's words were encoded with its templates, and would not follow. Export it again with others, or "
            "without --classes-file"
        )
    document: dict[str, Any] = deepcopy(dict(bundle.manifest.raw))
    told, noted = [], {}
    for name, value in changes.items():
        *parents, key = PLACES[name]
        place: Any = document
        for parent in parents:
            place = place.get(parent)
            if place is None:
                raise OptionError(f"the bundle gives no {parent}, so it has no {name.replace('_', ' ')}")
        before = place.get(key)
        if before == value:
            continue
        place[key] = value
        noted[name] = {"was": before, "is": value}
        told.append(f"{name.replace('_', ' ')} was {before!r} and is {value!r}")
    if not told:
        return []
    edits = document.get("edited")
    document["edited"] = [*(edits if isinstance(edits, list) else []), noted]
    try:
        parse_manifest(json.dumps(document).encode(), bundle.folder)
    except BundleError as error:
        raise OptionError(f"this cannot be stored: {error}. Nothing was changed") from error
    write_json(bundle.folder / MANIFEST, document, sync=True)
    return told
