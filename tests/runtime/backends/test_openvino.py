"""OpenVINO computes what ONNX Runtime computes, from any number of threads, and says what is wrong."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from clsclip_runtime import BackendError, Detector, DetectorError, OptionError, Segmenter
from clsclip_runtime.backends import openvino as openvino_module
from clsclip_runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from clsclip_runtime.backends.openvino import OpenVino, OpenVinoGraph
from clsclip_runtime.backends.select import AUTO
from clsclip_runtime.bundle.graph_file import read_graph
from clsclip_runtime.bundle.opening import EMBEDDED
from tests.runtime.detectors.doubles import SIDE, save_onnx
from tests.runtime.graphs import unwalked
from tests.runtime.reading import presence_of, regions_of
from tests.runtime.tiny_bundle import GRID, PATCHES, make_bundle, paint
from tests.shared_data import shared_data

pytest.importorskip("openvino", reason="OpenVINO is not installed")

SCENE = paint({"red": (slice(1, 4), slice(1, 5)), "green": (slice(5, 7), slice(2, 4))})
ROOT = Path(__file__).parents[3]
WORDS = ["bottle", "boat", "dog", "fish", "pizza"]


def pair_feeds(crops: int, classes: int, pairs: int, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Random inputs of the tiny trunk."""
    rng = np.random.default_rng(seed)
    return {
        "stem_tokens": rng.normal(size=(crops, 1 + PATCHES, 3)).astype(np.float32),
        "text_tokens": rng.normal(size=(classes, 3)).astype(np.float32),
        "crop_index": rng.integers(0, crops, pairs),
        "class_index": rng.integers(0, classes, pairs),
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("openvino") / "tiny.clsclip")


@pytest.fixture(scope="module")
def trunks(tiny: Path) -> Iterator[tuple[OpenVinoGraph, Any]]:
    ours = OpenVino(threads=1).load(read_graph(tiny / "trunk.onnx"))
    yield ours, OnnxRuntimeCpu(threads=1).load(read_graph(tiny / "trunk.onnx"))
    ours.close()


@settings(max_examples=20)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 9), st.integers(0, 99))
def test_any_sizes(trunks: tuple[OpenVinoGraph, Any], crops: int, classes: int, pairs: int, seed: int) -> None:
    feeds = pair_feeds(crops, classes, pairs, seed)
    ours, theirs = (graph.run(feeds) for graph in trunks)
    assert set(ours) == set(theirs) == {"mask_logits"}
    assert ours["mask_logits"].shape == (pairs, GRID, GRID)
    assert ours["mask_logits"].dtype == np.float32
    np.testing.assert_allclose(ours["mask_logits"], theirs["mask_logits"], atol=2e-4)


def test_names_are_the_files_own(tiny: Path) -> None:
    for graph in tiny.glob("*.onnx"):
        ours, theirs = OpenVino(threads=1).load(read_graph(graph)), OnnxRuntimeCpu(threads=1).load(read_graph(graph))
        assert (ours.inputs, ours.outputs) == (theirs.inputs, theirs.outputs), graph.name


def test_the_embedded_model_draws_the_same() -> None:
    """Masks and logits of every graph together; BF16 differs, so FP32 was not rounded."""
    image = ROOT / "examples" / "cluttered.png"
    results = {}
    for name, backend, options in (
        ("onnxruntime-cpu", "onnxruntime-cpu", {}),
        ("openvino", "openvino", {}),
        ("openvino (bf16)", "openvino", {"precision": "bf16"}),
    ):
        try:
            with Segmenter.load(None, backend, threads=1, backend_options=options) as segmenter:
                assert segmenter.backend == name
                results[name] = segmenter(image, WORDS, presence_threshold=0)
        except BackendError as error:
            assert "no instructions for BF16" in str(error)
    exact, ours = results["onnxruntime-cpu"], results["openvino"]
    assert exact[0].presence is not None
    assert ours[0].presence is not None
    np.testing.assert_allclose(ours.logits, exact.logits, atol=2e-4)
    np.testing.assert_allclose(presence_of(ours), presence_of(exact), atol=1e-4)
    assert np.count_nonzero(ours.masks != exact.masks) <= 5, "pixels on the very edge"
    if "openvino (bf16)" in results:
        rough = results["openvino (bf16)"]
        assert np.abs(rough.logits - exact.logits).max() > 1e-2
        both, either = (rough.masks & exact.masks).sum(), (rough.masks | exact.masks).sum()
        assert both / either >= 0.97


def test_auto_takes_it_before_onnxruntime(tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    from clsclip_runtime.backends.cuda.driver import ask_driver

    if ask_driver().gpus:
        pytest.skip("a GPU is here, and comes first")
    with caplog.at_level(logging.INFO, logger="clsclip_runtime"), Segmenter.load(tiny) as segmenter:
        assert segmenter.backend == "openvino"
        notes = segmenter(SCENE, ["red"]).backend_notes
    assert [note.partition(":")[0] for note in notes] == list(AUTO[: AUTO.index("openvino")])
    assert "backend auto: chose openvino" in caplog.messages


def test_regions_and_set_image(tiny: Path) -> None:
    with Segmenter.load(tiny, "openvino", threads=1) as ours, Segmenter.load(tiny, "onnxruntime-cpu") as theirs:
        regions = np.array([[0, 0, 16, 16], [8, 8, 32, 32]], np.float32)
        for one in (ours, theirs):
            one.set_image(SCENE)
        assert np.array_equal(ours.predict(["red"]).masks, theirs.predict(["red"]).masks)
        first, second = (one(SCENE, ["red", "green"], regions=regions) for one in (ours, theirs))
        assert np.array_equal(first.masks, second.masks)
        assert len(regions_of(first)) == len(regions_of(second)) > 0


def test_threads_do_not_mix_up_their_inputs(tiny: Path) -> None:
    graph = OpenVino().load(read_graph(tiny / "trunk.onnx"))
    every = [pair_feeds(2, 3, 1 + seed % 5, seed) for seed in range(24)]
    expected = [graph.run(feeds)["mask_logits"] for feeds in every]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda feeds: graph.run(feeds)["mask_logits"], every * 3))
    for at, logits in enumerate(found):
        np.testing.assert_allclose(logits, expected[at % len(every)], atol=1e-6)
    assert 1 <= len(graph._idle) <= 8, "as many requests as calls at the same time, not as many as calls"


def test_requests_of_a_failed_call_are_not_used_again(tiny: Path) -> None:
    graph = OpenVino(threads=2).load(read_graph(tiny / "trunk.onnx"))
    feeds = pair_feeds(2, 3, 4)
    feeds["text_tokens"] = feeds["text_tokens"][:, :1]  # another width than the graph's
    with pytest.raises(BackendError, match=r"OpenVINO failed in trunk\.onnx"):
        graph.run(feeds)
    assert not graph._idle
    assert graph.run(pair_feeds(2, 3, 4))["mask_logits"].shape[0] == 4


def test_results_are_the_callers_own(trunks: tuple[OpenVinoGraph, Any]) -> None:
    first = trunks[0].run(pair_feeds(1, 2, 3, seed=1))["mask_logits"]
    kept = first.copy()
    trunks[0].run(pair_feeds(1, 2, 3, seed=2))
    assert np.array_equal(first, kept), "the next call must not write into a result"


def test_inputs_of_any_layout_in_memory(trunks: tuple[OpenVinoGraph, Any]) -> None:
    feeds = pair_feeds(2, 3, 4)
    expected = trunks[0].run(feeds)["mask_logits"]
    turned = {name: np.asfortranarray(value) for name, value in feeds.items()}
    for value in turned.values():
        value.flags.writeable = False
    np.testing.assert_array_equal(trunks[0].run(turned)["mask_logits"], expected)


def test_close(tiny: Path) -> None:
    graph, feeds = OpenVino(threads=1).load(read_graph(tiny / "trunk.onnx")), pair_feeds(1, 2, 3)
    expected = graph.run(feeds)["mask_logits"]
    begun = threading.Barrier(4)

    def call_until_closed() -> str:
        begun.wait()
        try:
            while True:
                assert np.array_equal(graph.run(feeds)["mask_logits"], expected)
        except BackendError as error:
            return str(error)

    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(call_until_closed) for _ in range(3)]
        begun.wait()
        graph.close()
        for call in calls:
            assert "trunk.onnx is closed. Load it again" in call.result()
    segmenter = Segmenter.load(tiny, "openvino", threads=1)
    graphs = [segmenter._opened()._trunk]
    segmenter.close()
    with pytest.raises(BackendError, match="is closed"):
        graphs[0].run(feeds)


def one_operator(path: Path, operator: str, domain: str = "") -> Path:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in ("x", "y")]
    node = helper.make_node(operator, ["x"], ["y"], domain=domain)
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("some.where", 1)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    return path


def test_bad_files(tmp_path: Path) -> None:
    engine = OpenVino(threads=1)
    for content in (b"", b"\xff" * 40):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(BackendError, match=r"bad\.onnx"):
            engine.load(unwalked(tmp_path / "bad.onnx"))
    (tmp_path / "bad.onnx").write_bytes(helper.make_model(helper.make_graph([], "g", [], [])).SerializeToString()[:-1])
    with pytest.raises(BackendError, match=r"bad\.onnx"):
        engine.load(unwalked(tmp_path / "bad.onnx"))
    unknown = one_operator(tmp_path / "unknown.onnx", "Frobnicate", "some.where")
    with pytest.raises(BackendError, match=r"cannot load .*unknown\.onnx.*onnxruntime-cpu"):
        engine.load(unwalked(unknown))


def test_readers_of_other_formats_are_never_asked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """They complain on stderr, so files that are no ONNX never reach OpenVINO."""
    for content in (b"", b"\xff" * 40):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(DetectorError, match=r"bad\.onnx"):
            Detector.load(tmp_path / "bad.onnx", backend=OpenVino(threads=1))
    assert capfd.readouterr().err == ""


def test_weights_of_files_are_refused(tmp_path: Path) -> None:
    """A second wall: what has not been walked may name a file, and is not given to the engine."""
    tiny = make_bundle(tmp_path / "tiny.clsclip")
    with pytest.raises(BackendError, match=r"trunk\.onnx names a file with weights"):
        OpenVino(threads=1).load(unwalked(tiny / "trunk.onnx"))


def test_bad_inputs(trunks: tuple[OpenVinoGraph, Any]) -> None:
    feeds = pair_feeds(1, 2, 3)
    with pytest.raises(BackendError, match=r"takes stem_tokens, .* given crop_index"):
        trunks[0].run({"crop_index": feeds["crop_index"]})
    with pytest.raises(BackendError, match="text_tokens as float32, and was given float64"):
        trunks[0].run(feeds | {"text_tokens": feeds["text_tokens"].astype(np.float64)})
    with pytest.raises(BackendError, match=r"OpenVINO failed in trunk\.onnx: (?!Exception from)"):
        trunks[0].run(feeds | {"text_tokens": np.zeros((2, 4), np.float32)})
    assert trunks[0].run(feeds)["mask_logits"].shape[0] == 3, "the next call is fine"


def test_wrong_use_and_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="fp32 or bf16, and it is 'int8'"):
        OpenVino("int8")
    with pytest.raises(BackendError, match=r"no device 'NPU\.7' here, only .*CPU.*device='CPU'"):
        OpenVino(device="NPU.7")
    monkeypatch.setattr(openvino_module, "process_core", lambda: openvino_module._core_of.__wrapped__(0))
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendError, match=r"OpenVINO is not installed .*\. Run: .*pip install .*\[openvino\]"):
        OpenVino()


def test_a_cpu_without_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    core = SimpleNamespace(available_devices=["CPU"], get_property=lambda device, name: ["FP32", "INT8"])
    monkeypatch.setattr(openvino_module, "process_core", lambda: core)
    OpenVino()
    with pytest.raises(BackendError, match=r"openvino \(bf16\): this CPU has no .*FP32, INT8.*backend='openvino'"):
        OpenVino("bf16")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_signals_after_the_first_of_two_segmenters_is_closed_first() -> None:
    code = (
        "import gc, os, signal\n"
        "from clsclip_runtime import Segmenter\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('handled'))\n"
        "first, second = Segmenter.load(None, 'openvino'), Segmenter.load(None, 'openvino')\n"
        "for one in (first, second):\n    one.close()\n"
        "del first, second, one; gc.collect()\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_paths_of_any_characters(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "модель 犬 é.clsclip")
    with Segmenter.load(folder, "openvino", threads=1) as segmenter:
        assert segmenter(SCENE, ["red"]).masks.any()


def test_half_graphs_run_in_fp32(tmp_path: Path) -> None:
    """FP16 and BF16 bundles too, which is more than ONNX Runtime does on a CPU."""
    precision = pytest.importorskip("clsclip_export.precision")
    exact = OnnxRuntimeCpu(threads=1).load(read_graph(EMBEDDED / "text_encoder.onnx"))
    ids = {"token_ids": np.arange(1, 1 + 2 * context()).reshape(2, -1) % 50}
    expected = exact.run(ids)["text_tokens"]
    for name in ("fp16", "bf16"):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(precision.to_half(onnx.load(EMBEDDED / "text_encoder.onnx"), name).SerializeToString())
        found = OpenVino(threads=1).load(unwalked(path)).run(ids)["text_tokens"]
        cosine = (found * expected).sum() / np.linalg.norm(found) / np.linalg.norm(expected)
        assert cosine > 0.999, name
        assert np.abs(found - expected).max() > 0


def context() -> int:
    shape = onnx.load(EMBEDDED / "text_encoder.onnx").graph.input[0].type.tensor_type.shape
    return int(shape.dim[1].dim_value)


def test_detectors(tmp_path: Path) -> None:
    boxes = np.zeros((1, 6, 84), np.float32)
    boxes[0, :5, 0] = (20, 20, 10, 10, 0.9)
    path = save_onnx(tmp_path / "mine.onnx", boxes, shape=("n", 3, SIDE, SIDE))
    found, expected = (
        Detector.load(path, names=["a", "b"], backend=name)(SCENE) for name in ("openvino", "onnxruntime-cpu")
    )
    assert len(expected) == 1
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-4)
    assert np.array_equal(found.classes, expected.classes)


def test_a_real_detector() -> None:
    image = np.asarray(Image.open(shared_data("pictures", "bus.jpg")).convert("RGB"))
    path = shared_data("models", "yolov8n_320_int8.onnx")
    found, expected = (Detector.load(path, backend=name)(image) for name in ("openvino", "onnxruntime-cpu"))
    assert np.array_equal(found.classes, expected.classes)
    # The picture is 1080 pixels high and the model's input 320, in whole numbers of 8 bits: 3 pixels there.
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=10)
    np.testing.assert_allclose(found.scores, expected.scores, atol=0.05)
