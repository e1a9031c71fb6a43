"""Encoded images in, rows out. What is wrong with an image becomes its row, and fails no other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from clsclip_runtime.errors import ClsclipRuntimeError, ImageError, OptionError, RegionError, WordError, one_line
from clsclip_runtime.images import DecodedImage, open_image
from clsclip_runtime.results.result import Result
from clsclip_runtime.segmenter import Segmenter
from clsclip_serve.batch.job import Job
from clsclip_serve.batch.places import Place, RemoteError
from clsclip_serve.batch.schema import error_row, row_of
from clsclip_serve.batch.sources import Chunk, Reader
from clsclip_serve.together import together

_T = TypeVar("_T")
BAD_INPUT = (ImageError, WordError, OptionError, RegionError)
FAULT = "fault"
"""Key of rows with an error that is not the image's own: of a file system, of the engine. It is no column."""

AHEAD = 4
"""Encoded images that are read while another is segmented."""


class Rows:
    """Makes rows of images, by a model that is loaded once.

    Memory: the model, the activations of a call (``memory_mb``), ``batch`` decoded images, and ``AHEAD`` encoded ones.
    """

    def __init__(self, job: Job, reader: Reader) -> None:
        """Load the model. As ``Job.load``."""
        self._job, self._reader = job, reader
        self._segmenter: Segmenter = job.load()
        self.model = self._segmenter.bundle.manifest.name
        self._asked = job.asked

    def of_chunk(self, chunk: Chunk) -> Iterator[dict[str, Any]]:
        """The rows of a chunk, in its order."""
        if self._reader.columns is not None:
            yield from self.of(self._reader.contents(chunk))
            return
        root = Place.from_address(self._reader.root) if self._reader.root else None
        with ThreadPoolExecutor(AHEAD, "clsclip-read") as pool:
            waiting: deque[Any] = deque()
            names = iter(chunk.names)

            def contents() -> Iterator[tuple[str, bytes | Exception]]:
                while True:
                    for name in islice(names, AHEAD - len(waiting)):
                        waiting.append((name, pool.submit(self._reader.content, root, name)))
                    if not waiting:
                        return
                    name, future = waiting.popleft()
                    yield name, future.result()

            yield from self.of(contents())

    def of(self, items: Iterable[tuple[str, bytes | Exception]]) -> Iterator[dict[str, Any]]:
        """The rows of (name, encoded image or error), in order."""
        for group in _grouped(items, self._job.batch):
            decoded = [(name, self._decoded(content)) for name, content in group]
            del group
            images = [one for _, one in decoded if isinstance(one, DecodedImage)]
            found = iter(self._found(images))
            for name, one in decoded:
                yield self._row(name, next(found) if isinstance(one, DecodedImage) else one)

    def close(self) -> None:
        """Let go of the model."""
        self._segmenter.close()

    def _decoded(self, content: bytes | Exception) -> DecodedImage | Exception:
        if isinstance(content, Exception):
            return content
        try:
            return open_image(content, max_pixels=self._job.max_pixels)
        except (ClsclipRuntimeError, MemoryError) as error:
            return error

    def _found(self, images: Sequence[DecodedImage]) -> list[Result | Exception]:
        options: dict[str, Any] = dict(self._job.options)
        batch = partial(self._segmenter.batch, images, self._asked, return_errors=True, **options)
        return together(batch, [partial(self._segmenter, image, self._asked, **options) for image in images])

    def _row(self, name: str, found: Result | Exception) -> dict[str, Any]:
        if isinstance(found, Result):
            try:
                return row_of(name, found)
            except Exception as error:
                found = error
        known = isinstance(found, (ClsclipRuntimeError, RemoteError, MemoryError))
        reason = one_line(found) or "there is not enough memory"
        row = error_row(name, self.model, reason if known else f"unexpected {type(found).__name__}: {reason}")
        return row | {FAULT: not isinstance(found, BAD_INPUT)}


def _grouped(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group
