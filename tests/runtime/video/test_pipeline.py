"""Order, completeness, dropping, errors of every stage, and Ctrl-C, with stand-ins for source, model and sinks."""

from __future__ import annotations

import threading
import traceback
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from clsclip_runtime.errors import BackendError, OptionError, VideoError
from clsclip_runtime.video import Pipeline
from tests.runtime.video.made import Kept, Listed, number_of

Images = list[npt.NDArray[np.uint8]]


def same(images: Images) -> list[Any]:
    """A model whose results are the numbers of its images."""
    return [number_of(image) for image in images]


@pytest.mark.parametrize("batch", [1, 4])
def test_every_frame_in_order(batch: int) -> None:
    source, sinks, sizes = Listed(30), [Kept(), Kept()], []

    def segment(images: Images) -> list[Any]:
        sizes.append(len(images))
        return same(images)

    pipeline = Pipeline(source, segment, sinks, batch=batch)
    assert (pipeline.seconds, pipeline.expected) == (0, 30)
    pipeline.run()
    assert [sink.numbers for sink in sinks] == [list(range(30))] * 2
    assert all(sink.closed for sink in sinks)
    assert source.closed
    assert (pipeline.written, pipeline.dropped) == (30, 0)
    assert sizes == [batch] * (30 // batch) + [30 % batch] * (30 % batch > 0)
    assert pipeline.seconds == pipeline.seconds > 0


def test_results_belong_to_their_frames() -> None:
    pairs = []

    class Pairs(Kept):
        def write(self, frame: Any, result: Any) -> None:
            pairs.append((frame.index, result))

    Pipeline(Listed(20), same, [Pairs()], batch=3, every=2).run()
    assert pairs == [(index, index) for index in range(0, 20, 2)]


def test_every_and_max_frames() -> None:
    sink = Kept()
    pipeline = Pipeline(Listed(30), same, [sink], every=4, max_frames=5)
    assert pipeline.expected == 5
    pipeline.run()
    assert sink.numbers == [0, 4, 8, 12, 16]
    assert Pipeline(Listed(30), same, [], every=4).expected == 8


def test_dropped_frames_do_not_count_as_segmented() -> None:
    sink = Kept()

    def slow(images: Images) -> list[Any]:
        threading.Event().wait(0.002)
        return same(images)

    class Live(Listed):
        def frames(self, every: int = 1) -> Any:
            for frame in super().frames(every):
                threading.Event().wait(0.0005)
                yield frame

    pipeline = Pipeline(Live(500, live=True), slow, [sink], max_frames=10, drop_frames=True)
    pipeline.run()
    assert len(sink.numbers) == 10
    assert sink.numbers[-1] == 9 + pipeline.dropped


@pytest.mark.parametrize("name", ["batch", "every", "max_frames"])
def test_numbers_must_be_positive(name: str) -> None:
    with pytest.raises(OptionError, match=f"{name} must be 1 or more, and it is 0"):
        Pipeline(Listed(1), same, [], **{name: 0})


@pytest.mark.parametrize("batch", [1, 2])
def test_the_newest_frame_wins_and_dropped_ones_are_counted(batch: int) -> None:
    ended, sink = threading.Event(), Kept()

    class Live(Listed):
        def frames(self, every: int = 1) -> Any:
            yield from super().frames(every)
            ended.set()

    def slow(images: Images) -> list[Any]:
        ended.wait(10)
        return same(images)

    pipeline = Pipeline(Live(50, live=True), slow, [sink], batch=batch, drop_frames=True)
    pipeline.run()
    assert pipeline.dropped + len(sink.numbers) == 50
    assert len(sink.numbers) <= 2 * batch
    assert sink.numbers == sorted(sink.numbers)
    assert sink.numbers[-1] == 49


def test_a_slow_model_drops_nothing_unless_told() -> None:
    sink, gate = Kept(), threading.Event()

    def slow(images: Images) -> list[Any]:
        gate.wait(0.002)
        return same(images)

    Pipeline(Listed(40, live=True), slow, [sink]).run()
    assert sink.numbers == list(range(40))


def test_stages_work_at_the_same_time() -> None:
    """The source is three frames ahead of the model, and the model one ahead of the sink; else this would wait."""
    given, begun = [threading.Event() for _ in range(10)], [threading.Event() for _ in range(10)]
    overlapped = []

    class Ahead(Listed):
        def frames(self, every: int = 1) -> Any:
            for frame in super().frames(every):
                given[frame.index].set()
                yield frame

    def segment(images: Images) -> list[Any]:
        (number,) = same(images)
        begun[number].set()
        overlapped.append(given[min(number + 3, 9)].wait(10))
        return [number]

    class Behind(Kept):
        def write(self, frame: Any, result: Any) -> None:
            overlapped.append(begun[min(frame.index + 1, 9)].wait(10))

    Pipeline(Ahead(10), segment, [Behind()]).run()
    assert overlapped == [True] * 20


def test_a_slow_sink_bounds_what_waits() -> None:
    given, worst = [], []

    class Counting(Listed):
        def frames(self, every: int = 1) -> Any:
            for frame in super().frames(every):
                given.append(frame.index)
                yield frame

    class Slow(Kept):
        def write(self, frame: Any, result: Any) -> None:
            threading.Event().wait(0.005)
            worst.append(len(given) - frame.index)

    Pipeline(Counting(60), same, [Slow()]).run()
    assert max(worst) <= 12


def test_an_error_of_the_source_comes_after_its_frames() -> None:
    sink = Kept()
    with pytest.raises(VideoError, match="cut off"):
        Pipeline(Listed(20, VideoError("cut off")), same, [sink]).run()
    assert sink.numbers == list(range(20))
    assert sink.closed


def test_an_error_of_the_model_comes_after_what_it_did() -> None:
    def broken(images: Images) -> list[Any]:
        if number_of(images[0]) == 7:
            raise BackendError("the engine failed")
        return same(images)

    source, sink = Listed(500), Kept()
    with pytest.raises(BackendError, match="the engine failed"):
        Pipeline(source, broken, [sink]).run()
    assert sink.numbers == list(range(7))
    assert sink.closed
    assert source.closed


def test_too_few_results_are_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        Pipeline(Listed(4), lambda images: [], [Kept()]).run()


def test_an_error_of_a_sink_ends_the_run_and_closes_all() -> None:
    sinks = [Kept(), Kept(fail_at=5), Kept()]
    with pytest.raises(OSError, match="no room"):
        Pipeline(Listed(500), same, sinks).run()
    assert all(sink.closed for sink in sinks)
    assert [len(sink.numbers) for sink in sinks] == [6, 5, 5]


def test_an_error_at_the_close_is_raised_and_the_others_are_closed() -> None:
    sinks = [Kept(fail_to_close=OSError("disk full")), Kept()]
    with pytest.raises(OSError, match="disk full"):
        Pipeline(Listed(3), same, sinks).run()
    assert sinks[1].closed


def test_the_first_error_is_the_one_that_is_raised_with_its_traceback() -> None:
    def broken(images: Images) -> list[Any]:
        raise ZeroDivisionError("a bug in the model")

    with pytest.raises(ZeroDivisionError) as caught:
        Pipeline(Listed(3), broken, [Kept(fail_to_close=OSError("later"))]).run()
    assert "in broken" in "".join(traceback.format_tb(caught.value.__traceback__))


def test_when_a_sink_fails_the_model_has_ended_before_the_error_comes() -> None:
    """A model that runs while Python ends would take the process with it."""
    running = threading.Event()
    second = threading.Event()

    def segment(images: Images) -> list[Any]:
        running.set()
        if number_of(images[0]):
            second.set()
            threading.Event().wait(0.5)
        running.clear()
        return same(images)

    class Fails(Kept):
        def write(self, frame: Any, result: Any) -> None:
            second.wait(5)
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        Pipeline(Listed(20), segment, [Fails()]).run()
    assert second.is_set()
    assert not running.is_set()


def test_an_interrupt_keeps_what_was_written() -> None:
    sink = Kept()

    def slow(images: Images) -> list[Any]:
        threading.Event().wait(0.01)
        return same(images)

    source = Listed(5000)
    pipeline = Pipeline(source, slow, [sink])

    def tick() -> None:
        if pipeline.written > 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.run(tick)
    assert sink.numbers == list(range(len(sink.numbers)))
    assert 5 < len(sink.numbers) < 1000
    assert sink.closed
    assert source.closed


def test_output_that_is_lost_is_told_rather_than_the_interrupt() -> None:
    sink = Kept(fail_to_close=OSError("disk full"))

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(OSError, match="disk full"):
        Pipeline(Listed(10**6), lambda images: [0] * len(images), [sink]).run(interrupt)


def test_a_second_interrupt_does_not_wait_for_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clsclip_runtime.video.pipeline._DECODER_PATIENCE_S", 0.05)
    release, sink = threading.Event(), Kept()

    def stuck(images: Images) -> list[Any]:
        if number_of(images[0]) == 3:
            release.wait(30)
        return same(images)

    pipeline = Pipeline(Listed(20), stuck, [sink])
    wait, interrupts = threading.Event.wait, []

    def interrupted(event: threading.Event, timeout: float | None = None) -> bool:
        ended = wait(event, timeout)
        if pipeline.written == 3 and threading.current_thread() is threading.main_thread() and len(interrupts) < 2:
            interrupts.append(event)
            raise KeyboardInterrupt
        return ended

    monkeypatch.setattr(threading.Event, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run()
    release.set()
    assert len(set(interrupts)) == 2
    assert sink.numbers == [0, 1, 2]
    assert sink.closed


def test_a_source_that_gives_nothing_does_not_keep_an_interrupt_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clsclip_runtime.video.pipeline._DECODER_PATIENCE_S", 0.05)
    release = threading.Event()

    class Stuck(Listed):
        def frames(self, every: int = 1) -> Any:
            yield from super().frames(every)
            release.wait(30)

    sink = Kept()
    pipeline = Pipeline(Stuck(3), same, [sink])

    def tick() -> None:
        if pipeline.written == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.run(tick)
    release.set()
    assert sink.numbers == [0, 1, 2]
    assert sink.closed
