"""A copy of the frozen towers in the folder of a run: its checkpoints open wherever the folder goes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.transformer import QuickGELU
from safetensors.torch import save

from clsclip.tower_files import CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE
from clsclip.towers import Towers
from clsclip.weights.folders import HF_FILES, find_folder
from clsclip_runtime.paths import is_file, link_or_copy, make_folder, write_bytes, write_text


def keep_towers(towers: Towers, folder: Path) -> None:
    """Put what :func:`clsclip.tower_files.load_towers` reads into ``folder``, unless it is there.

    Args:
        towers: as they were loaded, by a name or from a folder.
        folder: of the copy. The files of a folder become links where that is possible, and take no room then.

    Raises:
        OutputError: it cannot be written.
    """
    if find_folder(folder) is not None:  # its configuration is the last file that is written
        return
    make_folder(folder)
    source = find_folder(Path(towers.origin))
    if source is None:
        write_towers(towers, open_clip.get_model_config(towers.origin), folder)
        return
    small = [name for name in HF_FILES if name != source.config.name and is_file(source.path / name)]
    for name in (*(one.name for one in source.files()), *small, source.config.name):
        link_or_copy(source.path / name, folder / name)


def write_towers(towers: Towers, model_config: Mapping[str, Any], folder: Path) -> None:
    """Write towers of an open_clip configuration as a folder in open_clip's local-dir layout, float32."""
    state = towers.native_state()
    positions = state["visual.positional_embedding"].shape[0] - 1
    vision = {**model_config["vision_cfg"], "image_size": round(positions**0.5) * towers.patch}
    quick = isinstance(towers.visual.transformer.resblocks[0].mlp.gelu, QuickGELU)
    config = {**model_config, "vision_cfg": vision, "quick_gelu": quick}
    # open_clip keeps the text transformer in the model itself, unless its configuration says otherwise.
    own = not model_config.get("custom_text")
    weights = {
        (key.removeprefix("text.") if own else key): value.detach().to("cpu", torch.float32).contiguous()
        for key, value in state.items()
    }
    towers.tokenizer.no_padding()
    towers.tokenizer.no_truncation()
    preprocess = {"mean": towers.image.mean, "std": towers.image.std, "interpolation": towers.image.interpolation}
    write_bytes(folder / WEIGHTS_FILE, save(weights), sync=True)
    write_text(folder / TOKENIZER_FILE, towers.tokenizer.to_str(pretty=True), sync=True)
    document = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}, indent=1)
    write_text(folder / CONFIG_FILE, document + "\n", sync=True)
