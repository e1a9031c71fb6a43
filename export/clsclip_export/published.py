"""Models of published weights, with nothing trained here, and the headers that their bundles are described by."""

from __future__ import annotations

from typing import Any

from clsclip.base import WordSegmenter
from clsclip.cli.tower_options import asked_flavor
from clsclip.clipseg_files import load_clipseg
from clsclip.errors import TowersError
from clsclip.tower_files import load_towers
from clsclip.training_free import BACKGROUND, TEMPLATES, TrainingFree
from clsclip_export.options import Published

UNFITTED = "presence was fitted on nothing: its threshold is 0, so every word is segmented"


def load_published(chosen: Published) -> tuple[WordSegmenter, dict[str, Any], list[str]]:
    """Load what is asked for.

    Returns:
        the model, a header as checkpoints have it, and what was assumed, as sentences for people.

    Raises:
        TowersError: the weights cannot be loaded.
    """
    if chosen.clipseg is not None:
        return clipseg(chosen, chosen.clipseg)
    if chosen.training_free is None or chosen.towers is None:
        raise ValueError("neither CLIPSeg nor towers are asked for")
    asked = asked_flavor(chosen.activation, chosen.mean_std)
    towers = load_towers(chosen.towers, chosen.pretrained, chosen.image_size, asked)
    if float(towers.logit_scale) <= 0:
        raise TowersError(f"The temperature of {towers.name} is not above 1: its weights were not trained as CLIP's.")
    templates = chosen.templates or TEMPLATES
    background = chosen.background or BACKGROUND
    model = TrainingFree(towers, chosen.training_free, background, templates).eval()
    source = {"source": towers.name, "method": chosen.training_free, "training": "none"}
    header, notes = header_of(chosen, source, templates, None)
    notes = [*towers.notes, *notes]
    if not chosen.background:
        notes.append(f"words compete with {len(BACKGROUND)} usual background prompts; --background FILE takes others")
    return model, header, notes


def clipseg(chosen: Published, weights: str) -> tuple[WordSegmenter, dict[str, Any], list[str]]:
    """Load CLIPSeg; see :func:`load_published`."""
    model, source = load_clipseg(weights, chosen.image_size)
    where = {"source": source.name, **({"revision": source.revision} if source.revision else {})}
    header, notes = header_of(chosen, where, chosen.templates or ("{}",), source.license)
    return model, header, [*source.notes, *notes]


def header_of(
    chosen: Published, source: dict[str, str], templates: tuple[str, ...], license_text: str | None
) -> tuple[dict[str, Any], list[str]]:
    """Make the header, and notes on what it had to leave open."""
    stated = chosen.license or license_text
    notes = [UNFITTED]
    if stated is None:
        notes.append("the license of the weights is not known: the bundle says so; --license TEXT states it")
    provenance = {
        **source,
        "templates": list(templates),
        "license": {"weights": stated or "unknown", "notes": []},
    }
    return {"provenance": provenance}, notes
