"""The HTTP interface: the runtime's own answers, and a sentence for whatever cannot be answered."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from clsclip_runtime import Segmenter
from clsclip_runtime.images.addresses import Asking
from clsclip_serve import app
from clsclip_serve.app import create_app
from clsclip_serve.keys import ApiKeys
from clsclip_serve.options import ServerOptions
from clsclip_serve.service import Service
from tests.runtime.tiny_bundle import paint

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools and numpy 2

WORDS = ["red", "green", "blue"]


def image() -> bytes:
    pixels = paint({"red": (slice(1, 4), slice(1, 5)), "green": (slice(5, 7), slice(2, 6))})
    file = io.BytesIO()
    Image.fromarray(pixels).resize((320, 240), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


def post(client: TestClient, words: list[str] | None = None, **options: Any) -> Any:
    data: dict[str, Any] = {"classes": WORDS if words is None else words}
    if options:
        data["options"] = json.dumps(options)
    return client.post("/v1/segment", files={"image": ("a.png", image())}, data=data)


def test_a_form_gets_what_the_runtime_gives(client: TestClient, segmenter: Segmenter) -> None:
    answer = post(client)
    assert answer.status_code == 200, answer.text
    document, wanted = answer.json(), segmenter(image(), WORDS)
    expected = wanted.to_json()
    for entry, one, known in zip(document["classes"], wanted, expected["classes"], strict=True):
        mask = entry.pop("mask")
        assert entry == known
        if mask is None:
            assert not one.area
        else:
            found = coco_mask.decode({"size": mask["size"], "counts": mask["counts"].encode()})
            assert np.array_equal(found.astype(bool), one.mask)
    assert document["notes"] == expected["notes"]
    assert document["timings_ms"]["queue"] >= 0
    assert document["id"] == answer.headers["x-request-id"]


def test_json_is_as_good_as_a_form(client: TestClient) -> None:
    encoded = {"type": "base64", "value": base64.b64encode(image()).decode()}
    first = client.post("/v1/segment", json={"image": encoded, "classes": WORDS}).json()
    second = post(client).json()
    assert first["classes"] == second["classes"]


@pytest.mark.parametrize("masks", ["png", "polygons", "none"])
def test_masks_come_in_other_forms(client: TestClient, segmenter: Segmenter, masks: str) -> None:
    found = post(client, masks=masks).json()["classes"][0]
    wanted = segmenter(image(), WORDS)[0].mask
    if masks == "none":
        assert "mask" not in found
    elif masks == "png":
        read = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["mask"]["data"]))))
        assert np.array_equal(read.astype(bool), wanted)
    else:
        drawn = Image.new("1", (320, 240))
        for ring in found["mask"]["polygons"]:
            ImageDraw.Draw(drawn).polygon([tuple(point) for point in ring], fill=1)
        overlap = np.asarray(drawn)
        assert (overlap & wanted).sum() / (overlap | wanted).sum() > 0.95


def test_masks_of_a_smaller_size(client: TestClient, segmenter: Segmenter) -> None:
    found = post(client, max_side=80).json()["classes"][0]["mask"]
    assert found["size"] == [60, 80]
    mask = coco_mask.decode({"size": found["size"], "counts": found["counts"].encode()}).astype(bool)
    assert np.array_equal(mask, segmenter(image(), WORDS).mask_at_size(0, (80, 60)))


@pytest.mark.parametrize("view", ["overlay", "labels"])
def test_pictures_are_drawn(client: TestClient, segmenter: Segmenter, view: str) -> None:
    answer = client.post(f"/v1/segment?view={view}", files={"image": ("a", image())}, data={"classes": WORDS})
    assert answer.headers["content-type"] == "image/png"
    drawn = np.asarray(Image.open(io.BytesIO(answer.content)))
    result = segmenter(image(), WORDS)
    wanted = result.labels() if view == "labels" else np.asarray(result.overlay())
    assert np.array_equal(drawn, wanted)


def test_a_picture_is_kept_for_its_next_words(client: TestClient, segmenter: Segmenter) -> None:
    kept = client.post("/v1/images", content=image())
    assert kept.status_code == 201
    name = kept.json()["image_id"]
    assert name == hashlib.sha256(image()).hexdigest()
    assert kept.headers["location"] == f"/v1/images/{name}"
    found = client.post(f"/v1/images/{name}/segment", json={"classes": {"paint": ["red", "green"]}}).json()
    wanted = segmenter(image(), {"paint": ["red", "green"]})
    assert found["classes"][0]["area"] == wanted[0].area
    assert (
        client.post("/v1/segment", json={"image": {"type": "id", "value": name}, "classes": ["red"]}).status_code == 200
    )
    assert client.delete(f"/v1/images/{name}").status_code == 204
    gone = client.post(f"/v1/images/{name}/segment", json={"classes": ["red"]})
    assert gone.status_code == 404
    assert "Send it again" in gone.json()["detail"]


def test_regions_are_boxes_with_and_without_a_class(client: TestClient, segmenter: Segmenter) -> None:
    boxes = [[10.0, 10.0, 200.0, 150.0]]
    found = post(client, ["red"], regions=boxes).json()
    wanted = segmenter(image(), ["red"], regions=boxes)
    assert found["classes"][0]["area"] == wanted[0].area
    assert found["regions"]["count"] == 1
    named = post(client, ["red"], regions=[{"box": boxes[0], "name": "red"}]).json()
    assert named["instances"][0]["region_name"] == "red"


BAD = {
    "no picture": (400, {"files": {"image": ("a", b"text")}, "data": {"classes": "red"}}, "is not a picture"),
    "an empty word": (400, {"files": {"image": ("a", image())}, "data": {"classes": " "}}, "empty"),
    "no words": (422, {"files": {"image": ("a", image())}}, "classes"),
    "no file": (422, {"files": {"other": ("a", image())}, "data": {"classes": "red"}}, "image"),
    "another field": (422, {"files": {"image": ("a", image())}, "data": {"classes": "red", "word": "x"}}, "word"),
    "many words": (413, {"files": {"image": ("a", image())}, "data": {"classes": ["red"] * 6}}, "6 words"),
    "a large body": (413, {"files": {"image": ("a", bytes(300_000))}, "data": {"classes": "red"}}, "0.2 MB"),
    "a large body that is not announced": (
        413,
        {"content": iter([bytes(150_000)] * 2), "headers": {"content-type": "multipart/form-data; boundary=x"}},
        "0.2 MB",
    ),
    "text": (415, {"content": b"red"}, "multipart"),
    "no JSON": (422, {"content": b"{", "headers": {"content-type": "application/json"}}, "JSON"),
    "an address": (400, {"json": {"image": {"type": "url", "value": "http://a"}, "classes": ["red"]}}, "no addresses"),
    "no base64": (422, {"json": {"image": {"type": "base64", "value": "!"}, "classes": ["red"]}}, "base64"),
    "an unknown identifier": (404, {"json": {"image": {"type": "id", "value": "0"}, "classes": ["red"]}}, "not kept"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_answered_is_told(client: TestClient, name: str) -> None:
    code, request, part = BAD[name]
    answer = client.post("/v1/segment", **request)
    assert answer.status_code == code, answer.text
    assert part in answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == code
    assert document["id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "options",
    [
        '{"presence_threshold": 2}', '{"masks": "tiff"}', '{"unknown": true}', "[]", "{", '{"regions": [[1, 2, 3]]}',
        '{"presence_threshold": NaN}', '{"max_side": 0}', '{"zoom_in": {"unknown": 4}}', "[" * 5000,
    ],
)  # fmt: skip
def test_options_are_checked(client: TestClient, options: str) -> None:
    form = {"classes": "red", "options": options}
    answer = client.post("/v1/segment", files={"image": ("a", image())}, data=form)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"].startswith("options: ")


def test_a_key_opens_the_server(service: Service) -> None:
    key = "0123456789abcdef"
    client = TestClient(create_app(service, ApiKeys([key])))
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {key}"}, {"Authorization": key}):
        answer = client.get("/v1/model", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert client.get("/v1/model", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert client.get("/healthz").status_code == 200


def test_model_health_and_figures(client: TestClient, service: Service) -> None:
    assert client.get("/v1/model").json()["limits"]["words"] == 5
    assert client.get("/healthz").json() == {"status": "ok"}
    post(client)
    figures = client.get("/metrics").text
    assert 'clsclip_requests_total{code="200",route="/v1/segment"} 1.0' in figures
    assert "red" not in figures
    assert client.get("/nothing").status_code == 404
    document = json.dumps(client.get("/openapi.json").json())
    assert "https://" not in document.replace("https://json-schema.org", "")
    service.stop()
    assert client.get("/readyz").status_code == 503
    late = post(client)
    assert late.status_code == 503
    assert late.headers["retry-after"] == "1"


def test_the_identifier_of_a_request_is_given_back(client: TestClient) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert client.get("/healthz", headers={"X-Request-Id": "a b\tc"}).headers["x-request-id"].startswith("req-")


def test_addresses_are_fetched_where_that_is_allowed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(address: str, **options: Any) -> bytes:
        asked.append((address, options["asking"], options["max_bytes"]))
        return image()

    one = Service(Segmenter.load(bundle, "onnxruntime-cpu", word_cache=False), ServerOptions(urls="public"))
    client = TestClient(create_app(one), raise_server_exceptions=False)
    sent = {"type": "url", "value": "https://127.0.0.1/a.png"}
    refused = client.post("/v1/segment", json={"image": sent, "classes": WORDS})
    assert refused.status_code == 400
    assert "private network" in refused.json()["detail"]
    monkeypatch.setattr(app, "fetch", fetch)
    found = client.post("/v1/segment", json={"image": sent, "classes": WORDS})
    assert found.json()["classes"] == post(client).json()["classes"]
    assert asked == [(sent["value"], Asking(redirects=False, public=True), 20_000_000)]
    one.close()
