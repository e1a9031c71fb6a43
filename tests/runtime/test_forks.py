"""A loaded model, then a fork: children segment as their parent does, and end. Other processes get it by pickle."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clsclip_runtime import BundleError, ClsclipRuntimeError, Detector, OptionError, Segmenter
from clsclip_runtime.backends import select
from clsclip_runtime.errors import DetectorError
from tests.runtime.detectors.doubles import SIDE, FixedGraph, save_onnx, spec
from tests.runtime.tiny_bundle import paint

BACKENDS = [name for name in ("onnxruntime-cpu", "openvino") if name in select.BACKENDS]

FORKS = """
import os, sys, threading
import numpy as np
from clsclip_runtime import Segmenter
bundle, backend, detector = sys.argv[1:]
picture = np.load("picture.npy", allow_pickle=False)
segmenter = Segmenter.load(bundle, backend, threads=2, detector=detector)

def areas():
    zoomed = segmenter(picture, ["red", "green"], zoom_in=True)
    return [one.area for one in segmenter(picture, ["red", "green"])] + [one.area for one in zoomed]

wanted = areas()
segmenter.set_image(picture)
children = []
for kind in ("works", "threads", "idle", "closes", "forks"):
    child = os.fork()
    if child == 0:
        if kind == "works":
            assert areas() == wanted and [one.area for one in segmenter.predict(["red", "green"])] == wanted[:2]
        elif kind == "threads":  # as a server's workers do
            found = []
            threads = [threading.Thread(target=lambda: found.append(areas())) for _ in range(3)]
            [one.start() for one in threads], [one.join() for one in threads]
            assert found == [wanted] * 3
        elif kind == "closes":
            segmenter.close()
        elif kind == "forks":  # before and after it has loaded the model itself
            for _ in range(2):
                grandchild = os.fork()
                if grandchild == 0:
                    assert areas() == wanted
                    sys.exit(0)
                assert os.waitpid(grandchild, 0)[1] == 0
                assert areas() == wanted
        sys.exit(0)
    children.append((kind, child))
for kind, child in children:
    print(kind, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print("parent", areas() == wanted)
"""


@pytest.fixture(scope="module")
def detector_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = np.zeros((1, 3, 6), np.float32)
    output[0, 0] = [8, 8, 40, 40, 0.9, 0]
    metadata = {"names": "['red', 'green']"}
    shape = ("n", 3, SIDE, SIDE)  # so that its output depends on its input: engines take others away
    return save_onnx(tmp_path_factory.mktemp("detector") / "d.onnx", output, shape=shape, metadata=metadata)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("backend", BACKENDS)
def test_children_work_and_end(backend: str, bundle: Path, detector_file: Path, tmp_path: Path) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed: pip install openvino")
    np.save(tmp_path / "picture.npy", paint({"red": (slice(1, 4), slice(1, 5))}))
    command = [sys.executable, "-W", "ignore", "-c", FORKS, str(bundle), backend, str(detector_file)]
    environment = {**os.environ, "CLSCLIP_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    lines = [*(f"{kind} 0" for kind in ("works", "threads", "idle", "closes", "forks")), "parent True"]
    assert done.stdout.splitlines() == lines, done.stderr


FREED = """
import os, sys, threading
import numpy as np
from clsclip_runtime import BackendError, Segmenter
bundle, backend = sys.argv[1:]
picture = np.load("picture.npy", allow_pickle=False)
area = lambda segmenter: segmenter(picture, ["red"])["red"].area
segmenter, closed = (Segmenter.load(bundle, backend, threads=1, word_cache=False) for _ in range(2))
wanted = area(segmenter), area(closed)
closed.close()
del closed
child = os.fork()
if child == 0:
    try:
        os._exit(0 if area(segmenter) == wanted[0] else 1)
    except BackendError as error:
        os._exit(0 if "by spawn" in str(error) else 2)
print("freed", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), area(segmenter) == wanted[0])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_lock_of_the_process_is_free_in_a_child() -> None:
    """The child is a process of its own here: it would wait for ever."""
    code = """
import os, threading
from clsclip_runtime.forks import OwnLock
lock, held, go = OwnLock(), threading.Event(), threading.Event()
def hold():
    with lock:
        held.set()
        go.wait()
holder = threading.Thread(target=hold)
holder.start()
held.wait()
child = os.fork()
if child == 0:
    with lock:
        os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
go.set()
holder.join()
with lock:
    print("free")
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["7", "free"], done.stderr


BUSY = """
import os, sys, threading
import numpy as np
from clsclip_runtime import Segmenter
bundle, backend = sys.argv[1:]
picture = np.load("picture.npy", allow_pickle=False)
segmenter = Segmenter.load(bundle, backend, threads=1, word_cache=False)
area = lambda: segmenter(picture, ["red"])["red"].area
wanted, stop = area(), []
def work():
    while not stop:
        area()
threads = [threading.Thread(target=work) for _ in range(3)]
[one.start() for one in threads]
codes = []
for _ in range(8):
    child = os.fork()
    if child == 0:
        os._exit(0 if area() == wanted else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.append(1)
[one.join() for one in threads]
print("busy", set(codes), area() == wanted)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("program", "says"), [(FREED, "freed 0 True"), (BUSY, "busy {0} True")], ids=["freed", "busy"])
def test_children_never_hang(backend: str, program: str, says: str, bundle: Path, tmp_path: Path) -> None:
    """After a model was closed OpenVINO would wait for its threads; locks of other threads are no child's."""
    if backend == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed: pip install openvino")
    np.save(tmp_path / "picture.npy", paint({"red": (slice(1, 4), slice(1, 5))}))
    command = [sys.executable, "-W", "ignore", "-c", program, str(bundle), backend]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == says, done.stderr


def test_a_pickled_segmenter_is_loaded_again(bundle: Path, detector_file: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(bundle, tmp_path / "copied.clsclip"))
    image = paint({"red": (slice(1, 4), slice(1, 5))})
    with Segmenter.load(copied, "onnxruntime-cpu", detector=detector_file, max_classes=1) as segmenter:
        wanted = [one.status for one in segmenter(image, ["red", "green"])]
        data = pickle.dumps(segmenter)
        result = segmenter(image, ["red"])
    with pickle.loads(data) as again:
        assert [one.status for one in again(image, ["red", "green"])] == wanted
        assert again.detector is not None and again.detector.names == ("red", "green")
    assert (pickle.loads(pickle.dumps(result)).masks == result.masks).all()
    with pytest.raises(ClsclipRuntimeError, match="is closed"):
        pickle.dumps(segmenter)
    manifest = copied / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    with pytest.raises(BundleError, match="holds another bundle"):
        pickle.loads(data)


def test_what_cannot_be_pickled_says_so(bundle: Path, detector_file: Path) -> None:
    backend = select.select_backend("onnxruntime-cpu")
    with Segmenter.load(bundle, backend) as segmenter, pytest.raises(OptionError, match="by the name of a backend"):
        pickle.dumps(segmenter)
    with pytest.raises(OptionError, match="by the name of a backend"):
        pickle.dumps(Detector.load(detector_file, backend=backend))
    again = pickle.loads(pickle.dumps(Detector.load(detector_file, backend="onnxruntime-cpu", confidence=0.5)))
    assert len(again(np.zeros((SIDE, SIDE, 3), np.uint8))) == 1


def test_a_detector_that_cannot_be_loaded_again_says_so() -> None:
    made = Detector(FixedGraph(np.zeros((1, 3, 6), np.float32)), spec("yolov10"))
    assert len(made(np.zeros((SIDE, SIDE, 3), np.uint8))) == 0
    made.after_fork()  # what a forked child calls
    with pytest.raises(DetectorError, match="before the process was forked"):
        made(np.zeros((SIDE, SIDE, 3), np.uint8))


def test_spawned_workers_get_it(bundle: Path, tmp_path: Path) -> None:
    code = """
import multiprocessing, sys
import numpy as np
from clsclip_runtime import Segmenter

def areas(segmenter):
    return [one.area for one in segmenter(np.load("picture.npy", allow_pickle=False), ["red"])]

if __name__ == "__main__":
    with Segmenter.load(sys.argv[1], "onnxruntime-cpu", threads=1) as segmenter:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.map(areas, [segmenter]) == [areas(segmenter)])
"""
    (tmp_path / "program.py").write_text(code)
    np.save(tmp_path / "picture.npy", paint({"red": (slice(1, 4), slice(1, 5))}))
    command = [sys.executable, "program.py", str(bundle)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout == "True\n", done.stderr
