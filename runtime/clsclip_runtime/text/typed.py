"""Classes as they are typed on a command line and written in files.

dog                                     a class
dog, cat                                two classes, with a note
"dog, cat"                              one class, with a comma
helmet = safety helmet | hard hat       a class that is searched by two prompts
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from pathlib import Path

from clsclip_runtime.errors import WordError
from clsclip_runtime.text.words import Asked, Entry, clean_entries

_MOST_BYTES = 64 << 20
_COMMAS = ",\uff0c\u3001\uff64\u060c"
"""Of keyboards for Latin, Chinese, Japanese and Arabic."""
_PAIRS = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019", "\u00ab": "\u00bb", "\u201e": "\u201c"}
_EQUALS, _BAR = r"\s=\s", r"\|"
_INSIDE = rf"{_EQUALS}|{_BAR}"
"""What stands between the quoted parts of one class."""
_SHOWN = 3


def typed_classes(words: Iterable[str], file: Path | None = None) -> Asked:
    """The classes of a command line, and of a file of them.

    Args:
        words: as typed.
        file: UTF-8, one class a line; empty lines and those that begin with ``#`` are skipped.

    Raises:
        WordError: the file cannot be read, there is no class, or one is not usable.
    """
    notes: list[str] = []
    entries = [entry for word in words for entry in _entries(word, notes)]
    unquoted: list[str] = []
    if file is not None:
        entries += [entry for line in _lines(file) for entry in _entries(line, notes, unquoted)]
        if not entries:
            raise WordError(f"{file} holds no word. Write one a line")
    if unquoted:
        more = ", ..." if len(unquoted) > _SHOWN else ""
        notes.append(
            f"quotes around words of {file.name if file else ''} were left out: {', '.join(unquoted[:_SHOWN])}{more}"
        )
    return clean_entries(entries, _few(notes))


def typed_class(line: str) -> Asked:
    """The one class of a line, whatever commas are in it. WordError if it is not usable."""
    quoted: list[str] = []
    entry = _entry(line, quoted)
    return clean_entries([entry], [f"quotes were left out: {', '.join(quoted)}"] if quoted else [])


def unquoted(text: str) -> str:
    """A text without the quotes around it."""
    text = text.strip()
    is_quoted = len(text) > 1 and _PAIRS.get(text[0]) == text[-1] and text[-1] not in text[1:-1]
    return text[1:-1] if is_quoted else text


def _entries(text: str, notes: list[str], quoted: list[str] | None = None) -> list[Entry]:
    """The classes of one word or line."""
    parts = [part for part in _split(text, f"[{_COMMAS}]") if part.strip()] or [text]
    found = [_entry(part, quoted) for part in parts]
    if len(found) > 1:
        names = ", ".join(str(prompts[0] if name is None else name).strip() for name, prompts in found)
        notes.append(f"'{text.strip()}' has a comma and was read as {len(found)} classes: {names}")
    return found


def _entry(text: str, quoted: list[str] | None) -> Entry:
    parts = _split(text, _EQUALS)
    name, given = (unquoted(parts[0]), text[len(parts[0]) :].strip()[1:]) if len(parts) > 1 else (None, text)
    prompts: list[str] = []
    for part in _split(given, _BAR):
        bare = unquoted(part)
        if quoted is not None and bare != part.strip():
            quoted.append(part.strip())
        if bare.strip() or not prompts:
            prompts.append(bare)
    return name, [one for one in prompts if one.strip()] or prompts[:1]


def _split(text: str, separator: str) -> list[str]:
    """The parts of a text between separators that do not stand in quotes."""
    found: list[str] = []
    start = at = 0
    ends = re.compile(rf"\s*(?:$|{separator}|{_INSIDE})")
    marks = re.compile(rf"(?P<separator>{separator})|{_INSIDE}")
    while True:
        first = at + len(text[at:]) - len(text[at:].lstrip())
        end = text.find(_PAIRS.get(text[first : first + 1], "\0"), first + 1)
        closed = end >= 0 and ends.match(text, end + 1)
        mark = marks.search(text, end + 1 if closed else at)
        if mark is None:
            return [*found, text[start:]]
        at = mark.end()
        if mark["separator"] is not None:
            found.append(text[start : mark.start()])
            start = at


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise WordError(f"cannot read the words of {path}: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > _MOST_BYTES:
        raise WordError(f"{path} is over {_MOST_BYTES >> 20} MiB. Give a file with one word a line")
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise WordError(f"{path} is not UTF-8 text. Give a file with one word a line") from error
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _few(notes: list[str]) -> list[str]:
    """A few notes as they are, many as one with the first."""
    if len(notes) <= _SHOWN + 2:
        return notes
    return [*notes[:_SHOWN], f"and {len(notes) - _SHOWN} more such lines"]
