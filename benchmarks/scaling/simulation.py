"""Where the time goes on 10, 1,000 and 10,000 workers: a simulation by events, fed with what was measured.

python -m benchmarks.scaling.simulation benchmarks/scaling/measured.json

One driver hands out chunks and writes rows, workers read images from a store and compute, workers die. The store has a
rate of requests and of bytes, which all share; the driver takes a time for each row. Nothing else is modelled: no slow
machine among fast ones, no network between two halls.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class World:
    """What a run is made of.

    Attributes:
        images: in all.
        workers: processes or actors, a core each.
        image_s: that a worker computes for an image.
        spread: standard deviation of it, as a part of it.
        chunk: images that a worker takes at a time.
        start_s: until a worker has loaded the model, once it has its files.
        bundle_bytes: that a worker's machine fetches first, once for all ``cores`` of it.
        cores: of a machine.
        image_bytes: of an encoded image.
        driver_s: that the driver takes for a row.
        list_s: for a page of 1,000 names, one page after another.
        store_requests: a second, of all workers.
        store_bytes: a second, of all workers.
        failures: of a worker an hour: crashes, machines that are taken away.
    """

    images: int = 1_000_000
    workers: int = 10
    image_s: float = 0.1
    spread: float = 0.3
    chunk: int = 8
    start_s: float = 2.5
    bundle_bytes: float = 19e6
    cores: int = 16
    image_bytes: float = 150e3
    driver_s: float = 100e-6
    list_s: float = 0.1
    store_requests: float = 5500
    store_bytes: float = 10e9
    failures: float = 0.01


@dataclass(frozen=True)
class Run:
    """What came of it: seconds of the whole, and shares of the workers' time.

    Attributes:
        seconds: of the whole.
        listing: of those, until the names are known.
        computing, reading, writing, starting, idle: of what workers had, together 1. Writing is waiting for the driver.
        done_again: images that were computed more than once.
    """

    seconds: float
    listing: float
    computing: float
    reading: float
    writing: float
    starting: float
    idle: float
    done_again: int

    @property
    def narrowest(self) -> str:
        """What most of the time that was not computing went to."""
        others = {name: getattr(self, name) for name in ("reading", "writing", "starting", "idle")}
        return max(others, key=lambda name: others[name])


def simulate(world: World, seed: int = 0) -> Run:
    """Run the world once."""
    chance = random.Random(seed)
    listing = world.images / 1000 * world.list_s
    left, again = world.images, 0
    computing = reading = writing = starting = 0.0
    store_free = driver_free = listing
    sent = [0.0] * world.workers
    machines = -(-world.workers // world.cores)
    first = world.bundle_bytes * machines / world.store_bytes
    events: list[tuple[float, int, bool]] = []
    for worker in range(world.workers):
        heapq.heappush(events, (listing + first + world.start_s, worker, False))
        starting += first + world.start_s
    end = listing
    each = max(1 / world.store_requests, world.image_bytes / world.store_bytes)
    counts = [0] * world.workers
    while events:
        now, worker, has_rows = heapq.heappop(events)
        if has_rows:
            # A worker's rows wait in its pipe while it does its next chunk, and it waits for those before.
            driver_free = max(driver_free, now) + counts[worker] * world.driver_s
            behind = max(0.0, sent[worker] - now)
            sent[worker] = driver_free
            writing += behind
            end = max(end, driver_free)
            now += behind
        if not left:
            end = max(end, now)
            continue
        counts[worker] = count = min(world.chunk, left)
        left -= count
        store_free = max(store_free, now) + count * each
        compute = sum(max(0.1, chance.gauss(1, world.spread)) for _ in range(count)) * world.image_s
        read = max(0.0, store_free - now - compute)  # it reads ahead while it computes
        dies = chance.expovariate(world.failures / 3600) if world.failures else float("inf")
        if dies < read + compute:
            left += count
            again += count
            starting += dies + world.start_s
            heapq.heappush(events, (now + dies + world.start_s, worker, False))
            continue
        reading += read
        computing += compute
        heapq.heappush(events, (now + read + compute, worker, True))
    whole = (end - listing) * world.workers
    busy = computing + reading + writing + starting
    return Run(
        end,
        listing,
        *(part / whole for part in (computing, reading, writing, starting)),
        idle=max(0.0, 1 - busy / whole),
        done_again=again,
    )


def world_of(measured: dict, **changes: float) -> World:
    """A world with what was measured in it."""
    usual = World(
        image_s=measured["ms"]["whole"] / 1000,
        start_s=measured["start_s"] + 1.5,  # the process and its libraries come first
        bundle_bytes=measured["bytes"]["bundle"],
        image_bytes=measured["bytes"]["image"],
        driver_s=measured["ms"]["driver_row"] / 1000,
    )
    return replace(usual, **changes)


def table(measured: dict, images: int) -> str:
    lines = [
        "| workers | time | of one worker's, x | computing | reading | driver | starting | idle | done again |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    alone = images * measured["ms"]["whole"] / 1000
    for name, changes in (
        ("10", {"workers": 10}),
        ("1,000", {"workers": 1000}),
        ("10,000", {"workers": 10_000}),
        ("10,000 in 16 shares, store x 10", {"workers": 625, "images": images // 16, "store_requests": 5500 * 10 / 16}),
    ):
        run = simulate(world_of(measured, **({"images": images} | changes)))
        shares = [run.computing, run.reading, run.writing, run.starting, run.idle]
        percents = " | ".join(f"{100 * one:.0f} %" for one in shares)
        lines.append(
            f"| {name} | {_clock(run.seconds)} | {alone / run.seconds:,.0f} | {percents} | {run.done_again:,} |"
        )
    return "\n".join(lines)


def _clock(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{seconds / 60:.1f} min"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("measured", type=Path)
    parser.add_argument("--images", type=int, default=1_000_000)
    given = parser.parse_args()
    print(table(json.loads(given.measured.read_text("utf-8")), given.images))


if __name__ == "__main__":
    main()
