"""``/v2``: the Open Inference Protocol, by which clients of Triton and KServe talk to this server."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from clsclip_runtime.documents import DATA_FILE, DocumentError, parse_json
from clsclip_runtime.results.result import Result
from clsclip_runtime.version import __version__
from clsclip_serve.asked import checked_classes
from clsclip_serve.problems import ProblemError, as_problem, request_id
from clsclip_serve.service import Service
from clsclip_serve.tensors import MODEL, OUTPUTS, Question, Values, metadata, outputs, questions

HEADER = "inference-header-content-length"
"""Of requests and answers with binary tensors behind their JSON: its length."""

_VERSION = "1"


def open_inference(service: Service) -> APIRouter:
    """The routes. Their errors are ``{"error": ...}``, as clients of the protocol read them."""
    router = APIRouter(prefix="/v2", include_in_schema=False)

    @router.get("")
    async def server() -> dict[str, Any]:
        """What this is."""
        return {"name": "clsclip-serve", "version": __version__, "extensions": ["binary_tensor_data"]}

    @router.get("/health/live")
    async def live() -> Response:
        """Whether the process answers."""
        return Response()

    @router.get("/health/ready")
    async def ready() -> Response:
        """Whether requests are taken."""
        return Response(status_code=503 if service.stopping else 200)

    @router.get("/models/{model}/ready")
    @router.get("/models/{model}/versions/{version}/ready")
    async def model_ready(model: str, version: str = _VERSION) -> Response:
        """Whether the model is there."""
        if (model, version) != (MODEL, _VERSION):
            return _refused(ProblemError(404, _unknown(model, version)))
        return await ready()

    @router.get("/models/{model}")
    @router.get("/models/{model}/versions/{version}")
    async def model(model: str, version: str = _VERSION) -> Response:
        """Its tensors."""
        if (model, version) != (MODEL, _VERSION):
            return _refused(ProblemError(404, _unknown(model, version)))
        return JSONResponse(metadata(_VERSION))

    @router.post("/models/{model}/infer")
    @router.post("/models/{model}/versions/{version}/infer")
    async def infer(request: Request, model: str, version: str = _VERSION) -> Response:
        """Segment the images of a request."""
        try:
            if (model, version) != (MODEL, _VERSION):
                raise ProblemError(404, _unknown(model, version))
            return await _infer(service, request)
        except Exception as error:
            return _refused(as_problem(error))

    return router


async def _infer(service: Service, request: Request) -> Response:
    document, tensors = read_request(await request.body(), request.headers.get(HEADER))
    asked = questions(tensors)
    name = str(document.get("id") or request_id(request))

    async def one(question: Question) -> dict[str, Values]:
        def write(result: Result, waited: float) -> dict[str, Values]:
            return outputs(result, question.options, name, waited)

        classes = checked_classes(question.classes, service.options.max_words)
        return await service.segment(question.image, classes, question.options, write)

    found = [one_found for one_found in await asyncio.gather(*(one(question) for question in asked))]
    together = {key: np.concatenate([each[key] for each in found]) for key in OUTPUTS}
    return _answer(document, together, name)


def read_request(body: bytes, header: str | None) -> tuple[dict[str, Any], dict[str, Values]]:
    """The JSON of a request, and its inputs as arrays of bytes.

    Args:
        body: JSON, and binary tensors behind it.
        header: how long the JSON is; None if it is all.

    Raises:
        ProblemError: it is no request.
    """
    try:
        length = len(body) if header is None else int(header)
        if not 0 <= length <= len(body):
            raise ProblemError(400, f"{HEADER} is {header}, and the body has {len(body)} bytes")
        document = parse_json(body[:length], DATA_FILE)
        rest = memoryview(body)[length:]
        tensors = {}
        for one in document["inputs"]:
            name, shape, kind = one["name"], one["shape"], one["datatype"]
            if kind != "BYTES" or name in tensors:
                raise ProblemError(400, f"input {name} is {kind}, and inputs are BYTES, each once")
            if not isinstance(shape, list) or not all(isinstance(side, int) and side >= 0 for side in shape):
                raise ProblemError(400, f"input {name} has no shape")
            size = (one.get("parameters") or {}).get("binary_data_size")
            if size is None:
                values = [text.encode() for text in _flat(one["data"])]
            else:
                if not isinstance(size, int) or not 0 <= size <= len(rest):
                    raise ProblemError(400, f"input {name} has {size} bytes, and {len(rest)} are there")
                values, rest = _strings(bytes(rest[:size])), rest[size:]
            array = np.empty(len(values), object)
            array[:] = values
            tensors[name] = array.reshape(shape)
    except DocumentError as error:
        raise ProblemError(400, f"the request is no JSON: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, struct.error) as error:
        wanted = "inputs, each with name, shape, datatype BYTES, and data or the size of its binary data"
        raise ProblemError(400, f"the request is none of the protocol's, which wants {wanted}") from error
    if len(rest):
        raise ProblemError(400, f"{len(rest)} bytes are behind the last tensor")
    return document, tensors


def _answer(document: dict[str, Any], found: dict[str, Values], name: str) -> Response:
    all_binary = bool((document.get("parameters") or {}).get("binary_data_output"))
    wanted = {one["name"]: one for one in document.get("outputs") or [{"name": key} for key in OUTPUTS]}
    unknown = sorted(set(wanted) - set(OUTPUTS))
    if unknown:
        raise ProblemError(400, f"there is no output {unknown[0]}; there are {', '.join(OUTPUTS)}")
    entries, tail = [], b""
    for key, asked in wanted.items():
        array = found[key]
        entry: dict[str, Any] = {"name": key, "datatype": OUTPUTS[key], "shape": list(array.shape)}
        if (asked.get("parameters") or {}).get("binary_data", all_binary):
            content = _packed(array) if array.dtype == object else array.tobytes()
            entry["parameters"] = {"binary_data_size": len(content)}
            tail += content
        else:
            values = array.ravel().tolist()
            entry["data"] = [one.decode() for one in values] if array.dtype == object else _finite(values)
        entries.append(entry)
    head = json.dumps({"id": name, "model_name": MODEL, "model_version": _VERSION, "outputs": entries}).encode()
    if not tail:
        return Response(head, media_type="application/json")
    return Response(head + tail, media_type="application/octet-stream", headers={HEADER: str(len(head))})


def _finite(values: list[Any]) -> list[Any]:
    """JSON has no NaN; where presence was not asked it is -1."""
    return [-1 if one != one else one for one in values]


def _flat(data: Any) -> list[str]:
    return [text for one in data for text in _flat(one)] if isinstance(data, list) else [data]


def _strings(content: bytes) -> list[bytes]:
    """Texts of a binary tensor: each with its length, 4 bytes, before it."""
    found, at = [], 0
    while at < len(content):
        (length,) = struct.unpack_from("<I", content, at)
        at += 4 + length
        if at > len(content):
            raise ValueError("a text ends behind its tensor")
        found.append(content[at - length : at])
    return found


def _packed(array: Values) -> bytes:
    return b"".join(struct.pack("<I", len(one)) + one for one in array.ravel())


def _refused(error: ProblemError) -> Response:
    return JSONResponse({"error": error.detail}, error.status, error.headers)


def _unknown(model: str, version: str) -> str:
    return f"there is no model {model!r} of version {version!r}: it is {MODEL!r} of version {_VERSION!r}"
