"""Frames of an opened container, each with its time; and what was damaged, guessed or missing."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from clsclip_runtime.errors import VideoError
from clsclip_runtime.images import MAX_PIXELS
from clsclip_runtime.video.frames import Frame
from clsclip_runtime.video.image import check_size, image_of, notes_of
from clsclip_runtime.video.pyav import import_av, reason_of

_log = logging.getLogger(__name__)

_MOST_FPS = 480.0
_MOST_FRAMES = 10**9
_MOST_DAMAGED = 1000
"""Packets in a row that cannot be decoded before the source is given up."""

# Containers without an index only estimate their number of frames, from duration and mean rate; and where the rate
# varies, the duration is right and the number is not. So a video is only called cut off where both say so.
_MISSING_FRAMES = 2
_MISSING_SHARE = 0.02
_MISSING_TIME = 0.1

_NEW_TIME_S = 1.0
"""A time stamp that lies so far back belongs to another recording, which was put behind the first."""

_NO_TIMES = frozenset(
    ("av1", "avs2", "avs3", "cavsvideo", "dirac", "evc", "h261", "h263", "h264", "hevc", "m4v", "mjpeg", "mjpeg_2000")
) | {"mpegvideo", "obu", "vc1", "vvc"}
"""Formats of frames alone, of which FFmpeg makes up the rate."""

_STRICT = {"hevc": {"err_detect": "explode"}, "mjpeg": {"err_detect": "explode"}}
"""Decoders that fill what they cannot read without marking the frame; so told, they give an error instead."""

GUESSED = "the video is damaged here, and the decoder guessed parts of this frame"
AFTER_DAMAGE = "the video is damaged shortly before this frame, and its picture may be wrong"


class Closable(Protocol):
    """What a container reads."""

    def close(self) -> None: ...


class Capture:
    """Frames of an opened ``av`` container; see ``FrameSource``."""

    def __init__(
        self,
        container: Any,
        name: str,
        *,
        file: Closable | None = None,
        live: bool = False,
        camera: bool = False,
        endless: bool = False,
        timeout_s: float | None = None,
    ) -> None:
        """Take over an opened container, and decode its first frame.

        Args:
            container: an ``av`` input container; closed here if it has no frames.
            name: what to call it.
            file: what the container reads, closed with it.
            live: frames come by themselves, and how many is not known.
            camera: time stamps are of this machine's clock, not of the source.
            endless: it never ends by itself.
            timeout_s: how long one frame may take; None if that is not bounded.

        Raises:
            VideoError, av.FFmpegError: it has no frames that can be decoded.
        """
        self._av = import_av()
        self._container, self._file = container, file
        self._camera, self._endless, self._timeout_s = camera, endless, timeout_s
        self._damaged: list[int] = []
        self._guessed = self._after = 0
        self._unsure = False
        self._next = self._given = 0
        self._notes: dict[str, str] = {}
        self.name, self.live = name, live
        try:
            self._stream = self._choose()
            # Decoders that work on several frames at a time give the first one late, and in a damaged file may wait for
            # a frame that never comes: FFmpeg's of HEVC did, for ever.
            self._stream.thread_type = "SLICE"
            self._decoded = self._decode()
            self._first = next(self._decoded, None)
            if self._first is None:
                raise VideoError(f"{name} has no frames{self._of_codec()}. Check what was recorded")
        except BaseException:
            self.close()
            raise
        # Sources that do not know report 0 or nonsense such as 1000 or 90000 frames a second.
        rate = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        self.fps = rate if 0 < rate <= _MOST_FPS or self._is_rate(rate) else None
        height, width = image_of(self._first[1]).shape[:2]
        self.size: tuple[int, int] | None = (width, height)
        self._coded = (self._first[1].width, self._first[1].height)
        self.count = None if live else self._count()
        self._note_what_it_is()

    @property
    def notes(self) -> tuple[str, ...]:
        """See ``FrameSource.notes``."""
        return tuple(f"{self.name}: {note}" for note in self._notes.values())

    def _choose(self) -> Any:
        """The stream of pictures; never the cover of a piece of music."""
        streams = self._container.streams.video
        cover = self._av.stream.Disposition.attached_pic
        covers = [one for one in streams if one.disposition & cover]
        videos = [one for one in streams if one not in covers]
        if not videos:
            raise VideoError(f"{self.name} has no pictures: it is empty, or only sound. Give a video")
        best = self._container.streams.best("video")
        chosen = best if best in videos else videos[0]
        if len(videos) > 1:
            self._notes["streams"] = f"it holds {len(videos)} videos, and number {videos.index(chosen) + 1} was taken"
        codec = chosen.codec_context
        if codec is None:
            raise VideoError(
                f"{self.name} cannot be decoded: this build of PyAV has no decoder for it. Convert it: "
                "ffmpeg -i IN -c:v libx264 out.mp4"
            )
        check_size(codec.width or 0, codec.height or 0, self.name)
        strict = {} if self.live else _STRICT.get(codec.name, {})
        codec.options = {**codec.options, **strict, "max_pixels": str(MAX_PIXELS)}
        return chosen

    def _of_codec(self) -> str:
        """What a message about undecodable frames adds."""
        if not self._damaged:
            return ""
        return f" that can be decoded ({self._stream.codec_context.name}; {len(self._damaged)} were tried)"

    def _is_rate(self, rate: float) -> bool:
        """Whether a high rate is that of the frames: a file that tells their number and its own duration proves it."""
        stream = self._stream
        if self.live or not stream.frames or stream.frames < 2 or not stream.duration:
            return False
        return bool(0.5 < stream.frames / float(stream.duration * stream.time_base) / rate < 2)

    def _note_what_it_is(self) -> None:
        stream = self._stream
        if self._container.format.name in _NO_TIMES:
            rate = f"{self.fps:g} frames a second were" if self.fps else "none was"
            self._notes["rate"] = f"its format ({self._container.format.name}) tells no times; {rate} assumed"
        shape = stream.sample_aspect_ratio
        if shape and shape != 1:
            self._notes["shape"] = (
                f"its pixels are shown {shape.numerator}:{shape.denominator} wide, and were taken as squares"
            )
        if stream.metadata.get("alpha_mode") == "1":
            self._notes["alpha"] = "its transparency was left out"

    def _count(self) -> int | None:
        count, container = self._stream.frames, self._container
        if not count and self.fps and container.duration:
            # What Matroska calls its duration is the time of its end, whenever it begins.
            before = (container.start_time or 0) if "matroska" in container.format.name else 0
            count = round((container.duration - before) / self._av.time_base * self.fps)
        return count if self.fps and 1 <= count <= _MOST_FRAMES else None

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """See ``FrameSource.frames``. Frames of files that cannot be decoded are told at the end."""
        clock = _Clock(None if self._camera else self.fps, real=self._camera)
        pending, self._first = self._first, None
        while pending is not None:
            index, frame, notes = pending
            seconds = clock.seconds(frame)
            self._notes |= clock.notes | notes_of(frame)
            if "rate" in self._notes:
                self._notes.pop("untold", None)  # which says the same
            if (frame.width, frame.height) != self._coded:
                check_size(frame.width, frame.height, self.name)
                before = "x".join(map(str, self._coded))
                note = (
                    f"its frames are {before} pixels, and others from frame {index} on ({frame.width}x{frame.height})"
                )
                self._notes.setdefault("size", note)
            if index % every == 0:
                image = self._image_of(index, frame)
                if image is not None:
                    yield Frame(image, index, seconds, notes)
            pending = next(self._decoded, None)
        self._check_end(clock.last)

    def _image_of(self, index: int, frame: Any) -> Any:
        """The image of a frame; None where its pixels are of a kind that cannot be converted, which is damage too."""
        try:
            return image_of(frame)
        except (self._av.FFmpegError, ValueError) as error:
            _log.warning("%s: frame %d cannot be converted (%s)", self.name, index, reason_of(error))
            self._damaged.append(index)
            self._given -= 1
            return None

    def close(self) -> None:
        """See ``FrameSource.close``."""
        self._first = None
        self._container.close()
        if self._file is not None:
            self._file.close()

    def _decode(self) -> Iterator[tuple[int, Any, tuple[str, ...]]]:
        """Every frame that can be decoded, with its index and notes."""
        packets = self._container.demux(self._stream)
        in_a_row = 0
        while (packet := self._read(packets)) is not None:
            try:
                decoded = packet.decode()
            except self._av.FFmpegError as error:
                # FFmpeg goes on with the next packet, and so does this; a file says at its end that it is not whole.
                _log.warning("%s: frame %d cannot be decoded (%s)", self.name, self._next, reason_of(error))
                in_a_row += 1
                if in_a_row > _MOST_DAMAGED:
                    raise VideoError(
                        f"{self.name}: nothing can be decoded from frame {self._next} on"
                        f"{self._of_codec() if not self._given else ''}. Get the file or stream again"
                    ) from error
                self._damaged.append(self._next)
                self._unsure = True
                self._next += 1
                continue
            for frame in decoded:
                in_a_row = 0
                yield self._next, frame, self._doubts(frame)
                self._given += 1
                self._next += 1

    def _doubts(self, frame: Any) -> tuple[str, ...]:
        """Notes of a frame that is damaged, or that may be made of one which is."""
        if frame.is_corrupt:
            self._damaged.append(self._next)
            self._guessed += 1
            self._unsure = True
            return (GUESSED,)
        if frame.key_frame:
            self._unsure = False
        if not self._unsure:
            return ()
        self._after += 1
        return (AFTER_DAMAGE,)

    def _read(self, packets: Iterator[Any]) -> Any:
        """The next packet, None at the end."""
        start = time.monotonic()
        try:
            return next(packets, None)
        except (self._av.FFmpegError, OSError) as error:  # FFmpeg's, or of the file that it reads
            if self._container.format.name == "mpjpeg" and error.errno == errno.EIO:
                return None  # which is how pictures that are pushed over HTTP end
            if self._timeout_s is not None and late(self._av, error, start, self._timeout_s):
                raise VideoError(
                    f"{self.name} gave no frame for {self._timeout_s:g} s. Check that the sender still runs"
                ) from error
            what = "Is it still connected?" if self._endless else "The frames before that were segmented"
            raise VideoError(f"{self.name} broke off after {self._given} frames: {reason_of(error)}. {what}") from error

    def _check_end(self, seconds: float) -> None:
        """FFmpeg ends a damaged video as quietly as a whole one; the number of frames tells."""
        read = self._given
        if self._guessed or self._after:
            after = f", and {self._after} after damaged ones may be wrong" if self._after else ""
            self._notes["guessed"] = f"it is damaged: {self._guessed} frames were guessed in parts{after}"
        if self._endless:
            raise VideoError(f"{self.name} hung up after {read} frames. Is it still connected? See --reconnect")
        if self.live:
            if self._damaged:
                self._notes["damaged"] = (
                    f"{len(self._damaged)} frames were damaged, and those that cannot be decoded lost"
                )
            return
        missing = 0 if self.count is None else self.count - read
        if self.count is not None and self.fps is not None:
            # The list of edits of an mp4 may leave frames out, as its own duration says.
            edited = self._stream.duration if "mov" in self._container.format.name else None
            expected = float(edited * self._stream.time_base) if edited else self.count / self.fps
            short = seconds + 1 / self.fps < (1 - _MISSING_TIME) * expected
            if short and missing > _MISSING_FRAMES and missing > self.count * _MISSING_SHARE:
                raise VideoError(
                    f"{self.name} ends after {read} of {self.count} frames: it is damaged or cut off. The frames "
                    "before that were segmented. Get the file again"
                )
        if self._damaged:
            after = f" {self._after} more may show that." if self._after else ""
            raise VideoError(
                f"{len(self._damaged)} of {self._next} frames of {self.name} are damaged, the first is frame "
                f"{self._damaged[0]}.{after} The others were segmented. Get the file again"
            )
        if missing > 0 and self._stream.frames:
            self._notes["missing"] = f"it lists {self.count} frames, and {read} of them are to be shown"


class _Clock:
    """The time of each frame since the first: of its time stamp, or of this machine's clock."""

    def __init__(self, fps: float | None, *, real: bool) -> None:
        self.last = 0.0
        self.notes: dict[str, str] = {}
        self._now: Callable[[], float] | None = time.monotonic if real else None
        self._start = time.monotonic()
        self._step = 1 / fps if fps else 0.0
        self._zero: float | None = None
        self._count = self._untold = self._back = 0

    def seconds(self, frame: Any) -> float:
        """The time of the next frame; times never go back."""
        self._count += 1
        if self._now is not None:
            self.last = self._now() - self._start
        elif frame.pts is None or not frame.time_base:
            self._untold += 1
            self.last += self._step if self._count > 1 else 0
            self.notes["untold"] = f"{self._untold} frames have no time; each was put one step after the one before"
        else:
            self._from_stamp(float(frame.pts * frame.time_base))
        return self.last

    def _from_stamp(self, stamp: float) -> None:
        if self._zero is None:
            self._zero = stamp - self.last
        seconds = stamp - self._zero
        if seconds < self.last - _NEW_TIME_S:
            self._zero = stamp - self.last - self._step
            seconds = self.last + self._step
            self.notes["anew"] = f"its times begin anew at frame {self._count - 1}, and go on from there"
        elif seconds < self.last:
            self._back += 1
            self.notes["back"] = f"the times of {self._back} frames go back; each was put where the one before is"
        self.last = max(self.last, seconds)


def late(av: Any, error: Exception, start: float, timeout_s: float) -> bool:
    """Whether a time limit ended it: FFmpeg says so in some places, and in others that what came is no video."""
    return isinstance(error, av.ExitError) or time.monotonic() - start >= 0.9 * timeout_s
