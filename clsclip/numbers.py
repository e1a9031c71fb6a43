"""Options that take several whole numbers with commas between: ``2,3,4``."""

from __future__ import annotations

import click


def numbers(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Callback of such an option: ``"2,3,4"`` becomes (2, 3, 4)."""
    try:
        return None if value is None else tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of numbers such as 2,3,4", context, option) from None
