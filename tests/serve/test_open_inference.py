"""The Open Inference Protocol: what clients of Triton get from this server, in their own library's words."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from clsclip_runtime import Segmenter
from clsclip_runtime.results.codecs.coco_rle import decode_rle
from tests.serve.test_api import WORDS
from tests.serve.test_api import image as drawn

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools and numpy 2


def packed(texts: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(one)) + one for one in texts)


def asked(images: list[bytes], words: list[str], binary: bool = True, **more: Any) -> tuple[bytes, dict[str, str]]:
    tensors = {"IMAGE": (images, 1), "CLASSES": ([word.encode() for word in words] * len(images), len(words))}
    if "options" in more:
        tensors["OPTIONS"] = ([json.dumps(more.pop("options")).encode()] * len(images), 1)
    inputs, tail = [], b""
    for name, (texts, wide) in tensors.items():
        content = packed(texts)
        tail += content
        size = {"parameters": {"binary_data_size": len(content)}}
        inputs.append({"name": name, "shape": [len(images), wide], "datatype": "BYTES"} | size)
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": binary}} | more).encode()
    return head + tail, {"Inference-Header-Content-Length": str(len(head))}


def infer(client: TestClient, *arguments: Any, **more: Any) -> Any:
    body, headers = asked(*arguments, **more)
    return client.post("/v2/models/clsclip/infer", content=body, headers=headers)


def tensors(answer: Any) -> dict[str, Any]:
    """Outputs by name, read independently of the server."""
    assert answer.status_code == 200, answer.text
    length = int(answer.headers.get("inference-header-content-length", len(answer.content)))
    document, at = json.loads(answer.content[:length]), length
    found: dict[str, Any] = {}
    for one in document["outputs"]:
        if "data" in one:
            found[one["name"]] = np.array(one["data"], object).reshape(one["shape"])
            continue
        content = answer.content[at : at + one["parameters"]["binary_data_size"]]
        at += len(content)
        if one["datatype"] == "BYTES":
            texts = []
            while content:
                (size,) = struct.unpack("<I", content[:4])
                texts.append(content[4 : 4 + size].decode())
                content = content[4 + size :]
            found[one["name"]] = np.array(texts, object).reshape(one["shape"])
        else:
            kind = {"FP32": np.float32, "INT32": np.int32}[one["datatype"]]
            found[one["name"]] = np.frombuffer(content, kind).reshape(one["shape"])
    assert at == len(answer.content)
    return found


@pytest.mark.parametrize("binary", [True, False])
def test_masks_are_those_of_the_runtime(client: TestClient, segmenter: Segmenter, binary: bool) -> None:
    found = tensors(infer(client, [drawn(), drawn()], WORDS, binary))
    result = segmenter(drawn(), WORDS)
    assert found["SIZE"].tolist() == [[240, 320]] * 2
    for row in range(2):
        for one in result:
            counts = found["MASKS"][row, one.index]
            assert found["PRESENCE"][row, one.index] == pytest.approx(one.presence, abs=1e-6)
            if not one.area:
                assert counts == ""
                continue
            mask = decode_rle({"size": [240, 320], "counts": counts}, (320, 240))
            assert np.array_equal(mask.mask(), one.mask)
        document = json.loads(found["RESULT"][row, 0])
        assert [one["name"] for one in document["classes"]] == WORDS


def test_only_what_is_wanted(client: TestClient) -> None:
    found = tensors(infer(client, [drawn()], WORDS, outputs=[{"name": "SIZE"}], options={"max_side": 64}))
    assert found.keys() == {"SIZE"} and found["SIZE"].tolist() == [[48, 64]]


def test_about_the_model(client: TestClient) -> None:
    assert client.get("/v2").json()["name"] == "clsclip-serve"
    assert client.get("/v2/health/live").status_code == client.get("/v2/health/ready").status_code == 200
    assert client.get("/v2/models/clsclip/ready").status_code == 200
    assert client.get("/v2/models/other/ready").status_code == 404
    document = client.get("/v2/models/clsclip/versions/1").json()
    assert [one["name"] for one in document["inputs"]] == ["IMAGE", "CLASSES", "OPTIONS"]


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        ({"images": [b"no image"]}, 400, "not a picture"),
        ({"words": [""]}, 400, "word"),
        ({"words": []}, 400, "CLASSES is empty"),
        ({"words": ["a"] * 6}, 413, "at most 5"),
        ({"options": {"colour": 1}}, 422, "colour"),
        ({"options": {"masks": "png"}}, 400, "run-length"),
        ({"outputs": [{"name": "X"}]}, 400, "no output X"),
        ({"inputs": []}, 400, "behind the last tensor"),
        ({"inputs": [{"name": "IMAGE", "shape": [1, 1], "datatype": "FP32"}]}, 400, "FP32"),
        ({"inputs": 3}, 400, "none of the protocol's, which wants inputs"),
    ],
)
def test_what_is_wrong_is_told(client: TestClient, change: dict[str, Any], code: int, told: str) -> None:
    arguments = {"images": [drawn()], "words": WORDS} | change
    answer = infer(client, arguments.pop("images"), arguments.pop("words"), **arguments)
    assert answer.status_code == code, answer.text
    assert set(answer.json()) == {"error"} and told in answer.json()["error"]


@pytest.mark.parametrize("cut", [1, 40, 400])
def test_cut_bodies_and_lying_headers(client: TestClient, cut: int) -> None:
    body, headers = asked([drawn()], WORDS)
    assert client.post("/v2/models/clsclip/infer", content=body[:-cut], headers=headers).status_code == 400
    for length in ("x", "-1", str(len(body) + 1), str(cut)):
        answer = client.post(
            "/v2/models/clsclip/infer", content=body, headers={"Inference-Header-Content-Length": length}
        )
        assert answer.status_code == 400 and "error" in answer.json()
