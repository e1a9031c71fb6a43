"""The TensorRT backend on a GPU and a TensorRT that are made up: order of calls, memory, threads, graphs, errors."""

from __future__ import annotations

import gc
import json
import logging
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

from clsclip_runtime import BackendError, Bundle, Segmenter
from clsclip_runtime.backends.tensorrt.backend import TensorRt
from clsclip_runtime.backends.tensorrt.engine_files import Machine
from clsclip_runtime.protocols import GraphFile
from tests.runtime.backends.cuda.cuda_runtime import cudaError_t
from tests.runtime.backends.fakes import (
    MACHINE,
    VERSION,
    WORDS,
    FakeCuda,
    FakeTensorRt,
    engines_of,
    make_engine_bundle,
    scene,
    write_engine,
)
from tests.runtime.reading import presence_of
from tests.runtime.tiny_bundle import GRID, SIZE, make_bundle

pytestmark = pytest.mark.usefixtures("user_cache")


def graph_file(folder: Path, name: str) -> GraphFile:
    return Bundle.open(folder).graph(name)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with an engine for every graph."""
    return make_engine_bundle(tmp_path / "tiny.clsclip")


def test_segments_as_onnxruntime_does(bundle: Path, backend: TensorRt, cuda: FakeCuda) -> None:
    boxes = [[0, 0, 20, 20], [4, 4, 30, 30], [2, 2, 10, 28], [0, 0, 32, 32]]
    with Segmenter.load(bundle, backend) as ours, Segmenter.load(bundle, "onnxruntime-cpu") as theirs:
        assert ours.backend == "tensorrt"
        for classes, regions in ((["red"], None), (WORDS, None), (WORDS, boxes)):  # beyond 5 classes, 6 pairs, 2 crops
            found, expected = (one(scene(), classes, presence_threshold=0, regions=regions) for one in (ours, theirs))
            np.testing.assert_array_equal(found.masks, expected.masks)
            np.testing.assert_array_equal(found.pairs.logits, expected.pairs.logits)
            np.testing.assert_array_equal(presence_of(found), presence_of(expected))
            assert found.masks.any()
    assert cuda.left() == {}, "closing gives everything back"


def test_order_of_calls(bundle: Path, backend: TensorRt, fake: FakeTensorRt) -> None:
    graph = backend.load(graph_file(bundle, "image_encoder.onnx"))
    graph.run({"pixel_values": np.zeros((2, 3, SIZE, SIZE), np.float32)})
    calls = fake.contexts[0].calls
    assert calls == ["set_input_shape", "set_tensor_address", *["set_tensor_address"] * 3, "execute_async_v3"]
    assert graph.inputs == ("pixel_values",)
    assert graph.outputs == ("stem_tokens", "image_features", "patch_features")
    with pytest.raises(ValueError, match="zip"):
        graph.run({"pixel_values": np.zeros((3, SIZE, SIZE), np.float32)})


def test_inputs_are_given_in_the_engines_type(bundle: Path, backend: TensorRt) -> None:
    graph = backend.load(graph_file(bundle, "image_encoder.onnx"))
    pixels = np.random.default_rng(0).normal(size=(1, 3, SIZE, SIZE))
    found, expected = (graph.run({"pixel_values": given}) for given in (pixels, pixels.astype(np.float32)))
    np.testing.assert_array_equal(found["stem_tokens"], expected["stem_tokens"])


@pytest.mark.parametrize("call", ["set_input_shape", "set_tensor_address", "execute_async_v3"])
def test_refused_calls_are_told(bundle: Path, backend: TensorRt, fake: FakeTensorRt, call: str) -> None:
    graph = backend.load(graph_file(bundle, "image_encoder.onnx"))
    fake.refuses.add(call)
    with pytest.raises(BackendError, match=rf"TensorRT refused .* in image_encoder\.onnx: {call}: API Usage Error"):
        graph.run({"pixel_values": np.zeros((1, 3, SIZE, SIZE), np.float32)})


def test_engines_that_do_not_load(bundle: Path, backend: TensorRt, fake: FakeTensorRt, cuda: FakeCuda) -> None:
    fake.refuses.add("deserialize")
    reason = (
        r"cannot load .*\.plan: Serialization \( The engine plan file is not compatible\).*NVIDIA H200.*Run: clsclip"
    )
    with pytest.raises(BackendError, match=reason):
        backend.load(graph_file(bundle, "trunk.onnx"))
    fake.refuses = {"context"}
    graph = backend.load(graph_file(bundle, "image_encoder.onnx"))
    with pytest.raises(BackendError, match=r"no execution context for image_encoder\.onnx.*too little GPU memory"):
        graph.run({"pixel_values": np.zeros((1, 3, SIZE, SIZE), np.float32)})
    fake.refuses.clear()
    cuda.room = 25_000
    with pytest.raises(BackendError, match="out of memory"):
        graph.run({"pixel_values": np.zeros((1, 3, SIZE, SIZE), np.float32)})
    assert cuda.left() == {}, "what was taken before the failure is given back"


def test_page_locked_memory_may_run_out_too(bundle: Path, backend: TensorRt, cuda: FakeCuda) -> None:
    graph = backend.load(graph_file(bundle, "image_encoder.onnx"))
    cuda.runtime.fails = {"cudaHostAlloc": cudaError_t.cudaErrorMemoryAllocation}
    with pytest.raises(BackendError, match="out of memory"):
        graph.run({"pixel_values": np.zeros((1, 3, SIZE, SIZE), np.float32)})
    assert cuda.left() == {}
    cuda.runtime.fails = {}
    assert graph.run({"pixel_values": np.zeros((1, 3, SIZE, SIZE), np.float32)})


def test_axes_of_another_rank_than_the_engines(bundle: Path, backend: TensorRt) -> None:
    """The JSON beside a plan was changed by hand: one axis less than the engine has."""
    plan = write_engine(bundle / "image_encoder.onnx")
    sidecar = plan.with_suffix(".json")
    document = json.loads(sidecar.read_text("utf-8"))
    del document["axes"]["inputs"]["pixel_values"][-1]
    sidecar.write_text(json.dumps(document), "utf-8")
    with pytest.raises(BackendError, match="states other inputs and outputs than its engine has"):
        backend.load(graph_file(bundle, "image_encoder.onnx"))
    document["axes"]["inputs"]["no such tensor"] = document["axes"]["inputs"].pop("pixel_values")
    sidecar.write_text(json.dumps(document), "utf-8")
    with pytest.raises(BackendError, match="states other inputs and outputs than its engine has"):
        backend.load(graph_file(bundle, "image_encoder.onnx"))


def test_a_context_goes_with_its_call(bundle: Path, backend: TensorRt, fake: FakeTensorRt) -> None:
    """Its memory on the GPU must not wait for who keeps the error, whose traceback holds the worker."""
    graph = backend.load(graph_file(bundle, "image_encoder.onnx"))
    graph.run({"pixel_values": np.zeros((1, 3, SIZE, SIZE), np.float32)})
    context = weakref.ref(fake.contexts.pop())
    fake.refuses.add("execute_async_v3")
    with pytest.raises(BackendError) as kept:
        graph.run({"pixel_values": np.zeros((1, 3, SIZE, SIZE), np.float32)})
    gc.collect()
    assert kept.value.__traceback__ is not None
    assert context() is None


def test_engines_of_other_machines(bundle: Path, fake: FakeTensorRt, cuda: FakeCuda) -> None:
    """The words of a user's first day on another machine."""
    elsewhere = Machine("tensorrt", "11.4.0.1", "NVIDIA A100", "8.0")
    backend = TensorRt(fake.edition(), cuda=cuda, machine=elsewhere)
    with pytest.raises(BackendError) as caught:
        backend.load(graph_file(bundle, "trunk.onnx"))
    message = str(caught.value)
    assert f"was built by tensorrt {VERSION} for NVIDIA H200 (sm_90)" in message
    assert "this machine has tensorrt 11.4.0.1 on NVIDIA A100 (sm_80)" in message
    assert f"Engines are not portable. Run: clsclip-export --from-bundle {bundle} --engine tensorrt" in message
    bare = make_bundle(bundle.parent / "bare.clsclip")
    with pytest.raises(BackendError, match=r"has no engine of trunk\.onnx of .* for tensorrt .* Run: clsclip-export"):
        backend.load(graph_file(bare, "trunk.onnx"))


def test_compatible_engines(bundle: Path, fake: FakeTensorRt, cuda: FakeCuda) -> None:
    newer = Machine("tensorrt", "10.20.0.3", "NVIDIA B200", "10.0")
    backend = TensorRt(fake.edition(), cuda=cuda, machine=newer)
    write_engine(bundle / "trunk.onnx", flags={"version_compatible": True, "hardware_compatible": True})
    assert backend.load(graph_file(bundle, "trunk.onnx")).outputs == ("mask_logits",)
    older = TensorRt(fake.edition(), cuda=cuda, machine=Machine("tensorrt", VERSION, "NVIDIA T4", "7.5"))
    with pytest.raises(BackendError, match="Engines are not portable"):
        older.load(graph_file(bundle, "trunk.onnx"))


def test_stale_and_damaged_engines(bundle: Path, backend: TensorRt) -> None:
    plan = next(
        path.with_suffix(".plan")
        for path in engines_of(bundle).glob("*.json")
        if json.loads(path.read_text("utf-8"))["spec"]["graph"] == "trunk.onnx"
    )
    content = plan.read_bytes()
    plan.write_bytes(content[:-1] + b"?")
    with pytest.raises(BackendError, match="damaged: its SHA-256"):
        backend.load(graph_file(bundle, "trunk.onnx"))
    plan.unlink()
    with pytest.raises(BackendError, match="cannot be read: No such file"):
        backend.load(graph_file(bundle, "trunk.onnx"))
    plan.write_bytes(content)
    backend.load(graph_file(bundle, "trunk.onnx"))
    file = graph_file(bundle, "trunk.onnx")
    with pytest.raises(BackendError, match=r"was built from another trunk\.onnx than the bundle's"):
        backend.load(replace(file, digests=dict(file.digests or {}) | {"trunk.onnx": "0" * 64}))


def test_one_context_a_thread(bundle: Path, backend: TensorRt, fake: FakeTensorRt, cuda: FakeCuda) -> None:
    with Segmenter.load(bundle, backend) as segmenter:
        expected = [segmenter(scene(number), WORDS, presence_threshold=0).masks for number in range(3)]
        barrier = threading.Barrier(3)

        def work(number: int) -> None:
            barrier.wait()
            for _ in range(5):
                found = segmenter(scene(number), WORDS, presence_threshold=0).masks
                np.testing.assert_array_equal(found, expected[number])

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(work, range(3)))
        assert len(fake.contexts) == 1 + 4 * 3, "the words were encoded once, in the first thread"
        assert len(cuda.streams) == len(fake.contexts) + 1, "and one in which device arrays are copied"
    assert cuda.left() == {}


def test_small_numbers_of_pairs_are_recorded(bundle: Path, backend: TensorRt, cuda: FakeCuda) -> None:
    with Segmenter.load(bundle, backend) as segmenter:
        for number in range(4):
            result = segmenter(scene(number), ["red", "green", "blue"], presence_threshold=0)
            columns = np.flatnonzero(result.mask("red").any(axis=0))
            assert columns[0] == 4 * (1 + number) + 1, "a recorded call computes on new pictures"
            assert len(result.pairs.logits) == 3, "filled up to 4 pairs, and cut again"
        assert (cuda.calls.count("begin_capture"), cuda.calls.count("launch")) == (1, 3)
        segmenter(scene(), ["red"], presence_threshold=0)
        assert len(cuda.graphs) == 0, "another shape: the recording is dropped"
    plain = TensorRt(FakeTensorRt(cuda).edition(), cuda=cuda, machine=MACHINE, record_graphs=False)
    cuda.calls.clear()
    with Segmenter.load(bundle, plain) as segmenter:
        for _ in range(3):
            segmenter(scene(), ["red"], presence_threshold=0)
    assert "launch" not in cuda.calls
    assert cuda.left() == {}


def test_a_recording_that_fails_is_ended(bundle: Path, backend: TensorRt, fake: FakeTensorRt, cuda: FakeCuda) -> None:
    with Segmenter.load(bundle, backend) as segmenter:
        segmenter.set_image(scene())

        def logits() -> npt.NDArray[np.float32]:
            return segmenter.predict(["red"], presence_filter=False).logits

        expected = logits()
        cuda.calls.clear()
        fake.refuses.add("execute_async_v3")
        with pytest.raises(BackendError, match=r"TensorRT refused the call in trunk\.onnx"):
            logits()
        assert "begin_capture" in cuda.calls
        assert (cuda.runtime.graphs, cuda.runtime.executables) == ({}, {}), "what was recorded is destroyed"
        fake.refuses.clear()
        for _ in range(3):
            np.testing.assert_array_equal(logits(), expected)
    assert cuda.left() == {}


class OnDevice:
    """An array on the made-up GPU, as torch or cupy would hand it over."""

    def __init__(self, cuda: FakeCuda, array: npt.NDArray[np.generic], **interface: object) -> None:
        self.shape = array.shape
        address = cuda.allocate(array.nbytes)
        cuda.device[address][:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (address, True),
            "version": 3,
        } | interface


def test_arrays_on_the_gpu_are_not_copied(bundle: Path, backend: TensorRt, cuda: FakeCuda) -> None:
    graph = backend.load(graph_file(bundle, "image_encoder.onnx"))
    pixels = np.random.default_rng(0).normal(size=(2, 3, SIZE, SIZE)).astype(np.float32)
    expected = graph.run({"pixel_values": pixels})["stem_tokens"]
    cuda.calls.clear()
    there = OnDevice(cuda, pixels, stream=cuda.stream())
    found = graph.run({"pixel_values": there})["stem_tokens"]  # type: ignore[dict-item]
    np.testing.assert_array_equal(found, expected)
    assert cuda.calls == ["wait", "wait"], "its producer's stream, then our own; nothing is copied to the device"
    for wrong, reason in (
        (OnDevice(cuda, pixels.astype(np.float64)), "must be contiguous float32"),
        (OnDevice(cuda, pixels, strides=(4, 8, 16, 32)), "must be contiguous float32, and it is float32 with gaps"),
    ):
        with pytest.raises(BackendError, match=reason):
            graph.run({"pixel_values": wrong})  # type: ignore[dict-item]
    more = np.random.default_rng(1).normal(size=(5, 3, SIZE, SIZE)).astype(np.float32)
    expected = graph.run({"pixel_values": more})["stem_tokens"]
    cuda.crossed.clear()
    found = graph.run({"pixel_values": OnDevice(cuda, more)})["stem_tokens"]  # type: ignore[dict-item]
    np.testing.assert_array_equal(found, expected)
    assert cuda.crossed["to_device"] == 0, "more than one call takes, and cut on the GPU"


def test_engines_without_weights_are_refitted(bundle: Path, backend: TensorRt, fake: FakeTensorRt) -> None:
    for path in engines_of(bundle).iterdir():
        path.unlink()
    write_engine(bundle / "trunk.onnx", flags={"strip_weights": True})
    backend.load(graph_file(bundle, "trunk.onnx"))
    (whole,) = (onnx.load_model_from_string(model) for model in fake.refitted)
    assert [one.name for one in whole.graph.initializer if one.external_data] == [], "weights are inside"
    expected = onnx.load(bundle / "trunk.onnx").graph
    weights = {one.name: numpy_helper.to_array(one).tolist() for one in expected.initializer}
    assert {one.name: numpy_helper.to_array(one).tolist() for one in whole.graph.initializer} == weights
    fake.refuses.add("refit")
    with pytest.raises(BackendError, match="do not fit its engine"):
        backend.load(graph_file(bundle, "trunk.onnx"))


def test_what_rtx_compiled_is_kept(
    bundle: Path, fake: FakeTensorRt, cuda: FakeCuda, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine("tensorrt-rtx", VERSION, "NVIDIA RTX 6000", "12.0")
    plan = write_engine(bundle / "image_encoder.onnx", machine, gpu="any", compute_capability="any")
    backend = TensorRt(fake.edition("tensorrt-rtx"), cuda=cuda, machine=machine)
    pixels = {"pixel_values": np.zeros((1, 3, SIZE, SIZE), np.float32)}
    for _ in range(2):
        graph = backend.load(graph_file(bundle, "image_encoder.onnx"))
        graph.run(pixels)
        graph.close()
    assert plan.with_suffix(".cache").read_bytes() == b"compiled"
    assert fake.cached == [b"compiled"], "the second start reads what the first wrote"
    plan.with_suffix(".cache").write_bytes(b"other")
    with caplog.at_level(logging.WARNING, logger="clsclip_runtime"):
        backend.load(graph_file(bundle, "image_encoder.onnx")).run(pixels)
    assert "is of no use here; the first calls compile again" in caplog.text


def test_closing_waits_for_calls(
    bundle: Path, backend: TensorRt, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = backend.load(graph_file(bundle, "image_encoder.onnx"))
    inside, go_on = threading.Event(), threading.Event()
    wait = cuda.wait

    def slow(stream: int) -> None:
        inside.set()
        assert go_on.wait(10)
        wait(stream)

    monkeypatch.setattr(cuda, "wait", slow)
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(graph.run, {"pixel_values": np.zeros((1, 3, SIZE, SIZE), np.float32)})
        assert inside.wait(10)
        closing = pool.submit(graph.close)
        with pytest.raises(BackendError, match=r"image_encoder\.onnx is closed"):
            while True:
                graph.run({})
        assert not closing.done()
        go_on.set()
        assert call.result(10)["stem_tokens"].shape == (1, 1 + GRID * GRID, 3)
        closing.result(10)
    assert cuda.left() == {}


def test_a_call_that_has_begun_ends_after_close(
    bundle: Path, backend: TensorRt, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Segmenter's call uses several engines, one after the other: none may go before the last has run."""
    inside, go_on = threading.Event(), threading.Event()
    wait = cuda.wait

    def slow(stream: int) -> None:
        inside.set()
        assert go_on.wait(10)
        wait(stream)

    segmenter = Segmenter.load(bundle, backend)
    monkeypatch.setattr(cuda, "wait", slow)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(segmenter, scene(), ["red"], presence_threshold=0)
        assert inside.wait(10)
        segmenter.close()
        go_on.set()
        assert call.result(10).mask("red").any()
        del call
    assert cuda.left() == {}


def test_without_a_gpu() -> None:
    from clsclip_runtime.backends.cuda.driver import ask_driver

    if ask_driver().gpus:
        pytest.skip("there is a GPU here")
    with pytest.raises(BackendError, match=r"TensorRT needs an NVIDIA GPU: .*onnxruntime-cpu"):
        TensorRt()
