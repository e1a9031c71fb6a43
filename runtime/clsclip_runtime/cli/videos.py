"""Videos, cameras, streams and piped frames on the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clsclip_runtime.cli.arguments import NamedSource, Piped
from clsclip_runtime.cli.output import ToldOnce, echo, print_json, prints_to_terminal, standard_input
from clsclip_runtime.cli.progress import Progress
from clsclip_runtime.cli.report import frame_table
from clsclip_runtime.errors import one_line
from clsclip_runtime.paths import readable

if TYPE_CHECKING:
    from clsclip_runtime.cli.options import InferOptions
    from clsclip_runtime.images import Source
    from clsclip_runtime.results.result import Result
    from clsclip_runtime.video import FileSink, Frame, FrameSource, Pipeline, Sink

_PER_FRAME = ("png", "labels", "npz", "yolo", "labelme")


class VideoRun:
    """Sources of many frames through one model."""

    def __init__(
        self,
        options: InferOptions,
        words: tuple[str, ...],
        segment: Callable[[Sequence[Source], float | None], list[Result]],
        threshold: float | None,
        filtered: float | None,
        told_once: ToldOnce,
    ) -> None:
        """Prepare a run.

        Args:
            options: of the command line, checked.
            words: cleaned.
            segment: the model, with a presence threshold.
            threshold: the presence threshold to give it; None is its own.
            filtered: what a class must reach to be found; None without a presence filter.
            told_once: of the whole run.
        """
        self._threshold, self._filtered = threshold, filtered
        self._options, self._frames, self._output = options, options.frames, options.output
        self._words, self._segment, self._told_once = words, segment, told_once

    def one(self, source: NamedSource) -> None:
        """Segment one source, and say what came of it even where it ends early."""
        from clsclip_runtime.video import Follower, Pipeline

        frames = self._frames
        opened = self._open(source)
        files = self._files(source, opened)
        totals = _Totals(len(self._words))
        reports: list[Sink] = [totals] if self._output.tables else []
        if self._output.as_json:
            reports.append(_JsonLines(opened.name, self._output.parts, self._told_once))
        threshold, follower = self._threshold, None
        if frames.smooth or frames.track:
            follower = Follower(smooth=bool(frames.smooth), track=bool(frames.track), presence_threshold=self._filtered)
            threshold = follower.asked_threshold if frames.smooth and self._filtered is not None else threshold

        def segment(images: Sequence[Source]) -> list[Result]:
            return self._segment(images, threshold)

        pipeline = Pipeline(
            opened,
            segment,
            [*files, *reports],
            batch=frames.batch or 1,
            every=frames.every or 1,
            max_frames=frames.max_frames,
            drop_frames=bool(frames.drop_frames),
            change=follower,
        )
        progress = Progress(opened.name, pipeline.expected, shown=self._progress_shown())

        def tick() -> None:
            dropped = f"{pipeline.dropped} dropped" if pipeline.dropped else ""
            progress.update(pipeline.written, detail=dropped)

        ended = False
        try:
            pipeline.run(tick)
            ended = True
        finally:
            progress.close()
            self._report(pipeline, opened, files, totals, ended)

    def _open(self, source: NamedSource) -> FrameSource:
        from clsclip_runtime.video import Reconnecting

        frames = self._frames

        def connect() -> FrameSource:
            return open_source(source, self._options.piped, frames.fps, dict(frames.stream_option))

        again = frames.reconnect if source.kind in ("camera", "stream") else None
        return connect() if again is None else Reconnecting(connect, again)

    def _files(self, source: NamedSource, opened: FrameSource) -> list[FileSink]:
        """The sinks that write files."""
        from clsclip_runtime.video import AnnotatedVideo, CocoFile, FrameFiles, TaskFile

        out, options = self._output.out, self._frames
        if out is None:
            return []
        name = readable(Path(source.path).name) if source.kind == "video" else opened.name
        paths = video_files(source, out, self._options)
        frames = frames_folder(source)
        shapes = {"parts": self._output.parts, "polygons": self._output.polygons}
        sinks: list[FileSink] = []
        if "overlay" in paths:
            video = AnnotatedVideo(
                paths["overlay"], fps=opened.fps or options.fps, every=options.every or 1, codec=options.codec
            )
            sinks.append(video)
        if "coco" in paths:
            sinks.append(CocoFile(paths["coco"], name, frames, **shapes))
        if "labelstudio" in paths:
            sinks.append(TaskFile(paths["labelstudio"], frames, **shapes))
        if "frames" in paths:
            formats = [one for one in self._output.video_formats if one in _PER_FRAME]
            parts = self._output.parts
            sinks.append(FrameFiles(paths["frames"], formats, images=self._output.frames, parts=parts))
        return sinks

    def _progress_shown(self) -> bool:
        return not self._output.quiet and not (self._output.as_json and prints_to_terminal())

    def _report(
        self, pipeline: Pipeline, opened: FrameSource, sinks: list[FileSink], totals: _Totals, ended: bool
    ) -> None:
        files = [sink.path for sink in sinks if sink.done]
        notes = [*opened.notes, *(note for sink in sinks for note in sink.notes)]
        if self._output.as_json:
            print_json(
                {
                    "source": opened.name,
                    "frames": pipeline.written,
                    "dropped": pipeline.dropped,
                    "complete": ended,
                    "seconds": round(pipeline.seconds, 3),
                    "files": [readable(path) for path in files],
                    "notes": notes,
                }
            )
        elif self._output.tables:
            count, seconds = pipeline.written, pipeline.seconds
            rate = f", {count / seconds:.1f} a second" if count and seconds else ""
            dropped = f", {pipeline.dropped} dropped" if self._frames.drop_frames else ""
            size = f" of {totals.size[0]}x{totals.size[1]} pixels" if totals.size else ""
            echo(f"  {count} frames{size}{rate}{dropped}")
            if count:
                echo(frame_table(self._words, totals.found, totals.percents / count, count))
            for note in (*totals.notes, *notes):
                echo(f"  note: {one_line(note)}")
            for path in files:
                echo(f"  wrote {one_line(path)}")


def video_files(source: NamedSource, folder: Path, options: InferOptions) -> dict[str, Path]:
    """The files of a source of many frames: ``overlay``, ``coco``, and the folder ``frames``, as far as asked for."""
    formats, container = options.output.video_formats, options.frames.container or "mp4"
    names = {
        "overlay": f"{source.stem}_overlay.{container}",
        "coco": f"{source.stem}_coco.json",
        "labelstudio": f"{source.stem}_labelstudio.json",
    }
    found = {name: folder / file for name, file in names.items() if name in formats}
    if options.output.frames or any(one in _PER_FRAME for one in formats):
        found["frames"] = folder / frames_folder(source)
    return found


def frames_folder(source: NamedSource) -> str:
    """The name of the folder with files of every frame."""
    return f"{source.stem}_frames"


def open_source(
    source: NamedSource, piped: Piped, fps: float | None, stream_options: dict[str, str] | None = None
) -> FrameSource:
    """Open what gives frames.

    Args:
        source: not a picture.
        piped: what standard input gives; see ``arguments.Piped``.
        fps: frames per second of standard input, which cannot tell.
        stream_options: of FFmpeg, for streams.

    Raises:
        VideoError: it cannot be opened.
    """
    from clsclip_runtime.video import EncodedFrames, RawFrames, open_camera, open_piped_video, open_stream, open_video

    if source.kind == "camera":
        return open_camera(int(source.path))
    if source.kind == "stream":
        return open_stream(source.path, options=stream_options)
    if source.kind == "video":
        return open_video(source.path)
    if piped == "video":
        return open_piped_video(standard_input())
    if isinstance(piped, tuple):
        return RawFrames(standard_input(), piped, fps=fps)
    return EncodedFrames(standard_input(), fps=fps)


class _Totals:
    """A sink that counts, for the table at the end."""

    def __init__(self, words: int) -> None:
        self.found = np.zeros(words, np.int64)
        self.percents = np.zeros(words)
        self.size: tuple[int, int] | None = None
        self.notes: dict[str, None] = {}

    def write(self, frame: Frame, result: Result) -> None:
        self.notes |= dict.fromkeys(result.notes)
        self.found += np.array([one.status == "found" for one in result], np.bool_)
        self.percents += np.array([one.area_percent for one in result])
        self.size = result.size

    def close(self) -> None:
        pass


class _JsonLines:
    """A sink that prints a document for every frame."""

    def __init__(self, name: str, parts: bool, told_once: ToldOnce) -> None:
        self._name, self._parts, self._told_once = name, parts, told_once

    def write(self, frame: Frame, result: Result) -> None:
        where = {"source": self._name, "frame": frame.index, "seconds": round(frame.seconds, 6)}
        document = self._told_once(result.to_json(parts=self._parts))
        print_json(document | where | {"notes": [*document["notes"], *frame.notes]})

    def close(self) -> None:
        pass
