"""API keys of a file, compared in constant time."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

from clsclip_runtime.errors import OptionError

MOST_BYTES = 1 << 20


class ApiKeys:
    """Keys that open the server."""

    def __init__(self, keys: list[str]) -> None:
        """Keep what is needed to compare with them, and not the keys."""
        self._digests = [hashlib.sha256(key.encode("utf-8")).digest() for key in keys]

    @classmethod
    def read(cls, path: Path) -> ApiKeys:
        """Read a file with a key on every line; empty lines and those that begin with ``#`` are passed over.

        Raises:
            OptionError: it cannot be read, or has no keys, or one that is too short to be one.
        """
        try:
            with path.open("rb") as file:
                text = file.read(MOST_BYTES).decode("utf-8")
        except (OSError, ValueError) as error:
            raise OptionError(f"cannot read the API keys in {path}: {error}") from error
        keys = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        if not keys:
            raise OptionError(f"{path} has no API keys. Write one on every line")
        if any(len(key) < 16 for key in keys):
            raise OptionError(f"{path} has an API key of fewer than 16 characters. Make them: openssl rand -hex 16")
        return cls(keys)

    def open(self, header: str | None) -> bool:
        """Whether an ``Authorization`` header has one of the keys: ``Bearer KEY``, or ``Basic`` with it as password."""
        kind, _, key = (header or "").partition(" ")
        if kind.lower() == "basic":
            key = _password(key)
        digest = hashlib.sha256(key.strip().encode("utf-8", "replace")).digest()
        found = False
        for one in self._digests:  # all of them, so that the time tells nothing
            found |= hmac.compare_digest(one, digest)
        return found and kind.lower() in ("bearer", "basic")


def _password(text: str) -> str:
    """Of basic authentication; empty if it has none."""
    try:
        return base64.b64decode(text.strip(), validate=True).decode("utf-8").partition(":")[2]
    except ValueError:
        return ""
