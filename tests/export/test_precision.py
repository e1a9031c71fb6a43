"""Half precision in the graph: what is half, what is not, what it computes, and which faults an export finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

from clsclip.checkpoint import load_checkpoint
from clsclip.model import ClsClip
from clsclip.preprocessing import image_spec
from clsclip_export import bundle as bundle_module
from clsclip_export.bundle import write_bundle
from clsclip_export.check_data import CheckData
from clsclip_export.errors import CheckDataError, ParityError, PrecisionError, ProfileError
from clsclip_export.graphs import Exported, ExportedGraph, export_graph, export_graphs, graphs
from clsclip_export.options import BundleOptions
from clsclip_export.parity import Case, drawn, parity_of, pooled_iou, row_cosines
from clsclip_export.precision import HALF_DTYPES, half_values, rounded, to_half
from clsclip_export.profiles import Profile, parse_bounds
from clsclip_runtime.text.encoded import EncodedWords
from tests.tiny import tiny_model

SMALL = Profile(crops=(1, 1, 2), classes=(1, 2, 3), pairs=(1, 2, 4))
HALVES = ("fp16", "bf16")
STICKERS = Path(__file__).parents[2] / "models" / "stickers"


@pytest.fixture(scope="module")
def tiny() -> Exported:
    """A model with every extra decoder input, and its graphs; not to be changed."""
    model = tiny_model(decoder_inputs=("text_token", "similarity"))
    return export_graphs(model)


@pytest.fixture
def exports_once(tiny: Exported, monkeypatch: pytest.MonkeyPatch) -> ClsClip:
    """The tiny model; write_bundle takes its graphs from the fixture instead of exporting them again."""
    monkeypatch.setattr(bundle_module, "export_graphs", lambda model: tiny)
    return tiny.model


def product(x: npt.NDArray[np.float32], w: npt.NDArray[np.float32], scale: float = 1.0) -> onnx.ModelProto:
    """Two products in a row, x @ w @ (scale * 1), so that the first result is a tensor of its own."""
    rows, columns = x.shape[0], w.shape[1]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["first"]),
        helper.make_node("MatMul", ["first", "one"], ["second"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))]
    outputs = [helper.make_tensor_value_info("second", TensorProto.FLOAT, [rows, columns])]
    weights = [
        numpy_helper.from_array(w, "w"),
        numpy_helper.from_array(np.eye(columns, dtype=np.float32) * np.float32(scale), "one"),
    ]
    types = [helper.make_tensor_value_info("first", TensorProto.FLOAT, [rows, columns])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights, value_info=types)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model: onnx.ModelProto, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize("precision", HALVES)
def test_rounded_double_is_half_arithmetic(precision: str) -> None:
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=shape).astype(np.float32) for shape in ((5, 16), (16, 7)))
    half = HALF_DTYPES[precision]
    by_hand = (x.astype(half).astype(np.float32) @ w.astype(half).astype(np.float32)).astype(half).astype(np.float32)
    found = run(rounded(product(x, w), precision), x)
    step = float(ml_dtypes.finfo(half).eps)
    np.testing.assert_allclose(found, by_hand, rtol=step, atol=step * 1e-2)  # one rounding apart at a tie
    assert (found == by_hand).mean() > 0.9
    assert np.array_equal(found.astype(half).astype(np.float32), found), "every output is a half number"
    assert not np.array_equal(found, x @ w)


def test_overflow_shows_in_the_rounded_double_and_not_in_onnxruntime() -> None:
    """Why the double exists: should ONNX Runtime begin to round, this test says so and the double may go."""
    x, w = np.full((1, 2), 300.0, np.float32), np.full((2, 2), 200.0, np.float32)
    model = product(x, w, scale=0.01)
    assert not np.isfinite(run(rounded(model, "fp16"), x)).any()
    assert run(to_half(model, "fp16"), x) == pytest.approx(1200, rel=1e-3)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=8), st.sampled_from(HALVES))
def test_weights_round_or_are_refused(values: list[float], precision: str) -> None:
    array = np.array(values, np.float32)
    largest = float(ml_dtypes.finfo(HALF_DTYPES[precision]).max)
    try:
        half = half_values(array, precision).astype(np.float32)
    except PrecisionError:
        assert (np.abs(array[np.isfinite(array)]) > largest).any()
        return
    assert np.array_equal(np.isfinite(half), np.isfinite(array))
    finite = np.isfinite(array)
    spacing = np.maximum(np.abs(array[finite]) * ml_dtypes.finfo(HALF_DTYPES[precision]).eps, 6e-8)
    assert (np.abs(half[finite] - array[finite]) <= spacing).all()


@pytest.mark.parametrize("precision", HALVES)
def test_islands_stay_wide(tiny: Exported, precision: str) -> None:
    half_type = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}[precision]
    for file, one in tiny.graphs.items():
        if file == "presence.onnx":
            continue
        model = onnx.shape_inference.infer_shapes(to_half(one.proto, precision), strict_mode=True, check_type=True)
        onnx.checker.check_model(model)
        graph = model.graph
        types = {value.name: value.type.tensor_type.elem_type for value in [*graph.value_info, *graph.input]}
        types |= {value.name: value.type.tensor_type.elem_type for value in graph.output}
        types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
        for value in [*graph.input, *graph.output]:
            assert value.type.tensor_type.elem_type in (TensorProto.FLOAT, TensorProto.INT64), value.name
        products = []
        for node in graph.node:
            kinds = {types[name] for name in [*node.input, *node.output] if name}
            if node.op_type in ("LayerNormalization", "Softmax", "ReduceL2"):
                assert half_type not in kinds, (file, node.name)
            if node.op_type == "MatMul":
                products.append(types[node.input[0]] == types[node.output[0]] == half_type)
        wide = products.count(False)
        assert wide == (1 if file in ("trunk.onnx", "segmenter.onnx") else 0), "only the last product is FP32"
        assert products.count(True) > 10


@pytest.mark.slow
def test_bundles_in_every_precision(exports_once: ClsClip, tmp_path: Path) -> None:
    sizes, manifests = {}, {}
    for precision in ("fp32", *HALVES):
        out = tmp_path / f"{precision}.clsclip"
        parity = write_bundle(exports_once, {}, out, BundleOptions("t", precision, SMALL))
        assert {(row.crops, row.classes, row.pairs) for row in parity} == set(SMALL.batches())
        assert {row.kind for row in parity} == {"real", "stress"}
        sizes[precision] = sum(path.stat().st_size for path in out.iterdir() if path.suffix in (".onnx", ".weights"))
        manifests[precision] = json.loads((out / "manifest.json").read_text("utf-8"))
        assert manifests[precision]["precision"] == precision
    for precision in HALVES:
        graph_text = 350_000  # nodes and names of the five graphs, which do not shrink
        assert sizes[precision] - graph_text < 0.55 * (sizes["fp32"] - graph_text)
        figures = manifests[precision]["parity"]["half"]
        assert figures["min_cosine"]["segmenter.onnx:mask_logits"] >= 0.999
        assert figures["min_mask_iou"]["segmenter.onnx:mask_logits"] >= 0.99
        assert "presence.onnx:presence" not in figures["min_cosine"]
    assert manifests["fp16"]["parity"]["half"]["graphs_run"] == ["as shipped", "rounded double"]
    assert manifests["bf16"]["parity"]["half"]["graphs_run"] == ["rounded double"]
    assert "half" not in manifests["fp32"]["parity"]
    runtime_takes_them(tmp_path)


def runtime_takes_them(folder: Path) -> None:
    from clsclip_runtime import BackendError, Segmenter

    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    found = {}
    for precision in ("fp32", "fp16"):
        with Segmenter.load(folder / f"{precision}.clsclip", "onnxruntime-cpu") as segmenter:
            found[precision] = segmenter(pixels, classes=["dog", "boat"], presence_threshold=0).logits
    assert row_cosines(found["fp16"], found["fp32"]).min() >= 0.999
    assert not np.array_equal(found["fp16"], found["fp32"])
    with pytest.raises(BackendError, match=r"bf16.*--fp16 or --fp32"):
        Segmenter.load(folder / "bf16.clsclip", "onnxruntime-cpu")


Fault = Callable[[ExportedGraph], ExportedGraph]


def partial_manifest(model: ClsClip, folder: Path, header: object, options: BundleOptions) -> dict[str, Any]:
    image = asdict(image_spec(model))
    return {"precision": options.precision, "mask": {"threshold": 0.5}, "image": image}


@pytest.fixture
def trunk_alone(monkeypatch: pytest.MonkeyPatch) -> Callable[[ClsClip, Fault], None]:
    """Bundles of the trunk alone, exported once; the call plants a fault between export and check."""

    # The rest of a bundle is not there, so it is no bundle that can be described.
    monkeypatch.setattr(bundle_module, "build_manifest", partial_manifest)
    for name in ("open_new", "try_bundle"):
        monkeypatch.setattr(bundle_module, name, lambda folder: None)

    def plant(model: ClsClip, fault: Fault) -> None:
        trunk = next(one for one in graphs(model) if one.file == "trunk.onnx")
        exported = Exported(model, {"trunk.onnx": fault(export_graph(trunk))})
        monkeypatch.setattr(bundle_module, "export_graphs", lambda model: exported)

    return plant


def scaled_values(model: ClsClip, factor: float) -> ClsClip:
    """The same function in FP32: values of attention times ``factor``, its output projection by ``factor`` less."""
    attention = model.towers.visual.transformer.resblocks[3].attn
    width = model.towers.width
    with torch.no_grad():
        attention.in_proj_weight[2 * width :] *= factor
        attention.in_proj_bias[2 * width :] *= factor
        attention.out_proj.weight /= factor
    return model


def test_a_scale_that_overflows_half(trunk_alone: Callable[[ClsClip, Fault], None], tmp_path: Path) -> None:
    model = scaled_values(tiny_model(), 2.0**18)
    trunk_alone(model, lambda exported: exported)
    out = tmp_path / "t.clsclip"
    write_bundle(model, {}, out, BundleOptions("t", "fp32", SMALL))
    with pytest.raises(ParityError) as caught:
        write_bundle(model, {}, out, BundleOptions("t", "fp16", SMALL), force=True)
    message = str(caught.value)
    assert "trunk.onnx" in message
    assert "First tensor that diverges from FP32" in message
    assert "MatMul with towers.visual.transformer.resblocks.3.attn.in_proj_weight" in message
    assert "not finite in fp16" in message
    assert json.loads((out / "manifest.json").read_text("utf-8"))["precision"] == "fp32", "what stood there stays"
    assert [path.name for path in tmp_path.iterdir()] == ["t.clsclip"]


def test_a_weight_that_overflows_half(tiny: Exported) -> None:
    exported = tiny.graphs["trunk.onnx"]
    proto = onnx.ModelProto()
    proto.CopyFrom(exported.proto)
    head = next(one for one in proto.graph.initializer if one.name.endswith("maps.3.weight"))
    head.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(head) * np.float32(1e6), head.name))
    with pytest.raises(PrecisionError, match=r"maps\.3\.weight reaches .* fp16 holds at most 6\.55e\+04"):
        bundle_module.shipped(ExportedGraph(exported.graph, proto, exported.program), "fp16")
    bundle_module.shipped(ExportedGraph(exported.graph, proto, exported.program), "bf16")


def test_a_swapped_pair_of_weights(trunk_alone: Callable[[ClsClip, Fault], None], tmp_path: Path) -> None:
    model = tiny_model()
    layers = model.towers.visual.transformer.resblocks

    def swap(exported: ExportedGraph) -> ExportedGraph:
        proto = onnx.ModelProto()
        proto.CopyFrom(exported.proto)
        pair = [
            tensor
            for tensor in proto.graph.initializer
            for layer in (3, 5)
            if np.array_equal(numpy_helper.to_array(tensor), layers[layer].mlp.c_fc.weight.numpy().T)
        ]
        assert len(pair) == 2
        pair[0].raw_data, pair[1].raw_data = pair[1].raw_data, pair[0].raw_data
        return ExportedGraph(exported.graph, proto, exported.program)

    trunk_alone(model, swap)
    for precision in ("fp32", "fp16"):
        with pytest.raises(ParityError, match="First tensor that diverges from PyTorch") as caught:
            write_bundle(model, {}, tmp_path / "t.clsclip", BundleOptions("t", precision, SMALL))
        wrong = "layer 3 multiplies by what belongs to layer 5"
        assert "MatMul and Add with towers.visual.transformer.resblocks.5.mlp.c_fc.weight" in str(caught.value), wrong
        assert not list(tmp_path.iterdir())


def test_a_wrong_mean(exports_once: ClsClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = bundle_module.build_manifest

    def wrong_manifest(*arguments: Any) -> dict[str, Any]:
        document = right(*arguments)
        return document | {"image": document["image"] | {"mean": (0.5, 0.5, 0.4)}}

    monkeypatch.setattr(bundle_module, "build_manifest", wrong_manifest)
    with pytest.raises(ParityError, match=r"diverges from PyTorch: pixel_values.*mean \(0\.5, 0\.5, 0\.4\)"):
        write_bundle(exports_once, {}, tmp_path / "t.clsclip", BundleOptions("t", profile=SMALL))
    assert not list(tmp_path.iterdir())


def test_figures() -> None:
    ours = np.array([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]])
    theirs = np.array([[4.0, 3.0], [0.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_allclose(row_cosines(ours, theirs), [0.96, 1, -1])
    assert np.isnan(row_cosines(np.array([[np.nan]]), np.array([[1.0]]))).all()
    first, second = np.zeros((2, 10, 10), np.bool_), np.zeros((2, 10, 10), np.bool_)
    assert pooled_iou(first, second) is None
    first[0, :5], second[0, :4], second[1, 0, :5] = True, True, True
    assert pooled_iou(first, second) == pytest.approx(40 / 55)


def test_masks_are_compared_as_they_are_drawn() -> None:
    """One patch of 14 x 14 that passes the threshold by a rounding error moves an edge by a hair."""
    theirs = np.full((2, 14, 14), -1.0, np.float32)
    theirs[0, 3:9, 3:9], theirs[0, 9, 3] = 1.0, 1e-3
    ours = theirs.copy()
    ours[0, 9, 3] = -1e-3
    upsampled = torch.nn.functional.interpolate(torch.from_numpy(theirs)[None], 112, mode="bilinear")[0]
    first, second = drawn(ours, 112, 0.0), drawn(theirs, 112, 0.0)
    assert np.array_equal(second, upsampled.numpy() > 0)
    assert pooled_iou(ours > 0, theirs > 0) == pytest.approx(36 / 37)
    close, far = pooled_iou(first, second), pooled_iou(drawn(np.roll(ours, 1, axis=2), 112, 0.0), second)
    assert close is not None and far is not None and close > 0.998 and far < 0.8
    theirs[1] = -np.inf
    with np.errstate(all="raise"):
        assert np.array_equal(drawn(theirs, 112, -2.0)[1], np.zeros((112, 112), np.bool_))
    assert np.array_equal(drawn(theirs, 14, 0.0), theirs > 0)


@pytest.mark.parametrize(
    ("kind", "difference", "passes"), [("stress", 0.1, True), ("stress", 0.3, False), ("real", 0.1, False)]
)
def test_words_on_the_fence(tiny: Exported, kind: str, difference: float, passes: bool) -> None:
    """Half of the pixels lie a hair above the threshold, half below, and rounding turns them around."""
    theirs = np.where(np.arange(64).reshape(1, 8, 8) % 2, 0.04, -0.04).astype(np.float32)
    case = Case(tiny.graphs["segmenter.onnx"].graph, Path("segmenter.onnx"), "fp16")
    for ours in (theirs - np.sign(theirs) * np.float32(difference), np.where(theirs > 0, np.nan, theirs)):
        figures = parity_of(case, "mask_logits", (1, 1, 1), kind, ours, theirs, 0.0, 32)
        assert (figures.fault is None) == (passes and not np.isnan(ours).any()), figures.line()


@pytest.mark.slow
def test_the_shipped_checkpoints_in_half(tmp_path: Path) -> None:
    for name in ("last", "exact"):
        model, header = load_checkpoint(STICKERS / f"{name}.safetensors")
        write_bundle(model.eval(), header, tmp_path / name, BundleOptions(name, precision="fp16"))


def test_bad_profiles_and_check_data(tmp_path: Path) -> None:
    assert parse_bounds("pairs", "1,8,32") == (1, 8, 32)
    assert parse_bounds("pairs", "4") == (4, 4, 4)
    for text in ("", "1,2", "a,b,c", "1,2,3,4"):
        with pytest.raises(ProfileError, match="--pairs takes"):
            parse_bounds("pairs", text)
    for bounds in ((0, 1, 2), (2, 1, 3), (1, 5, 4)):
        with pytest.raises(ProfileError, match="1 <= smallest"):
            Profile(pairs=bounds)
    with pytest.raises(CheckDataError, match="--check-images"):
        CheckData.read(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(CheckDataError, match=r"broken\.png"):
        CheckData.read(tmp_path)


def test_words_of_a_checkpoint(exports_once: ClsClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words, templates = ("dog", "potted plant"), ["a picture of a {}", "the {}"]
    options = BundleOptions("t", profile=SMALL, words=words, text_encoder=False)
    header = {"provenance": {"templates": templates}}
    parity = write_bundle(exports_once, header, tmp_path / "t.clsclip", options)
    assert {row.output for row in parity if row.graph == "text_tokens.safetensors"} == {"text_tokens", "text_features"}
    assert not (tmp_path / "t.clsclip" / "text_encoder.onnx").exists()
    stored = load_file(tmp_path / "t.clsclip" / "text_tokens.safetensors")
    with torch.no_grad():
        tokens, features = zip(
            *(exports_once.encode_words([one.format(word) for word in words]) for one in templates), strict=True
        )
    mean = torch.stack(features).mean(dim=0).numpy()
    np.testing.assert_allclose(stored["text_tokens"], torch.stack(tokens).mean(dim=0).numpy(), atol=1e-5)
    np.testing.assert_allclose(stored["text_features"], mean / np.linalg.norm(mean, axis=1)[:, None], atol=1e-5)

    right = bundle_module.encode_words

    def swapped(*args: Any) -> EncodedWords:
        encoded = right(*args)
        return replace(encoded, arrays={name: array[::-1].copy() for name, array in encoded.arrays.items()})

    monkeypatch.setattr(bundle_module, "encode_words", swapped)
    with pytest.raises(ParityError, match=r"text_tokens\.safetensors.*not what PyTorch computes"):
        write_bundle(exports_once, header, tmp_path / "wrong.clsclip", options)
    assert [one.name for one in tmp_path.iterdir()] == ["t.clsclip"]
