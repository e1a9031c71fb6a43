"""Tensors of the Open Inference Protocol: their names, and what is in them. The HTTP server and Triton share them.

| tensor | shape of N images and K classes | what |
|---|---|---|
| `IMAGE` | BYTES (N, 1) | encoded images |
| `CLASSES` | BYTES (N, K) | words |
| `OPTIONS` | BYTES (N, 1), may be left out | JSON, as in ``/v1/segment`` |
| `MASKS` | BYTES (N, K) | COCO's compressed runs; empty where a class has no pixels |
| `PRESENCE` | FP32 (N, K) | NaN where it was not asked |
| `SIZE` | INT32 (N, 2) | height and width of the masks |
| `RESULT` | BYTES (N, 1) | the JSON answer of ``/v1/segment`` |
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from clsclip_runtime.results.codecs.coco_rle import encode_rle
from clsclip_runtime.results.result import Result
from clsclip_serve import answers
from clsclip_serve.asked import Options, options_of
from clsclip_serve.problems import ProblemError

MODEL = "clsclip"
INPUTS = {"IMAGE": ("BYTES", [-1, 1]), "CLASSES": ("BYTES", [-1, -1]), "OPTIONS": ("BYTES", [-1, 1])}
OUTPUTS = {"MASKS": "BYTES", "PRESENCE": "FP32", "SIZE": "INT32", "RESULT": "BYTES"}
SHAPES = {"MASKS": [-1, -1], "PRESENCE": [-1, -1], "SIZE": [-1, 2], "RESULT": [-1, 1]}

Values = npt.NDArray[Any]


class Question:
    """One image's question.

    Attributes:
        image: encoded.
        classes: words.
        options: of the call and the answer.
    """

    def __init__(self, image: bytes, classes: Sequence[bytes], options: bytes | None) -> None:
        """Check it. ProblemError if it is none."""
        self.image = image
        try:
            self.classes = [word.decode("utf-8") for word in classes]
            self.options = options_of(None if options is None else options.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ProblemError(400, f"CLASSES and OPTIONS are UTF-8: {error}") from error
        if self.options.masks != "rle":
            raise ProblemError(400, "MASKS are run-length codes. Leave out masks in OPTIONS")


def questions(tensors: Mapping[str, Values]) -> list[Question]:
    """The questions of a request's inputs, each an array of bytes. ProblemError if they do not fit together."""
    unknown, missing = sorted(set(tensors) - set(INPUTS)), sorted({"IMAGE", "CLASSES"} - set(tensors))
    if unknown or missing:
        raise ProblemError(400, f"inputs are IMAGE, CLASSES and OPTIONS; given were {', '.join(sorted(tensors))}")
    images, classes, options = tensors["IMAGE"], tensors["CLASSES"], tensors.get("OPTIONS")
    for name, array in tensors.items():
        if array.ndim != 2 or len(array) != len(images) or (name != "CLASSES" and array.shape[1] != 1):
            raise ProblemError(400, f"{name} has shape {list(array.shape)}, and {INPUTS[name][1]} is needed")
    if not classes.shape[1]:
        raise ProblemError(400, "CLASSES is empty. Give a word")
    return [
        Question(images[at, 0], list(classes[at]), None if options is None else options[at, 0])
        for at in range(len(images))
    ]


def outputs(result: Result, options: Options, request_id: str, waited: float) -> dict[str, Values]:
    """The outputs of one image, each with a first axis of 1."""
    width, height = size = answers.mask_size(result.size, options.max_side)
    masks = np.empty((1, len(result)), object)
    for one in result:
        runs = one.rle() if size == result.size else result.rle(one.index, size)
        masks[0, one.index] = encode_rle(runs)["counts"].encode() if one.area else b""
    document = answers.document(result, options, request_id, waited)
    presence = [float("nan") if one.presence is None else one.presence for one in result]
    return {
        "MASKS": masks,
        "PRESENCE": np.array([presence], np.float32),
        "SIZE": np.array([[height, width]], np.int32),
        "RESULT": np.array([[json.dumps(document).encode()]], object),
    }


def metadata(version: str) -> dict[str, Any]:
    """The model's metadata, as the protocol has it."""
    return {
        "name": MODEL,
        "versions": [version],
        "platform": "clsclip",
        "inputs": [{"name": name, "datatype": kind, "shape": shape} for name, (kind, shape) in INPUTS.items()],
        "outputs": [{"name": name, "datatype": kind, "shape": SHAPES[name]} for name, kind in OUTPUTS.items()],
    }
