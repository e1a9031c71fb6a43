"""Help of commands that have many options: in sections, and with short placeholders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

MAIN = "Options"
"""Title of what no section lists."""

_WIDE = 40
"""Characters of a list that stands beside its option; longer ones stand in the help."""


class Command(click.Command):
    """A command whose help lists options in sections."""

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[str]] | None = None, **settings: Any) -> None:
        """Take what ``click.Command`` takes.

        Args:
            sections: options, as they are typed, by the title that they stand under.
        """
        super().__init__(*args, **settings)
        self.sections = dict(sections or {})
        for one in self.params:
            _shorten(one)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the main options, then the sections; inside of one the order is that of the code."""
        title_of = {flag: title for title, flags in self.sections.items() for flag in flags}
        listed: dict[str, list[tuple[str, str]]] = {title: [] for title in (MAIN, *self.sections)}
        for one in self.get_params(ctx):
            record = one.get_help_record(ctx)
            if record is not None and isinstance(one, click.Option):  # arguments stand in the usage
                listed[title_of.get(one.opts[0], MAIN)].append(record)
        for title, records in listed.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class Group(click.Group):
    """Several of them."""

    command_class = Command


def _shorten(one: click.Parameter) -> None:
    """Write N for whole numbers, X for others and NAME for one of a long list, which the help names then."""
    if isinstance(one, click.Option) and one.metavar is None and not one.is_flag and not one.count:
        if isinstance(one.type, click.types.IntParamType):
            one.metavar = "N" + ("..." if one.nargs != 1 else "")
        elif isinstance(one.type, click.types.FloatParamType):
            one.metavar = "X" + ("..." if one.nargs != 1 else "")
        elif isinstance(one.type, click.Choice) and len("|".join(one.type.choices)) > _WIDE:
            one.metavar = "NAME"
            one.help = f"{one.help or ''} One of {', '.join(one.type.choices)}.".strip()
