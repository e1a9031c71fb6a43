"""``clsclip-train --recipe``: the paper's training as one option, with what the paper leaves out chosen and said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Recipe:
    """Values of options, by the options' names in Python.

    Attributes:
        paper: what the paper says.
        chosen: what it leaves out, with the reason of every choice.
    """

    paper: dict[str, Any]
    chosen: dict[str, tuple[Any, str]]

    @property
    def values(self) -> dict[str, Any]:
        """All of them."""
        return self.paper | {name: value for name, (value, _) in self.chosen.items()}


_PAPER: dict[str, Any] = {
    "towers": "ViT-B-16",
    "pretrained": "openai",
    "navigation_layers": "2,3,4",
    "use_of_text": "replace",
    "decoder_inputs": "exact",
    "decoder_layers": 2,
    "epochs": 200,
    "learning_rate": 1e-3,
    "absent": 0.0,
}

_CHOSEN: dict[str, tuple[Any, str]] = {
    "restart_factor": (1, "the paper has warm restarts and no T_0: one cycle over all epochs, which ends at rate 0"),
    "weight_decay": (0.01, "AdamW's own"),
    "warmup_steps": (0, "none is named"),
    "dice": (0.5, "the loss is not named: cross entropy and half as much Dice"),
    "clip_norm": (1.0, "guards against single steps"),
    "template": ("a photo of a {}", "CLIP's usual prompt"),
    "decoder_heads": (12, "64 channels each, as in ViT-B/16"),
    "upscale": (4, "mask logits of 56 x 56 at 224 px"),
    "flip": (True, "the one augmentation; crops would cut classes away"),
    "precision": ("fp32", "bf16 is faster on a GPU that has it: --precision bf16"),
    "presence_pictures": (500, "fits the presence head; no mask depends on it"),
    "val": (0.02, "pictures kept back for best.safetensors, curves and contact sheets; with all of them: --val 0"),
}

RECIPES = {
    "pascal": Recipe({"kind": "pascal", "batch": 64} | _PAPER, _CHOSEN),
    "coco": Recipe({"kind": "coco", "batch": 512} | _PAPER, _CHOSEN),
}


def recipe_option(command: Command) -> Command:
    """Add ``--recipe`` to a command; what a recipe says takes the place of the options' defaults."""
    return click.option(
        "--recipe",
        type=click.Choice(list(RECIPES)),
        callback=_take,
        expose_value=False,
        is_eager=True,
        help="The paper's settings: data, towers and all below. Options given beside it win.",
    )(command)


def _take(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.default_map = {**(context.default_map or {}), **RECIPES[value].values}
        context.meta[__name__] = value


def settle(context: click.Context, options: dict[str, Any]) -> None:
    """Take back what a recipe says of towers where the command line names others."""
    if context.meta.get(__name__) is None:
        return
    given = [
        name
        for name in ("towers", "random_towers")
        if context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE
    ]
    if given and context.get_parameter_source("pretrained") == click.core.ParameterSource.DEFAULT_MAP:
        options["pretrained"] = context.params["pretrained"] = None


def told(context: click.Context) -> list[str]:
    """Lines that say what a command's recipe set, and which options were given in place of it; none without one."""
    name = context.meta.get(__name__)
    if name is None:
        return []
    recipe = RECIPES[name]
    options = {one.name: one for one in context.command.params if one.name is not None}
    sources = click.core.ParameterSource

    def is_its_own(key: str) -> bool:
        return context.get_parameter_source(key) == sources.DEFAULT_MAP and context.params.get(key) is not None

    def shown(key: str, value: object) -> str:
        spellings = options[key].opts[0].lstrip("-") if key in options else key
        return f"{spellings} {value}"

    own = ", ".join(shown(key, value) for key, value in recipe.paper.items() if is_its_own(key))
    lines = [f"recipe {name}, from the paper: {own}"]
    lines += [
        f"recipe {name}, chosen here: {shown(key, value)} ({why})"
        for key, (value, why) in recipe.chosen.items()
        if is_its_own(key)
    ]
    given = [shown(key, context.params.get(key)) for key in recipe.values if not is_its_own(key)]
    if given:
        lines.append(f"recipe {name}, given in place of it: {', '.join(given)}")
    return lines
