"""Where engines lie: in the user's cache, or in a folder that the user vouches for. Never in a bundle.

A plan is machine code for the GPU, and may carry machine code for the processor. What lies in the user's cache was
built by this user; what lies anywhere else may have been built by anybody.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clsclip_runtime.caches import not_private, users_folder
from clsclip_runtime.errors import BackendError, OptionError, OutputError
from clsclip_runtime.paths import CACHE_VARIABLE, cannot_write, is_dir

FOLDER = "engines"
"""Of the user's cache; also what bundles of 0.1 kept their engines in, which is passed over."""


@dataclass(frozen=True)
class EnginePlace:
    """Where engines are loaded from.

    Attributes:
        folder: that was given; None is the user's cache.
        trusted: load from ``folder`` although it is not this user's cache.

    Raises:
        OptionError: a folder is trusted, and none was given.
    """

    folder: Path | None = None
    trusted: bool = False

    def __post_init__(self) -> None:
        if self.trusted and self.folder is None:
            raise OptionError("trust_engines is about the folder of engines=DIR. Give that too (--engines DIR)")

    def readable(self, fingerprint: str) -> Path:
        """The folder to load a bundle's engines from; it need not be there.

        Args:
            fingerprint: of the bundle.

        Raises:
            OptionError: the folder that was given is not this user's cache, and is not trusted.
            BackendError: there is no cache, or others can write into it.
        """
        if self.folder is not None and self.trusted:
            return self.folder
        own = cached_engines(fingerprint)
        if self.folder is not None and (own is None or not _same(self.folder, own)):
            raise OptionError(
                f"{self.folder} is not this user's cache, and engines are machine code: whoever wrote there can run "
                "programs as you. If you trust it, say so: trust_engines=True (--trust-engines)"
            )
        if own is None:
            raise BackendError(
                f"engines are kept in the user's cache, and there is none ({CACHE_VARIABLE}=off, or no home folder). "
                "Give a folder: engines=DIR, trust_engines=True (--engines DIR --trust-engines)"
            )
        with suppress(FileNotFoundError):
            for part in (own.parent, own):
                problem = not_private(part)
                if problem is not None:
                    raise BackendError(
                        f"engines are machine code, and {problem}, so that others could have put some there. "
                        f"Run: chmod 700 {part}, if you know what lies there"
                    )
        return own

    def writable(self, fingerprint: str) -> Path:
        """The folder to build a bundle's engines into, made where it is absent: the user's cache has mode 0700.

        Raises:
            OutputError: it cannot be made, or there is no cache.
            BackendError: others can write into the cache.
        """
        if self.folder is not None:
            folder = self.folder
        else:
            own = cached_engines(fingerprint)
            if own is None:
                raise OutputError(
                    f"there is no user's cache to keep engines in ({CACHE_VARIABLE}=off). Give --engines DIR"
                )
            folder = own
        try:
            if self.folder is None:
                folder.parent.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                folder.parent.mkdir(exist_ok=True, mode=0o700)
                folder.mkdir(exist_ok=True, mode=0o700)
                EnginePlace().readable(fingerprint)
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from error
        return folder


def cached_engines(fingerprint: str) -> Path | None:
    """Where the user's cache keeps the engines of a bundle; None where there is no cache."""
    cache = users_folder()
    return None if cache is None or not fingerprint else cache / FOLDER / fingerprint


def cached_files(cache: Path) -> list[Path]:
    """Every engine in a cache folder, with its description and what was compiled from it."""
    return sorted(path for one in (".plan", ".json", ".cache") for path in (cache / FOLDER).glob(f"*/*{one}"))


def passed_over(bundle: Path, used: Path | None = None) -> tuple[str, ...]:
    """A note where a bundle has a folder of engines: none is used, unless it is the trusted folder ``used``."""
    if not is_dir(bundle / FOLDER) or (used is not None and _same(used, bundle / FOLDER)):
        return ()
    return (
        f"{FOLDER}/ in {bundle} is passed over: engines are machine code, and a bundle must not bring any. Build them: "
        f"clsclip-export --from-bundle {bundle} --engine tensorrt; or, if you trust these: --engines {bundle / FOLDER} "
        "--trust-engines",
    )


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
