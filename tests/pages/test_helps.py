"""What ``--help`` prints: fits 80 columns, explains every option, has examples; and ``clsclip`` lists all commands."""

from __future__ import annotations

import configparser
import importlib
import json
import re
from collections.abc import Iterator

import click
import pytest

from clsclip_runtime.cli import overview
from clsclip_runtime.cli.sections import Command
from tests.pages.blocks import ROOT


def entry_points() -> dict[str, str]:
    """Module of every command of setup.cfg."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    lines = config["options.entry_points"]["console_scripts"].strip().split("\n")
    return dict(re.split(r"\s*=\s*|:", line.strip())[:2] for line in lines)


def with_subcommands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """A command and those below it."""
    yield name, command
    if isinstance(command, click.Group):
        for sub, inner in command.commands.items():
            yield from with_subcommands(inner, f"{name} {sub}")


ALL = {
    name: command
    for top, module in entry_points().items()
    for name, command in with_subcommands(importlib.import_module(module).command, top)
}


def help_of(name: str) -> str:
    """What it prints in a terminal of 80 columns."""
    command = ALL[name]
    context = click.Context(
        command, info_name=name, terminal_width=80, max_content_width=80, **command.context_settings
    )
    return command.get_help(context)


@pytest.mark.parametrize("name", ALL)
def test_every_help_fits_and_explains_every_option(name: str) -> None:
    text, command = help_of(name), ALL[name]
    assert [line for line in text.split("\n") if len(line) > 80] == []
    assert "RANGE" not in text
    assert [one.name for one in command.params if isinstance(one, click.Option) and not one.help] == []
    if " " not in name:
        assert "\n  Examples:\n" in text
        assert "Exit codes:" in text or name == "clsclip"


@pytest.mark.parametrize("name", [name for name, command in ALL.items() if isinstance(command, Command)])
def test_sections_name_options_that_are_there(name: str) -> None:
    command = ALL[name]
    assert isinstance(command, Command)
    own = {flag for one in command.params for flag in one.opts}
    listed = [flag for flags in command.sections.values() for flag in flags]
    assert len(set(listed)) == len(listed)
    elsewhere = {"--train-pictures", "--test-pictures", "--boxes-as-masks", "--parts", "--polygons"}  # lists are shared
    assert set(listed) - own <= elsewhere
    for title, flags in command.sections.items():
        assert set(flags) & own, title
        assert f"\n{title}:\n" in help_of(name)


def test_clsclip_lists_every_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(overview.COMMANDS) == set(entry_points()) - {"clsclip"}
    monkeypatch.setattr(overview, "find_spec", lambda name: None if name == "torch" else name)
    assert overview.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    train = next(line for line in lines if line.startswith("  clsclip-train"))
    assert train == "  clsclip-train   train on masks (needs the extra train)"
    assert any(re.fullmatch(r"An extra is added like this: .*install .*\[train\]'", line) for line in lines)
    assert next(line for line in lines if line.startswith("  clsclip-serve")).endswith("with a page")
    assert overview.main(["--json"]) == 0
    told = json.loads(capsys.readouterr().out)["commands"]
    assert {name for name, works in told.items() if not works} == {"clsclip-train", "clsclip-eval"}


def test_the_help_of_the_command_in_cpp_fits() -> None:
    source = (ROOT / "runtime" / "cpp" / "tools" / "arguments.cpp").read_text("utf-8")
    (text,) = re.findall(r'R"\((Usage: .*?)\)"', source, re.DOTALL)
    assert [line for line in text.split("\n") if len(line) > 80] == []
    assert "\nExamples:\n" in text
    assert "Exit codes:" in text
