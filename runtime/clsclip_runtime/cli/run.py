"""One run of ``clsclip-infer``: every source, with fixed options."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from clsclip_runtime.backends.tensorrt.engine_place import passed_over
from clsclip_runtime.cli.arguments import PROGRAM, STANDARD_INPUT, NamedSource
from clsclip_runtime.cli.collected import Collected
from clsclip_runtime.cli.output import ToldOnce, echo, print_json, prints_to_terminal, standard_input
from clsclip_runtime.cli.outputs import Origin, Record, refuse_overwriting
from clsclip_runtime.cli.progress import Progress, duration
from clsclip_runtime.cli.report import describe_model, table
from clsclip_runtime.cli.runner import FAILURE, debugging, explain, fail
from clsclip_runtime.cli.videos import VideoRun, video_files
from clsclip_runtime.errors import ClsclipRuntimeError, OptionError, OutputError, VideoError, one_line
from clsclip_runtime.images import read_all
from clsclip_runtime.images.addresses import StreamAddressError
from clsclip_runtime.paths import is_file
from clsclip_runtime.scratch import sweep

if TYPE_CHECKING:
    from clsclip_runtime.cli.options import InferOptions
    from clsclip_runtime.images import Source
    from clsclip_runtime.results.result import Result
    from clsclip_runtime.segmenter import Segmenter
    from clsclip_runtime.text.words import Asked


class Run:
    """All sources through one model."""

    def __init__(
        self, options: InferOptions, asked: Asked, sources: list[NamedSource], notes: Sequence[str] = ()
    ) -> None:
        """Prepare a run.

        Args:
            options: of the command line, checked.
            asked: the classes.
            sources: all of them; their files are never overwritten.
            notes: sentences for the user about the sources.
        """
        videos = options.output.sheet and any(one.kind != "picture" for one in sources)
        self._source_notes = [*notes, *(["frames of videos and streams are on no sheet"] if videos else [])]
        self._options, self._output = options, options.output
        # Where tables are printed, what was changed about words is told once, and not again for every picture.
        self._asked = replace(asked, notes=()) if self._output.tables else asked
        self._notes = asked.notes
        self._sources = sources
        self._collected = None if self._output.out is None else Collected(self._output.out, self._output, asked.classes)
        self._told_once = ToldOnce()
        together = [] if self._collected is None else self._collected.formats
        self._own_formats = [one for one in self._output.image_formats if one not in together]
        self._record = (
            None if self._output.out is None else Record(self._output.out, options.made_of(list(asked.mapping.items())))
        )

    def all_sources(self) -> int:
        """Segment all sources; returns the exit code.

        Raises:
            OutputError: a file of the outputs is one that is to be read, or cannot be written.
        """
        model, zooming = self._options.model, self._options.zooming
        for note in self._source_notes:
            if not self._output.quiet:
                echo(f"note: {one_line(note)}", err=True)
        self._prepare_folder()
        left = self._without_existing()
        if not left:
            return 0
        options = dict(model.backend_options)
        detector = zooming.load_detector(model.backend, model.threads, options, model.isolated)
        with model.load(detector) as segmenter:
            model.check(segmenter.bundle.manifest)
            zooming.check(segmenter.bundle.manifest.detector is not None or zooming.detector is not None)
            if self._output.tables:
                manifest = segmenter.bundle.manifest
                echo(describe_model(manifest, segmenter.backend, embedded=model.model is None))
                for note in (*passed_over(segmenter.bundle.folder, model.engines), *self._notes):
                    echo(f"note: {one_line(note)}")
            with self._progress(left) as progress:
                return self._each_collected(segmenter, left, progress)

    def _each_collected(self, segmenter: Segmenter, sources: list[NamedSource], progress: Progress) -> int:
        """``_each``, and the documents of all pictures, which hold those that are done even where the run ends."""
        from clsclip_runtime.paths import readable

        if self._collected is None:
            return self._each(segmenter, sources, progress)
        try:
            return self._each(segmenter, sources, progress)
        finally:
            written = self._collected.close()
            if written and self._output.as_json:
                print_json({"files": [readable(path) for path in written]})
            elif written and self._output.tables:
                echo("\n".join(f"wrote {one_line(path)}" for path in written))

    def _each(self, segmenter: Segmenter, sources: list[NamedSource], progress: Progress) -> int:
        from clsclip_runtime.paths import public_address, readable
        from clsclip_runtime.regions import TILES

        threshold, zooming = self._options.presence_threshold, self._options.zooming

        def segment(frames: Sequence[Source], presence_threshold: float | None) -> list[Result]:
            return segmenter.batch(
                frames,
                self._asked,
                presence_threshold=presence_threshold,
                zoom_in=zooming.zoom or False,
                regions=TILES if zooming.tiles else None,
                **self._options.masks.asked,
            )

        code = failed = 0
        spec = segmenter.bundle.manifest.presence
        own = threshold if threshold is not None else None if spec is None else spec.threshold
        filtered = own if self._options.model.presence_filter is not False else None
        videos = VideoRun(self._options, self._asked.classes, segment, threshold, filtered or None, self._told_once)
        for number, source in enumerate(sources, 1):
            name = public_address(source.path) if "://" in source.path else source.path
            if self._output.tables:
                left = progress.left()
                echo(f"\n[{number}/{len(sources)}{f', {left} left' if left else ''}] {one_line(name)}")
            try:
                if source.kind == "picture":
                    try:
                        self._one_image(segmenter, source)
                    except StreamAddressError:
                        videos.one(replace(source, kind="stream"))
                else:
                    videos.one(source)
            except (OutputError, OptionError, OSError):
                raise  # the next source would fail in the same way
            except Exception as error:  # whatever a decoder or an engine raises of one source, the others are done
                if not isinstance(error, ClsclipRuntimeError) and debugging():
                    raise
                progress.clear()
                message, _ = explain(error)
                code = fail(message, FAILURE, PROGRAM)
                failed += 1
                if self._output.as_json:
                    print_json({"source": readable(name), "error": one_line(message)})
            progress.update(number)
        if self._output.tables and len(sources) > 1:
            told = f", {failed} failed" if failed else ""
            echo(f"\n{len(sources) - failed} of {len(sources)} done in {duration(progress.seconds)}{told}")
        return code

    def _one_image(self, segmenter: Segmenter, source: NamedSource) -> None:
        from clsclip_runtime.paths import readable

        options = self._options
        origin = None if self._record is None else self._record.origin(source.path)
        content: Source = _standard_input() if source.path == STANDARD_INPUT else source.path
        with warnings.catch_warnings(record=True) as told:
            result = segmenter(
                content,
                self._asked,
                presence_threshold=options.presence_threshold,
                zoom_in=options.zooming.zoom or False,
                regions=options.zooming.regions_of(source.path),
                **options.masks.asked,
            )
        # What Pillow has to say of a file, such as a tag that it passed over.
        result.notes.extend(dict.fromkeys(f"a warning: {' '.join(str(one.message).split())}" for one in told))
        if isinstance(content, bytes) and _goes_on(content):
            result.notes.append("standard input goes on after this picture, which alone was read. See --stdin stream")
        files = [] if self._output.out is None else self._save(result, source, self._output.out, origin)
        if self._output.as_json:
            document = self._told_once(result.to_json(parts=self._output.parts))
            print_json(document | {"files": [readable(path) for path in files]})
        elif self._output.tables:
            echo(f"  {result.size[0]}x{result.size[1]} pixels, {result.timings['total']:.0f} ms")
            echo(table(result))
            for note in result.notes:
                if note == segmenter.bundle.manifest.doubt:
                    continue  # the first lines say it, once for all pictures
                echo(f"  note: {one_line(note)}")
            if files:
                echo(f"  wrote {_summary(files)}")

    def _save(self, result: Result, source: NamedSource, folder: Path, origin: Origin | None) -> list[Path]:
        parts, polygons = self._output.parts, self._output.polygons
        files: list[Path] = []
        if self._own_formats:
            files += result.save(folder, self._own_formats, source.stem, parts=parts, polygons=polygons)
        own = list(files)
        if self._collected is not None:
            files += self._collected.add(source, result)
        if origin is not None and self._record is not None:
            self._record.add(source.stem, origin, self._output.image_formats, own)
        return files

    def _prepare_folder(self) -> None:
        """Check the names of all files before the first is written, and remove what killed runs left."""
        folder, regions = self._output.out, self._options.zooming.regions
        if folder is None:
            return
        inputs: list[str | Path] = [source.path for source in self._sources if source.kind in ("picture", "video")]
        inputs += [] if regions is None else [regions.path]
        outputs: Iterable[Path] = (path for source in self._sources for path in self._files(source, folder))
        # What an address gives is known when it is read.
        addresses = [source for source in self._sources if source.kind == "picture" and "://" in source.path]
        if self._collected is not None:
            self._collected.check(source for source in self._sources if source.kind == "picture")
            outputs = chain(outputs, self._collected.outputs)
            old = [path for path in self._collected.outputs if is_file(path)]
            if old and not self._output.skip_existing and not self._output.quiet:
                echo(
                    f"note: {one_line(old[0])} of an earlier run is replaced; --skip-existing goes on with it", err=True
                )
        outputs = chain(outputs, *(video_files(one, folder, self._options).values() for one in addresses))
        refuse_overwriting(inputs, outputs, folder)
        sweep(folder)

    def _files(self, source: NamedSource, folder: Path) -> list[Path]:
        """The files and folders that a source's results will be saved as."""
        from clsclip_runtime.results.files import file_names

        if source.kind != "picture":
            return list(video_files(source, folder, self._options).values())
        if not self._own_formats:
            return []
        return [folder / name for name in file_names(self._asked.classes, self._own_formats, source.stem)]

    def _without_existing(self) -> list[NamedSource]:
        """The sources that are to be done: with ``--skip-existing`` without those whose files are there already."""
        from clsclip_runtime.paths import readable

        if not self._output.skip_existing or self._record is None or self._collected is None:
            return self._sources
        made, formats = self._record.read(), set(self._output.image_formats)
        left: list[NamedSource] = []
        skipped_sources: list[NamedSource] = []
        for source in self._sources:
            origin = self._record.origin(source.path) if source.kind == "picture" else None
            known = made.get(source.stem)
            if known is None or known.origin != origin or not formats <= known.formats:
                left.append(source)
                continue
            files = self._files(source, self._collected.folder)
            if not all(known.has(path) for path in files) or not self._collected.holds(source):
                left.append(source)
                continue
            skipped_sources.append(source)
            if self._output.as_json:
                names = [readable(path) for path in files]
                print_json({"source": readable(source.path), "skipped": True, "files": names})
        for source in skipped_sources if left else ():
            self._collected.carry(source)
        if self._output.tables:
            echo(f"skipped {len(skipped_sources)} of {len(self._sources)}, made of the same before; {len(left)} to do")
        return left

    def _progress(self, sources: list[NamedSource]) -> Progress:
        # Where the results go to the same terminal they are the progress; a line between them would be torn, and so it
        # would by the line of a video.
        videos = any(source.kind != "picture" for source in sources)
        torn = not self._output.quiet and prints_to_terminal()
        shown = len(sources) > 1 and not (videos or torn or self._output.quiet)
        return Progress("pictures", len(sources), shown=shown)


def _standard_input() -> bytes:
    """All of standard input. ImageError if it is closed, or larger than any picture."""
    return read_all(standard_input(), "standard input")


def _goes_on(content: bytes) -> bool:
    """Whether another picture follows the first."""
    from clsclip_runtime.video.splitter import split_images

    try:
        return len(list(islice(split_images(io.BytesIO(content).read, "-"), 2))) > 1
    except VideoError:
        return False


def _summary(files: list[Path]) -> str:
    overlays = [path for path in files if path.name.endswith("_overlay.png")]
    first = overlays[0] if overlays else files[0]
    return one_line(first) + (f" and {len(files) - 1} more in {one_line(first.parent)}" if len(files) > 1 else "")
