"""Every fallback leaves a line in the log and a field in the result. A new one is added to :data:`FALLBACKS`."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsclip_runtime import BackendError, Segmenter
from clsclip_runtime.backends import select
from clsclip_runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from clsclip_runtime.backends.select import AUTO, BACKENDS
from clsclip_runtime.results.result import Result
from tests.runtime.backends.fakes import MACHINE, FakeCuda, FakeTensorRt, write_engine
from tests.runtime.tiny_bundle import make_bundle, paint

pytestmark = pytest.mark.usefixtures("user_cache")

SCENE = paint({"red": (slice(1, 4), slice(1, 5))})


def unusable(name: str) -> Callable[[int | None], Any]:
    def make(threads: int | None) -> Any:
        raise BackendError(f"{name} is broken. Run: mend {name}")

    return make


def test_auto_tells_of_every_backend_that_it_passes_over(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(select, "passed_over", lambda name: None)  # whatever this processor is
    for last in range(1, len(AUTO)):
        for name in AUTO[:last]:
            monkeypatch.setitem(BACKENDS, name, unusable(name))
        monkeypatch.setitem(BACKENDS, AUTO[last], lambda threads: OnnxRuntimeCpu(threads=1))
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="clsclip_runtime"), Segmenter.load(bundle) as segmenter:
            result = segmenter(SCENE, ["red"])
        for name in AUTO[:last]:
            assert f"backend {name} does not work here: {name} is broken. Run: mend {name}" in caplog.messages
            assert f"{name}: {name} is broken. Run: mend {name}" in result.backend_notes
        assert f"backend auto: chose {AUTO[last]}" in caplog.messages
        assert result.to_json()["backend_notes"] == list(result.backend_notes)
        assert len(result.backend_notes) == last


@pytest.mark.parametrize("name", list(BACKENDS))
def test_a_backend_asked_by_name_never_falls_back(bundle: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(BACKENDS, name, unusable(name))
    with pytest.raises(BackendError, match=f"{name} is broken"):
        Segmenter.load(bundle, name)


def test_auto_passes_over_tensorrt_without_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clsclip_runtime.backends.tensorrt.backend import TensorRt

    cuda = FakeCuda()
    fake = FakeTensorRt(cuda)
    monkeypatch.setitem(BACKENDS, "tensorrt", lambda threads: TensorRt(fake.edition(), cuda=cuda, machine=MACHINE))
    for name in ("onnxruntime-cuda", "openvino"):
        monkeypatch.setitem(BACKENDS, name, unusable(name))
    bundle = make_bundle(tmp_path / "tiny.clsclip")
    with Segmenter.load(bundle) as segmenter:
        assert segmenter.backend == "onnxruntime-cpu"
        notes = segmenter(SCENE, ["red"]).backend_notes
    assert "has no engine of image_encoder.onnx" in notes[0]
    assert "clsclip-export --from-bundle" in notes[0]
    for name in ("text_encoder", "image_encoder", "trunk", "presence"):
        write_engine(bundle / f"{name}.onnx")
    with Segmenter.load(bundle) as segmenter:
        assert segmenter.backend == "tensorrt"
        assert segmenter(SCENE, ["red"]).backend_notes == ()
    fake.refuses.add("deserialize")
    with Segmenter.load(bundle) as segmenter:
        assert segmenter.backend == "onnxruntime-cpu", "an engine is there, and TensorRT refuses it"
        assert "The engine plan file is not compatible" in segmenter(SCENE, ["red"]).backend_notes[0]


def test_rows_that_are_picked_on_the_host_are_told(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """ONNX Runtime's GPU providers without a CUDA package, after another engine was passed over."""

    class Engine(OnnxRuntimeCpu):
        notes = ("onnxruntime-cuda picks rows of encoded crops on the host: ...",)

    monkeypatch.setitem(BACKENDS, "tensorrt", unusable("tensorrt"))
    monkeypatch.setitem(BACKENDS, "onnxruntime-cuda", lambda threads: Engine(threads=1))
    with Segmenter.load(bundle) as segmenter:
        notes = segmenter(SCENE, ["red"]).backend_notes
    assert notes == ("tensorrt: tensorrt is broken. Run: mend tensorrt", *Engine.notes)
    with Segmenter.load(bundle, "onnxruntime-cuda") as segmenter:
        assert segmenter(SCENE, ["red"]).to_json()["backend_notes"] == list(Engine.notes)


def test_auto_tells_why_it_does_not_try_one(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(select.platform, "machine", lambda: "aarch64")
    for name in AUTO[:-2]:
        monkeypatch.setitem(BACKENDS, name, unusable(name))
    with caplog.at_level(logging.INFO, logger="clsclip_runtime"), Segmenter.load(bundle) as segmenter:
        assert segmenter.backend == "onnxruntime-cpu"
        notes = segmenter(SCENE, ["red"]).backend_notes
    reason = "it was measured on x86-64 alone, and this is aarch64. Ask for it by name"
    assert notes[-1] == f"openvino: {reason}"
    assert f"backend openvino is passed over: {reason}" in caplog.messages
    monkeypatch.setattr(select.platform, "machine", lambda: "AMD64")
    assert [select.passed_over(name) for name in BACKENDS] == [None] * len(BACKENDS)


def cut_word(segmenter: Segmenter) -> Result:
    return segmenter(SCENE, ["dining table " * 9])


def threshold_without_gate(segmenter: Segmenter) -> Result:
    return segmenter(SCENE, ["red"], presence_threshold=0.5)


def missing_region(segmenter: Segmenter) -> Result:
    return segmenter(SCENE, ["red"], regions=np.zeros((0, 4), np.float32))


FALLBACKS: dict[str, tuple[Callable[[Segmenter], Result], Callable[[Result], bool], str]] = {
    "long word": (cut_word, lambda result: "its end was cut off" in result.notes[0], "its end was cut off"),
    "no gate": (threshold_without_gate, lambda result: "has no effect" in result.notes[0], "has no effect"),
    "no region": (missing_region, lambda result: result["red"].searched == ("whole-image",), "no region of ['red']"),
}


@pytest.mark.parametrize("name", FALLBACKS)
def test_other_fallbacks(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    call, told, line = FALLBACKS[name]
    caplog.set_level(logging.INFO, logger="clsclip_runtime")
    with Segmenter.load(make_bundle(tmp_path / "t.clsclip", presence=False), "onnxruntime-cpu") as segmenter:
        assert told(call(segmenter))
    assert line in caplog.text


def test_orientation_that_cannot_be_read_is_logged(
    bundle: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    def broken(image: Image.Image) -> Image.Exif:
        raise SyntaxError("not a TIFF file")

    content = io.BytesIO()
    Image.fromarray(SCENE).save(content, "PNG")
    monkeypatch.setattr(Image.Image, "getexif", broken)
    with Segmenter.load(bundle, "onnxruntime-cpu") as segmenter:
        result = segmenter(content.getvalue(), ["red"])
        assert segmenter(SCENE, ["red"]).notes == []
    assert "orientation ignored" in caplog.text
    assert result.notes == ["its EXIF data cannot be read, so its orientation was ignored"]


def test_every_backend_is_in_one_list() -> None:
    assert set(AUTO) <= set(BACKENDS)
    assert select.AUTO[-1] == "onnxruntime-cpu", "what works everywhere is tried last"
