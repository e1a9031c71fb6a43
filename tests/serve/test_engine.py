"""The engine's queue: bounded, in order, and one request never fails another."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from clsclip_runtime.errors import WordError
from clsclip_runtime.images import DecodedImage, open_image
from clsclip_serve.batching import Measured, measure_batch
from clsclip_serve.engine import DrainingError, Engine, Job, LateError, QueueFullError
from tests.runtime.tiny_bundle import paint


class Slow:
    """A segmenter that waits until it may go on, and keeps what it was asked."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.calls: list[list[Any]] = []
        self.closed = False

    def _wait(self, classes: list[Any]) -> None:
        self.calls.append(classes)
        assert self.go.wait(10)

    def __call__(self, image: Any, classes: Any, **options: Any) -> Any:
        self._wait([classes])
        if classes == "bad":
            raise WordError("bad")
        return classes

    def batch(self, images: Any, classes: Any, *, return_errors: bool, **options: Any) -> list[Any]:
        self._wait(list(classes))
        if "worse" in classes:
            raise RuntimeError("the call as a whole")
        return [WordError("bad") if one == "bad" else one for one in classes]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def image() -> DecodedImage:
    return open_image(paint({"red": (slice(1, 3), slice(1, 3))}))


def job(image: DecodedImage, classes: Any, seconds: float = 10, options: tuple[tuple[str, Any], ...] = ()) -> Job:
    return Job(image, classes, options, None, time.monotonic() + seconds)


def started(engine: Engine, slow: Slow, image: DecodedImage) -> Any:
    """A request that runs, and waits there."""
    first = engine.submit(job(image, "first"))
    while not slow.calls:
        time.sleep(0.001)
    return first


def test_the_queue_is_bounded_and_in_order(image: DecodedImage) -> None:
    slow = Slow()
    engine = Engine(slow, queue=2)  # type: ignore[arg-type]
    first = started(engine, slow, image)
    others = [engine.submit(job(image, name)) for name in ("second", "third")]
    assert engine.depth == 2
    with pytest.raises(QueueFullError):
        engine.submit(job(image, "fourth"))
    slow.go.set()
    assert [one.result(10).value for one in (first, *others)] == ["first", "second", "third"]
    engine.drain()
    assert slow.closed


def test_late_and_cancelled_requests_are_not_run(image: DecodedImage) -> None:
    slow = Slow()
    engine = Engine(slow)  # type: ignore[arg-type]
    started(engine, slow, image)
    late, cancelled = engine.submit(job(image, "late", 0)), engine.submit(job(image, "cancelled"))
    assert cancelled.cancel()
    last = engine.submit(job(image, "last"))
    slow.go.set()
    assert last.result(10).value == "last"
    with pytest.raises(LateError):
        late.result(10)
    assert slow.calls == [["first"], ["last"]]
    engine.drain()


def test_equal_options_share_a_call_and_errors_stay_alone(image: DecodedImage) -> None:
    slow = Slow()
    engine = Engine(slow, batch=8, batch_wait=0)  # type: ignore[arg-type]
    started(engine, slow, image)
    found = [engine.submit(job(image, name)) for name in ("a", "bad", "b")]
    other = engine.submit(job(image, "c", options=(("refine", True),)))
    slow.go.set()
    assert found[0].result(10).value == "a"
    assert found[0].result(10).together == 3
    with pytest.raises(WordError):
        found[1].result(10)
    assert found[2].result(10).value == "b"
    assert other.result(10).together == 1
    engine.drain()


def test_a_call_that_fails_is_done_again_one_by_one(image: DecodedImage) -> None:
    slow = Slow()
    engine = Engine(slow, batch=8, batch_wait=0)  # type: ignore[arg-type]
    started(engine, slow, image)
    found = [engine.submit(job(image, name)) for name in ("a", "worse", "bad")]
    slow.go.set()
    assert found[0].result(10).value == "a"
    assert found[1].result(10).value == "worse"
    with pytest.raises(WordError):
        found[2].result(10)
    engine.drain()


def test_what_was_accepted_is_finished(image: DecodedImage) -> None:
    slow = Slow()
    engine = Engine(slow)  # type: ignore[arg-type]
    first = started(engine, slow, image)
    second = engine.submit(job(image, "second"))
    ending = threading.Thread(target=engine.drain)
    ending.start()
    while not engine._draining:
        time.sleep(0.001)
    with pytest.raises(DrainingError):
        engine.submit(job(image, "third"))
    slow.go.set()
    ending.join(10)
    assert (first.result(0).value, second.result(0).value) == ("first", "second")


def test_the_better_batch_is_kept() -> None:
    class Timed:
        def __init__(self, alone: float, together: float) -> None:
            self.alone, self.together, self.pictures = alone, together, 0

        def __call__(self, image: Any, classes: Any, **options: Any) -> None:
            time.sleep(self.alone)
            self.pictures += 1

        def batch(self, images: Any, classes: Any, **options: Any) -> None:
            time.sleep(self.together)
            self.pictures += len(images)

    slower, faster = Timed(0.001, 0.05), Timed(0.01, 0.001)
    assert measure_batch(slower).batch == 1  # type: ignore[arg-type]
    assert measure_batch(faster).batch == 8  # type: ignore[arg-type]
    assert slower.pictures == faster.pictures == 1 + 16  # one round says enough
    unclear = Timed(0.005, 0.041)
    assert measure_batch(unclear).batch == 1  # type: ignore[arg-type]
    assert unclear.pictures == 1 + 3 * 16
    assert str(Measured(0.1, 0.095)) == "8 pictures take 100 ms one by one and 95 ms together: --batch 1"
