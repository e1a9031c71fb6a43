"""Real processes: a run killed in the middle and resumed, and a run shared by two processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from clsclip.training.report import read_lines

ROOT = Path(__file__).parents[3]
MODULE = "tests.clsclip.training.tiny_fold"
SETTINGS = {"steps": 40, "batch": 6, "absent": 0.25, "workers": 1, "log_every": 1, "save_every": 4, "device": "cpu"}


def start(command: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
    }
    return subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def arguments(out: Path, delay: float, resume: str, **changes: object) -> list[str]:
    variant = {"decoder_inputs": ["text_token"]}
    return [str(out), str(delay), resume, json.dumps(SETTINGS | changes), json.dumps(variant)]


def finish(process: subprocess.Popen[str]) -> str:
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    return stdout


def difference(one: Path, other: Path) -> float:
    first, second = (load_file(folder / "last.safetensors") for folder in (one, other))
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_run_resumes_to_byte_equal_weights(tmp_path: Path) -> None:
    finish(start(["-m", MODULE, *arguments(tmp_path / "whole", 0, "new")]))
    killed = start(["-m", MODULE, *arguments(tmp_path / "killed", 0.02, "new")])
    log = tmp_path / "killed" / "train.jsonl"
    deadline = time.monotonic() + 120
    while not any(line["step"] >= 10 for line in read_lines(log)):
        assert killed.poll() is None and time.monotonic() < deadline, "the run ended before it was killed"
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    done = max(line["step"] for line in read_lines(log))
    assert 10 <= done < 40
    finish(start(["-m", MODULE, *arguments(tmp_path / "killed", 0, "resume")]))
    whole, resumed = (load_file(tmp_path / name / "last.safetensors") for name in ("whole", "killed"))
    assert whole.keys() == resumed.keys()
    assert all(whole[name].numpy().tobytes() == resumed[name].numpy().tobytes() for name in whole)
    assert [line["step"] for line in read_lines(log)] == list(range(1, 41))
    losses = [[line["loss"] for line in read_lines(tmp_path / name / "train.jsonl")] for name in ("whole", "killed")]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_two_processes_train_the_weights_of_one(tmp_path: Path) -> None:
    # 7 pairs cannot be shared evenly; see the accumulation test for the rate.
    changes = {"batch": 7, "steps": 6, "learning_rate": 1e-4, "workers": 0}
    finish(start(["-m", MODULE, *arguments(tmp_path / "one", 0, "new", **changes)]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    torchrun += ["--master-port", str(port), "-m", MODULE]
    finish(start([*torchrun, *arguments(tmp_path / "two", 0, "new", **changes)]))
    assert difference(tmp_path / "one", tmp_path / "two") < 1e-5
    losses = [[line["loss"] for line in read_lines(tmp_path / name / "train.jsonl")] for name in ("one", "two")]
    torch.testing.assert_close(torch.tensor(losses[0]), torch.tensor(losses[1]), atol=1e-5, rtol=0)
    # and the one process resumes what the two began: nothing is left to do
    assert json.loads(finish(start(["-m", MODULE, *arguments(tmp_path / "two", 0, "resume", **changes)])))["steps"] == 6
