"""Which model ``clsclip-train`` trains: its towers, its configuration, and what a run takes over from another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from clsclip.cli.tower_options import asked_flavor
from clsclip.run_files import STATE_FILE, TOWERS_FOLDER
from clsclip.uses import USES_OF_TEXT
from clsclip_runtime.paths import exists, is_dir

if TYPE_CHECKING:
    from clsclip.model import ClsClip
    from clsclip.towers import Towers

_TRAINING = ("absent", "words_per_picture", "flip", "dice")
"""Settings of a training that say what is learned; the others say how fast."""


@dataclass(frozen=True)
class ModelOptions:
    """Towers and configuration of a model, as options say; see their help."""

    towers: str | None
    pretrained: str | None
    random_towers: bool
    activation: str | None
    mean_std: str | None
    start: Path | None
    image_size: int | None
    navigation_layers: tuple[int, ...] | None
    use_of_text: str
    visual_prompts: int
    decoder_inputs: str
    decoder_layers: int
    decoder_heads: int | None
    upscale: int

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> ModelOptions:
        """Take them out of all values of a command."""
        return cls(**{one.name: values[one.name] for one in fields(cls)})


def check_use(chosen: ModelOptions, out: Path, *, resume: bool) -> None:
    """Refuse what cannot be meant, before anything is loaded."""
    if chosen.use_of_text not in USES_OF_TEXT:
        raise click.UsageError(f"--use-of-text is one of {', '.join(USES_OF_TEXT)}.")
    if chosen.navigation_layers is not None and chosen.use_of_text != "replace":
        raise click.UsageError("--navigation-layers is for --use-of-text replace.")
    if exists(out / STATE_FILE) and not resume:
        raise click.UsageError(f"{out} holds a training run. Go on with it: --resume; or give another --out.")
    if chosen.towers is None:
        if chosen.pretrained is not None or chosen.random_towers:
            raise click.UsageError("--pretrained and --random-towers say something about --towers NAME. Give it.")
        if chosen.start is None and not resume:
            raise click.UsageError("Give --towers: an open_clip model or a folder of towers.")
        if chosen.start is not None and (chosen.activation is not None or chosen.mean_std is not None):
            raise click.UsageError("--activation and --mean-std are for --towers; a checkpoint tells them of its own.")
        return
    check_random(chosen.towers, chosen.pretrained, random_towers=chosen.random_towers)


def check_random(towers: str, pretrained: str | None, *, random_towers: bool) -> None:
    """Refuse towers without weights that were not asked for: a model on them learns no word.

    Raises:
        click.UsageError: says which option is missing.
    """
    from clsclip.weights.hub import is_hub_name

    bare = pretrained is None and not is_dir(towers) and not is_hub_name(towers)
    if bare and not random_towers:
        raise click.UsageError(
            f"--towers {towers} without --pretrained are random towers: they know no word, and no training on them "
            "is of use. Give --pretrained TAG or FILE, such as openai; for a test of the machinery, --random-towers."
        )
    if random_towers and not bare:
        raise click.UsageError("--random-towers is for --towers NAME without --pretrained.")


def inherit(context: click.Context, values: dict[str, Any], start: Path) -> str:
    """Take over from a checkpoint what no option says, into ``values``; returns what was taken over, in words.

    Raises:
        CheckpointError: it is damaged.
    """
    from clsclip.checkpoint import model_config, read_header

    header = read_header(start)
    config = asdict(model_config(header["model"]))
    provenance = header["provenance"]
    config["decoder_inputs"] = "+".join(config["decoder_inputs"]) or "exact"
    config["navigation_layers"] = config["navigation_layers"] or None
    training = provenance.get("training")
    training = training if isinstance(training, dict) else {}
    found = config | {"image_size": header["towers"]["image_size"]}
    found |= {name: training[name] for name in _TRAINING if isinstance(training.get(name), (int, float))}
    templates = provenance.get("templates")
    if isinstance(templates, list) and templates and isinstance(templates[0], str):
        found["template"] = templates[0]
    taken, changed = [], []
    for name, value in found.items():
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            if values[name] != value:
                changed.append(f"{_option(name)} {_shown(value)} is {_shown(values[name])} now")
        elif value is not None:
            values[name] = value
            taken.append(f"{_option(name)} {_shown(value)}")
    towers = "its towers, " if values["towers"] is None else ""
    text = f"from {start}: {towers}{', '.join(taken)}"
    return f"{text}; {', '.join(changed)}" if changed else text


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else repr(value) if value == "" else str(value)


def open_towers(chosen: ModelOptions, out: Path, seed: int) -> Towers:
    """The towers of a run; random ones by the seed, and those that it began with where it is resumed.

    Raises:
        TowersError, CheckpointError: they are not found, or cannot be loaded.
    """
    import torch

    from clsclip.checkpoint import read_header, towers_of
    from clsclip.tower_files import load_towers
    from clsclip.weights.folders import find_folder

    kept, asked = out / TOWERS_FOLDER, asked_flavor(chosen.activation, chosen.mean_std)
    begun = find_folder(kept) is not None
    if chosen.random_towers and begun:
        towers = load_towers(str(kept), None, chosen.image_size, asked)
        towers.name = f"{chosen.towers}:random"
        return towers
    if chosen.towers is not None:
        torch.manual_seed(seed)
        return load_towers(chosen.towers, chosen.pretrained, chosen.image_size, asked)
    if chosen.start is None or begun:
        return load_towers(str(kept), None, chosen.image_size, asked)
    towers = towers_of(chosen.start, read_header(chosen.start))
    if chosen.image_size is not None and chosen.image_size != towers.image.size:
        towers.resize(chosen.image_size)
    return towers.requires_grad_(False).eval()


def build_model(chosen: ModelOptions, towers: Towers, seed: int) -> ClsClip:
    """Fresh weights on towers; click.UsageError where these towers cannot carry the configuration."""
    import torch

    from clsclip.errors import CheckpointError
    from clsclip.model import ClsClip, ModelConfig

    inputs = chosen.decoder_inputs
    settings: dict[str, Any] = {
        "decoder_layers": chosen.decoder_layers,
        "decoder_heads": chosen.decoder_heads or (towers.width // 64 if towers.width % 64 == 0 else 1),
        "upscale": chosen.upscale,
        "decoder_inputs": () if inputs == "exact" else tuple(inputs.split("+")),
        "use_of_text": chosen.use_of_text,
        "visual_prompts": chosen.visual_prompts,
    }
    if chosen.navigation_layers is not None:
        settings["navigation_layers"] = chosen.navigation_layers
    torch.manual_seed(seed)
    try:
        return ClsClip(towers, ModelConfig(**settings))
    except CheckpointError as error:
        raise click.UsageError(str(error)) from error


def start_from(model: ClsClip, chosen: ModelOptions) -> dict[str, Any]:
    """Put the learned weights of ``--from-checkpoint`` into ``model``; returns how they were made.

    Raises:
        CheckpointError: it is damaged, was trained on other towers, or is another model; its picture size may differ.
    """
    from clsclip.checkpoint import given_towers, load_checkpoint
    from clsclip.differences import differences
    from clsclip.errors import CheckpointError

    checkpoint = chosen.start
    if checkpoint is None:
        raise ValueError("there is no checkpoint to start from")
    towers = None
    if chosen.towers is not None and not chosen.random_towers:
        towers = given_towers(checkpoint, chosen.towers, chosen.pretrained)
    source, header = load_checkpoint(checkpoint, towers)
    before, now = ({**one.towers.settings(), "image_size": None} for one in (source, model))
    if before != now:
        other = "; ".join(differences(before, now)[:5])
        raise CheckpointError(f"{checkpoint} was trained on towers that compute something else: {other}.")
    before, now = asdict(source.config), asdict(model.config)
    added = [name for name in now["decoder_inputs"] if name not in before["decoder_inputs"]]
    if before | {"decoder_inputs": (*before["decoder_inputs"], *added)} != now:
        differing = [f"{name} was {before[name]} and is {now[name]}" for name in before if before[name] != now[name]]
        raise CheckpointError(
            f"{checkpoint} is another model: {'; '.join(differing)}. "
            "Leave these options out: they are taken over from it. Only decoder inputs may be added, at the end."
        )
    model.load_state_dict(source.learned_state(), strict=False)
    made = {name: header["provenance"].get(name) for name in ("steps", "seed", "pictures", "training")}
    if added:  # their weights are fresh
        made["decoder_inputs_added"] = "+".join(added)
    return {"image_size": source.towers.image.size} | made
