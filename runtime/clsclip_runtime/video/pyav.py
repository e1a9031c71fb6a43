"""PyAV, which reads and writes videos: optional, and imported only when a video is asked for."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from clsclip_runtime.errors import VideoError
from clsclip_runtime.extras import install_command


def import_av() -> Any:
    """Import the module ``av``.

    Raises:
        VideoError: it is not installed, or cannot be loaded.
    """
    try:
        av = import_module("av")
    except ImportError as error:
        raise VideoError(f"videos, cameras and streams need PyAV ({error}). Run: {install_command('video')}") from error
    # FFmpeg's own lines go to standard error, past everything that a program catches; PyAV keeps them back by itself.
    if os.environ.get("CLSCLIP_DEBUG", "") not in ("", "0"):
        logging = import_module("av.logging")
        logging.set_level(logging.VERBOSE)
    return av


def reason_of(error: Exception) -> str:
    """Say what FFmpeg says went wrong, without the address or path that it adds."""
    return str(getattr(error, "strerror", None) or type(error).__name__)
