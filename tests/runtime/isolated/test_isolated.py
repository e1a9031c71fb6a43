"""An isolated process gives what this one gives, and takes nothing with it when it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from clsclip_runtime import Isolation, Segmenter
from clsclip_runtime.bundle import Bundle
from clsclip_runtime.cli.infer import command
from clsclip_runtime.errors import BackendError, OptionError
from clsclip_runtime.isolated.backend import IsolatedBackend
from clsclip_runtime.protocols import GraphFile
from tests.runtime.detectors.doubles import save_onnx
from tests.runtime.graphs import unwalked
from tests.runtime.tiny_bundle import make_bundle, paint

WORDS = ["red", "green", "blue"]
SQUARES = {word: (slice(2 * at, 2 * at + 2), slice(0, 3)) for at, word in enumerate(WORDS)}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no limits for processes")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(make_bundle(tmp_path_factory.mktemp("isolated") / "tiny.clsclip"))


@pytest.fixture
def backend(bundle: Bundle) -> Iterator[IsolatedBackend]:
    made = IsolatedBackend(bundle, "onnxruntime-cpu", 1, {}, isolation=Isolation(seconds=30))
    yield made
    made.close()


def save(path: Path, nodes: list[onnx.NodeProto], shape: list[object]) -> GraphFile:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("a", "y")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return unwalked(path)


def pid_of(backend: IsolatedBackend) -> int:
    return backend._child._process.pid


@pytest.mark.parametrize("engine", ["onnxruntime-cpu", "openvino"])
def test_masks_are_the_same_to_the_last_bit(bundle: Bundle, engine: str) -> None:
    image = paint(SQUARES)
    boxes = [[0, 0, 20, 20], [4, 4, 30, 30]]
    with (
        Segmenter.load(bundle.folder, engine, threads=1) as plain,
        Segmenter.load(bundle.folder, engine, threads=1, isolated=True) as isolated,
    ):
        assert isolated.backend == engine
        for regions in (None, boxes):
            ours, theirs = (one(image, WORDS, regions=regions) for one in (isolated, plain))
            np.testing.assert_array_equal(ours.masks, theirs.masks)
            np.testing.assert_array_equal(ours.pairs.logits, theirs.pairs.logits)
            assert [one.presence for one in ours] == [one.presence for one in theirs]
            assert ours.masks.any()
        isolated.set_image(image)
        np.testing.assert_array_equal(isolated.predict(["red"]).masks, plain(image, ["red"]).masks)


def test_a_process_that_ends_is_told_and_nothing_else_ends(bundle: Bundle) -> None:
    image = paint(SQUARES)
    with Segmenter.load(bundle.folder, "onnxruntime-cpu", isolated=True) as segmenter:
        assert segmenter(image, ["red"]).masks.any()
        assert isinstance(segmenter._backend, IsolatedBackend)
        os.kill(pid_of(segmenter._backend), signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(
                BackendError, match=r"isolated process was ended by SIGKILL while running .*Nothing else"
            ):
                segmenter(image, ["blue"])


def test_a_graph_that_ends_openvino(bundle: Bundle, tmp_path: Path) -> None:
    """A Pad without pads: OpenVINO's front end follows a null pointer."""
    file = save(tmp_path / "pad.onnx", [helper.make_node("Pad", ["a"], ["y"])], ["K", 3])
    engine = IsolatedBackend(bundle, "openvino", 1, {}, isolation=Isolation())
    with pytest.raises(BackendError):
        engine.load(file)
    engine.close()


@pytest.mark.slow
def test_a_graph_that_takes_too_long(bundle: Bundle, tmp_path: Path) -> None:
    names = ["a", *(f"h{at}" for at in range(4000)), "y"]
    nodes = [helper.make_node("MatMul", [before, before], [after]) for before, after in pairwise(names)]
    file = save(tmp_path / "long.onnx", nodes, [1500, 1500])
    engine = IsolatedBackend(bundle, "onnxruntime-cpu", 1, {}, isolation=Isolation(seconds=4))
    graph = engine.load(file)
    with pytest.raises(BackendError, match=r"took more than 4 seconds and was ended while running long\.onnx"):
        graph.run({"a": np.zeros((1500, 1500), np.float32)})


def test_a_graph_that_takes_too_much(bundle: Bundle, tmp_path: Path) -> None:
    nodes = [helper.make_node("Concat", [f"h{at}"] * 8, [f"h{at + 1}"], axis=0) for at in range(12)]
    nodes[0].input[:] = ["a"] * 8
    nodes[-1].output[:] = ["y"]
    file = save(tmp_path / "large.onnx", nodes, [None, 3])
    engine = IsolatedBackend(bundle, "onnxruntime-cpu", 1, {}, isolation=Isolation(memory_mb=2048, seconds=60))
    graph = engine.load(file)
    with pytest.raises(BackendError):
        graph.run({"a": np.zeros((1, 3), np.float32)})
    engine.close()


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="there is no /proc")
def test_the_process_is_closed_in(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    backend = IsolatedBackend(bundle, "onnxruntime-cpu", 1, {}, isolation=Isolation(memory_mb=3000))
    process = Path("/proc") / str(pid_of(backend))
    assert b"secret" not in (process / "environ").read_bytes()
    limits = {line[:25].strip(): line[25:].split() for line in (process / "limits").read_text().splitlines()}
    assert limits["Max address space"][:2] == [str(3000 << 20)] * 2
    assert limits["Max file size"][:2] == ["0", "0"]
    assert limits["Max core file size"][:2] == ["0", "0"]
    assert "NoNewPrivs:\t1" in (process / "status").read_text()
    backend.close()
    assert not process.exists()


def test_errors_of_the_engine_come_as_they_are(backend: IsolatedBackend, tmp_path: Path) -> None:
    (tmp_path / "none.onnx").write_bytes(b"no graph")
    with pytest.raises(BackendError, match=r"none\.onnx"):
        backend.load(unwalked(tmp_path / "none.onnx"))
    graph = backend.load(save(tmp_path / "good.onnx", [helper.make_node("Relu", ["a"], ["y"])], ["K", 3]))
    assert (graph.inputs, graph.outputs) == (("a",), ("y",))
    np.testing.assert_array_equal(graph.run({"a": -np.ones((2, 3), np.float32)})["y"], np.zeros((2, 3), np.float32))
    with pytest.raises(BackendError):
        graph.run({"a": np.zeros((2, 4), np.float32)})
    assert graph.run({"a": np.ones((1, 3), np.float32)})["y"].sum() == 3, "it goes on after an error"


def test_options_that_cannot_be(bundle: Bundle) -> None:
    for wrong in ({"seconds": 0}, {"seconds": True}, {"memory_mb": -1}, {"memory_mb": "1"}):
        with pytest.raises(OptionError, match="whole number of 1 or more"):
            Isolation(**wrong)  # type: ignore[arg-type]
    from clsclip_runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu

    with pytest.raises(OptionError, match="makes its own backend"):
        Segmenter.load(bundle.folder, OnnxRuntimeCpu(), isolated=True)


def test_a_forked_child_leaves_it_alone(backend: IsolatedBackend, tmp_path: Path) -> None:
    graph = backend.load(save(tmp_path / "good.onnx", [helper.make_node("Relu", ["a"], ["y"])], ["K", 3]))
    child = os.fork()
    if child == 0:
        try:
            graph.run({"a": np.ones((1, 3), np.float32)})
        except BackendError:
            backend.close()
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert graph.run({"a": np.ones((1, 3), np.float32)})["y"].sum() == 3


@pytest.mark.slow
def test_a_pickled_segmenter_stays_isolated(bundle: Bundle) -> None:
    import pickle

    with Segmenter.load(bundle.folder, "onnxruntime-cpu", isolated=Isolation(seconds=33)) as segmenter:
        again = pickle.loads(pickle.dumps(segmenter))
    with again:
        assert isinstance(again._backend, IsolatedBackend)
        assert again._backend._child._seconds == 33


def test_auto_and_the_command_line(bundle: Bundle, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(paint(SQUARES)).save(tmp_path / "scene.png")
    arguments = [str(tmp_path / "scene.png"), "--classes", "red", "--model", str(bundle.folder), "--json", "--quiet"]
    plain, isolated = (CliRunner().invoke(command, [*arguments, *more]) for more in ((), ("--isolated",)))
    assert (plain.exit_code, isolated.exit_code) == (0, 0), isolated.output
    assert '"area"' in isolated.stdout
    without_times = [
        [line for line in one.stdout.splitlines() if "ms" not in line and "timings" not in line]
        for one in (plain, isolated)
    ]
    assert len(without_times[0]) == len(without_times[1])


def test_a_detector_of_the_users_is_opened_in_a_process_of_its_own(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    from clsclip_runtime.detectors import Detector, spec

    Image.fromarray(paint(SQUARES)).save(tmp_path / "scene.png")
    boxes = np.array([[[4, 4, 20, 20, 0.9, 0], [0, 0, 9, 9, 0.8, 1]]], np.float32)
    path = save_onnx(tmp_path / "detector.onnx", boxes, metadata={"names": "{0: 'red', 1: 'blue'}"})
    plain = Detector.load(path, backend="onnxruntime-cpu")

    def opened_here(*_: object) -> None:
        raise AssertionError("it is opened in this process")

    monkeypatch.setattr(spec, "_open", opened_here)
    backend = IsolatedBackend(None, "onnxruntime-cpu", 1, {}, isolation=Isolation(seconds=30))
    isolated = Detector.load(path, backend=backend)
    assert (isolated.spec, isolated.names) == (plain.spec, ("red", "blue"))
    found, expected = (one(paint(SQUARES)) for one in (isolated, plain))
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    with Segmenter.load(bundle.folder, "onnxruntime-cpu", isolated=True, detector=path) as segmenter:
        assert segmenter.detector is not None and segmenter.detector.names == ("red", "blue")
    more = ["--model", str(bundle.folder), "--detector", str(path), "--isolated", "--json", "--quiet"]
    done = CliRunner().invoke(command, [str(tmp_path / "scene.png"), "--classes", "red", *more])
    assert done.exit_code == 0, done.output
    small = IsolatedBackend(None, "onnxruntime-cpu", 1, {}, isolation=Isolation(seconds=30, memory_mb=8192))
    os.kill(pid_of(small), signal.SIGKILL)
    with pytest.raises(BackendError, match=r"was ended by SIGKILL while reading detector\.onnx"):
        Detector.load(path, backend=small)


def test_a_parent_that_is_killed_leaves_no_process(bundle: Bundle) -> None:
    program = (
        "import os, sys\n"
        "from clsclip_runtime import Segmenter\n"
        "segmenter = Segmenter.load(sys.argv[1], 'onnxruntime-cpu', isolated=True)\n"
        "print(segmenter._backend._child._process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(bundle.folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    child = Path("/proc") / done.stdout.strip()
    for _ in range(100):
        if not child.exists():
            break
        signal.sigtimedwait([], 0.1)
    assert not child.exists() or "Z" in (child / "stat").read_text().split()[2]
