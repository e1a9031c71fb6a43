"""Pictures of tasks: fetched from one Label Studio, with its token, and from nowhere else."""

from __future__ import annotations

import base64
import ipaddress
import os
import threading
from typing import Any
from urllib.parse import urljoin, urlsplit

from clsclip_runtime.documents import DocumentError, parse_json
from clsclip_runtime.errors import ImageError, OptionError
from clsclip_runtime.images.addresses import Asking, RefusedError, fetch

TOKEN = "LABEL_STUDIO_API_KEY"  # noqa: S105 - the variable's name
_REFUSED = (401, 403)
_MOVED = range(300, 400)
_TOKEN_BYTES = 1 << 20


def private_note(host: str) -> str | None:
    """What Label Studio says to a server at a host of a private network, and what helps; None for public ones."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if host != "localhost":
            return None
        address = ipaddress.ip_address("127.0.0.1")
    if address.is_global:
        return None
    return (
        f'Label Studio 1.23 and newer refuses a backend at a private address such as {host} ("URL resolves to a '
        'reserved network address"). Start it with ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false, '
        "which its webhook for the backend needs"
    )


class LabelStudio:
    """The one Label Studio whose pictures are fetched."""

    def __init__(self, address: str, token: str | None) -> None:
        """Ask the Label Studio at an address.

        Args:
            address: such as ``http://localhost:8080``.
            token: of one of its users: a legacy token, or a personal access token.

        Raises:
            OptionError: the address is none.
        """
        try:
            parts = urlsplit(address)
            self._origin = (parts.scheme, parts.hostname, _port(parts))
        except ValueError as error:
            raise OptionError(f"label_studio must be an address such as http://localhost:8080: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
            raise OptionError(f"label_studio must be an address such as http://localhost:8080, and is {address[:80]}")
        self.address = address.rstrip("/")
        self._token = (token or "").strip() or None
        self._access: str | None = None
        self._lock = threading.Lock()

    @classmethod
    def from_environment(cls, address: str) -> LabelStudio:
        """With the token of ``LABEL_STUDIO_API_KEY``."""
        return cls(address, os.environ.get(TOKEN))

    def image(self, value: object, task: object, *, max_bytes: int, seconds: float) -> bytes:
        """The encoded picture of a task.

        Args:
            value: what the task has for its picture.
            task: its identifier.
            max_bytes: refuse more.
            seconds: for all of it.

        Raises:
            ImageError: it lies elsewhere, or cannot be had.
        """
        address = self.address_of(value, task)
        try:
            try:
                return fetch(address, max_bytes=max_bytes, seconds=seconds, asking=self._asking(seconds))
            except RefusedError as error:
                if error.status not in _REFUSED or not self._is_personal:
                    raise
                self._access = None  # it lasts for minutes
                return fetch(address, max_bytes=max_bytes, seconds=seconds, asking=self._asking(seconds))
        except RefusedError as error:
            raise ImageError(self._told(address, error)) from error

    def address_of(self, value: object, task: object) -> str:
        """Where a task's picture is fetched. ImageError if that is not in this Label Studio."""
        if not isinstance(value, str) or not value:
            raise ImageError(f"task {task} has no address of a picture")
        if value.split(":", 1)[0] in ("s3", "gs", "azure-blob", "azure_spi", "redis"):
            name = base64.urlsafe_b64encode(value.encode("utf-8")).decode("ascii")
            return f"{self.address}/tasks/{task}/resolve/?fileuri={name}"
        try:
            address = urljoin(f"{self.address}/", value)
            parts = urlsplit(address)
            origin = (parts.scheme, parts.hostname, _port(parts))
        except ValueError as error:
            raise ImageError(f"task {task} has no address of a picture: {error}") from error
        if origin != self._origin or parts.username is not None:
            raise ImageError(
                f"the picture of task {task} lies at {parts.scheme}://{parts.hostname}, and pictures are fetched from "
                f"{self.address} alone. Upload it there, or name the Label Studio that has it: --label-studio URL"
            )
        return address

    @property
    def _is_personal(self) -> bool:
        """Whether the token is one of those that are changed for another one first: a JSON web token."""
        return self._token is not None and self._token.count(".") == 2

    def _asking(self, seconds: float) -> Asking:
        if self._token is None:
            return Asking(redirects=False)
        if not self._is_personal:
            return Asking({"Authorization": f"Token {self._token}"}, redirects=False)
        with self._lock:
            if self._access is None:
                self._access = self._refreshed(seconds)
            return Asking({"Authorization": f"Bearer {self._access}"}, redirects=False)

    def _refreshed(self, seconds: float) -> str:
        body = b'{"refresh": "%s"}' % (self._token or "").encode("ascii", "replace")
        asking = Asking({"Content-Type": "application/json"}, body, redirects=False)
        answer = fetch(f"{self.address}/api/token/refresh/", max_bytes=_TOKEN_BYTES, seconds=seconds, asking=asking)
        try:
            found: Any = parse_json(answer)
        except DocumentError as error:
            raise ImageError(f"{self.address} gave no token for the one in {TOKEN}: {error}") from error
        access = found.get("access") if isinstance(found, dict) else None
        if not isinstance(access, str) or not all("!" <= one <= "~" for one in access):
            raise ImageError(f"{self.address} gave no token for the one in {TOKEN}")
        return access

    def _told(self, address: str, error: RefusedError) -> str:
        to_login = error.status in _MOVED and "login" in error.location
        if error.status in _REFUSED or to_login:
            what = "has a token that it does not take" if self._token else "is not set"
            return (
                f"{address} needs a token: Label Studio answered {error.status}, and {TOKEN} {what}. Copy a token from "
                f"Account & Settings in {self.address}, and start clsclip-serve again with {TOKEN}=TOKEN"
            )
        if error.status in _MOVED:
            host = urlsplit(error.location).hostname or "another place"
            return (
                f"{address} leads to {host[:200]}, and pictures are fetched from {self.address} alone. Switch off "
                '"Use pre-signed URLs" in the settings of the project\'s cloud storage'
            )
        return str(error)


def _port(parts: Any) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)
