"""The protocol of an evaluation, as options name it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from clsclip.evaluation import Protocol


def size_protocol(size: str, every: bool) -> Protocol:
    """Make the protocol of ``--protocol`` and ``--episodes``.

    Raises:
        UsageError: ``size`` is neither "original" nor a side in pixels.
    """
    from clsclip.evaluation import Protocol

    if size == "original":
        return Protocol(None, every)
    if not size.isdecimal() or not 8 <= int(size) <= 8192:
        raise click.UsageError(f"--protocol {size}: give original, or a side in pixels such as 480.")
    return Protocol(int(size), every)
