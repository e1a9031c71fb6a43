"""A bundle whose features no runtime knows: names and shapes are its own, and only its graphs know what they mean.

``anything`` (3, 8, 8) and ``level`` () are of a crop, ``sentence`` (8, 3) is of a word: one vector for each token. A
pixel's logit is the scalar product of its colour and the sum of the word's vectors, plus the crop's level.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from clsclip_runtime.images import preprocess
from clsclip_runtime.text.stored import write_text_tokens
from tests.cpp.tiny_bpe import tokenizer
from tests.runtime.tiny_bundle import CONTEXT, MEAN, OPSET, SIZE, STD, sign

Floats = npt.NDArray[np.float32]

GRID = 8
WORDS = ("red", "green", "blue", "dining table")
DIRECTIONS = {
    "red": (2.0, -1.0, -1.0),
    "green": (-1.0, 2.0, -1.0),
    "blue": (-1.0, -1.0, 2.0),
    "table": (0.5, 0.5, -2.0),
}
"""What a token adds to its word."""

TEMPLATE = "a picture of {}"


def make_opaque_bundle(
    folder: Path, *, presence: str | None = "filter", form: str = "logit", encoder: bool = True, stored: bool = False
) -> Path:
    """Write the bundle.

    Args:
        folder: where to.
        presence: ``filter``, ``trunk``, or None for none.
        form: ``logit`` or ``probability``.
        encoder: it has a text encoder and a tokenizer.
        stored: it has ``text_tokens.safetensors`` with ``WORDS``.
    """
    folder.mkdir(parents=True)
    _save(folder / "image_encoder.onnx", _image_encoder())
    _save(folder / "trunk.onnx", _trunk(form if presence == "trunk" else None))
    if presence == "filter":
        _save(folder / "presence.onnx", _presence(form))
    if encoder:
        tokenizer().save(str(folder / "tokenizer.json"))
        _save(folder / "text_encoder.onnx", _text_encoder())
    if stored:
        write_text_tokens(folder / "text_tokens.safetensors", WORDS, {"sentence": sentences(WORDS)})
    needed_by = ["trunk", "presence"] if presence == "filter" else ["trunk"]
    document: dict[str, Any] = {
        "schema_version": 2,
        "name": "opaque",
        "clsclip_version": "0.2.0",
        "license": {"weights": "Apache-2.0"},
        "image": {"size": SIZE, "mean": MEAN, "std": STD, "resize": "squash", "interpolation": "bicubic"},
        "features": [
            {"name": "anything", "shape": [3, GRID, GRID], "dtype": "float32", "needed_by": needed_by},
            {"name": "level", "shape": [], "dtype": "float32", "needed_by": ["trunk"]},
        ],
        "text": {
            "context_length": CONTEXT,
            "templates": [TEMPLATE],
            "pad_token_id": 0,
            "features": [
                {"name": "sentence", "shape": [CONTEXT, 3], "dtype": "float32", "needed_by": needed_by}
                | {"unit_norm": False}
            ],
            "matching": None,
        },
        "mask": {"threshold": 0.4, "height": GRID, "width": GRID},
        "presence": None if presence is None else {"from": presence, "form": form, "threshold": 0.95},
        "memory": {"crop_bytes": 1 << 16, "pair_bytes": 1 << 12, "presence_pair_bytes": 1 << 10, "word_bytes": 1 << 12},
        "profile": {"crops": [1, 1, 4], "classes": [1, 4, 8], "pairs": [1, 8, 32]},
        "precision": "fp32",
        "opset": OPSET,
        "detector": None,
    }
    sign(folder, document)
    return folder


def sentences(words: tuple[str, ...]) -> Floats:
    """(K, 8, 3): the vectors of every word's tokens, as the text encoder gives them."""
    own = tokenizer()
    own.enable_truncation(max_length=CONTEXT)
    own.enable_padding(length=CONTEXT, pad_id=0)
    ids = [own.encode(TEMPLATE.replace("{}", word)).ids for word in words]
    return np.asarray(_table()[np.array(ids)], np.float32)


def expected_logits(image: Any, words: tuple[str, ...]) -> Floats:
    """(K, 8, 8): what the graphs compute for a whole image, written down in numpy."""
    from clsclip_runtime.bundle.specs import ImageSpec

    mean, std = (MEAN[0], MEAN[1], MEAN[2]), (STD[0], STD[1], STD[2])
    pixels = preprocess(image, ImageSpec(SIZE, mean, std, "squash", "bicubic"))
    colours = pixels.reshape(3, GRID, SIZE // GRID, GRID, SIZE // GRID).mean(axis=(2, 4))
    level = 0.1 * pixels.mean()
    sums = sentences(words).sum(axis=1)
    return np.asarray(np.einsum("cyx,kc->kyx", colours, sums) + level, np.float32)


def _table() -> Floats:
    made = tokenizer()
    table = np.zeros((made.get_vocab_size(), 3), np.float32)
    for word, direction in DIRECTIONS.items():
        table[made.token_to_id("Ġ" + word)] = direction
    return table


def _image_encoder() -> onnx.ModelProto:
    side = SIZE // GRID
    return _model(
        [
            helper.make_node(
                "AveragePool", ["pixel_values"], ["anything"], kernel_shape=[side, side], strides=[side] * 2
            ),
            helper.make_node("ReduceMean", ["pixel_values", "all_axes"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "tenth"], ["level"]),
        ],
        [_value("pixel_values", ["C", 3, SIZE, SIZE])],
        [_value("anything", ["C", 3, GRID, GRID]), _value("level", ["C"])],
        {"all_axes": np.array([1, 2, 3]), "tenth": np.float32(0.1)},
    )


def _trunk(form: str | None) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gather", ["anything", "crop_index"], ["crops"]),
        helper.make_node("Gather", ["level", "crop_index"], ["levels"]),
        helper.make_node("Gather", ["sentence", "class_index"], ["words"]),
        helper.make_node("ReduceSum", ["words", "one"], ["sums"], keepdims=0),
        helper.make_node("Unsqueeze", ["sums", "last_two"], ["columns"]),
        helper.make_node("Mul", ["crops", "columns"], ["products"]),
        helper.make_node("ReduceSum", ["products", "one"], ["scores"], keepdims=0),
        helper.make_node("Unsqueeze", ["levels", "rest"], ["wide"]),
        helper.make_node("Add", ["scores", "wide"], ["mask_logits"]),
    ]
    outputs = [_value("mask_logits", ["P", GRID, GRID])]
    if form is not None:
        nodes.append(helper.make_node("ReduceMax", ["scores", "rest"], ["best"], keepdims=0))
        nodes.append(helper.make_node("Identity" if form == "logit" else "Sigmoid", ["best"], ["presence"]))
        outputs.append(_value("presence", ["P"]))
    inputs = [_value("anything", ["C", 3, GRID, GRID]), _value("level", ["C"]), _value("sentence", ["K", CONTEXT, 3])]
    inputs += [helper.make_tensor_value_info(name, TensorProto.INT64, ["P"]) for name in ("crop_index", "class_index")]
    return _model(
        nodes, inputs, outputs, {"one": np.array([1]), "last_two": np.array([2, 3]), "rest": np.array([1, 2])}
    )


def _presence(form: str) -> onnx.ModelProto:
    return _model(
        [
            helper.make_node("ReduceSum", ["sentence", "one"], ["sums"], keepdims=0),
            helper.make_node("Einsum", ["anything", "sums"], ["scores"], equation="cdyx,kd->ckyx"),
            helper.make_node("ReduceMax", ["scores", "rest"], ["best"], keepdims=0),
            helper.make_node("Identity" if form == "logit" else "Sigmoid", ["best"], ["presence"]),
        ],
        [_value("anything", ["C", 3, GRID, GRID]), _value("sentence", ["K", CONTEXT, 3])],
        [_value("presence", ["C", "K"])],
        {"one": np.array([1]), "rest": np.array([2, 3])},
    )


def _text_encoder() -> onnx.ModelProto:
    return _model(
        [helper.make_node("Gather", ["table", "token_ids"], ["sentence"])],
        [helper.make_tensor_value_info("token_ids", TensorProto.INT64, ["N", CONTEXT])],
        [_value("sentence", ["N", CONTEXT, 3])],
        {"table": _table()},
    )


def _value(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, Any],
) -> onnx.ModelProto:
    made = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "opaque", inputs, outputs, initializer=made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def _save(path: Path, model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
