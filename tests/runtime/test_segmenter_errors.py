from __future__ import annotations

import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from clsclip_runtime import (
    BackendError,
    BundleError,
    ClsclipRuntimeError,
    ImageError,
    OptionError,
    Segmenter,
    ZoomIn,
)
from clsclip_runtime.backends import select
from clsclip_runtime.backends.select import select_backend
from clsclip_runtime.limits import Limits
from tests.runtime.reading import statuses
from tests.runtime.tiny_bundle import AUTO_HERE, DETECTOR, make_bundle, manifest, sign

StickerImage = npt.NDArray[np.uint8]


def test_after_close_a_clear_error(bundle: Path, scene: StickerImage) -> None:
    segmenter = Segmenter.load(bundle)
    features = segmenter.set_image(scene)
    with segmenter:
        pass
    segmenter.close()
    for use in (
        lambda: segmenter(scene, "red"),
        lambda: segmenter.set_image(scene),
        lambda: segmenter.predict("red", image=features),
    ):
        with pytest.raises(ClsclipRuntimeError, match="closed"):
            use()


def test_zooming_in_says_what_is_missing(segmenter: Segmenter, tmp_path: Path, scene: StickerImage) -> None:
    with pytest.raises(OptionError, match="need a detector, and the bundle 'tiny' has none"):
        segmenter(scene, "red", zoom_in=ZoomIn(boxes_as_masks=True))
    folder = make_bundle(tmp_path / "tiny")
    shutil.copy(folder / "presence.onnx", folder / "detector.onnx")
    sign(folder, {**manifest(), "detector": {**DETECTOR, "names": ["cat", "dog"]}})
    with pytest.raises(BundleError, match=r"detector\.onnx"):  # told when the bundle is opened, as of every graph
        Segmenter.load(folder)


def test_damaged_vision_weights_are_told(tmp_path: Path, scene: StickerImage) -> None:
    told = pytest.raises(BackendError, match=r"NaN or infinity .*image encoder are damaged")
    with Segmenter.load(make_bundle(tmp_path / "nan", weight=float("nan"))) as segmenter, told:
        segmenter(scene, "red")


def test_damaged_trunk_weights_name_the_word(tmp_path: Path, scene: StickerImage) -> None:
    # Finite tokens whose squared distance overflows: only the trunk's outputs are infinite.
    folder = make_bundle(tmp_path / "huge", weight=1e30)
    told = pytest.raises(BackendError, match="mask of the word 'red': the bundle's weights are damaged")
    with Segmenter.load(folder) as segmenter, told:
        segmenter(scene, ["red", "green"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_damaged_text_weights_name_the_word_and_are_not_cached(
    tmp_path: Path, scene: StickerImage, value: float
) -> None:
    folder = make_bundle(tmp_path / "nan", word_colours={"green": (value, 0.0, 0.0)})
    with Segmenter.load(folder) as segmenter:
        for _ in range(2):
            with pytest.raises(BackendError, match="for the word 'green': the bundle's text weights are damaged"):
                segmenter(scene, ["red", "green"])
        assert statuses(segmenter(scene, ["red"])) == ("found",)


def test_a_damaged_gate_names_the_word(tmp_path: Path, scene: StickerImage) -> None:
    told = pytest.raises(BackendError, match="presence score of the word 'red'")
    folder = make_bundle(tmp_path / "nan", presence_bias=float("nan"))
    # This graph ends in Clip, of which OpenVINO makes 0 where it should stay NaN.
    with Segmenter.load(folder, "onnxruntime-cpu") as segmenter, told:
        segmenter(scene, ["red"])


@pytest.mark.parametrize("content", [b"", b"nothing", bytes(100)])
def test_a_graph_that_is_no_graph_is_told(tmp_path: Path, content: bytes) -> None:
    folder = make_bundle(tmp_path / "bad")
    (folder / "trunk.onnx").write_bytes(content)
    sign(folder, manifest())
    with pytest.raises(ClsclipRuntimeError, match=r"trunk\.onnx"):
        Segmenter.load(folder)


def test_a_graph_that_no_engine_would_take_is_told(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bad")
    graph = (folder / "trunk.onnx").read_bytes()
    (folder / "trunk.onnx").write_bytes(graph.replace(b"Gather", b"Gxther"))
    sign(folder, manifest())
    with pytest.raises(BundleError, match=r"trunk\.onnx .*uses the operator 'Gxther'.*newer clsclip"):
        Segmenter.load(folder)


def test_a_graph_with_unknown_inputs_is_told(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bad")
    shutil.copy(folder / "text_encoder.onnx", folder / "trunk.onnx")
    sign(folder, manifest())
    with pytest.raises(BundleError, match=r"trunk\.onnx in .* wants the inputs token_ids"):
        Segmenter.load(folder)


def test_a_graph_with_other_outputs_is_told(tmp_path: Path) -> None:
    def shrink(document: dict[str, Any]) -> None:
        document["mask"]["height"] = 4

    with pytest.raises(BundleError, match=r"trunk\.onnx .*has mask_logits as float32 of shape \(P, 8, 8\)"):
        Segmenter.load(make_bundle(tmp_path / "bad", edit=shrink))


def test_token_ids_beyond_the_vocabulary_are_told(tmp_path: Path, scene: StickerImage) -> None:
    folder = make_bundle(tmp_path / "bad")
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"]["red"] = 9999
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    sign(folder, manifest())
    told = pytest.raises(BackendError, match=r"onnxruntime failed in text_encoder")
    with Segmenter.load(folder, "onnxruntime-cpu") as segmenter, told:  # OpenVINO takes them for zeros
        segmenter(scene, "red")


@pytest.mark.parametrize("name", ["memory_mb", "pairs_per_call", "result_mb", "max_pixels"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "4"])
def test_limits_must_be_positive_whole_numbers(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{name} must be a whole number of 1 or more"):
        Limits(**{name: value})


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "4", 1025, 10**9, 10**30])
def test_threads_must_be_a_positive_whole_number(bundle: Path, value: Any) -> None:
    with pytest.raises(OptionError, match="threads must be a whole number of 1 to 1024"):
        Segmenter.load(bundle, threads=value)


def test_max_pixels_is_passed_on(bundle: Path, scene: StickerImage, photo: Path) -> None:
    with (
        Segmenter.load(bundle, limits=Limits(max_pixels=1000)) as segmenter,
        pytest.raises(ImageError, match="limit is 1,000"),
    ):
        segmenter(photo, "red")


def test_unknown_backends_are_listed(bundle: Path) -> None:
    with pytest.raises(OptionError, match=r"no backend 'cuda'\. Choose one of: auto, .*onnxruntime-cpu"):
        Segmenter.load(bundle, backend="cuda")


def test_auto_logs_its_choice(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="clsclip_runtime"), Segmenter.load(bundle) as segmenter:
        assert segmenter.backend == AUTO_HERE
    assert f"backend auto: chose {AUTO_HERE}" in caplog.messages


def test_auto_without_any_engine_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(select, "AUTO", [name for name in select.AUTO if name != "openvino"])  # it may be loaded
    with pytest.raises(BackendError, match=r"no backend works here.*pip install .*onnxruntime"):
        select_backend("auto")
