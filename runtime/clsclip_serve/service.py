"""What handlers share: the engine, the pictures that are kept, and the threads that read and write pictures."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from clsclip_runtime.images import DecodedImage, open_image
from clsclip_runtime.inference.features import ImageFeatures
from clsclip_runtime.results.result import Result
from clsclip_runtime.segmenter import Segmenter
from clsclip_serve.asked import Classes, Options
from clsclip_serve.engine import Answered, DrainingError, Engine, Job, QueueFullError
from clsclip_serve.kept import KeptImages
from clsclip_serve.metrics import Metrics
from clsclip_serve.options import ServerOptions

_T = TypeVar("_T")

THREADS = 2
"""That read pictures and write answers."""

FETCHERS = 4
"""Threads that wait for other servers' pictures."""

OptionsOfSize = Callable[[tuple[int, int]], Options]
"""Options that are known when the picture's (width, height) is."""


@dataclass
class Service:
    """One server's state.

    Attributes:
        segmenter: loaded.
        options: limits.
    """

    segmenter: Segmenter
    options: ServerOptions = field(default_factory=ServerOptions)

    def __post_init__(self) -> None:
        self.kept = KeptImages(int(self.options.images_mb * 2**20), self.options.images_ttl)
        self.engine = Engine(
            self.segmenter,
            queue=self.options.queue,
            batch=self.options.batch,
            batch_wait=self.options.batch_wait_ms / 1000,
            on_batch=lambda count: self.metrics.batch.observe(count),
        )
        self.metrics = Metrics(lambda: self.engine.depth, lambda: self.kept.nbytes)
        self._threads = ThreadPoolExecutor(THREADS, "clsclip-pictures")
        self._fetchers = ThreadPoolExecutor(FETCHERS, "clsclip-fetch")
        self.stopping = False
        self._accepted = 0
        """Requests between their first byte and their answer: pictures in memory are bounded by them."""

    async def segment(
        self,
        content: bytes | ImageFeatures,
        classes: Classes,
        options: Options | OptionsOfSize,
        write: Callable[[Result, float], _T],
    ) -> _T:
        """Segment an encoded file, or a picture that is kept, and write the answer in another thread."""
        with self._place():
            image = content if isinstance(content, ImageFeatures) else await self.read(content)
            found = await self._run(image, classes, options if isinstance(options, Options) else options(image.size))
            result: Result = found.value
            self.metrics.queue.observe(found.waited)
            for step, milliseconds in result.timings.items():
                self.metrics.engine.labels(step).observe(milliseconds / 1000)
            for one in result:
                self.metrics.classes.labels(one.status).inc()
            return await self.in_thread(lambda: write(result, found.waited))

    async def keep(self, content: bytes) -> tuple[str, ImageFeatures, float | None]:
        """Encode a picture and keep it: its name, itself, and for how many seconds."""
        name = hashlib.sha256(content).hexdigest()
        known = self.kept.get(name)
        if known is not None:
            return name, known, self.options.images_ttl
        with self._place():
            found = await self._run(await self.read(content), None, Options())
        return name, found.value, self.kept.put(name, found.value)

    async def read(self, content: bytes) -> DecodedImage:
        """Decode a picture. ImageError if it is none."""
        most = self.segmenter.limits.max_pixels
        return await self.in_thread(lambda: open_image(content, max_pixels=most))

    async def fetched(self, fetch: Callable[[int], bytes]) -> bytes:
        """A picture of another server, by a function of the bytes that it may have."""
        if self.stopping:
            raise DrainingError
        most = int(self.options.max_upload_mb * 1e6)
        return await asyncio.get_running_loop().run_in_executor(self._fetchers, fetch, most)

    async def in_thread(self, run: Callable[[], _T]) -> _T:
        """Run what takes long, so that no handler does."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    def _place(self) -> _Place:
        return _Place(self)

    async def _run(self, image: DecodedImage | ImageFeatures, classes: Classes | None, options: Options) -> Answered:
        deadline = time.monotonic() + self.options.timeout
        job = Job(image, classes, () if classes is None else options.of_call(), options.boxes(), deadline)
        # A client that goes away cancels this, and with it the job if it waits still.
        return await asyncio.wrap_future(self.engine.submit(job))

    def stop(self) -> None:
        """Accept nothing new; what was accepted is answered."""
        self.stopping = True

    def close(self) -> None:
        """Finish what was accepted, and let go of the model."""
        self.stop()
        self.engine.drain()
        self._threads.shutdown()
        self._fetchers.shutdown()


class _Place:
    """Of a request among those that may be in memory at once."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def __enter__(self) -> None:
        if self._service.stopping:
            raise DrainingError
        if self._service._accepted >= self._service.options.queue + self._service.options.batch:
            raise QueueFullError
        self._service._accepted += 1

    def __exit__(self, *error: object) -> None:
        self._service._accepted -= 1
