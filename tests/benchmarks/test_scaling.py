"""The simulation of many workers, against what can be said without one."""

from __future__ import annotations

import pytest

from benchmarks.scaling.simulation import World, simulate

PLAIN = World(images=20_000, workers=10, image_s=0.1, spread=0.0, failures=0.0, driver_s=0.0, list_s=0.0)


def test_few_workers_only_compute() -> None:
    run = simulate(PLAIN)
    assert run.seconds == pytest.approx(20_000 * 0.1 / 10 + PLAIN.start_s, rel=0.01)
    assert run.computing > 0.98 and run.done_again == 0


@pytest.mark.parametrize(
    ("changes", "bound", "narrowest"),
    [
        ({"driver_s": 0.01}, 20_000 * 0.01, "writing"),
        ({"store_requests": 50.0}, 20_000 / 50, "reading"),
        ({"store_bytes": 1e6, "bundle_bytes": 0.0}, 20_000 * 0.15, "reading"),
    ],
)
def test_what_is_narrowest_bounds_the_run(changes: dict[str, float], bound: float, narrowest: str) -> None:
    run = simulate(World(**(vars(PLAIN) | {"workers": 200} | changes)))
    assert bound <= run.seconds < bound * 1.1 + 5
    assert run.narrowest == narrowest


def test_listing_comes_first_and_crashes_are_done_again() -> None:
    assert simulate(World(**(vars(PLAIN) | {"list_s": 1.0}))).listing == 20
    run = simulate(World(**(vars(PLAIN) | {"failures": 60.0})))
    expected = 20_000 * 0.1 / 60  # crashes of all workers in the time that they compute
    assert 8 * expected * 0.6 < run.done_again < 8 * expected * 1.6
    assert run.seconds > simulate(PLAIN).seconds
