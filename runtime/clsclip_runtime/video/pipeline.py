"""Decoding, segmenting and writing at the same time, each in its own thread, with few frames in between.

    source ──frames──> segment ──results──> sinks

The main thread only waits, so that Ctrl-C never strikes in the middle of a step.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from clsclip_runtime.errors import OptionError
from clsclip_runtime.video.channel import Channel
from clsclip_runtime.video.frames import Frame, FrameSource
from clsclip_runtime.video.sinks import Sink

if TYPE_CHECKING:
    from clsclip_runtime.results.result import Result

Segment: TypeAlias = "Callable[[list[npt.NDArray[np.uint8]]], list[Result]]"

_TICK_S = 0.1
_WAITING_RESULTS = 4
_DECODER_PATIENCE_S = 2.0


class Pipeline:
    """Runs the frames of one source through a model into sinks, in order.

        pipeline = Pipeline(source, lambda images: segmenter.batch(images, ["dog"]), [AnnotatedVideo(path)])
        pipeline.run()

    Attributes:
        written: frames that every sink has taken so far.
        dropped: frames of a live source that no one was ready for (``drop_frames``).
        seconds: since ``run`` began; when it has ended, how long it took.
    """

    def __init__(
        self,
        source: FrameSource,
        segment: Segment,
        sinks: Sequence[Sink],
        *,
        batch: int = 1,
        every: int = 1,
        max_frames: int | None = None,
        drop_frames: bool = False,
        change: Callable[[Frame, Result], Result] | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            source: where frames come from; closed at the end.
            segment: the model: results of a list of images (H, W, 3) uint8 RGB, in order.
            sinks: where results go; all are closed at the end, whatever happened.
            batch: frames that go to ``segment`` at a time; the last batch may be smaller.
            every: only frames whose index this divides.
            max_frames: end after so many frames.
            drop_frames: when frames come faster than ``segment`` takes them, the newest wins and the others are
                counted as dropped. Else none is ever dropped, and the source waits.
            change: what is made of each result before the sinks take it, in the order of the frames.

        Raises:
            OptionError: a number is not positive.
        """
        for name, value in (("batch", batch), ("every", every), ("max_frames", max_frames)):
            if value is not None and value < 1:
                raise OptionError(f"{name} must be 1 or more, and it is {value}")
        self._source, self._segment, self._sinks = source, segment, sinks
        self._batch, self._every, self._most = batch, every, max_frames
        self._frames: Channel[Frame] = Channel(2 * batch if not drop_frames else batch, newest_wins=drop_frames)
        self._results: Channel[tuple[Frame, Result]] = Channel(max(_WAITING_RESULTS, batch))
        self._failure: BaseException | None = None
        self._change = change
        self._lock = threading.Lock()
        self._started: float | None = None
        self._took: float | None = None
        self.written = 0

    @property
    def dropped(self) -> int:
        return self._frames.dropped

    @property
    def seconds(self) -> float:
        if self._took is not None:
            return self._took
        return 0.0 if self._started is None else time.monotonic() - self._started

    @property
    def expected(self) -> int | None:
        """How many frames there will be, as far as the source tells."""
        known = None if self._source.count is None else -(-self._source.count // self._every)
        return min((one for one in (known, self._most) if one is not None), default=None)

    def run(self, tick: Callable[[], None] = lambda: None) -> None:
        """Run to the end; ``tick`` is called ten times a second meanwhile.

        When a step fails, the frames before the failure are still written, and what it raised is raised here. On
        Ctrl-C the frame that is being segmented is written, frames that wait to be are not, and the sinks are closed;
        a second one does not wait for the model any more.

        Raises:
            KeyboardInterrupt: Ctrl-C; the sinks are closed.
            VideoError, ImageError, BackendError, OutputError, ...: what the source, the model or a sink raised.
        """
        decoder, model, writer = (_Stage(self._guard, step) for step in (self._decode, self._model, self._write))
        self._started = time.monotonic()
        patient = True
        try:
            for thread in (decoder, model, writer):
                thread.start()
            while not writer.ended.wait(_TICK_S):
                tick()
        except BaseException as error:  # Ctrl-C, or tick() failed
            self._fail(error)
            self._frames.close(discard=True)
            patient = _wait(model)
            if not patient:
                self._results.close()
        finally:
            while not _wait(writer):
                self._results.close(discard=True)
            self._frames.close(discard=True)
            if patient:  # a model that still runs when Python ends takes the process with it
                _wait(model)
            # It may wait for a camera or a pipe that gives nothing, and nothing depends on it any more.
            if decoder.ended.wait(_DECODER_PATIENCE_S):
                self._source.close()
            self._took = self.seconds
        if self._failure is not None:
            raise self._failure

    def _fail(self, error: BaseException) -> None:
        """Keep the first failure; but output that is lost is worth more words than an interrupt."""
        with self._lock:
            interrupted = isinstance(self._failure, KeyboardInterrupt)
            if self._failure is None or (interrupted and threading.current_thread().name == "_write"):
                self._failure = error

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException as error:
            self._fail(error)

    def _decode(self) -> None:
        taken = 0
        try:
            for frame in self._source.frames(self._every):
                taken += 1
                if not self._frames.put(frame) or taken - self.dropped == self._most:
                    return
        finally:
            self._frames.close()

    def _model(self) -> None:
        try:
            while frames := self._frames.take(self._batch):
                results = self._segment([frame.image for frame in frames])
                for frame, result in zip(frames, results, strict=True):
                    if not self._results.put((frame, result)):
                        return
        finally:
            self._frames.close(discard=True)
            self._results.close()

    def _write(self) -> None:
        try:
            while pairs := self._results.take():
                frame, result = pairs[0]
                if self._change is not None:
                    result = self._change(frame, result)
                for sink in self._sinks:
                    sink.write(frame, result)
                self.written += 1
        finally:
            self._results.close(discard=True)
            for sink in self._sinks:
                self._guard(sink.close)


class _Stage(threading.Thread):
    """A thread and the event of its end.

    ``Thread.join`` will not do: in Python 3.10 to 3.12 one that Ctrl-C interrupts takes the thread for ended.
    """

    def __init__(self, guard: Callable[[Callable[[], None]], None], step: Callable[[], None]) -> None:
        super().__init__(name=step.__name__, daemon=True)
        self.ended = threading.Event()
        self._guard, self._step = guard, step

    def run(self) -> None:
        try:
            self._guard(self._step)
        finally:
            self.ended.set()


def _wait(stage: _Stage) -> bool:
    """Wait for a stage to end; False at Ctrl-C."""
    try:
        while not stage.ended.wait(_TICK_S):
            pass
    except KeyboardInterrupt:
        return False
    return True
