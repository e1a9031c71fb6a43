"""Options that say of towers what their files may not tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from clsclip.weights.flavor import Asked

Command = TypeVar("Command", bound=Callable[..., Any])

ACTIVATIONS, MEAN_STD = ("gelu", "quick_gelu"), ("openai", "imagenet", "inception")
"""As :mod:`clsclip.weights.flavor` has them, which needs PyTorch."""


def flavor_options(command: Command) -> Command:
    """Add ``--activation`` and ``--mean-std``."""
    command = click.option(
        "--mean-std", type=click.Choice(MEAN_STD), help="Normalization of pixels, where a weights file does not tell."
    )(command)
    return click.option(
        "--activation", type=click.Choice(ACTIVATIONS), help="Of the towers, where a weights file does not tell."
    )(command)


def asked_flavor(activation: str | None, mean_std: str | None) -> Asked:
    """What is asked of towers."""
    from clsclip.weights import flavor

    return flavor.Asked(activation, None if mean_std is None else flavor.MEAN_STD[mean_std], "the command line")
