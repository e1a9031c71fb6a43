"""What TensorRT-RTX compiled for this GPU, kept beside the engine: its engines are compiled when they first run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from clsclip_runtime.errors import OutputError
from clsclip_runtime.paths import write_bytes

_log = logging.getLogger(__name__)


class RuntimeCache:
    """The runtime cache of one engine, and the configuration that makes execution contexts use it."""

    def __init__(self, config: Any, cache: Any, path: Path) -> None:
        """Wrap a cache that ``config`` uses; ``path`` is its file."""
        self.config = config
        self._cache, self._path = cache, path

    @classmethod
    def open(cls, engine: Any, plan: Path) -> RuntimeCache:
        """Make the cache of ``engine``, filled from the file beside ``plan`` where there is one that fits."""
        config = engine.create_runtime_config()
        cache, path = config.create_runtime_cache(), plan.with_suffix(".cache")
        try:
            fits = bool(cache.deserialize(path.read_bytes()))
        except FileNotFoundError:
            fits = True
        except OSError as error:
            fits = False
            _log.warning("tensorrt: cannot read %s: %s", path, error.strerror or error)
        if not fits:
            _log.warning("tensorrt: %s is of no use here; the first calls compile again", path)
        if not config.set_runtime_cache(cache):
            _log.warning("tensorrt: no runtime cache can be used; every start compiles again")
        return cls(config, cache, path)

    def save(self) -> None:
        """Write the file; a folder that cannot be written costs compiling again next time, and is logged."""
        try:
            write_bytes(self._path, bytes(self._cache.serialize()))
        except OutputError as error:
            _log.warning("tensorrt: %s; the next start compiles again", error)
