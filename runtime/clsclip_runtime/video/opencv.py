"""OpenCV, which reads and writes videos: optional, and imported only when a video is asked for."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from clsclip_runtime.errors import VideoError
from clsclip_runtime.extras import install_command


def import_cv2() -> Any:
    """The module ``cv2``.

    Raises:
        VideoError: it is not installed, or cannot be loaded.
    """
    if os.environ.get("CLSCLIP_DEBUG", "") in ("", "0"):
        # OpenCV and FFmpeg print to standard error by themselves, and read these once, when they are loaded.
        os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        return import_module("cv2")
    except ImportError as error:
        raise VideoError(
            f"videos, cameras and streams need OpenCV ({error}). Run: {install_command('video')}"
        ) from error
