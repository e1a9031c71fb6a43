"""Files and folders of any file system that fsspec knows: ``s3://``, ``gs://``, ``hdfs://``, a local path."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import known_implementations

from clsclip_runtime.errors import OptionError, one_line
from clsclip_runtime.extras import install_command
from clsclip_runtime.paths import public_address

_T = TypeVar("_T")


class RemoteError(Exception):
    """A file system failed; the message says what it said.

    Attributes:
        number: the system's, such as ENOSPC; None where there is none.
    """

    def __init__(self, message: str, number: int | None = None) -> None:
        """Keep both."""
        super().__init__(message)
        self.number = number


@dataclass(frozen=True)
class Place:
    """A file or folder.

    Attributes:
        fs: its file system.
        path: its name there.
        address: as it was given, without a password.
    """

    fs: Any
    path: str
    address: str

    @classmethod
    def from_address(cls, address: str) -> Place:
        """Open a file system; nothing is read yet.

        Raises:
            OptionError: there is no such file system, or its package is not installed.
        """
        scheme = _scheme(address)
        try:
            fs, path = fsspec.core.url_to_fs(address)
        except ImportError as error:
            raise OptionError(_missing(scheme, error)) from error
        except ValueError as error:
            if scheme in known_implementations:
                raise OptionError(f"{public_address(address)} cannot be used: {one_line(error)}") from error
            raise OptionError(
                f"there is no file system {scheme}://. Give a folder, or an address such as s3://bucket/folder"
            ) from error
        except Exception as error:  # of whatever library the scheme is of
            raise OptionError(f"{public_address(address)} cannot be used: {why(error)}") from error
        if isinstance(fs, LocalFileSystem):
            path = os.path.abspath(path)  # noqa: PTH100 (links stay as they are)
        return cls(fs, path, public_address(address))

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return isinstance(self.fs, LocalFileSystem)

    @property
    def full(self) -> str:
        """The address that names it anywhere on this machine, without a password."""
        return self.path if self.is_local else self.address

    def inside(self, name: str) -> Place:
        """A file in this folder."""
        return Place(self.fs, join(self.path, name), join(self.address, name))

    def attempt(self, run: Callable[[], _T]) -> _T:
        """Run something on the file system; whatever its library raises becomes a RemoteError, absence stays."""
        try:
            return run()
        except FileNotFoundError:
            raise
        except Exception as error:
            raise RemoteError(why(error), getattr(error, "errno", None)) from error


def join(folder: str, name: str) -> str:
    """A name below a folder, with a slash between them."""
    return f"{folder.rstrip('/')}/{name}" if folder else name


def why(error: BaseException) -> str:
    """What a file system's error says, in one line."""
    said = one_line(getattr(error, "strerror", None) or str(error) or type(error).__name__)
    if isinstance(error, PermissionError):
        return f"access was denied ({said}). Check the credentials"
    return said


def _scheme(address: str) -> str:
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)(://|::)", address)
    return found[1].lower() if found else "file"


def _missing(scheme: str, error: ImportError) -> str:
    """Which package brings a file system."""
    said = str(known_implementations.get(scheme, {}).get("err", "")) or str(error)
    named = re.search(r"[Ii]nstall (?:the )?'?([a-z][A-Za-z0-9_.\[\]-]+)", said) or re.search(r'"([a-z][\w-]+)"', said)
    if scheme == "hf":
        return f"hf:// needs a package that is not installed. Run: {install_command('hub')}"
    if named:
        return f"{scheme}:// needs a package that is not installed. Run: pip install {named[1].rstrip('.')}"
    return f"{scheme}:// needs a package that is not installed: {one_line(said)}"
