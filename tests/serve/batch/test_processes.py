"""The command in processes of its own: killed, stopped, out of room, refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from clsclip_runtime.errors import BundleError
from clsclip_runtime.text.words import clean_classes
from clsclip_serve.batch.job import Job
from clsclip_serve.batch.pool import ProcessPool
from clsclip_serve.batch.sources import Chunk, find_images
from tests.runtime.tiny_bundle import sign
from tests.serve.batch.conftest import WORDS, draw
from tests.serve.batch.test_table import rows

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")


def command(source: object, out: object, bundle: Path, *options: str) -> list[str]:
    given = [str(source), "--classes", *WORDS, "--out", str(out), "--model", str(bundle)]
    return [sys.executable, "-m", "clsclip_serve.batch.cli", *given, "--backend", "onnxruntime-cpu", *options]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)} | more


def start(*arguments: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )


def finished(*arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, env=environment(), timeout=120, check=False
    )


def done(out: Path) -> int:
    """Rows that are written."""
    return ds.dataset(str(out), format="parquet").count_rows() if list(out.glob("part-*")) else 0


def wait_for(count: int, out: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    while not (out.is_dir() and done(out) >= count):
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_stopped_run_keeps_its_rows(bundle: Path, tmp_path: Path, number: int, code: int) -> None:
    folder, out = draw(tmp_path / "images", 3000), tmp_path / "out"
    process = start(folder, out, bundle, "--rows", "100", "--workers", "2", "--json")
    wait_for(100, out, process)
    process.send_signal(number)
    told, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    outcome = json.loads(told)
    assert outcome["stopped"] and 100 <= outcome["rows"] == done(out) < 3000
    again = subprocess.run(
        command(folder, out, bundle), capture_output=True, env=environment(), timeout=120, check=False
    )
    assert again.returncode == 0
    assert len({row["path"] for row in rows(out)}) == len(rows(out)) == 3000


@pytest.mark.slow
def test_a_killed_run_loses_only_what_was_not_written(bundle: Path, tmp_path: Path) -> None:
    folder, out = draw(tmp_path / "images", 2000), tmp_path / "out"
    for share in (0.3, 0.7):
        process = start(folder, out, bundle, "--rows", "50", "--workers", "2")
        wait_for(int(2000 * share), out, process)
        process.kill()
        process.communicate()
    before = done(out)
    assert 1400 <= before < 2000
    assert json.loads(finished(folder, out, bundle, "--json").stdout)["before"] == before
    assert len({row["path"] for row in rows(out)}) == len(rows(out)) == 2000


def made_pool(bundle: Path, folder: Path, workers: int) -> tuple[ProcessPool, list[Chunk]]:
    job = Job.of_model(str(bundle), clean_classes(WORDS), backend="onnxruntime-cpu", threads=1)
    found = find_images(str(folder))
    return ProcessPool(job, found.reader(), workers), found.left(set(), 4)


@pytest.mark.long
def test_a_process_that_dies_is_replaced(bundle: Path, tmp_path: Path) -> None:
    pool, chunks = made_pool(bundle, draw(tmp_path / "images", 200), 2)
    names, killed = [], 0
    for row in pool.rows(chunks, threading.Event()):
        if row is None:
            continue
        assert row["error"] is None
        names.append(row["path"])
        if len(names) in (20, 90):
            os.kill(pool._workers[0].process.pid, signal.SIGKILL)
            killed += 1
    assert len(set(names)) == len(names) == 200 and killed == 2
    assert len(pool.notes) <= 2 and all("was ended by SIGKILL" in one for one in pool.notes)


@pytest.mark.slow
def test_an_image_that_takes_processes_with_it_is_a_row(bundle: Path, tmp_path: Path) -> None:
    """A pipe that nobody writes to is read for ever; the process that does it is ended."""
    folder = draw(tmp_path / "images", 12)
    os.mkfifo(folder / "a/image 0000b.png")
    pool, chunks = made_pool(bundle, folder, 1)
    pool._seconds = 3.0
    found = [row for row in pool.rows(chunks, threading.Event()) if row is not None]
    assert len({row["path"] for row in found}) == len(found) == 13
    (bad,) = [row for row in found if row["error"]]
    assert bad["path"] == "a/image 0000b.png" and "took more than 3 seconds, 2 times" in bad["error"]


@pytest.mark.long
def test_a_model_that_cannot_be_loaded_is_told_once(bundle: Path, tmp_path: Path) -> None:
    own = shutil.copytree(bundle, tmp_path / "own.clsclip")
    pool, chunks = made_pool(own, draw(tmp_path / "images", 12), 2)
    sign(own, json.loads((own / "manifest.json").read_text()) | {"name": "another"})
    with pytest.raises(BundleError, match="another model here"):
        list(pool.rows(chunks, threading.Event()))
    assert pool._workers == []


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root mounts a disk")
def test_a_full_disk_loses_nothing(bundle: Path, tmp_path: Path) -> None:
    """On a file system of its own, whose size is 256 KiB, and grows later."""
    folder, out = draw(tmp_path / "images", 3000), tmp_path / "disk"
    out.mkdir()
    run = " ".join(f"'{one}'" for one in command(folder, f"{out}/out", bundle, "--rows", "50", "--workers", "2"))
    script = f"""mount -t tmpfs -o size=256k none '{out}' || exit 99
{run}; echo first $? >&2
cp '{out}'/out/part-* '{tmp_path}'/ || exit 98
mount -o remount,size=64m '{out}'
{run}; echo second $? >&2
cp -r '{out}/out' '{tmp_path}/kept'"""
    ended = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    first, _, second = ended.stderr.partition("first 1\n")
    assert "No space left on device. Make room on the disk" in first and "rows of this run are kept" in first
    assert "Traceback" not in ended.stderr and second.endswith("second 0\n")
    early = {path.name: path.read_bytes() for path in tmp_path.glob("part-*")}
    assert early and all((tmp_path / "kept" / name).read_bytes() == content for name, content in early.items())
    assert len({row["path"] for row in rows(tmp_path / "kept")}) == len(rows(tmp_path / "kept")) == 3000


class Refusing(BaseHTTPRequestHandler):
    """S3 to somebody with a wrong key."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        body = (
            b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>InvalidAccessKeyId</Code><Message>The AWS Access '
            b"Key Id you provided does not exist in our records.</Message><AWSAccessKeyId>a</AWSAccessKeyId></Error>"
        )
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_PUT = do_HEAD = do_POST = do_DELETE = do_GET  # noqa: N815 (http.server's names)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def refusing() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.long
@pytest.mark.parametrize("place", ["out", "source", "list"])
def test_a_wrong_credential_is_a_sentence(bundle: Path, tmp_path: Path, refusing: str, place: str) -> None:
    folder = draw(tmp_path / "images", 3)
    (tmp_path / "list.txt").write_text("s3://bucket/a.png\ns3://bucket/b.png\n")
    source, out = {
        "out": (folder, "s3://bucket/table"),
        "source": ("s3://bucket/images", tmp_path / "out"),
        "list": (tmp_path / "list.txt", tmp_path / "out"),
    }[place]
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    ended = subprocess.run(
        command(source, out, bundle, "--workers", "1"),
        capture_output=True,
        text=True,
        env=environment(AWS_ENDPOINT_URL=refusing, **keys),
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1 and "access was denied" in ended.stderr and "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 1 and not list(tmp_path.glob("out/part-*"))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images(bundle: Path, tmp_path: Path) -> None:
    peaks = []
    for count in (200, 4000):
        folder = draw(tmp_path / f"images{count}", count)
        code = (
            "import sys, resource; from clsclip_serve.batch.cli import main; code = main(sys.argv[1:]); "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, resource.getrusage(resource.RUSAGE_CHILDREN)"
            ".ru_maxrss); sys.exit(code)"
        )
        arguments = command(folder, tmp_path / f"out{count}", bundle, "--workers", "1", "--rows", "100", "-q")[3:]
        ended = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=240,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        peaks.append([int(one) for one in ended.stdout.split()])
    for few, many in zip(*peaks, strict=True):
        assert many < few + 40_000, peaks  # KiB
