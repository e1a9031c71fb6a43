"""Sends 25 numbered frames to an RTSP address: python -m tests.runtime.video.rtsp_sender ADDRESS TRANSPORT.

A process of its own: PyAV holds Python's lock while it waits for the other end, which is in the test's process.
"""

from __future__ import annotations

import sys
import time

import av

from tests.runtime.video.made import numbered


def send(address: str, transport: str) -> None:
    with av.open(address, "w", format="rtsp", options={"rtsp_transport": transport}, timeout=5) as container:
        stream = container.add_stream("mpeg4", rate=25, options={"b": "4M", "g": "5"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index in range(25):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(index), format="rgb24")))
            time.sleep(0.01)
        container.mux(stream.encode())


for _ in range(100):
    try:
        send(*sys.argv[1:])
        break
    except av.FFmpegError:  # the other end does not listen yet
        time.sleep(0.1)
else:
    sys.exit("nobody listened")
