"""Milliseconds a frame to read and write videos: PyAV, which the runtime uses, beside OpenCV.

    python benchmarks/video.py [FRAMES]

Both read and write the same pictures, in turns; wall time and processor time, medians. The pictures: a smooth ground
that moves, with a little noise, and a block that moves otherwise.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from clsclip_runtime.video import AnnotatedVideo, Frame, open_video

Images = list[npt.NDArray[np.uint8]]
ROUNDS = 5


def make_images(width: int, height: int, count: int) -> Images:
    """What a video shows."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (height + 200, width + 200, 3), dtype=np.uint8)
    ground = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 6), None, 0, 255, cv2.NORM_MINMAX)
    made = []
    for index in range(count):
        image = ground[index % 200 : index % 200 + height, 2 * index % 200 : 2 * index % 200 + width].copy()
        left = 7 * index % (width // 2)
        image[height // 4 : height // 2, left : left + width // 5] = (255, 0, 0)
        grain = random.integers(-3, 4, image.shape, dtype=np.int16)
        made.append(np.clip(image + grain, 0, 255).astype(np.uint8))
    return made


def write_h264(path: Path, images: Images) -> None:
    """A video as phones and cameras write it."""
    height, width = images[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def read_ours(path: Path) -> None:
    """By the runtime, through PyAV."""
    source = open_video(path)
    for _ in source.frames():
        pass
    source.close()


def read_opencv(path: Path) -> None:
    """By OpenCV, to RGB."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    while capture.grab():
        cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)


def write_ours(path: Path, images: Images, codec: str) -> None:
    """By the runtime, through PyAV."""
    path.unlink(missing_ok=True)
    sink = AnnotatedVideo(path, codec=codec)
    for index, image in enumerate(images):
        result = SimpleNamespace(overlay=lambda image=image: Image.fromarray(image))
        sink.write(Frame(image, index, index / 25), result)  # type: ignore[arg-type]
    sink.close()


def write_opencv(path: Path, images: Images) -> None:
    """By OpenCV, in the codec that each of its builds has."""
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"mp4v"), 25, (width, height))
    for image in images:
        writer.write(image[..., ::-1].copy())
    writer.release()


def measure(ways: dict[str, Callable[[], None]], count: int) -> dict[str, tuple[float, float]]:
    """Wall and processor milliseconds a frame of every way, which take turns."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            wall, own = time.perf_counter(), time.process_time()
            way()
            taken[name].append((time.perf_counter() - wall, time.process_time() - own))
    return {
        name: (
            1000 * statistics.median(wall for wall, _ in each) / count,
            1000 * statistics.median(own for _, own in each) / count,
        )
        for name, each in taken.items()
    }


def main(frames: int) -> None:
    """Print the table."""
    print("| what | size | wall ms | processor ms | KiB a frame |")
    print("|---|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for width, height, count in ((640, 480, frames), (1920, 1080, max(8, frames // 3))):
            images = make_images(width, height, count)
            source = folder / "source.mp4"
            write_h264(source, images)
            files = {what: folder / f"{at}.mp4" for at, what in enumerate(("VP9", "H.264", "MPEG-4"))}
            ways: dict[str, Callable[[], None]] = {
                "read H.264, PyAV": partial(read_ours, source),
                "read H.264, OpenCV": partial(read_opencv, source),
                "write VP9, PyAV (the default)": partial(write_ours, files["VP9"], images, "vp9"),
                "write H.264, PyAV": partial(write_ours, files["H.264"], images, "h264"),
                "write MPEG-4, OpenCV": partial(write_opencv, files["MPEG-4"], images),
            }
            for what, (wall, own) in measure(ways, count).items():
                size = next((path.stat().st_size for key, path in files.items() if f"write {key}" in what), 0)
                weight = f"{size / 1024 / count:.1f}" if size else ""
                print(f"| {what} | {width}x{height} | {wall:.1f} | {own:.1f} | {weight} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 90)
