"""Frames of videos, cameras, streams and standard input, segmented in a pipeline and written as they come."""

from __future__ import annotations

from clsclip_runtime.video.capture import open_camera, open_piped_video, open_stream, open_video
from clsclip_runtime.video.following import Follower
from clsclip_runtime.video.frames import Frame, FrameSource
from clsclip_runtime.video.piped import EncodedFrames, RawFrames
from clsclip_runtime.video.pipeline import Pipeline
from clsclip_runtime.video.reconnect import Reconnecting
from clsclip_runtime.video.sinks import CocoFile, FileSink, FrameFiles, Sink, TaskFile
from clsclip_runtime.video.writer import AnnotatedVideo

__all__ = [
    "AnnotatedVideo",
    "CocoFile",
    "EncodedFrames",
    "FileSink",
    "Follower",
    "Frame",
    "FrameFiles",
    "FrameSource",
    "Pipeline",
    "RawFrames",
    "Reconnecting",
    "Sink",
    "TaskFile",
    "open_camera",
    "open_piped_video",
    "open_stream",
    "open_video",
]
