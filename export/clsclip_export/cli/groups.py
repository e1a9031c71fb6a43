"""Options that exclude or need each other, checked in one place: the command's jobs are told apart by them."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

SOURCES = {"--ckpt", "--clipseg", "--training-free"}
"""What a bundle is made of anew, in contrast to ``--from-bundle``."""


class Option(click.Option):
    """An option that may belong to a group.

    Args:
        needs: options of which at least one must be given too, such as ``--detector``.
        group: name of a group of options of which at most one may be given.
    """

    def __init__(self, *args: Any, needs: tuple[str, ...] = (), group: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.needs = needs
        self.group = group

    @property
    def flag(self) -> str:
        """How it is typed."""
        return self.opts[0]


def option(*names: str, **settings: Any) -> Any:
    """Declare an :class:`Option`."""
    return click.option(*names, cls=Option, **settings)


def check_groups(context: click.Context) -> set[str]:
    """Refuse options that contradict each other; returns those that were given, as they are typed.

    Raises:
        UsageError: two options of one group were given, or one without what it needs.
    """
    options = [one for one in context.command.params if isinstance(one, Option)]
    given = [one for one in options if context.get_parameter_source(str(one.name)) is ParameterSource.COMMANDLINE]
    flags = {one.flag for one in given}
    groups: dict[str, str] = {}
    for one in given:
        if one.group is not None:
            other = groups.setdefault(one.group, one.flag)
            if other != one.flag:
                raise click.UsageError(f"{other} and {one.flag} exclude each other. Give one of the two.")
    for one in given:
        if one.needs and not flags & set(one.needs):
            if "--from-bundle" in flags and set(one.needs) <= SOURCES:
                raise click.UsageError(f"{one.flag} is for {' or '.join(one.needs)}: a bundle keeps its own.")
            raise click.UsageError(f"{one.flag} says something about {' or '.join(one.needs)}, which is missing.")
    return flags
