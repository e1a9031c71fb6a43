"""Ray Data on a real cluster: killed drivers and actors, and the same table as without Ray."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.serve.batch.conftest import WORDS, draw
from tests.serve.batch.test_processes import command, done, environment, finished
from tests.serve.batch.test_table import rows

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own

COUNT = int(os.environ.get("CLSCLIP_RAY_IMAGES", "400"))
LOCAL = ("--ray", "local", "--workers", "2", "--ray-cpus", "4")


def actors(name: bytes) -> list[int]:
    """Processes of actors."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if name in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@contextmanager
def killing(every: float) -> Iterator[list[int]]:
    """Kill an actor at random, again and again."""
    stop, killed = threading.Event(), []

    def work() -> None:
        while not stop.wait(every):
            for number in random.sample(found := actors(b"MapWorker"), min(1, len(found))):
                os.kill(number, signal.SIGKILL)
                killed.append(number)

    thread = threading.Thread(target=work)
    thread.start()
    yield killed
    stop.set()
    thread.join()


def test_killed_drivers_and_actors(bundle: Path, tmp_path: Path, capsys: Any) -> None:
    folder, out = draw(tmp_path / "images", COUNT), tmp_path / "out"
    for number in range(20):
        (folder / f"a/bad {number}.png").write_bytes(b"no image")
    total = COUNT + 20
    with killing(5.0) as killed:
        for share in (0.3, 0.7):
            process = subprocess.Popen(
                command(folder, out, bundle, *LOCAL, "--rows", "20"),
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True,
            )  # fmt: skip
            until = time.monotonic() + 200
            while not (out.is_dir() and done(out) >= total * share) and process.poll() is None:
                assert time.monotonic() < until
                time.sleep(0.1)
            process.kill()
            process.communicate()
        last = subprocess.run(
            command(folder, out, bundle, *LOCAL), capture_output=True, text=True, env=environment(), timeout=300,
            check=False,
        )  # fmt: skip
    assert last.returncode == 0, last.stderr
    found = rows(out)
    assert len(found) == len({row["path"] for row in found}) == total
    assert sum(row["error"] is not None for row in found) == 20
    assert finished(folder, tmp_path / "plain", bundle).returncode == 0
    assert found == rows(tmp_path / "plain")
    with capsys.disabled():
        print(f"\n{total} rows, {len(killed)} actors killed: {last.stdout.strip()}")


def test_too_few_cpus_is_a_sentence(bundle: Path, tmp_path: Path) -> None:
    folder = draw(tmp_path / "images", 10)
    begun = time.monotonic()
    ended = finished(folder, tmp_path / "out", bundle, "--ray", "local", "--workers", "2", "--ray-cpus", "2")
    assert ended.returncode == 2 and "it would wait for ever" in ended.stderr, ended.stderr
    assert time.monotonic() - begun < 30


def test_a_cluster_that_is_not_there(bundle: Path, tmp_path: Path) -> None:
    folder = draw(tmp_path / "images", 10)
    ended = finished(folder, tmp_path / "out", bundle, "--ray", "127.0.0.1:1")
    assert ended.returncode == 1 and "there is no Ray cluster at 127.0.0.1:1" in ended.stderr, ended.stderr
    assert "Traceback" not in ended.stderr


def test_segment_in_a_pipeline_of_ones_own(cluster: None, bundle: Path, tmp_path: Path) -> None:
    import ray

    from clsclip_serve.ray import Segment

    folder = draw(tmp_path / "images", 40)
    (folder / "a/bad.png").write_bytes(b"no image")
    options = {"classes": WORDS, "model": str(bundle), "backend": "onnxruntime-cpu"}
    images = ray.data.read_binary_files(str(folder), include_paths=True)
    masks = images.map_batches(
        Segment, fn_constructor_kwargs=options, batch_format="pyarrow", batch_size=8,
        compute=ray.data.ActorPoolStrategy(size=2), num_cpus=1,
    )  # fmt: skip
    found = sorted(pa.concat_tables(ray.get(masks.to_arrow_refs())).to_pylist(), key=lambda row: row["path"])
    assert finished(folder, tmp_path / "out", bundle).returncode == 0
    wanted = rows(tmp_path / "out")
    assert [Path(row.pop("path")).relative_to(folder).as_posix() for row in found] == [
        row.pop("path") for row in wanted
    ]
    assert found == wanted
