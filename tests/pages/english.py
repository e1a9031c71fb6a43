"""Keep the documentation plain: short sentences, few words in the README, none of the phrases that confuse.

    python -m tests.pages.english

What is read: README.md, CONTRIBUTING.md, docs/, and the help of all commands.
Long sentences are reported with their place. Spelling is codespell's part.
"""

from __future__ import annotations

import configparser
import importlib
import re
import sys
from collections.abc import Iterator

import click

from tests.pages.blocks import ROOT, pages

README_WORDS = 900
SENTENCE_WORDS = 40

CONFUSING = (
    "is told",
    "are told",
    "is stood",
    "so many",
    "of which",
    "what it is stands",
    "may be anything",
    "goes on",
    "nobody",
)
"""Phrases of the house's list that readers stumble over."""

FIRST_WORDS = 150
NEEDED_FIRST = ("open-vocabulary|any class that you can name", "photographs", "clsclip-infer", "2304.06212")
"""What the README's beginning must hold: what it is, which model knows photographs, what to type, the paper."""


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Paragraphs and entries of lists with the line where each begins; without code, tables, comments and addresses."""
    text = re.sub(r"<!--.*?-->", lambda found: "\n" * found[0].count("\n"), text, flags=re.DOTALL)
    text = re.sub(r"^( *)```.*?^\1```", lambda found: "\n" * found[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)
    begin, lines = 1, list[str]()
    for number, line in enumerate([*text.split("\n"), ""], 1):
        stripped = line.strip()
        alone = not stripped or stripped.startswith(("|", "#", "!!!", "![", ":::", "--8<--"))
        if alone or re.match(r"[-*] |\d+\. ", stripped):
            if lines:
                yield begin, " ".join(lines)
            lines = []
        if not alone:
            begin = begin if lines else number
            lines.append(re.sub(r"^([-*]|\d+\.) ", "", stripped))


def sentences(paragraph: str) -> list[str]:
    """Sentences; what stands in code, and dots inside of words, end none."""
    plain = re.sub(r"`[^`]*`", "code", re.sub(r"\]\([^)]*\)", "]", paragraph))
    return [one for one in re.split(r"(?<=[.!?:;])\s+", plain) if one]


def findings_in(name: str, text: str) -> Iterator[str]:
    """What is wrong with a text, a line each."""
    for begin, paragraph in prose(text):
        for sentence in sentences(paragraph):
            words = len(sentence.split())
            if words > SENTENCE_WORDS:
                yield f"{name}:{begin}: {words} words in a sentence: {sentence[:90]}..."
        lower = f" {re.sub(r'`[^`]*`', 'code', paragraph).lower()} "
        for phrase in CONFUSING:
            if re.search(rf"\b{phrase}\b", lower):
                yield f"{name}:{begin}: say {phrase!r} in plain words: {paragraph[:90]}..."


def helps() -> Iterator[tuple[str, str]]:
    """The help texts of every command and subcommand: what each says first, and of each option."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    lines = config["options.entry_points"]["console_scripts"].strip().split("\n")
    for name, target in (re.split(r"\s*=\s*", line.strip(), maxsplit=1) for line in lines):
        module = importlib.import_module(target.partition(":")[0])
        command = getattr(module, "command", None) or getattr(module, "group", None)
        if isinstance(command, click.Command):
            yield from helps_of(command, name)


def helps_of(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """The help of a command, of its options, and of its subcommands."""
    yield name, re.sub(r"\b\n", "", command.help or "")
    for one in command.params:
        if isinstance(one, click.Option) and one.help:
            yield f"{name} {one.opts[0]}", one.help
    if isinstance(command, click.Group):
        for sub, inner in command.commands.items():
            yield from helps_of(inner, f"{name} {sub}")


def readme_findings(text: str) -> Iterator[str]:
    """Whether it is short, and says in its beginning what a newcomer has to know."""
    words = text.split()
    if len(words) > README_WORDS:
        yield f"README.md: {len(words)} words, and {README_WORDS} are the most"
    beginning = " ".join(words[:FIRST_WORDS])
    for needed in NEEDED_FIRST:
        if not re.search(needed, beginning):
            yield f"README.md: its first {FIRST_WORDS} words lack {needed!r}"


def all_findings() -> Iterator[str]:
    """Of everything."""
    yield from readme_findings((ROOT / "README.md").read_text("utf-8"))
    for path in pages():
        yield from findings_in(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
    for name, text in helps():
        yield from findings_in(name, text)


def main() -> int:
    """Print what is wrong; 1 if anything is."""
    found = list(all_findings())
    print("\n".join(found) or "plain")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
