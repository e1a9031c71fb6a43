from __future__ import annotations

from tests.runtime.conftest import bundle, embedded_tiny, photo, scene

__all__ = ["bundle", "embedded_tiny", "photo", "scene"]
