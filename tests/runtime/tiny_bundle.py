"""A bundle small enough to know its masks by hand.

Patches carry their mean colour, words carry the colour they name, and a pixel belongs to a word where both
colours agree. Presence is the best agreement of any patch with the word. Pictures are 32 px with patches of
4 px, so a picture painted in blocks of 4 px has exactly known logits.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from clsclip_runtime.bundle import memory
from clsclip_runtime.text.tokenizer_file import CLIP_PATTERN

SIZE, PATCH, GRID = 32, 4, 8
PATCHES = GRID * GRID
CONTEXT = 8
MEAN, STD = [0.5, 0.4, 0.3], [0.25, 0.2, 0.3]
SHARPNESS, CLOSE = 10.0, 0.25
"""logit = SHARPNESS * (CLOSE - squared distance of the colours)."""

COLOURS = {
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "yellow": (1.0, 1.0, 0.0),
    "white": (1.0, 1.0, 1.0),
}
OTHERS = ["a", "picture", "of", "dining", "table", "犬"]
SPECIAL = ["[PAD]", "[START]", "[END]", "[UNK]"]
VOCABULARY = {token: at for at, token in enumerate([*SPECIAL, *COLOURS, *OTHERS])}
OPSET = 18

MEMORY = {
    "crop_bytes": memory.crop_bytes(SIZE, 1 + PATCHES, 3),
    "pair_bytes": memory.pair_bytes(1 + PATCHES, 3, GRID, GRID),
    "presence_pair_bytes": memory.presence_pair_bytes(1 + PATCHES),
    "word_bytes": memory.word_bytes(CONTEXT, 3),
}

AUTO_HERE = (
    "openvino" if find_spec("openvino") and platform.machine().lower() in ("x86_64", "amd64") else "onnxruntime-cpu"
)
"""What auto takes on this machine, where it has no GPU."""

BACKGROUND = (160, 160, 160)
"""A grey that no word agrees with."""


DETECTOR: dict[str, Any] = {
    "output_format": "yolov8",
    "names": ["cat", "hot dog"],
    "height": 640,
    "width": 480,
    "channel_order": "rgb",
    "input_scale": 1,
    "letterbox": "center",
    "batch": None,
    "input_type": "float32",
    "class_agnostic": False,
    "license": "AGPL-3.0",
}
"""The section of a manifest."""


def paint(squares: dict[str, tuple[slice, slice]], size: int = SIZE) -> npt.NDArray[np.uint8]:
    """A picture (size, size, 3) uint8 with coloured squares, given in patches, on grey."""
    image = np.full((GRID, GRID, 3), BACKGROUND, dtype=np.uint8)
    for word, (rows, columns) in squares.items():
        image[rows, columns] = np.asarray(COLOURS[word]) * 255
    return image.repeat(size // GRID, axis=0).repeat(size // GRID, axis=1)


def make_bundle(
    folder: Path,
    *,
    presence: bool = True,
    stem_graph: bool = False,
    trunk_takes_patch_features: bool = False,
    templates: tuple[str, ...] = ("a picture of {}",),
    weight: float = 1.0,
    word_colours: dict[str, tuple[float, float, float]] | None = None,
    presence_bias: float = 0.0,
    weights_file: str = "vision.weights",
    edit: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Write a bundle into ``folder``; ``weight`` NaN damages the vision, ``edit`` changes the manifest last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vision.weights").write_bytes((np.eye(3, dtype="<f4") * np.float32(weight)).tobytes())
    tokenizer().save(str(folder / "tokenizer.json"))
    _save(folder, "text_encoder", text_encoder({**COLOURS, **(word_colours or {})}))
    encoder, trunk = _encoder_nodes(), _trunk_nodes(trunk_takes_patch_features)
    weights = _external_identity(weights_file)
    constants = [*_constants(), weights]
    patch_features = [_value("patch_features", ["C", PATCHES, 3])] if trunk_takes_patch_features else []
    text = [_value("text_tokens", ["K", 3]), _index("crop_index"), _index("class_index")]
    pixels, logits = _value("pixel_values", ["C", 3, SIZE, SIZE]), _value("mask_logits", ["P", GRID, GRID])
    stem = _value("stem_tokens", ["C", 1 + PATCHES, 3])
    features = [_value("image_features", ["C", 3]), _value("patch_features", ["C", PATCHES, 3])]
    _save(folder, "image_encoder", _model(encoder, [pixels], [stem, *features], constants))
    if stem_graph:
        _save(folder, "stem", _model(encoder, [pixels], [stem], constants))
    _save(folder, "trunk", _model(trunk, [stem, *patch_features, *text], [logits], constants))
    _save(folder, "segmenter", _model([*encoder, *trunk], [pixels, *text], [logits], constants))
    if presence:
        _save(folder, "presence", presence_graph(presence_bias))
    document = manifest(presence=presence, templates=templates)
    sign(folder, document, edit)
    return folder


def sign(folder: Path, document: dict[str, Any], edit: Callable[[dict[str, Any]], None] | None = None) -> None:
    """Write ``manifest.json`` with the digests of all files that are there."""
    document["files"] = {
        path.relative_to(folder).as_posix(): {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    if edit is not None:
        edit(document)
    (folder / "manifest.json").write_text(json.dumps(document), encoding="utf-8")


def manifest(*, presence: bool = True, templates: tuple[str, ...] = ("a picture of {}",)) -> dict[str, Any]:
    """The manifest without its files."""
    return {
        "schema_version": 2,
        "name": "tiny",
        "clsclip_version": "0.2.0",
        "requires": [],
        "model": {"towers": "analytic", "variant": "exact", "layers": 1, "d_text": 3, "d_feature": 3},
        "license": {"weights": "Apache-2.0", "notes": []},
        "image": {"size": SIZE, "mean": MEAN, "std": STD, "resize": "squash", "interpolation": "bicubic"},
        "features": [
            feature("stem_tokens", [1 + PATCHES, 3], "trunk"),
            feature("image_features", [3], "presence"),
            feature("patch_features", [PATCHES, 3], "presence", "trunk"),
        ],
        "text": {
            "context_length": CONTEXT,
            "templates": list(templates),
            "pad_token_id": 0,
            "features": [
                feature("text_tokens", [3], "trunk") | {"unit_norm": False},
                feature("text_features", [3], "presence") | {"unit_norm": True},
            ],
            "matching": "text_features",
        },
        "mask": {"threshold": 0.5, "height": GRID, "width": GRID},
        "presence": {"from": "filter", "form": "probability", "threshold": 0.9} if presence else None,
        "memory": dict(MEMORY),
        "profile": {"crops": [1, 1, 4], "classes": [1, 4, 64], "pairs": [1, 8, 32]},
        "precision": "fp32",
        "opset": OPSET,
        "description": "Knows plain colours and nothing else.",
        "provenance": {"validation": {"miou": 100.0, "leakage": 0.0, "pictures": 4}},
    }


def feature(name: str, shape: list[int], *needed_by: str) -> dict[str, Any]:
    """One entry of the manifest's features."""
    return {"name": name, "shape": shape, "dtype": "float32", "needed_by": list(needed_by)}


def tokenizer() -> Tokenizer:
    """Whole words, lower case, [START] and [END] added by its own post-processor."""
    # Whole words of the vocabulary are tokens; the characters of any other word are one unknown token.
    model = models.BPE(VOCABULARY, [], unk_token="[UNK]", fuse_unk=True, ignore_merges=True)
    result = Tokenizer(model)
    result.normalizer = normalizers.Lowercase()
    result.pre_tokenizer = pre_tokenizers.Split(Regex(CLIP_PATTERN), behavior="removed", invert=True)
    result.post_processor = processors.TemplateProcessing(
        single="[START] $A [END]", special_tokens=[("[START]", 1), ("[END]", 2)]
    )
    return result


def text_encoder(colours: dict[str, tuple[float, float, float]]) -> onnx.ModelProto:
    """A word's token is the colour it names; an unknown word's is dark teal, far from every colour."""
    table = np.zeros((len(VOCABULARY), 3), dtype=np.float32)
    table[VOCABULARY["[UNK]"]] = table[VOCABULARY["犬"]] = (0.0, 0.5, 0.5)
    for word, colour in colours.items():
        table[VOCABULARY[word]] = colour
    return text_graph(table)


def text_graph(table: npt.NDArray[np.float32]) -> onnx.ModelProto:
    """The sum of a text's rows of ``table`` (tokens, 3), and the same of unit norm."""
    axis = numpy_helper.from_array(np.asarray([1], dtype=np.int64), "axis")
    tiny = numpy_helper.from_array(np.asarray(1e-6, dtype=np.float32), "tiny")
    nodes = [
        helper.make_node("Gather", ["table", "token_ids"], ["embedded"]),
        helper.make_node("ReduceSum", ["embedded", "axis"], ["text_tokens"], keepdims=0),
        helper.make_node("ReduceL2", ["text_tokens", "axis"], ["norm"], keepdims=1),
        helper.make_node("Clip", ["norm", "tiny"], ["safe_norm"]),
        helper.make_node("Div", ["text_tokens", "safe_norm"], ["text_features"]),
    ]
    ids = helper.make_tensor_value_info("token_ids", TensorProto.INT64, ["K", CONTEXT])
    outputs = [_value("text_tokens", ["K", 3]), _value("text_features", ["K", 3])]
    return _model(nodes, [ids], outputs, [numpy_helper.from_array(table, "table"), axis, tiny])


def presence_graph(bias: float) -> onnx.ModelProto:
    """Presence = best cosine of any patch with the word, in 0..1."""
    nodes = [
        helper.make_node("Transpose", ["text_features"], ["words"], perm=[1, 0]),
        helper.make_node("MatMul", ["patch_features", "words"], ["cosines"]),
        # The largest, in operators that exports have: a softmax so steep that it chooses.
        helper.make_node("Mul", ["cosines", "steep"], ["steeper"]),
        helper.make_node("Softmax", ["steeper"], ["chosen"], axis=1),
        helper.make_node("Mul", ["cosines", "chosen"], ["shares"]),
        helper.make_node("ReduceSum", ["shares", "axis"], ["best"], keepdims=0),
        helper.make_node("Add", ["best", "bias"], ["shifted"]),
        helper.make_node("Clip", ["shifted", "zero"], ["positive"]),
        helper.make_node("Mul", ["positive", "minus"], ["turned"]),
        helper.make_node("Clip", ["turned", "minus"], ["bounded"]),
        helper.make_node("Mul", ["bounded", "minus"], ["presence"]),
    ]
    constants = [numpy_helper.from_array(np.asarray([1], dtype=np.int64), "axis")]
    for name, value in (("zero", 0.0), ("minus", -1.0), ("steep", 1e5), ("bias", bias)):
        constants.append(numpy_helper.from_array(np.asarray(value, dtype=np.float32), name))
    inputs = [_value("patch_features", ["C", PATCHES, 3]), _value("text_features", ["K", 3])]
    return _model(nodes, inputs, [_value("presence", ["C", "K"])], constants)


def _encoder_nodes() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Mul", ["pixel_values", "std"], ["scaled"]),
        helper.make_node("Add", ["scaled", "mean"], ["colours"]),
        helper.make_node("Conv", ["colours", "pool"], ["pooled"], strides=[PATCH] * 2),
        helper.make_node("Reshape", ["pooled", "flat"], ["flattened"]),
        helper.make_node("Transpose", ["flattened"], ["patches"], perm=[0, 2, 1]),
        helper.make_node("ReduceSum", ["patches", "axis_one"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "share"], ["mean_colour"]),
        helper.make_node("Concat", ["mean_colour", "patches"], ["tokens"], axis=1),
        helper.make_node("MatMul", ["tokens", "identity"], ["stem_tokens"]),
        helper.make_node("ReduceSum", ["mean_colour", "axis_one"], ["image_features"], keepdims=0),
        helper.make_node("ReduceL2", ["patches", "axis_two"], ["norm"], keepdims=1),
        helper.make_node("Clip", ["norm", "tiny"], ["safe_norm"]),
        helper.make_node("Div", ["patches", "safe_norm"], ["patch_features"]),
    ]


def _trunk_nodes(takes_patch_features: bool) -> list[onnx.NodeProto]:
    nodes = [
        helper.make_node("Gather", ["stem_tokens", "crop_index"], ["pair_tokens"]),
        helper.make_node("Gather", ["text_tokens", "class_index"], ["pair_words"]),
        helper.make_node("Slice", ["pair_tokens", "axis_one", "end", "axis_one", "axis_one"], ["pair_patches"]),
        helper.make_node("Unsqueeze", ["pair_words", "axis_one"], ["word_rows"]),
        helper.make_node("MatMul", ["word_rows", "identity"], ["mapped_words"]),
        helper.make_node("Mul", ["mapped_words", "minus"], ["taken"]),
        helper.make_node("Add", ["pair_patches", "taken"], ["difference"]),
        helper.make_node("Mul", ["difference", "difference"], ["squares"]),
        helper.make_node("ReduceSum", ["squares", "axis_two"], ["distance"], keepdims=0),
        helper.make_node("Mul", ["distance", "minus"], ["far"]),
        helper.make_node("Add", ["close", "far"], ["agreement"]),
        helper.make_node("Mul", ["agreement", "sharpness"], ["flat_logits"]),
    ]
    logits = "flat_logits"
    if takes_patch_features:
        nodes += [
            helper.make_node("Gather", ["patch_features", "crop_index"], ["pair_features"]),
            helper.make_node("ReduceSum", ["pair_features", "axis_two"], ["sums"], keepdims=0),
            helper.make_node("Mul", ["sums", "nothing"], ["no_change"]),
            helper.make_node("Add", ["flat_logits", "no_change"], ["added"]),
        ]
        logits = "added"
    return [*nodes, helper.make_node("Reshape", [logits, "grid"], ["mask_logits"])]


def _constants() -> list[onnx.TensorProto]:
    floats = {
        "mean": np.asarray(MEAN).reshape(1, 3, 1, 1),
        "std": np.asarray(STD).reshape(1, 3, 1, 1),
        "close": np.asarray(CLOSE),
        "sharpness": np.asarray(SHARPNESS),
        "nothing": np.asarray(0.0),
        "tiny": np.asarray(1e-6),
        "minus": np.asarray(-1.0),
        "share": np.asarray(1 / PATCHES),
        "pool": np.eye(3)[:, :, None, None] * np.full((1, 1, PATCH, PATCH), PATCH**-2),
    }
    integers = {
        "flat": [0, 3, PATCHES],
        "grid": [-1, GRID, GRID],
        "axis_one": [1],
        "axis_two": [2],
        "end": [1 + PATCHES],
    }
    return [numpy_helper.from_array(value.astype(np.float32), name) for name, value in floats.items()] + [
        numpy_helper.from_array(np.asarray(value, dtype=np.int64), name) for name, value in integers.items()
    ]


def _external_identity(file: str) -> onnx.TensorProto:
    """The 3 x 3 identity, kept in the weights file that all vision graphs share."""
    tensor = TensorProto(name="identity", data_type=TensorProto.FLOAT, dims=[3, 3])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", "0"), ("length", "36")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def _value(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _index(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT64, ["P"])


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: list[onnx.TensorProto],
) -> onnx.ModelProto:
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, [one for one in constants if one.name in used])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def _save(folder: Path, name: str, model: onnx.ModelProto) -> None:
    (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
