"""Label Studio's calls, as it sends them: predictions are ``Result.mask``, three traps have their sentences."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from clsclip_runtime import ImageError, OptionError, Segmenter
from clsclip_runtime.regions.proposals import Proposals
from clsclip_runtime.results.codecs.brush import decode_brush
from clsclip_serve.app import create_app
from clsclip_serve.keys import ApiKeys
from clsclip_serve.labelstudio.images import LabelStudio, private_note
from clsclip_serve.service import Service
from tests.serve.studio_stub import LEGACY, PERSONAL, StudioStub
from tests.serve.test_api import image

BRUSH = """<View><!-- a comment --><Image name="photo" value="$image" zoom="true"/>
<BrushLabels name="brush" toName="photo"><Label value="red"/><Label value="Grass" predicted_values="green, lime"/>
<Label value="blue" alias="b"/></BrushLabels>
<RectangleLabels name="box" toName="photo"><Label value="red"/></RectangleLabels>
<TextArea name="prompt" toName="photo"/></View>"""
PATH = "/data/upload/1/a%20b.png"


@pytest.fixture
def stub() -> Iterator[StudioStub]:
    one = StudioStub(image())
    yield one
    one.close()


@pytest.fixture
def client(service: Service, stub: StudioStub) -> TestClient:
    return client_of(service, LabelStudio(stub.address, LEGACY))


def client_of(service: Service, studio: LabelStudio | None) -> TestClient:
    return TestClient(create_app(service, studio=studio), raise_server_exceptions=False)


def request(config: str = BRUSH, drawn: Any = None, images: tuple[str, ...] = (PATH,)) -> dict[str, Any]:
    """As Label Studio 1.23.2 sends it."""
    tasks = [
        {"id": 7 + at, "data": {"image": image}, "meta": {}, "project": 1, "annotations": [], "predictions": []}
        for at, image in enumerate(images)
    ]
    context = None if drawn is None else {"result": drawn}
    return {
        "tasks": tasks, "project": "1.1764300000", "label_config": config,
        "params": {"login": None, "password": None, "context": context},
    }  # fmt: skip


def regions(client: TestClient, **options: Any) -> list[dict[str, Any]]:
    answer = client.post("/label-studio/predict", json=request(**options))
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    found: list[dict[str, Any]] = result["result"]
    return found


def mask(region: dict[str, Any]) -> Any:
    size = (region["original_width"], region["original_height"])
    return decode_brush(region["value"]["rle"], size).mask()


def test_labels_are_words_and_masks_are_the_runtimes(client: TestClient, segmenter: Segmenter) -> None:
    found = regions(client)
    wanted = segmenter(image(), {"red": "red", "Grass": ["green", "lime"], "b": "blue"})
    marked = [one for one in wanted if one.area]
    assert len(marked) >= 2
    assert [one["value"]["brushlabels"] for one in found] == [[one.name] for one in marked]
    for region, one in zip(found, marked, strict=True):
        assert np.array_equal(mask(region), one.mask)
        assert (region["from_name"], region["to_name"], region["type"]) == ("brush", "photo", "brushlabels")
        assert region["score"] == pytest.approx(one.presence, abs=1e-6)
    assert len({one["id"] for one in found}) == len(found)


def test_typed_words_go_to_the_label_selected(client: TestClient, segmenter: Segmenter) -> None:
    typed = {"id": "a", "type": "textarea", "from_name": "prompt", "value": {"text": ["green, red"]}}
    point = {"id": "b", "type": "brushlabels", "from_name": "brush", "value": {"brushlabels": ["b"]}}
    found = {one["value"]["brushlabels"][0]: mask(one) for one in regions(client, drawn=[typed, point])}
    wanted = segmenter(image(), {"b": "green", "red": "red"})
    assert set(found) == {"b", "red"}
    for name, one in found.items():
        assert np.array_equal(one, wanted[name].mask)
    lost = client.post("/label-studio/predict", json=request(drawn=[typed | {"value": {"text": ["green"]}}]))
    assert lost.status_code == 400
    assert "Select one of red, Grass, b" in lost.json()["detail"]


def test_rectangles_are_regions(client: TestClient, segmenter: Segmenter) -> None:
    value = {"x": 5, "y": 10, "width": 50, "height": 40, "rotation": 0, "rectanglelabels": ["red"]}
    found = regions(client, drawn=[{"type": "rectanglelabels", "from_name": "box", "value": value}])
    wanted = segmenter(image(), ["red"], regions=Proposals.from_boxes([[16, 24, 176, 120]], ["red"], source="x"))
    assert [one["value"]["brushlabels"] for one in found] == [["red"]]
    assert np.array_equal(mask(found[0]), wanted["red"].mask)


@pytest.mark.parametrize("kind", ["PolygonLabels", "RectangleLabels"])
def test_what_the_configuration_has_is_drawn(client: TestClient, segmenter: Segmenter, kind: str) -> None:
    config = (
        f"""<View><Image name="i" value="$image"/><{kind} name="x" toName="i"><Label value="red"/></{kind}></View>"""
    )
    found = regions(client, config=config)
    one = segmenter(image(), ["red"])["red"]
    assert {region["type"] for region in found} == {kind.lower()}
    assert one.box is not None
    if kind == "RectangleLabels":
        value = found[0]["value"]
        left, top, right, bottom = one.box
        assert [value["x"] * 3.2, value["y"] * 2.4] == pytest.approx([left, top])
        assert [value["width"] * 3.2, value["height"] * 2.4] == pytest.approx([right - left, bottom - top])
    else:
        points = np.concatenate([np.array(region["value"]["points"]) for region in found]) * [3.2, 2.4]
        assert [*points.min(0), *points.max(0)] == pytest.approx(one.box)


def test_one_task_of_several_fails_alone(client: TestClient) -> None:
    images = (PATH, "/data/upload/2/gone.png", PATH)
    found = client.post("/label-studio/predict", json=request(images=images)).json()["results"]
    assert ["result" in one for one in found] == [True, False, True]
    assert "404" in found[1]["error"]


def test_setup_health_versions_and_webhook(client: TestClient, service: Service) -> None:
    name = service.segmenter.bundle.manifest.name
    assert client.get("/label-studio/health").json()["status"] == "UP"
    sent = {"project": "1.1", "schema": BRUSH, "hostname": "", "access_token": "t", "extra_params": None}
    assert client.post("/label-studio/setup", json=sent).json() == {"model_version": name}
    assert client.get("/label-studio/versions").json() == {"versions": [name]}
    assert client.post("/label-studio/webhook", json={"action": "ANNOTATION_CREATED"}).status_code == 200


# The three traps.


def test_an_address_that_label_studio_refuses_as_private() -> None:
    for host in ("127.0.0.1", "localhost", "10.0.0.7", "192.168.1.2", "::1", "0.0.0.0"):
        note = private_note(host)
        assert note is not None and "ML_BLOCK_LOCAL_IP=false" in note and host in note
    assert private_note("1.1.1.1") is None
    assert private_note("clsclip.example") is None


def test_health_tells_of_a_private_address(service: Service) -> None:
    client = TestClient(create_app(service), base_url="http://127.0.0.1:8000")
    assert "ML_BLOCK_LOCAL_IP" in client.get("/label-studio/health").json()["note"]


@pytest.mark.parametrize("token", [None, "wrong", "a.wrong.one"])
@pytest.mark.parametrize("path", [PATH, "/data/login.png"])
def test_uploads_need_a_token(
    service: Service, stub: StudioStub, caplog: pytest.LogCaptureFixture, token: str | None, path: str
) -> None:
    answer = client_of(service, LabelStudio(stub.address, token)).post(
        "/label-studio/predict", json=request(images=(path,))
    )
    assert answer.status_code == 400
    told = answer.json()["detail"]
    assert "LABEL_STUDIO_API_KEY" in told and stub.address in told and "Account & Settings" in told
    assert "LABEL_STUDIO_API_KEY" in caplog.text, "Label Studio shows the code alone"


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ("<View><Image name='i' value='$image'/><Choices name='c' toName='i'/></View>", "no from_name"),
        ("<View><Image name='i' value='$image'/><BrushLabels name='b' toName='i'/></View>", "no from_name"),
        ("<View><Image name='i' value='$image'/><BrushLabels name='b' toName='x'><Label value='a'/></BrushLabels>"
         "</View>",
         "toName='x'"),
        ("<View><Text name='t' value='$text'/></View>", "no Image"),
        ("<View><Image name='i' valueList='$images'/><BrushLabels name='b' toName='i'><Label value='a'/></BrushLabels>"
         "</View>", "valueList"),
        ("<View>", "no XML"),
        ("<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><View>&b;</View>", "declaration"),
        ("<View><![CDATA[ ]]></View>", "declaration"),
        ("\0", "no XML"),
    ],
)  # fmt: skip
def test_a_configuration_without_a_from_name(client: TestClient, config: str, part: str) -> None:
    for path, sent in (("setup", {"schema": config}), ("predict", request(config))):
        answer = client.post(f"/label-studio/{path}", json=sent)
        assert answer.status_code == 400
        assert part in answer.json()["detail"]


def test_a_region_whose_from_name_the_configuration_lacks(client: TestClient) -> None:
    drawn = [{"type": "textarea", "from_name": "words", "value": {"text": ["red"]}}]
    answer = client.post("/label-studio/predict", json=request(drawn=drawn))
    assert answer.status_code == 400
    told = answer.json()["detail"]
    assert "'words'" in told and "box, brush, photo, prompt" in told and "never" in told


# Pictures come from one place.


def test_a_personal_token_is_changed_and_changed_again(stub: StudioStub) -> None:
    studio = LabelStudio(stub.address + "/", PERSONAL)
    for _ in range(2):
        assert studio.image(PATH, 7, max_bytes=1 << 20, seconds=5) == stub.content
    assert stub.refreshed == 1
    stub.refreshed = 5  # it has run out
    assert studio.image(PATH, 7, max_bytes=1 << 20, seconds=5) == stub.content
    assert stub.refreshed == 6


def test_pictures_are_fetched_from_there_alone(service: Service, stub: StudioStub) -> None:
    studio = LabelStudio(stub.address, LEGACY)
    for value in (PATH, stub.address + PATH, "/data/local-files/?d=a%2Fb.png", "s3://bucket/a.png"):
        assert studio.image(value, 7, max_bytes=1 << 20, seconds=5) == stub.content
    name = base64.urlsafe_b64encode(b"s3://bucket/a.png").decode()
    assert stub.asked[-1] == f"/tasks/7/resolve/?fileuri={name}"
    count = len(stub.asked)
    port = stub.address.rpartition(":")[2]
    others = [
        "http://169.254.169.254/latest", "https://example.com/a.png", f"http://localhost:{port}/data/upload/1/a.png",
        f"http://u@127.0.0.1:{port}/data/upload/1/a.png", "//example.com/a.png", "file:///etc/passwd", "http://[", "",
        None, f"https://127.0.0.1:{port}/a.png", "http://127.0.0.1:99999999/a",
    ]  # fmt: skip
    for other in others:
        with pytest.raises(ImageError):
            studio.image(other, 7, max_bytes=1 << 20, seconds=5)
    assert len(stub.asked) == count
    with pytest.raises(ImageError, match="pre-signed"):
        studio.image("/data/cloud.png", 7, max_bytes=1 << 20, seconds=5)
    with pytest.raises(ImageError, match="MiB"):
        studio.image(PATH, 7, max_bytes=10, seconds=5)
    answer = client_of(service, None).post("/label-studio/predict", json=request())
    assert answer.status_code == 400
    assert "--label-studio" in answer.json()["detail"]


@pytest.mark.parametrize(
    "address", ["label-studio:8080", "ftp://a", "http://", "http://a:b", "http://u:p@a", "http://[x"]
)
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(OptionError, match="label_studio"):
        LabelStudio(address, None)


def test_a_key_is_the_password_of_basic_authentication(service: Service) -> None:
    key = "0123456789abcdef"
    client = TestClient(create_app(service, ApiKeys([key])))
    assert client.get("/label-studio/health", auth=("anybody", key)).status_code == 200
    assert client.get("/label-studio/health", auth=(key, "wrong")).status_code == 401
