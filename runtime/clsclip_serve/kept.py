"""Pictures that are encoded already, for their next words: bounded in bytes and in time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from clsclip_runtime.inference.features import ImageFeatures


class KeptImages:
    """The pictures that were used last."""

    def __init__(self, most_bytes: int, seconds: float) -> None:
        """Keep up to ``most_bytes`` of pixels and features, each for ``seconds`` after its last use."""
        self._most_bytes, self._seconds = most_bytes, seconds
        self._kept: OrderedDict[str, tuple[ImageFeatures, int, float]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes that are kept now."""
        return self._bytes

    def put(self, name: str, features: ImageFeatures) -> float | None:
        """Keep a picture; for how many seconds, or None if it is larger than all that may be kept."""
        width, height = features.size
        size = features.nbytes + 3 * width * height
        if size > self._most_bytes:
            return None
        with self._lock:
            self._remove(name)
            self._kept[name] = (features, size, time.monotonic() + self._seconds)
            self._bytes += size
            self._sweep()
        return self._seconds

    def get(self, name: str) -> ImageFeatures | None:
        """A picture, if it is there still; it stays longer then."""
        with self._lock:
            self._sweep()
            found = self._kept.get(name)
            if found is None:
                return None
            self._kept[name] = (found[0], found[1], time.monotonic() + self._seconds)
            self._kept.move_to_end(name)
            return found[0]

    def remove(self, name: str) -> bool:
        """Forget a picture; whether it was there."""
        with self._lock:
            return self._remove(name)

    def _remove(self, name: str) -> bool:
        found = self._kept.pop(name, None)
        if found is not None:
            self._bytes -= found[1]
        return found is not None

    def _sweep(self) -> None:
        """The least recently used come first, and so do those whose time is over."""
        now = time.monotonic()
        while self._kept and (self._bytes > self._most_bytes or next(iter(self._kept.values()))[2] < now):
            _, (_, size, _) = self._kept.popitem(last=False)
            self._bytes -= size
