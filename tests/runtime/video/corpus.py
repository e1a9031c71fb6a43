"""A corpus of odd videos, made by FFmpeg and by hand: what each holds, and what must be said about it.

Longer than other files: it is a list of videos.

    python -m tests.runtime.video.corpus FOLDER

writes them all, for other programs to try.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.runtime.video.made import numbered

Make = Callable[[Path], None]

COUNT = 12
USUAL = {
    "libx264": {"crf": "12", "preset": "ultrafast"},
    "libx265": {"x265-params": "log-level=none:crf=12", "preset": "ultrafast"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "16", "b": "0"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "crf": "8", "b": "2M"},
    "libsvtav1": {"preset": "10", "crf": "10"},
}


@dataclass(frozen=True)
class Case:
    """One video.

    Attributes:
        name: of the file, with its suffix.
        make: writes it.
        numbers: of the frames that must be given, in order; None is not compared.
        times: of these frames, in seconds; None is not compared.
        error: what must be said when it is opened or at its end; None is no error.
        notes: what must be noted, and nothing else; None is not compared.
        size: (width, height) of the frames.
    """

    name: str
    make: Make
    numbers: Sequence[int] | None = tuple(range(COUNT))
    times: Sequence[float] | None = None
    error: str | None = None
    notes: tuple[str, ...] | None = ()
    size: tuple[int, int] = (96, 64)


def encoded(
    codec: str,
    pixels: str = "yuv420p",
    *,
    times: Sequence[float | Fraction] | None = None,
    fps: Fraction | int = 10,
    size: tuple[int, int] = (96, 64),
    format: str | None = None,
    count: int = COUNT,
    clock: Fraction | None = None,
    change: Callable[[Any, Any], None] = lambda stream, frame: None,
    **options: str,
) -> Make:
    """A maker of numbered frames.

    Args:
        codec: encoder.
        pixels: format of the pixels.
        times: seconds of the frames; None is a constant rate.
        fps: the rate.
        size: (width, height).
        format: container; None is that of the suffix.
        count: frames.
        clock: unit of the time stamps.
        change: changes the stream before the first frame (its frame is None), and every frame.
        options: of the encoder.
    """

    def make(path: Path) -> None:
        unit = clock or (1 / Fraction(fps) if times is None else Fraction(1, 1000))
        with av.open(str(path), "w", format=format) as container:
            stream: Any = container.add_stream(codec, rate=Fraction(fps), options={**USUAL.get(codec, {}), **options})
            stream.width, stream.height = size
            stream.pix_fmt = pixels
            stream.time_base = stream.codec_context.time_base = unit
            change(stream, None)
            container.start_encoding()
            for index in range(count):
                frame: Any = av.VideoFrame.from_ndarray(numbered(index, *size), format="rgb24").reformat(format=pixels)
                frame.pts = round(index / Fraction(fps) / unit if times is None else times[index] / unit)
                frame.time_base = unit
                change(stream, frame)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())

    return make


def damaged(make: Make, change: Callable[[bytearray], bytes | bytearray | None]) -> Make:
    """A maker that changes the bytes which another one wrote."""

    def spoil(path: Path) -> None:
        make(path)
        content = bytearray(path.read_bytes())
        path.write_bytes(change(content) or content)

    return spoil


def written(content: bytes) -> Make:
    return lambda path: path.write_bytes(content) and None


def together(first: Make, second: Make) -> Make:
    """One file behind the other."""

    def make(path: Path) -> None:
        first(path)
        before = path.read_bytes()
        second(path)
        path.write_bytes(before + path.read_bytes())

    return make


def matrix(a: float, b: float, c: float, d: float) -> Callable[[bytearray], None]:
    """Change the matrix of an mp4's track."""

    def change(content: bytearray) -> None:
        at = content.index(b"tkhd") + 44
        one = 1 << 16
        values = [round(a * one), round(b * one), 0, round(c * one), round(d * one), 0, 0, 0, 1 << 30]
        content[at : at + 36] = struct.pack(">9i", *values)

    return change


def holes(share: float, length: int = 40, box: bytes = b"mdat") -> Callable[[bytearray], None]:
    """Zeros at a place between the beginning of the pictures and the end."""

    def change(content: bytearray) -> None:
        start = content.index(box) + 4 if box else 0
        at = start + round(share * (len(content) - start))
        content[at : at + length] = bytes(length)

    return change


def cut(share: float) -> Callable[[bytearray], bytes]:
    return lambda content: bytes(content[: round(share * len(content))])


def tagged(**values: int) -> Callable[[Any, Any], None]:
    """Set attributes of the encoder."""

    def change(stream: Any, frame: Any) -> None:
        if frame is None:
            for name, value in values.items():
                setattr(stream.codec_context, name, value)

    return change


def _two_videos(path: Path) -> None:
    with av.open(str(path), "w") as container:
        streams: list[Any] = [container.add_stream("ffv1", rate=10) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 96, 64, "bgr0"
        for index in range(COUNT):
            for at, stream in enumerate(streams):
                frame: Any = av.VideoFrame.from_ndarray(numbered(index + 100 * at), format="rgb24")
                frame = frame.reformat(format="bgr0")
                frame.pts, frame.time_base = index, Fraction(1, 10)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())


def _sound(path: Path, *, cover: bool = False) -> None:
    with av.open(str(path), "w") as container:
        sound: Any = container.add_stream("aac", rate=8000, layout="mono")
        image: Any = None
        if cover:
            image = container.add_stream("mjpeg", rate=1)
            image.width, image.height, image.pix_fmt = 96, 64, "yuvj420p"
            image.disposition = av.stream.Disposition.attached_pic
        samples: Any = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 8000
        container.start_encoding()
        if image is not None:
            frame: Any = av.VideoFrame.from_ndarray(numbered(0), format="rgb24").reformat(format="yuvj420p")
            frame.pts = 0
            container.mux([*image.encode(frame), *image.encode()])
        container.mux(sound.encode(samples))
        container.mux(sound.encode())


def _transparent(stream: Any, frame: Any) -> None:
    """Make the left half of every frame transparent, whatever its color."""
    if frame is not None:
        plane = np.frombuffer(frame.planes[-1], np.uint8).reshape(frame.height, -1)
        plane = plane.copy()
        plane[:, : frame.width // 2] = 0
        frame.planes[-1].update(plane.tobytes())


def _playlist(text: str) -> Make:
    def make(path: Path) -> None:
        encoded("mpeg2video", b="4M")(path.with_name("inside.ts"))
        path.write_text(text)

    return make


def _huge(content: bytearray) -> None:
    """Let every JPEG of an AVI, and its headers, say 60000x60000 pixels."""
    for name, place in ((b"avih", 40), (b"strf", 12)):
        at = content.index(name) + place
        content[at : at + 8] = struct.pack("<2i", 60000, 60000)
    at = content.find(b"\xff\xc0")
    while at >= 0:
        content[at + 5 : at + 9] = struct.pack(">2H", 60000, 60000)
        at = content.find(b"\xff\xc0", at + 9)


def _codec(name: bytes) -> Callable[[bytearray], None]:
    """Let an mp4 name another codec."""

    def change(content: bytearray) -> None:
        at = content.index(b"stsd") + 16
        content[at : at + 4] = name

    return change


H264, MJPEG = encoded("libx264"), encoded("mjpeg", "yuvj420p", b="8M")
GROUPS = encoded("libx264", g="4", bf="0")
UNEVEN = [0, 0.033, 0.067, 0.1, 0.6, 1.1, 1.6, 3.2, 3.21, 3.22, 3.23, 5]
TENTHS = [index / 10 for index in range(COUNT)]
NO_TIMES = "tells no times; 25 frames a second were assumed"
DAMAGE = r"frames of .* are damaged, the first is frame"
LIST = "is a list of other files or addresses, which are never opened"

CASES = [
    # Codecs and containers, each at ten frames a second.
    Case("h264.mp4", H264, times=TENTHS),
    Case("h264.mkv", H264, times=TENTHS),
    Case("h264_flash.flv", H264, times=TENTHS),
    Case("h264_444.mp4", encoded("libx264", "yuv444p"), times=TENTHS),
    Case("h264_10bit.mkv", encoded("libx264", "yuv420p10le"), times=TENTHS),
    Case("h264_gray.mp4", encoded("libx264", "gray"), times=TENTHS),
    Case("h264_b_frames.mp4", encoded("libx264", bf="3", preset="fast"), times=TENTHS),
    Case("h264_in_fragments.mp4", encoded("libx264", g="4"), times=TENTHS),
    Case("hevc.mp4", encoded("libx265"), times=TENTHS),
    Case("hevc_10bit.mkv", encoded("libx265", "yuv420p10le"), times=TENTHS),
    Case("av1.mp4", encoded("libsvtav1"), times=TENTHS),
    Case("av1.webm", encoded("libsvtav1"), times=TENTHS),
    Case("vp8.webm", encoded("libvpx"), times=TENTHS),
    Case("vp9.webm", encoded("libvpx-vp9"), times=TENTHS),
    Case("vp9_444.mp4", encoded("libvpx-vp9", "yuv444p"), times=TENTHS),
    Case("mpeg4.avi", encoded("mpeg4", b="4M"), times=TENTHS),
    Case("mpeg2.ts", encoded("mpeg2video", b="4M", fps=25), times=[index / 25 for index in range(COUNT)]),
    Case("mpeg1.mpg", encoded("mpeg1video", b="4M", fps=25), times=[index / 25 for index in range(COUNT)]),
    Case("wmv2.wmv", encoded("wmv2", b="4M"), times=TENTHS),
    Case("prores.mov", encoded("prores_ks", "yuv422p10le"), times=TENTHS),
    Case(
        "prores_alpha.mov",
        encoded("prores_ks", "yuva444p10le"),
        times=TENTHS,
        notes=("transparent parts are on white",),
    ),
    Case("mjpeg.avi", MJPEG, times=TENTHS),
    Case("ffv1.mkv", encoded("ffv1", "bgr0"), times=TENTHS),
    Case("ffv1_16bit.mkv", encoded("ffv1", "gray16le"), times=TENTHS),
    Case("raw.y4m", encoded("wrapped_avframe", "yuv444p", format="yuv4mpegpipe"), times=TENTHS),
    # Rates, from one picture an hour to a thousand a second, and uneven ones.
    Case("1000_fps.mp4", encoded("libx264", fps=1000), times=[index / 1000 for index in range(COUNT)]),
    Case("120_fps.mkv", encoded("libx264", fps=120, clock=Fraction(1, 1000)), times=[i / 120 for i in range(COUNT)]),
    Case(
        "ntsc_film.mp4", encoded("libx264", fps=Fraction(24000, 1001)), times=[i * 1001 / 24000 for i in range(COUNT)]
    ),
    Case("one_in_10_s.mp4", encoded("libx264", fps=Fraction(1, 10)), times=[10 * index for index in range(COUNT)]),
    Case("one_an_hour.mkv", encoded("libx264", fps=Fraction(1, 3600)), times=[3600 * index for index in range(COUNT)]),
    Case("uneven.mp4", encoded("libx264", times=UNEVEN, bf="0"), times=UNEVEN),
    Case("uneven.mkv", encoded("libvpx-vp9", times=UNEVEN), times=UNEVEN),
    Case("h264_alone.h264", encoded("libx264", format="h264"), times=[i / 25 for i in range(COUNT)], notes=(NO_TIMES,)),
    Case("mjpeg_alone.mjpeg", encoded("mjpeg", "yuvj420p", format="mjpeg", b="8M"), notes=(NO_TIMES,)),
    # Offsets.
    Case("from_7_s.mkv", encoded("libx264", times=[7 + one for one in TENTHS]), times=TENTHS),
    Case("from_7_s.mp4", encoded("libx264", times=[7 + one for one in TENTHS], bf="0"), times=TENTHS),
    Case(
        "two_behind_each_other.ts",
        together(*[encoded("mpeg2video", b="4M", fps=25, count=60)] * 2),
        numbers=[*range(60), *range(60)],
        times=[index / 25 for index in range(120)],
        notes=("begin anew at frame 60",),
    ),
    # What a picture leaves out.
    Case("hdr.mkv", encoded("libx265", "yuv420p10le", change=tagged(color_trc=16)), notes=(r"HDR \(PQ\)",)),
    Case("hlg.mp4", encoded("libx264", change=tagged(color_trc=18)), notes=(r"HDR \(HLG\)",)),
    Case("wide_pixels.mp4", encoded("libx264", change=tagged(sample_aspect_ratio=Fraction(4, 3))), notes=("4:3 wide",)),
    Case("interlaced.mkv", encoded("libx264", flags="+ildct+ilme"), notes=("it is interlaced",)),
    Case("alpha.mov", encoded("qtrle", "argb"), notes=("transparent parts are on white",)),
    Case("alpha.webm", encoded("libvpx-vp9", "yuva420p"), notes=("its transparency was left out",)),
    Case(
        "half_transparent.mkv",
        encoded("ffv1", "yuva444p", change=_transparent),
        numbers=None,
        notes=("transparent parts are on white",),
    ),
    Case("two_videos.mkv", _two_videos, notes=("it holds 2 videos, and number 1 was taken",)),
    # Sizes.
    Case("odd.mp4", encoded("libx264", "yuv444p", size=(95, 63)), size=(95, 63)),
    Case("tall.mkv", encoded("ffv1", "bgr0", size=(9, 2001)), size=(9, 2001)),
    Case("dot.mkv", encoded("ffv1", "bgr0", size=(1, 1)), numbers=None, size=(1, 1)),
    Case("one_frame.mp4", encoded("libx264", count=1), numbers=[0], times=[0]),
    Case(
        "two_sizes.mjpeg",
        together(
            encoded("mjpeg", "yuvj420p", format="mjpeg", b="8M"),
            encoded("mjpeg", "yuvj420p", format="mjpeg", b="8M", size=(192, 128)),
        ),
        numbers=[*range(COUNT), *range(COUNT)],
        notes=(NO_TIMES, r"96x64 pixels, and others from frame 12 on \(192x128\)"),
    ),
    Case("sixty_thousand.avi", damaged(MJPEG, _huge), numbers=(), error="no frames that can be decoded"),
    # Turned and mirrored; what was at the top left is compared in the test.
    *(
        Case(f"turned_{name}.mp4", damaged(H264, matrix(*values)), numbers=None, size=size)
        for name, values, size in (
            ("left", (0, -1, 1, 0), (64, 96)),
            ("right", (0, 1, -1, 0), (64, 96)),
            ("over", (-1, 0, 0, -1), (96, 64)),
            ("mirrored", (-1, 0, 0, 1), (96, 64)),
            ("upside_down", (1, 0, 0, -1), (96, 64)),
            ("transposed", (0, 1, 1, 0), (64, 96)),
            ("transposed_the_other_way", (0, -1, -1, 0), (64, 96)),
        )
    ),
    Case(
        "turned_by_45_degrees.mp4",
        damaged(H264, matrix(0.7071, 0.7071, -0.7071, 0.7071)),
        notes=("no multiple of 90 degrees",),
    ),
    # Damage. Frames that are given keep their numbers and times; what was lost or guessed is told.
    Case("hole.mp4", damaged(GROUPS, holes(0.5, 60)), numbers=None, error=DAMAGE, notes=None),
    Case("hole_in_the_first.mp4", damaged(GROUPS, holes(0.3, 60)), numbers=None, error=DAMAGE, notes=None),
    Case(
        "hole_hevc.mkv",
        damaged(encoded("libx265"), holes(0.8, 60, b"")),
        numbers=None,
        error=f"{DAMAGE}|ends after",
        notes=None,
    ),
    Case("hole_av1.mp4", damaged(encoded("libsvtav1"), holes(0.1, 60)), None, None, f"{DAMAGE}|ends after", None),
    Case("hole_mpeg4.avi", damaged(encoded("mpeg4", b="4M"), holes(0.5, 60, b"movi")), None, None, DAMAGE, None),
    Case(
        "cut.avi",
        damaged(encoded("mjpeg", "yuvj420p", b="8M", count=60), cut(0.5)),
        None,
        None,
        "ends after 29 of 60 frames",
        None,
    ),
    Case("cut.mkv", damaged(encoded("libx264", count=60), cut(0.5)), None, None, "ends after|broke off|damaged", None),
    Case("cut.mp4", damaged(H264, cut(0.7)), (), None, "is not a video that can be read"),
    Case(
        "header_alone.avi", damaged(MJPEG, lambda content: content[: content.index(b"movi") + 4]), (), None, "no frames"
    ),
    Case("no_frames.avi", encoded("mjpeg", "yuvj420p", count=0), (), None, "has no frames"),
    Case("empty.mp4", written(b""), (), None, r"is empty \(0 bytes\)"),
    Case("noise.mp4", written(np.random.default_rng(0).bytes(5000)), (), None, "is not a video that can be read"),
    Case("text.mp4", written(b"not a video\n" * 100), (), None, "is not a video that can be read"),
    Case(
        "unknown_codec.mp4", damaged(H264, _codec(b"zzzz")), (), None, "cannot be decoded|has no frames|has no pictures"
    ),
    # No video at all, or one that is somewhere else.
    Case("sound.mp4", _sound, (), None, "has no pictures"),
    Case("sound_with_a_cover.mp4", lambda path: _sound(path, cover=True), (), None, "has no pictures"),
    Case("list.mp4", _playlist("ffconcat version 1.0\nfile 'inside.ts'\n"), (), None, LIST),
    Case(
        "hls.mp4",
        _playlist("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ninside.ts\n#EXT-X-ENDLIST\n"),
        (),
        None,
        LIST,
    ),
    Case("sdp.mp4", _playlist("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=video 5004 RTP/AVP 96\n"), (), None, LIST),
    Case("dash.mp4", _playlist('<?xml version="1.0"?>\n<MPD><Period/></MPD>\n'), (), None, LIST),
]


def main() -> None:
    """Write all of them."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        case.make(folder / case.name)
    print(len(CASES), "videos in", folder)


if __name__ == "__main__":
    main()
