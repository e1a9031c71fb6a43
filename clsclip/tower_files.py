"""Towers from files: open_clip's models by name and tag, local weights, folders, and names on a hub."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import torch
from safetensors.torch import save
from torch import Tensor, nn

from clsclip.clip_tokenizer import hub_tokenizer
from clsclip.errors import TowersError
from clsclip.tensors import first_not_finite
from clsclip.tower_places import TowersPlace, digest_of
from clsclip.towers import ImageSpec, Towers
from clsclip.weights.configs import build_clip, check_kind, check_shapes, own_size
from clsclip.weights.evidence import check_same, read_evidence
from clsclip.weights.files import read_file
from clsclip.weights.flavor import (
    ACTIVATIONS,
    MEAN_STD,
    OPEN_CLIP_CONFIG,
    Asked,
    Flavor,
    Told,
    agreed,
    choose,
    told_by_name,
    told_by_tag,
)
from clsclip.weights.folders import HF_FILES, HUB_WEIGHTS, Folder, find_folder, read_config
from clsclip.weights.hf_names import set_activations
from clsclip.weights.hub import hub_folder, is_hub_name, plain_name
from clsclip.weights.names import Recognized, recognized
from clsclip_runtime.paths import is_dir, is_file, make_folder, write_bytes, write_text

CONFIG_FILE = OPEN_CLIP_CONFIG
WEIGHTS_FILE = "open_clip_model.safetensors"
TOKENIZER_FILE = "tokenizer.json"

UNASKED = Asked()
_LOCAL = "Give a local file instead: --pretrained path/to/open_clip_model.safetensors"


def load_towers(
    name: str, pretrained: str | None = None, image_size: int | None = None, asked: Asked = UNASKED
) -> Towers:
    """Towers by name or folder, frozen and in evaluation mode.

    Args:
        name: an ``open_clip`` model (``"ViT-B-16"``); a folder as open_clip or transformers writes it, with a
            configuration and weights; or ``user/name[@revision]`` on a hub.
        pretrained: for an open_clip model: a tag (``"openai"``, fetched from a hub), a local file in any form that
            :mod:`clsclip.weights` knows, or None for random weights. A folder brings its own.
        image_size: pixels a side; None keeps the size that the towers were trained at.
        asked: activation and normalization, for files that do not tell them.

    Raises:
        TowersError: unknown name, absent or damaged files, no connection for a tag, towers of another kind, or an
            activation or normalization that nothing tells or that contradicts what the weights tell.
    """
    folder = find_folder(Path(name))
    named = folder is None and name in open_clip.list_models()
    if pretrained is not None and (folder is not None or (not named and is_hub_name(name))):
        raise TowersError(f"{name} brings its own weights: --pretrained is for a name of open_clip.")
    if folder is not None:
        towers = load_folder(folder, asked=asked)
    elif named:
        towers = load_open_clip(name, pretrained, asked)
    else:
        similar = [one for one in open_clip.list_models() if one.lower() == name.replace("/", "-").lower()]
        if similar:
            raise TowersError(f"open_clip has no model {name!r}. Did you mean --towers {similar[0]}?")
        if not is_hub_name(name):
            raise TowersError(
                f"{name!r} is neither a folder with {CONFIG_FILE} nor an open_clip model, and no name on a hub. "
                "Run: python -c 'import open_clip; print(open_clip.list_models())'"
            )
        found = hub_folder(name, HF_FILES, HUB_WEIGHTS, "Give a folder that has them: --towers")
        folder = find_folder(found.path)
        if folder is None:
            raise TowersError(f"{name} on the hub has no {CONFIG_FILE}, and no config.json of a CLIP.")
        towers = load_folder(folder, asked=asked, name=plain_name(name))
    towers.origin = name if folder is None else str(folder.path)
    if image_size is not None:
        towers.resize(image_size)
    return towers.requires_grad_(False).eval()


class OtherTowersError(TowersError):
    """Towers have other weights than were asked for."""


class Wanted(NamedTuple):
    """The digest that weights must have, for pictures of a size."""

    digest: str
    image_size: int


def load_found(place: TowersPlace, digest: str, image_size: int, asked: Asked) -> Towers:
    """Towers that were found by themselves: their weights must have a digest before anything is built of them.

    Raises:
        OtherTowersError: they have another one.
        TowersError: they cannot be loaded.
    """
    wanted = Wanted(digest, image_size)
    if place.weights is None:
        folder = find_folder(Path(place.name))
        if folder is None:
            raise TowersError(f"{place.name} holds no towers: it has no {CONFIG_FILE}.")
        towers = load_folder(folder, wanted, replace(asked, wins=False), place.label)
    else:
        towers = local_towers(place.name, place.weights, asked, place.tag, wanted)
    towers.origin = place.name
    if towers.image.size != image_size:
        towers.resize(image_size)
    return towers.requires_grad_(False).eval()


def expected(weights: Recognized, wanted: Wanted | None, path: Path) -> dict[str, Tensor]:
    """The weights, if they have the digest that is asked for; None asks for none. OtherTowersError if not."""
    if wanted is not None and digest_of(weights.state, wanted.image_size) != wanted.digest:
        raise OtherTowersError(str(path))
    return weights.state


def load_folder(
    folder: Folder, wanted: Wanted | None = None, asked: Asked = UNASKED, name: str | None = None
) -> Towers:
    """Towers from a folder in open_clip's layout or in that of transformers; see :func:`load_towers`."""
    read = read_weights(folder.weights)
    weights = expected(read, wanted, folder.path)
    try:
        config = read_config(folder, told_by_file(read), asked)
        check_shapes(config.model, weights)
        clip = build_clip(config.model)
        if config.activations is not None:
            set_activations(clip, *config.activations)
        spec = spec_of(config.model["vision_cfg"]["image_size"], config.flavor)
    except TowersError as error:
        raise TowersError(f"{folder.path} cannot be loaded: {error}") from error
    except Exception as error:  # open_clip checks nothing by itself
        raise TowersError(f"{folder.path} does not hold a readable configuration and tokenizer: {error}") from error
    load_weights(clip, weights, str(folder.path))
    return Towers(clip, config.tokenizer, spec, name or folder.path.name, config.notes)


def load_open_clip(name: str, pretrained: str | None, asked: Asked = UNASKED) -> Towers:
    """Towers of a model that open_clip knows; see :func:`load_towers`."""
    config: dict[str, Any] = open_clip.get_model_config(name)
    check_kind(name, config)
    if pretrained is not None and is_file(pretrained):
        return local_towers(name, Path(pretrained), asked)
    if pretrained is None:
        return random_towers(name, config, asked)
    # As open_clip spells tags: it takes OpenAI and laion2b-s34b-b88k too.
    tag = pretrained.lower().replace("-", "_")
    if tag not in open_clip.list_pretrained_tags_by_model(name):
        if is_dir(pretrained):
            raise TowersError(f"{pretrained} is a folder. Give it as --towers {pretrained}, or the weights file in it.")
        known = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise TowersError(f"{name} has no pretrained tag {pretrained!r}, and there is no such file. Its tags: {known}.")
    told = told_by_tag(name, tag)
    flavor = choose([told, told_by_name(name)], asked, name, f"{name}:{tag}")
    try:
        clip: Any = open_clip.create_model(name, pretrained=tag, force_quick_gelu=flavor.activation == "quick_gelu")
    except Exception as error:  # hub clients raise many kinds
        more = f" --activation {flavor.activation} --mean-std {flavor.mean_std.name}"
        raise TowersError(f"The weights {tag} of {name} could not be loaded: {error}\n{_LOCAL}{more}") from error
    return Towers(clip, hub_tokenizer(name), spec_of(int(clip.visual.image_size[0]), flavor), f"{name}:{tag}")


def random_towers(name: str, config: dict[str, Any], asked: Asked) -> Towers:
    """Towers of a name with random weights, of the activation that is asked for."""
    own = told_by_name(name)
    activation, _ = agreed("--activation", [(own.source, own.activation)], asked.activation, asked.by)
    clip = build_clip(config | {"quick_gelu": activation == "quick_gelu"})
    mean_std = asked.mean_std or MEAN_STD["openai"]
    spec = ImageSpec(int(clip.visual.image_size[0]), mean_std.mean, mean_std.std)
    return Towers(clip, hub_tokenizer(name), spec, f"{name}:random", (f"{name} has random weights: give --pretrained",))


def local_towers(name: str, path: Path, asked: Asked, tag: str | None = None, wanted: Wanted | None = None) -> Towers:
    """Towers of a name that open_clip knows, with the weights of a file.

    Args:
        name: in open_clip.
        path: the file.
        asked: what is known of them from elsewhere.
        tag: of the weights, where the file was fetched by one.
        wanted: what the weights must be before anything is built of them.
    """
    config: dict[str, Any] = open_clip.get_model_config(name)
    check_kind(name, config)
    read = read_weights(path)
    weights = expected(read, wanted, path)
    evidence = read_evidence(path.parent, " beside it")
    told = told_by_file(read) + ([] if tag is None else [told_by_tag(name, tag)])
    flavor = choose(
        [*told, *evidence.told, told_by_name(name)],
        asked,
        name,
        path.name,
        without_processor=evidence.without_processor,
    )
    remedy = f"Give the folder itself: --towers {path.parent}, or move the file to a folder of its own."
    if flavor.activation not in ACTIVATIONS:
        raise TowersError(
            f"{path} runs {flavor.activation} ({flavor.why}), and {name} of open_clip runs {' or '.join(ACTIVATIONS)}. "
            "Give a folder with a configuration that says so: --towers FOLDER"
        )
    if not asked.wins:  # what a checkpoint knows of its towers is compared by itself
        check_same(config, "the name", evidence, f" beside {path.name}", remedy)
    config = own_size(config | {"quick_gelu": flavor.activation == "quick_gelu"}, weights)
    clip = build_clip(config)
    load_weights(clip, weights, str(path))
    notes = (f"{path.name}: {read.form}", *flavor.notes)
    spec = spec_of(int(clip.visual.image_size[0]), flavor)
    return Towers(clip, hub_tokenizer(name), spec, f"{name}:{tag or path.name}", notes)


def told_by_file(weights: Recognized) -> list[Told]:
    """What a file says by itself of how it is run."""
    found = [Told("the code in the file", weights.activation)] if weights.activation else []
    if weights.openai:
        found.append(Told("OpenAI's own file", "quick_gelu", MEAN_STD["openai"], "bicubic"))
    return found


def spec_of(size: int, flavor: Flavor) -> ImageSpec:
    """Preprocessing of a flavor."""
    return ImageSpec(size, flavor.mean_std.mean, flavor.mean_std.std, flavor.interpolation)


def read_weights(path: Path) -> Recognized:
    """Read a file of a CLIP's weights; never a pickle's code.

    Raises:
        TowersError: absent, damaged, or another model's.
    """
    return recognized(read_file(path), str(path))


def load_weights(clip: nn.Module, weights: dict[str, Tensor], origin: str) -> None:
    """Put every weight into the model.

    Raises:
        TowersError: a weight is absent, left over, of another shape, or not finite; the message names the first.
    """
    weights = {name: value.float() for name, value in weights.items()}
    expected = clip.state_dict()
    for name in sorted(expected.keys() - weights.keys()):
        raise TowersError(
            f"{origin} lacks the weight {name}: it belongs to another model, or is not whole. Fetch it again."
        )
    for name, value in sorted(weights.items()):
        if name not in expected:
            raise TowersError(f"{origin} has the weight {name}, which this model has not: it belongs to another one.")
        if value.shape != expected[name].shape:
            raise TowersError(f"{origin}: {name} has shape {tuple(value.shape)}, not {tuple(expected[name].shape)}.")
    wrong = first_not_finite(weights)
    if wrong is not None:
        raise TowersError(f"{origin}: {wrong} holds NaN or infinity; the file is damaged or its training diverged.")
    clip.load_state_dict(weights)


def save_towers(towers: Towers, model_config: dict[str, Any], folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write towers made by ``open_clip.CLIP(**model_config)`` so that :func:`load_towers` and open_clip can read them.

    Args:
        towers: what to write.
        model_config: open_clip's configuration; its image size is replaced by the towers' own.
        folder: made if absent; each file is replaced atomically.
        dtype: of the file. float16 loses nothing once the weights have been rounded to it.
    """
    make_folder(folder)
    model_config = model_config | {"vision_cfg": model_config["vision_cfg"] | {"image_size": towers.image.size}}
    preprocess = {"mean": towers.image.mean, "std": towers.image.std, "interpolation": towers.image.interpolation}
    config = json.dumps({"model_cfg": model_config, "preprocess_cfg": preprocess}, indent=1)
    weights = {name.removeprefix("text."): value.to(dtype).contiguous() for name, value in towers.state_dict().items()}
    towers.tokenizer.no_padding()
    towers.tokenizer.no_truncation()
    write_bytes(folder / WEIGHTS_FILE, save(weights), sync=True)
    write_text(folder / TOKENIZER_FILE, towers.tokenizer.to_str(pretty=True), sync=True)
    write_text(folder / CONFIG_FILE, config + "\n", sync=True)
