"""INT8: what is quantised, what it computes, what the export checks, and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from clsclip_export import int8_bundle
from clsclip_export.bundle import write_bundle
from clsclip_export.calibration import (
    FEWEST_IMAGES,
    MOST_IMAGES,
    STRESS_IMAGES,
    WORDS_AN_IMAGE,
    Calibration,
    pixels_sha256,
)
from clsclip_export.check_data import CheckData
from clsclip_export.cli import command as export
from clsclip_export.errors import CalibrationError, CheckDataError, EngineError, ParityError, PrecisionError
from clsclip_export.int8 import products, quantized
from clsclip_export.int8_bundle import quantize_bundle
from clsclip_export.int8_check import MIN_MEAN_IOU, mask_ious
from clsclip_export.options import BundleOptions
from clsclip_export.parity import row_cosines
from clsclip_export.profiles import Profile
from clsclip_export.weights import WEIGHTS_FILE
from clsclip_runtime import OutputError, Segmenter
from clsclip_runtime.bundle.opening import Bundle
from tests.tiny import tiny_model

SMALL = Profile(crops=(1, 1, 2), classes=(1, 2, 3), pairs=(1, 2, 4))
WORDS = ("dog", "boat")


def noise(seed: int, side: int = 40) -> Image.Image:
    """A picture with edges and colours of its own."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def save_images(folder: Path, count: int, first: int = 0) -> Path:
    folder.mkdir()
    for at in range(count):
        noise(first + at).save(folder / f"{at:03d}.png")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``wide.clsclip`` in FP32, and ``pictures`` to calibrate on; not to be changed."""
    folder = tmp_path_factory.mktemp("int8")
    write_bundle(tiny_model(), {}, folder / "wide.clsclip", BundleOptions("t", profile=SMALL))
    save_images(folder / "pictures", 12)
    return folder


DATA = CheckData(tuple(noise(100 + at) for at in range(3)), WORDS)


@pytest.fixture(scope="module")
def narrow(made: Path) -> Path:
    """The INT8 bundle of ``wide.clsclip``, whose weights have a second name then, as installers and caches give."""
    out = made / "narrow.clsclip"
    second = made / "second"
    second.hardlink_to(made / "wide.clsclip" / "vision.weights")
    quantize_bundle(made / "wide.clsclip", out, Calibration.read(made / "pictures"), DATA)
    second.unlink()
    return out


@pytest.mark.slow
def test_faint_masks_are_lowered_on_both_sides(made: Path, tmp_path: Path) -> None:
    """A graph alone lowers none, so what it gives is lowered before it is compared with the runtime's."""
    wide = tmp_path / "faint.clsclip"
    write_bundle(tiny_model(), {"provenance": {"least_confidence": 40.0}}, wide, BundleOptions("t", profile=SMALL))
    assert not Segmenter.load(wide, "onnxruntime-cpu")(noise(100), WORDS).masks.any(), "all are lowered here"
    with pytest.raises(CheckDataError, match="no word marks anything"):
        quantize_bundle(wide, tmp_path / "narrow.clsclip", Calibration.read(made / "pictures"), DATA)


def weight_types(path: Path) -> dict[str, int]:
    """Types of the first weight of every product, through its dequantisation, by the name of the node."""
    graph = onnx.load(path).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    wide = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    found = {}
    for node in graph.node:
        if node.op_type in ("MatMul", "Gemm", "Conv"):
            kinds = [types[wide.get(name, name)] for name in node.input[:2] if wide.get(name, name) in types]
            if kinds:
                found[node.name] = kinds[0]
    return found


def test_what_is_quantized(narrow: Path, made: Path) -> None:
    for file in ("image_encoder.onnx", "trunk.onnx", "segmenter.onnx"):
        kinds = list(weight_types(narrow / file).values())
        floats = [kind for kind in kinds if kind != TensorProto.INT8]
        assert kinds.count(TensorProto.INT8) >= 15, file
        assert len(floats) == (0 if file == "image_encoder.onnx" else 4), "three maps of the text, and the last product"
        graph = onnx.load(narrow / file).graph
        onnx.checker.check_model(str(narrow / file))
        read = {name: node.op_type for node in graph.node for name in node.input}
        dequantised = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
        assert {read[name] for name in dequantised} <= {"MatMul", "Conv"}, "softmax, normalisation and sums are FP32"
        points = [value for value in graph.initializer if value.name.endswith("zero_point")]
        weights = [numpy_helper.to_array(value) for value in points if value.data_type == TensorProto.INT8]
        assert all((one == 0).all() and one.ndim == 1 for one in weights), "symmetric, by channel"
    for file in ("text_encoder.onnx", "tokenizer.json"):
        assert (narrow / file).read_bytes() == (made / "wide.clsclip" / file).read_bytes()
    sizes = [(folder / WEIGHTS_FILE).stat().st_size for folder in (made / "wide.clsclip", narrow)]
    assert sizes[1] < 0.45 * sizes[0], "a weight of several graphs is stored once, in INT8 as in FP32"


def test_the_manifest_tells_where_it_comes_from(narrow: Path, made: Path) -> None:
    bundle = Bundle.open(narrow)
    document = bundle.manifest.raw
    assert bundle.manifest.precision == "int8"
    calibration = Calibration.read(made / "pictures")
    assert document["calibration"] == {
        "images": 12,
        "of": 12,
        "sha256": calibration.files,
        "words": list(calibration.words),
    }
    assert "000.png" not in json.dumps(document)
    rows = document["parity"]["int8"]["rows"]
    assert {(row["run"], row["kind"]) for row in rows} == {
        (run, kind) for run in ("as the runtime runs it", "segmenter.onnx") for kind in ("real", "stress")
    }
    assert all(row["mean_iou"] >= MIN_MEAN_IOU for row in rows if row["masks"])
    assert document["parity"]["max_difference"], "what FP32 was checked for stays told"


@pytest.mark.parametrize("backend", ["onnxruntime-cpu", "openvino"])
def test_engines_draw_what_fp32_draws(narrow: Path, made: Path, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    image = noise(500)
    with (
        Segmenter.load(made / "wide.clsclip", "onnxruntime-cpu") as wide,
        Segmenter.load(narrow, backend, threads=1) as segmenter,
    ):
        expected, found = (one(image, WORDS, presence_threshold=0) for one in (wide, segmenter))
    assert row_cosines(found.logits, expected.logits).min() > 0.995
    assert np.abs(found.logits - expected.logits).max() > 1e-4, "it is not FP32 that was run"


def test_arithmetic_by_hand() -> None:
    """One product: weights by channel, activations by their range, the rest exact."""
    rng = np.random.default_rng(0)
    x, w = rng.uniform(-1, 3, (4, 8)).astype(np.float32), rng.normal(size=(8, 5)).astype(np.float32)
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size]) for name, size in (("x", 8), ("y", 5))
    ]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", values[:1], values[1:], [numpy_helper.from_array(w, "w")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    before = model.SerializeToString()
    result = quantized(model, [{"x": x}])
    assert model.SerializeToString() == before
    stored = {one.name: numpy_helper.to_array(one) for one in result.graph.initializer}
    step = np.abs(w).max(axis=0) / 127
    narrow = next(
        one for name, one in stored.items() if name.startswith("w") and one.dtype == np.int8 and one.ndim == 2
    )
    np.testing.assert_array_equal(narrow, np.round(w / step).clip(-127, 127))
    scale = (x.max() - min(x.min(), 0)) / 255
    rounded = (np.round(x / scale - np.round(x.min() / scale)) + np.round(x.min() / scale)) * scale
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(result.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x})
    np.testing.assert_allclose(found, rounded @ (narrow * step), atol=scale * np.abs(w).sum(axis=0).max())
    np.testing.assert_allclose(found, x @ w, atol=0.1)


def test_products_are_named() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="with weight"),
        helper.make_node("MatMul", ["a", "a"], ["b"], name="attention"),
        helper.make_node("Gemm", ["x", "w"], ["c"], name="one row a pair"),
        helper.make_node("MatMul", ["b", "w"], ["d"], name="last"),
        helper.make_node("Add", ["d", "bias"], ["mask_logits"], name="bias"),
    ]
    weights = [numpy_helper.from_array(np.eye(3, dtype=np.float32), name) for name in ("w", "bias")]
    outputs = [helper.make_tensor_value_info("mask_logits", TensorProto.FLOAT, None)]
    assert products(helper.make_graph(nodes, "g", [], outputs, weights)) == ["with weight"]


def test_calibration(tmp_path: Path, made: Path) -> None:
    found = Calibration.read(made / "pictures", ["cat"])
    assert (len(found.paths), found.found, found.words) == (12, 12, ("cat",))
    again = Calibration.read(save_images(tmp_path / "same", 12))
    assert again.files == found.files, "the names do not matter"
    assert Calibration.read(save_images(tmp_path / "other", 12, first=1)).files != found.files
    assert found.disjoint([noise(3), noise(99)]) == (noise(99),)
    assert pixels_sha256(noise(3)) in found.digests
    bundle = Bundle.open(made / "wide.clsclip")
    names = ["trunk.onnx", "segmenter.onnx", "image_encoder.onnx"]
    every = list(Calibration.read(made / "pictures").inputs(bundle, names))
    assert len(every) == 12 + STRESS_IMAGES
    assert set(every[0]) == set(names)
    assert len(every[0]["trunk.onnx"]["class_index"]) == WORDS_AN_IMAGE
    assert not np.array_equal(every[0]["trunk.onnx"]["text_tokens"], every[1]["trunk.onnx"]["text_tokens"])


def test_many_pictures_are_taken_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clsclip_export import calibration

    assert MOST_IMAGES >= FEWEST_IMAGES
    monkeypatch.setattr(calibration, "MOST_IMAGES", 5)
    found = Calibration.read(save_images(tmp_path / "many", 11))
    assert [path.stem for path in found.paths] == ["000", "002", "004", "006", "008"]
    assert found.to_json()["of"] == 11


def test_bad_calibration(tmp_path: Path, made: Path) -> None:
    with pytest.raises(CalibrationError, match=r"none is no folder"):
        Calibration.read(tmp_path / "none")
    with pytest.raises(CalibrationError, match=rf"has 0 images .* at least {FEWEST_IMAGES}"):
        Calibration.read(tmp_path)
    few = save_images(tmp_path / "few", FEWEST_IMAGES - 1)
    with pytest.raises(CalibrationError, match=rf"few has {FEWEST_IMAGES - 1} images"):
        Calibration.read(few)
    (few / "broken.png").write_bytes(b"no picture")
    with pytest.raises(CalibrationError, match=r"broken\.png.* Take it out of"):
        Calibration.read(few)


def test_wrong_bundles_and_check_data(made: Path, narrow: Path, tmp_path: Path) -> None:
    calibration = Calibration.read(made / "pictures")
    with pytest.raises(PrecisionError, match=r"is in int8, and INT8 is made of FP32"):
        quantize_bundle(narrow, tmp_path / "out", calibration, DATA)
    with pytest.raises(OutputError, match="--force"):
        quantize_bundle(made / "wide.clsclip", narrow, calibration, DATA)
    same = CheckData((noise(0), noise(1)), WORDS)
    with pytest.raises(CheckDataError, match="calibrated on every image"):
        quantize_bundle(made / "wide.clsclip", tmp_path / "out", calibration, same)
    assert not list(tmp_path.iterdir()), "nothing is left"


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Plant a fault into what is quantised: one scale is thirty times too large."""
    right = int8_bundle.quantized

    def plant(weight: str) -> None:
        def wrong(model: onnx.ModelProto, feeds: Any) -> onnx.ModelProto:
            result = right(model, feeds)
            for tensor in result.graph.initializer:
                if tensor.name == f"{weight}_scale":
                    values = numpy_helper.to_array(tensor) * np.float32(30)
                    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
            return result

        monkeypatch.setattr(int8_bundle, "quantized", wrong)

    return plant


def test_a_failing_export_names_the_tensor(made: Path, tmp_path: Path, spoil: Callable[[str], None]) -> None:
    graph = onnx.load(made / "wide.clsclip" / "segmenter.onnx").graph
    chosen = products(graph)
    node = next(one for one in graph.node if one.name == chosen[len(chosen) // 2])
    weights = {tensor.name for tensor in graph.initializer}
    spoil(next(name for name in node.input if name in weights))
    with pytest.raises(ParityError) as caught:
        quantize_bundle(made / "wide.clsclip", tmp_path / "out", Calibration.read(made / "pictures"), DATA)
    message = str(caught.value)
    assert f"< {MIN_MEAN_IOU}" in message
    assert re.search(f"First tensor that diverges from FP32, for '(dog|boat)': {node.output[0]} \\(MatMul of", message)
    assert "No bundle was written" in message
    assert re.search(r"Words that differ most: (dog|boat) 0\.\d\d \(\d+ masks\)", message)
    assert "--calibration-words" in message
    assert not list(tmp_path.iterdir())
    # Who knows what they do can take it, and the manifest says so.
    found = float(re.search(r"--accept ([0-9.]+)", message).group(1))  # type: ignore[union-attr]
    assert 0 <= found < MIN_MEAN_IOU
    calibration = Calibration.read(made / "pictures")
    quantize_bundle(made / "wide.clsclip", tmp_path / "out", calibration, DATA, allowed=0.0)
    assert Bundle.open(tmp_path / "out").manifest.raw["parity"]["int8"]["min_mean_mask_iou_allowed"] == 0.0


def test_mask_ious() -> None:
    ours, theirs = np.zeros((3, 10, 10), np.bool_), np.zeros((3, 10, 10), np.bool_)
    assert len(mask_ious(ours, theirs)) == 0
    ours[0, :4], theirs[0, :5] = True, True
    theirs[2, 3] = True
    np.testing.assert_allclose(mask_ious(ours, theirs), [0.8, 0.0])


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(export, [*arguments])
    return done.exit_code, done.output


def test_command_line(made: Path, tmp_path: Path) -> None:
    source, images = str(made / "wide.clsclip"), str(made / "pictures")
    check = str(save_images(tmp_path / "check", 2, first=200))
    out = tmp_path / "new.clsclip"
    code, output = run(
        *("--from-bundle", source, "--out", str(out), "--int8", "--calibration-images", images),
        *("--check-images", check, "--check-words", "dog", "--calibration-words", "cat"),
    )
    assert code == 0, output
    assert "[i] int8: calibrated on 12 of 12 images and 1 words" in output
    assert "[ok] int8 as the runtime runs it real    2 images: mean mask IoU" in output
    assert Bundle.open(out).manifest.precision == "int8"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["check", "new.clsclip"]


def test_tensorrt_takes_none(narrow: Path) -> None:
    from clsclip_export.engines.build import build_engines
    from clsclip_export.engines.options import EngineOptions
    from clsclip_runtime.backends.tensorrt.edition import TensorRtEdition
    from clsclip_runtime.backends.tensorrt.engine_files import Machine

    edition, machine = TensorRtEdition("tensorrt-rtx", None, "1.7.1"), Machine("tensorrt-rtx", "1.7.1", None, None)
    with pytest.raises(EngineError, match=r"is in INT8 with zero points.*--fp16"):
        list(build_engines(Bundle.open(narrow), edition, machine, EngineOptions(SMALL)))


def test_wrong_use_of_the_command_line(made: Path, tmp_path: Path) -> None:
    source, images, out = str(made / "wide.clsclip"), str(made / "pictures"), str(tmp_path / "out")
    wrong = {
        "--int8 needs --calibration-images": ["--from-bundle", source, "--out", out, "--int8"],
        "says something about --int8": ["--ckpt", __file__, "--out", out, "--calibration-images", images],
        "Give --out": ["--from-bundle", source, "--int8", "--calibration-images", images],
        "--fp16 is for --ckpt": ["--from-bundle", source, "--fp16", "--engine", "tensorrt"],
        "TensorRT takes none": [
            *("--from-bundle", source, "--out", out, "--int8", "--calibration-images", images),
            *("--engine", "tensorrt-rtx"),
        ],
    }
    for message, arguments in wrong.items():
        code, output = run(*arguments)
        assert code == 2, (message, output)
        assert message in output
    assert not list(tmp_path.iterdir())
