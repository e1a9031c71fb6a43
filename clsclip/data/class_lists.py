"""Lists of classes by position, as other tools write them: what would shift every class is refused, with the cure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from clsclip.errors import DataError

_BACKGROUND = {"background", "_background_", "__background__", "bg", "void", "unlabeled", "unlabelled", "__ignore__",
               "_ignore_", "ignore"}  # fmt: skip
_NEVER = {one for one in _BACKGROUND if one.startswith("_")}
"""Names that no class has, wherever they stand."""

_NUMBERED = re.compile(r"[\"']?(\d+)[\"']?\s*[:.);,=\t ]\s*\S")
_COLORED = re.compile(r"(?:\d{1,3}[,;\s]+){2}\d{1,3}(?:\D|$)|#[0-9a-fA-F]{6}\b")
_RULE = "Line i is the class of the value i in masks, and 0, the background, has no line"


def check_class_list(lines: Sequence[str], path: Path) -> None:
    """Refuse a list whose lines are no classes.

    Args:
        lines: stripped, without empty ones.
        path: of the list, for messages.

    Raises:
        DataError: a line is a comment, the background, a number with a word, or a word with a color.
    """
    for number, line in enumerate(lines, 1):
        if line.startswith(("#", "//")):
            raise _refused(path, number, line, "is a comment. Remove it: every line counts as a class")
        name = line.split(":")[0].strip().strip("\"'").lower()
        if name in _NEVER or (name in _BACKGROUND and all(is_background(one) for one in lines[:number])):
            raise _refused(path, number, line, f"is no class. Remove it. {_RULE}")
        if _COLORED.search(line):
            raise _refused(path, number, line, f"has a color. Write the words alone. {_RULE}")
    if not lines:
        return
    numbers = [_NUMBERED.match(line) for line in lines]
    counted = [int(one[1]) for one in numbers if one is not None]
    if len(counted) == len(lines) and (len(lines) > 1 or ":" in lines[0]) and _is_count(counted):
        raise _refused(path, 1, lines[0], f"begins with a number. Write the words alone. {_RULE}")
    if len(lines) > 1 and all(line.startswith("- ") for line in lines if not line.endswith(":")):
        raise _refused(path, 1, lines[0], "is part of a YAML file. Write one word a line")


def is_background(line: str) -> bool:
    """Whether a line names what is no class, as a rule."""
    return line.split(":")[0].strip().strip("\"'").lower() in _BACKGROUND


def _is_count(numbers: Sequence[int]) -> bool:
    """Whether numbers ascend one by one, from whatever they begin with."""
    return all(later - earlier == 1 for earlier, later in pairwise(numbers))


def _refused(path: Path, number: int, line: str, why: str) -> DataError:
    return DataError(f"{path}, line {number}: {line[:60]!r} {why}.")
