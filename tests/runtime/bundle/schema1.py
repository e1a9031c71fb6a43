"""A bundle as clsclip 0.1 wrote it: schema 1, small, with every key that has another name now.

Frozen: it stands for bundles that people have, so it changes with nothing else, and shares no code with
``tests/runtime/tiny_bundle.py``. Patches carry their mean color and words the color that they name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from clsclip_runtime.text.tokenizer_file import CLIP_PATTERN

SIZE, PATCH, GRID, CONTEXT = 32, 4, 8, 8
PATCHES = GRID * GRID
SIDE = 64
"""Of the detector's input, pixels."""

WORDS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}
VOCABULARY = {word: at for at, word in enumerate(["[PAD]", "[START]", "[END]", "[UNK]", *WORDS, "a", "picture", "of"])}

MANIFEST = Path(__file__).with_name("schema1.json")
"""What 0.1 wrote, by the names that it had."""

BOX = (8.0, 24.0, 24.0, 44.0)
"""(left, top, right, bottom) in the detector's input of the one thing that it always sees, of class "red"."""


def make_schema1(
    folder: Path,
    *,
    presence: bool = True,
    detector: bool = False,
    model: dict[str, Any] | None = None,
    edit: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Write a bundle of schema 1 into ``folder``; ``edit`` changes its manifest last."""
    folder.mkdir(parents=True)
    (folder / "vision.weights").write_bytes(np.eye(3, dtype="<f4").tobytes())
    _tokenizer().save(str(folder / "tokenizer.json"))
    _save(folder, "text_encoder", _text_encoder())
    _save(folder, "image_encoder", _image_encoder())
    _save(folder, "trunk", _trunk())
    if presence:
        _save(folder, "gate", _gate())
    if detector:
        _save(folder, "detector", _detector())
    document: dict[str, Any] = json.loads(MANIFEST.read_text("utf-8"))
    if model is not None:
        document["model"] = model
    if not presence:
        document["presence"] = None
    if not detector:
        del document["detector"]
    document["files"] = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
    }
    if edit is not None:
        edit(document)
    (folder / "manifest.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    return folder


def _tokenizer() -> Tokenizer:
    made = Tokenizer(models.BPE(VOCABULARY, [], unk_token="[UNK]", fuse_unk=True, ignore_merges=True))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Split(Regex(CLIP_PATTERN), behavior="removed", invert=True)
    made.post_processor = processors.TemplateProcessing(
        single="[START] $A [END]", special_tokens=[("[START]", 1), ("[END]", 2)]
    )
    return made


def _text_encoder() -> onnx.ModelProto:
    table = np.zeros((len(VOCABULARY), 3))
    for word, color in WORDS.items():
        table[VOCABULARY[word]] = color
    nodes = [
        helper.make_node("Gather", ["table", "token_ids"], ["embedded"]),
        helper.make_node("ReduceSum", ["embedded", "one"], ["text_tokens"], keepdims=0),
        helper.make_node("ReduceL2", ["text_tokens", "one"], ["norm"], keepdims=1),
        helper.make_node("Clip", ["norm", "tiny"], ["safe"]),
        helper.make_node("Div", ["text_tokens", "safe"], ["text_features"]),
    ]
    outputs = [_floats("text_tokens", ["K", 3]), _floats("text_features", ["K", 3])]
    return _model(nodes, [_whole("token_ids", ["K", CONTEXT])], outputs, {"table": table, "tiny": np.array(1e-6)})


def _image_encoder() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Mul", ["pixel_values", "std"], ["scaled"]),
        helper.make_node("Add", ["scaled", "mean"], ["colors"]),
        helper.make_node("Conv", ["colors", "pool"], ["pooled"], strides=[PATCH] * 2),
        helper.make_node("Reshape", ["pooled", "flat"], ["flattened"]),
        helper.make_node("Transpose", ["flattened"], ["patches"], perm=[0, 2, 1]),
        helper.make_node("ReduceSum", ["patches", "one"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "share"], ["average"]),
        helper.make_node("Concat", ["average", "patches"], ["tokens"], axis=1),
        helper.make_node("MatMul", ["tokens", "identity"], ["stem_tokens"]),
        helper.make_node("ReduceSum", ["average", "one"], ["image_features"], keepdims=0),
        helper.make_node("ReduceL2", ["patches", "two"], ["norm"], keepdims=1),
        helper.make_node("Clip", ["norm", "tiny"], ["safe"]),
        helper.make_node("Div", ["patches", "safe"], ["patch_features"]),
    ]
    constants = {
        "mean": np.reshape([0.5, 0.4, 0.3], (1, 3, 1, 1)),
        "std": np.reshape([0.25, 0.2, 0.3], (1, 3, 1, 1)),
        "tiny": np.array(1e-6),
        "share": np.array(1 / PATCHES),
        "pool": np.eye(3)[:, :, None, None] * np.full((1, 1, PATCH, PATCH), PATCH**-2),
    }
    outputs = [
        _floats("stem_tokens", ["C", 1 + PATCHES, 3]),
        _floats("image_features", ["C", 3]),
        _floats("patch_features", ["C", PATCHES, 3]),
    ]
    return _model(nodes, [_floats("pixel_values", ["C", 3, SIZE, SIZE])], outputs, constants)


def _trunk() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gather", ["stem_tokens", "crop_index"], ["pair_tokens"]),
        helper.make_node("Gather", ["text_tokens", "class_index"], ["pair_words"]),
        helper.make_node("Slice", ["pair_tokens", "one", "end", "one", "one"], ["pair_patches"]),
        helper.make_node("Unsqueeze", ["pair_words", "one"], ["rows"]),
        helper.make_node("MatMul", ["rows", "identity"], ["mapped"]),
        helper.make_node("Mul", ["mapped", "minus"], ["taken"]),
        helper.make_node("Add", ["pair_patches", "taken"], ["difference"]),
        helper.make_node("Mul", ["difference", "difference"], ["squares"]),
        helper.make_node("ReduceSum", ["squares", "two"], ["distance"], keepdims=0),
        helper.make_node("Mul", ["distance", "minus"], ["far"]),
        helper.make_node("Add", ["close", "far"], ["agreement"]),
        helper.make_node("Mul", ["agreement", "sharpness"], ["flat_logits"]),
        helper.make_node("Reshape", ["flat_logits", "grid"], ["mask_logits"]),
    ]
    inputs = [
        _floats("stem_tokens", ["C", 1 + PATCHES, 3]),
        _floats("text_tokens", ["K", 3]),
        _whole("crop_index", ["P"]),
        _whole("class_index", ["P"]),
    ]
    constants = {"close": np.array(0.25), "sharpness": np.array(10.0), "minus": np.array(-1.0)}
    return _model(nodes, inputs, [_floats("mask_logits", ["P", GRID, GRID])], constants)


def _gate() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Transpose", ["text_features"], ["words"], perm=[1, 0]),
        helper.make_node("MatMul", ["patch_features", "words"], ["cosines"]),
        helper.make_node("Mul", ["cosines", "steep"], ["steeper"]),
        helper.make_node("Softmax", ["steeper"], ["chosen"], axis=1),
        helper.make_node("Mul", ["cosines", "chosen"], ["shares"]),
        helper.make_node("ReduceSum", ["shares", "one"], ["best"], keepdims=0),
        helper.make_node("Clip", ["best", "low"], ["positive"]),
        helper.make_node("Mul", ["positive", "minus"], ["turned"]),
        helper.make_node("Clip", ["turned", "minus"], ["bounded"]),
        helper.make_node("Mul", ["bounded", "minus"], ["presence"]),
    ]
    inputs = [_floats("patch_features", ["C", PATCHES, 3]), _floats("text_features", ["K", 3])]
    constants = {"low": np.array(0.0), "minus": np.array(-1.0), "steep": np.array(1e5)}
    return _model(nodes, inputs, [_floats("presence", ["C", "K"])], constants)


def _detector() -> onnx.ModelProto:
    """The layout of yolov8: (1, 4 + classes, boxes), a box as center and size; the other boxes have no score."""
    left, top, right, bottom = BOX
    output = np.zeros((1, 6, 84))
    output[0, :, 0] = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, 0.9, 0.0)
    nodes = [helper.make_node("Identity", ["boxes"], ["output0"])]
    images, found = _floats("images", [1, 3, SIDE, SIDE]), _floats("output0", [1, 6, 84])
    return _model(nodes, [images], [found], {"boxes": output})


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    floats: dict[str, Any],
) -> onnx.ModelProto:
    integers = {"one": [1], "two": [2], "end": [1 + PATCHES], "flat": [0, 3, PATCHES], "grid": [-1, GRID, GRID]}
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in floats.items()]
    constants += [numpy_helper.from_array(np.asarray(value, np.int64), name) for name, value in integers.items()]
    weights = TensorProto(name="identity", data_type=TensorProto.FLOAT, dims=[3, 3])
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "vision.weights"), ("offset", "0"), ("length", "36")):
        weights.external_data.add(key=key, value=value)
    used = {name for node in nodes for name in node.input}
    chosen = [one for one in [*constants, weights] if one.name in used]
    graph = helper.make_graph(nodes, "old", inputs, outputs, chosen)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _floats(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _whole(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT64, shape)


def _save(folder: Path, name: str, model: onnx.ModelProto) -> None:
    (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
