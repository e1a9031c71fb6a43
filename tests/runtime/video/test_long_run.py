"""The command as a process: a long video with flat memory, and Ctrl-C in the middle."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.video.made import make_video, read_video

OUTPUTS = ["--json", "--quiet", "--out", "o", "--formats", "overlay,coco"]


@contextmanager
def running(bundle: Path, folder: Path, *arguments: str, **streams: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "clsclip_runtime", *arguments, "--classes", "red", "--model", str(bundle)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A parent that runs in the background ignores Ctrl-C, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **streams,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def resident(process: subprocess.Popen[str]) -> int:
    """Pages of the process that are in memory."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory of a process is read from /proc")
def test_500_frames_in_500_frames_out_and_memory_is_flat(bundle: Path, tmp_path: Path) -> None:
    make_video(tmp_path / "clip.mp4", 500, width=320, height=240)
    numbers, pages = [], []
    with running(bundle, tmp_path, "clip.mp4", *OUTPUTS) as process:
        assert process.stdout is not None
        for line in process.stdout:
            document = json.loads(line)
            if "frame" in document:
                numbers.append(document["frame"])
                pages.append(resident(process))
        _, errors = process.communicate(timeout=60)
    assert errors == ""
    assert process.returncode == 0
    assert numbers == list(range(500))
    assert document["complete"]
    # Queues and the codecs' buffers fill in the first few hundred frames. One of 320 x 240 pixels that is kept each
    # time would add 56 pages, so half of that is less than any such leak.
    before, after = max(pages[200:350]), max(pages[350:])
    assert after < before + 150 * 56 // 2, f"from {before} to {after} pages"
    frames, fps = read_video(tmp_path / "o" / "clip_overlay.mp4")
    assert (len(frames), fps) == (500, pytest.approx(25))
    assert len(json.loads((tmp_path / "o" / "clip_coco.json").read_text())["images"]) == 500


def test_an_interrupt_at_frame_100_leaves_a_playable_video(bundle: Path, tmp_path: Path) -> None:
    make_video(tmp_path / "clip.mp4", 511)
    documents = []
    with running(bundle, tmp_path, "clip.mp4", *OUTPUTS) as process:
        assert process.stdout is not None
        for line in process.stdout:
            documents.append(json.loads(line))
            if documents[-1].get("frame") == 100:
                process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "clsclip-infer: interrupted"
    *frames, last = documents
    assert [one["frame"] for one in frames] == list(range(len(frames)))
    assert last["complete"] is False
    count = len(read_video(tmp_path / "o" / "clip_overlay.mp4")[0])
    assert count == last["frames"] == len(frames)
    assert 101 <= count <= 160
    coco = json.loads((tmp_path / "o" / "clip_coco.json").read_text())
    assert len(coco["images"]) == count
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["clip_coco.json", "clip_overlay.mp4"]


def test_an_interrupt_while_a_pipe_is_silent(bundle: Path, tmp_path: Path) -> None:
    """The thread that waits for the pipe must not keep the program from ending."""
    with running(bundle, tmp_path, "-", "--stdin", "stream", *OUTPUTS, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.buffer.write(b"P6 2 2 255 " + bytes([255, 0, 0] * 4))
        process.stdin.buffer.flush()
        assert json.loads(process.stdout.readline())["frame"] == 0
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        last = json.loads(process.stdout.readline())
        assert process.wait(timeout=30) == 130
        assert process.stderr is not None
        assert process.stderr.read().strip() == "clsclip-infer: interrupted"
        assert time.monotonic() - start < 20
    assert (last["frames"], last["complete"]) == (1, False)
    assert len(read_video(tmp_path / "o" / "video_overlay.mp4")[0]) == 1
