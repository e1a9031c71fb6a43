"""Class names of detectors: from a file's metadata, from a file of names, or the list that everybody trains on."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Sequence
from pathlib import Path

from clsclip_runtime.bundle.manifest import DETECTOR_NAME_CHARACTERS, MAX_DETECTOR_CLASSES
from clsclip_runtime.documents import DocumentError, parse_json
from clsclip_runtime.errors import DetectorError
from clsclip_runtime.options import is_name

COCO = "coco"
"""Stands for COCO's names where a file of names may be given."""

# fmt: off
COCO_NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on

_TEXT = r"""(?P<text>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")\s*(?:,\s*|\Z)"""
_ENTRY = re.compile(r"\s*" + _TEXT)
_NUMBERED = re.compile(r"\s*(?P<key>[0-9]{1,6})\s*:\s*" + _TEXT)
"""One name as Python prints it, without and with its number."""

_MAX_FILE_BYTES = 1 << 22
_GIVE = "Give them: names=('cat', 'dog'), or a file of names, one a line"


def read_names(given: Sequence[str] | str | os.PathLike[str]) -> tuple[str, ...]:
    """Read class names as a user gives them.

    Args:
        given: the names in the order of the detector's classes; or "coco"; or a file: plain text with one name a
            line, JSON (a list, ``{"0": name}``, or either under "names"), or the ``names:`` of a YAML file.

    Raises:
        DetectorError: the file is absent or cannot be read, or these are no names.
    """
    if isinstance(given, str) and given == COCO:
        return COCO_NAMES
    if not isinstance(given, (str, os.PathLike)):
        return _checked(list(given), "names")
    path = Path(given)
    try:
        with path.open("rb") as file:  # it may be a pipe, which has no size
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise DetectorError(f"{path} is over {_MAX_FILE_BYTES >> 20} MiB, so it is no file of class names. {_GIVE}")
        text = content.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DetectorError(f"no such file of class names: {path}. {_GIVE}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DetectorError(f"the class names in {path} cannot be read: {reason}. {_GIVE}") from error
    if text.lstrip().startswith(("[", "{")):
        return _from_json(text, str(path))
    if re.search(r"^names\s*:", text, re.MULTILINE):
        return _checked(_from_yaml(text), str(path))
    return _checked([line.strip() for line in text.splitlines() if line.strip()], str(path))


def parse_names(text: str, where: str) -> tuple[str, ...]:
    """Class names from ONNX metadata, which holds a Python literal: ``{0: 'person', 1: 'bicycle'}`` or a list.

    Raises:
        DetectorError: there are none, or they are not names numbered from 0.
    """
    if not text.strip():
        raise DetectorError(f"{where} holds no class names in its metadata. {_GIVE}")
    found = _literal(text)
    if found is None:
        raise DetectorError(f"{where} has class names that cannot be read. {_GIVE}")
    return _checked(found, where)


def _literal(text: str) -> list[str] | dict[int, str] | None:
    """What Python prints of a list, a tuple or a dictionary by number of texts; None for anything else.

    Only this much of Python is read: its own parser takes 250 bytes of memory and more for each byte of a file.
    """
    text = text.strip()
    if (text[:1], text[-1:]) not in (("{", "}"), ("[", "]"), ("(", ")")):
        return None
    body, numbered = text[1:-1].strip(), text[0] == "{"
    entry = _NUMBERED if numbered else _ENTRY
    at, found = 0, []
    while at < len(body):
        match = entry.match(body, at)
        if match is None:
            return None
        found.append(match)
        at = match.end()
    try:
        names = [str(ast.literal_eval(match["text"])) for match in found]
    except (ValueError, SyntaxError):
        return None
    if not numbered:
        return names
    by_number = {int(match["key"]): name for match, name in zip(found, names, strict=True)}
    return by_number if len(by_number) == len(names) else None


def _from_json(text: str, where: str) -> tuple[str, ...]:
    try:
        found = parse_json(text)
    except DocumentError as error:
        raise DetectorError(f"the class names in {where} are not valid JSON ({error}). {_GIVE}") from error
    if isinstance(found, dict) and "names" in found:
        found = found["names"]
    if isinstance(found, dict):
        found = {int(key) if re.fullmatch("0|[1-9][0-9]{0,5}", key) else key: name for key, name in found.items()}
    return _checked(found, where)


def _from_yaml(text: str) -> object:
    """What stands under ``names:``: ``[a, b]``, ``{0: a}``, lines ``- a``, or lines ``0: a``.

    Only this part of YAML, which data set files of YOLO are written in; it needs no YAML library.
    """
    lines = [re.sub(r"(^|\s)#.*$", "", line).rstrip() for line in text.splitlines()]
    start = next(at for at, line in enumerate(lines) if re.match(r"names\s*:", line))
    first = lines[start].partition(":")[2].strip()
    own = []
    for line in lines[start + 1 :]:
        if line and not line[0].isspace() and not line.startswith(("-", "]", "}")):
            break
        own.append(line.strip())
    if first.startswith(("[", "{")):
        inside = re.match(r"[\[{](.*?)[\]}]", " ".join([first, *own]))
        parts = re.findall(r"""(?:'[^']*'|"[^"]*"|[^,'"])+""", inside.group(1)) if inside else []
        own = [part.strip() for part in parts if part.strip()]
    elif first:
        return None
    own = [line for line in own if line]
    numbered = [re.fullmatch(r"([0-9]{1,6})\s*:\s*(.+)", line) for line in own]
    if own and all(numbered):
        return {int(match[1]): _unquoted(match[2]) for match in numbered if match}
    return [_unquoted(line.removeprefix("- ").strip()) for line in own]


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"" else text


def _checked(found: object, where: str) -> tuple[str, ...]:
    """A list, or a dictionary by number, as names; DetectorError if it is not."""
    if isinstance(found, dict) and sorted(found, key=repr) == sorted(range(len(found)), key=repr):
        found = [found[number] for number in range(len(found))]
    if not isinstance(found, (list, tuple)) or not found or not all(isinstance(name, str) for name in found):
        raise DetectorError(f"{where} has class names that are not numbered from 0. {_GIVE}")
    if len(found) > MAX_DETECTOR_CLASSES:
        raise DetectorError(f"{where} has {len(found):,} class names, and {MAX_DETECTOR_CLASSES:,} can be told apart")
    names = tuple(" ".join(name.split()) for name in found)
    for name in names:
        if not is_name(name, DETECTOR_NAME_CHARACTERS):
            raise DetectorError(
                f"{where} has the class name {name[:40]!a}, which is empty, has control characters, or is over "
                f"{DETECTOR_NAME_CHARACTERS} characters. {_GIVE}"
            )
    return names
