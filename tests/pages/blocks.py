"""The code of a page, with what its comments say about running it.

A comment stands before the code that it is about, and a reader of the page does not see it:

    <!-- docs-test: not here: REASON -->                   the block is not run, and the reason is listed
    <!-- docs-test: without "TEXT": REASON -->             commands that contain TEXT are not run
    <!-- docs-test: needs PATH: REASON -->                 not run where the project has no such path
    <!-- docs-test: serves URL -->                         the last command is left running, and URL has to answer
    <!-- docs-test: instead: REASON
    COMMANDS
    -->                                                    these are run in place of the block
    <!-- docs-test: first
    COMMANDS
    -->                                                    these are run before it
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]

RUN = ("sh", "python")
"""Languages of blocks that are run; others are shown alone."""

EVERYWHERE = (
    (re.compile(r"^(pip|python -m pip|npm|sudo apt-get|cd|git clone|\. )"), "installs; `make installs` does"),
    (re.compile(r"^(make|\.ci/)"), "the project's own targets; CI runs them"),
)
"""Commands that are not run on any page, and why; the script lists them."""

_TOKEN = re.compile(
    r"<!-- docs-test: (?P<note>.*?)-->|^```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL
)
_NOTE = re.compile(
    r'(?P<kind>not here|without|needs|serves|instead|first)(?: "(?P<text>[^"]+)"| (?P<word>\S+?))?'
    r"(?:: (?P<reason>[^\n]*?))?\s*(?:\n(?P<code>.*))?",
    re.DOTALL,
)


class NoteError(Exception):
    """A comment for this script that it does not understand."""


@dataclass
class Block:
    """A piece of code of a page.

    Attributes:
        page: from the project's folder.
        line: of the page, counted from 1.
        language: ``sh`` or ``python``.
        commands: what is run, in order: whole lines of a shell, or one program.
        left_out: what is not run, each with its reason.
        serves: the address that the last command answers at, for as long as the page lasts.
    """

    page: str
    line: int
    language: str
    commands: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    serves: str | None = None


def pages(root: Path = ROOT) -> list[Path]:
    """The README, then the pages of docs/ in the order of the navigation, then those that it does not list."""
    listed = re.findall(r"^\s+- [^:]+: ([\w/-]+\.md)$", (root / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    ordered = [root / "docs" / name for name in listed if (root / "docs" / name).is_file()]
    others = sorted(set((root / "docs").rglob("*.md")) - set(ordered))
    return [root / "README.md", root / "CONTRIBUTING.md", *ordered, *others]


def blocks(path: Path, root: Path = ROOT) -> Iterator[Block]:
    """The code of a page in order. NoteError for a comment that is none, or that no block follows."""
    text, page = path.read_text("utf-8"), path.relative_to(root).as_posix()
    notes: list[re.Match[str]] = []
    for token in _TOKEN.finditer(text):
        line = text.count("\n", 0, token.start()) + 1
        if token["note"] is not None:
            note = _NOTE.fullmatch(token["note"].strip())
            if note is None:
                raise NoteError(f"{page}:{line}: {token['note'].strip()!r} says nothing that is known")
            notes.append(note)
        elif token["language"] in RUN:
            yield _block(Block(page, line, token["language"]), token["code"], notes, root)
            notes = []
    if notes:
        raise NoteError(f"{page}: no block follows {notes[0][0]!r}")


def _block(block: Block, code: str, notes: list[re.Match[str]], root: Path) -> Block:
    commands = shell_lines(code) if block.language == "sh" else [code]
    before: list[str] = []
    for note in notes:
        kind, reason = note["kind"], note["reason"] or ""
        if kind == "serves":
            block.serves = note["word"]
            continue
        if kind == "first":
            before += shell_lines(note["code"] or "")
            continue
        if not reason:
            raise NoteError(f"{block.page}:{block.line}: {kind!r} needs a reason after a colon")
        gone = [one for one in commands if kind != "without" or note["text"] in one]
        if kind == "without" and not gone:
            raise NoteError(f"{block.page}:{block.line}: no command has {note['text']!r}")
        if kind == "needs" and (root / note["word"]).exists():
            continue
        block.left_out += [(one, reason) for one in gone]
        commands = [one for one in commands if one not in gone]
        if kind == "instead":
            block.language = "sh"
            commands = shell_lines(note["code"] or "")
    for one in commands:
        why = next((why for pattern, why in EVERYWHERE if block.language == "sh" and pattern.match(one)), None)
        if why is None:
            block.commands.append(one)
        else:
            block.left_out.append((one, why))
    if before and block.language == "sh":
        block.commands = before + block.commands
    elif before:
        raise NoteError(f"{block.page}:{block.line}: 'first' is for blocks of a shell")
    return block


def shell_lines(code: str) -> list[str]:
    """Commands of a shell: lines, with those that end in a backslash joined, without comments and empty lines."""
    lines = [line.strip() for line in code.replace("\\\n", " ").split("\n")]
    return [line for line in lines if line and not line.startswith("#")]
