"""Small JSON documents beside weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clsclip.errors import TowersError
from clsclip.weights.other_files import HEAD, other_file
from clsclip_runtime.documents import DocumentError, read_json

_LFS = "a pointer of Git LFS"


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object. TowersError where it is absent or something else."""
    try:
        document = read_json(path)
    except OSError as error:
        raise TowersError(f"{path} cannot be read: {error.strerror or error}.") from error
    except DocumentError as error:
        what = _other(path)
        if what is not None and what.startswith(_LFS):
            raise TowersError(f"{path} is {_LFS}, and the document itself is not here. Run: git lfs pull") from error
        raise TowersError(f"{path} is not valid JSON: {error}. Fetch the file again.") from error
    if not isinstance(document, dict):
        raise TowersError(f"{path} is not a JSON object. Fetch the file again.")
    return document


def _other(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return None
    return other_file(head, len(head))
