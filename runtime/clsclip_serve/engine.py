"""The one thread that computes: requests wait in a bounded queue, and handlers never compute."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from clsclip_runtime.images import DecodedImage
from clsclip_runtime.inference.features import ImageFeatures
from clsclip_runtime.results.result import Result
from clsclip_runtime.segmenter import Segmenter
from clsclip_serve.together import together

Segmentable = DecodedImage | ImageFeatures


class QueueFullError(Exception):
    """As many requests wait as may."""


class DrainingError(Exception):
    """The server is about to end, and takes nothing new."""


class LateError(Exception):
    """The deadline passed while the request waited."""


@dataclass(frozen=True, eq=False)
class Job:
    """A request that waits.

    Attributes:
        image: a picture, or one that is encoded already.
        classes: words, or prompts by class; None only encodes the picture.
        options: of the call. Requests with equal options may share one.
        regions: boxes; such requests are run by themselves.
        deadline: by ``time.monotonic``; what has begun by then is finished.
    """

    image: Segmentable
    classes: Any
    options: tuple[tuple[str, Any], ...]
    regions: Any
    deadline: float
    arrived: float = field(default_factory=time.monotonic)
    future: Future[Any] = field(default_factory=Future)

    @property
    def alone(self) -> bool:
        """Whether it cannot share a call."""
        return self.classes is None or self.regions is not None or not isinstance(self.image, DecodedImage)


@dataclass(frozen=True)
class Answered:
    """What a request gets: the result (or the encoded picture), and the seconds that it waited."""

    value: Any
    waited: float
    together: int = 1


class Engine:
    """Runs a segmenter in a thread of its own."""

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        queue: int = 64,
        batch: int = 1,
        batch_wait: float = 0.005,
        on_batch: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Start it.

        Args:
            segmenter: it is closed when the engine ends.
            queue: requests that may wait.
            batch: requests that may share one call.
            batch_wait: seconds for which a request waits for others, where they may share a call.
            on_batch: told how many shared a call.
        """
        self.segmenter = segmenter
        self.queue, self.batch, self._batch_wait, self._on_batch = queue, batch, batch_wait, on_batch
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._draining = False
        self._thread = threading.Thread(target=self._work, name="clsclip-engine", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def submit(self, job: Job) -> Future[Any]:
        """Let a request wait; its future gives an :class:`Answered`.

        Raises:
            QueueFullError: as many wait as may.
            DrainingError: the server is about to end.
        """
        with self._changed:
            if self._draining:
                raise DrainingError
            if len(self._waiting) >= self.queue:
                raise QueueFullError
            self._waiting.append(job)
            self._changed.notify()
        return job.future

    def drain(self) -> None:
        """Take nothing new, finish what was accepted, and close the segmenter."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while jobs := self._take():
            self._on_batch(len(jobs))
            try:
                self._run(jobs)
            except BaseException as error:  # whatever it is: nobody may wait for ever
                for job in jobs:
                    if not job.future.done():
                        job.future.set_exception(error)
        self.segmenter.close()

    def _take(self) -> list[Job]:
        """The next requests that share a call; none when all is done."""
        with self._changed:
            while True:
                while self._waiting:
                    first = self._waiting.popleft()
                    if _begun(first):
                        return self._with_others(first)
                if self._draining:
                    return []
                self._changed.wait()

    def _with_others(self, first: Job) -> list[Job]:
        jobs = [first]
        if first.alone or self.batch == 1:
            return jobs
        until = time.monotonic() + self._batch_wait
        while len(jobs) < self.batch:
            for job in [one for one in self._waiting if not one.alone and one.options == first.options]:
                if len(jobs) == self.batch:
                    break
                self._waiting.remove(job)
                if _begun(job):
                    jobs.append(job)
            left = until - time.monotonic()
            if left <= 0 or self._draining:
                break
            self._changed.wait(left)
        return jobs

    def _run(self, jobs: Sequence[Job]) -> None:
        waited = [time.monotonic() - job.arrived for job in jobs]
        found = self._results(jobs)
        for job, one, seconds in zip(jobs, found, waited, strict=True):
            if isinstance(one, BaseException):
                job.future.set_exception(one)
            else:
                job.future.set_result(Answered(one, seconds, len(jobs)))

    def _results(self, jobs: Sequence[Job]) -> list[Any]:
        options = dict(jobs[0].options)
        images = [job.image for job in jobs if isinstance(job.image, DecodedImage)]
        classes = [job.classes for job in jobs]
        batch = partial(self.segmenter.batch, images, classes, return_errors=True, **options)
        return together(batch, [partial(self._one, job) for job in jobs])

    def _one(self, job: Job) -> Result | ImageFeatures:
        options: dict[str, Any] = dict(job.options)
        if job.classes is None:
            assert isinstance(job.image, DecodedImage)  # noqa: S101 (an encoded picture is not encoded again)
            return self.segmenter.set_image(job.image)
        if job.regions is not None:
            options["regions"] = job.regions
        if isinstance(job.image, ImageFeatures):
            return self.segmenter.predict(job.classes, image=job.image, **options)
        return self.segmenter(job.image, job.classes, **options)


def _begun(job: Job) -> bool:
    """Whether a request is still wanted; it cannot be cancelled any more then."""
    if time.monotonic() > job.deadline:
        if job.future.set_running_or_notify_cancel():
            job.future.set_exception(LateError())
        return False
    return job.future.set_running_or_notify_cancel()
