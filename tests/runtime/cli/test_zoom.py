"""``clsclip-infer`` with regions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsclip_runtime.cli.infer import main
from tests.shared_data import shared_data

Captured = pytest.CaptureFixture[str]


pytestmark = pytest.mark.usefixtures("embedded_tiny")


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    path = tmp_path / "boxes.json"
    entries: list[dict[str, Any]] = [
        {"image": "photo.png", "class": "red", "bbox": [4, 4, 16, 12], "score": 0.5},
        {"image": "photo.png", "bbox": [8, 20, 8, 8]},
        {"image": "other.png", "class": "green", "bbox": [0, 0, 5, 5]},
    ]
    path.write_text(json.dumps(entries))
    return path


def test_boxes_of_a_file(photo: Path, boxes: Path, capsys: Captured) -> None:
    assert main([str(photo), "--classes", "red", "green", "blue", "--regions", str(boxes), "--out", "out"]) == 0
    output = capsys.readouterr().out
    assert "searched" in output
    rows = [line.split() for line in output.splitlines()]
    assert ["red", "1.00"] in [row[:2] for row in rows]
    assert [row[3:] for row in rows if row[:1] == ["red"]] == [["found", "1", "region", "of", "red"]]
    assert [row[3:] for row in rows if row[:1] == ["green"]] == [["found", "1", "region"]]
    assert [row[3:] for row in rows if row[:1] == ["blue"]] == [["absent", "regions,", "whole", "image"]]
    assert Path("out/photo_overlay.png").is_file()


def test_json_tells_regions_and_matches(photo: Path, boxes: Path, capsys: Captured) -> None:
    arguments = [str(photo), "--classes", "red", "blue", "--regions", str(boxes), "--fallback", "none", "--json"]
    assert main(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["regions"] == {"source": "boxes of boxes.json", "count": 2}
    assert [one["class"] for one in document["instances"]] == ["red"]
    assert document["instances"][0]["box"] == [4, 4, 16, 12]
    assert document["classes"][1]["status"] == "absent"


def test_boxes_alone(photo: Path, boxes: Path) -> None:
    assert main([str(photo), "--classes", "red", "--regions", str(boxes), "--boxes-as-masks", "--out", "out"]) == 0
    mask = np.asarray(Image.open("out/photo_red.png")) > 0
    expected = np.zeros((32, 32), np.bool_)
    expected[4:16, 4:20] = True
    expected[20:28, 8:16] = True
    assert (mask == expected).all(), "a box without a class may be anything"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--zoom-in", "--class-agnostic"], 2, "Add --detector yolo11n.onnx, or --regions boxes.json"),
        (["--regions", "none.json"], 2, "no such file: none.json"),
        (["--detector", "none.onnx"], 2, "no such file: none.onnx"),
        (["--detector", "boxes.json"], 1, "boxes.json"),
        (["--regions", "boxes.json", "--boxes-as-masks", "--crop-margin", "1"], 2, "--boxes-as-masks makes none"),
        (["--regions", "boxes.json", "--boxes-as-masks", "--fallback", "none"], 2, "--fallback is about crops"),
        (
            ["--regions", "boxes.json", "--boxes-as-masks", "--presence-threshold", "1"],
            2,
            "--boxes-as-masks makes none",
        ),
        (["--regions", "boxes.json", "--detector", "boxes.json"], 2, "not both"),
        (["--regions", "boxes.json", "--fallback", "guess"], 2, "fallback"),
        (["--regions", "boxes.json", "--crop-margin", "-1"], 2, "crop-margin"),
        (["--confidence", "0.5"], 2, "--confidence is about regions"),
        (["--regions", "boxes.json", "--confidence", "0.5"], 2, "--confidence is about a detector's boxes"),
        (["--zoom-in", "--detector-names", "coco"], 2, "are about --detector"),
        (["--crop-margin", "0.5"], 2, "--crop-margin is about regions"),
        (["--mask-margin", "0.5"], 2, "--mask-margin is about regions"),
        (["--regions", "boxes.json", "--region-threshold", "0"], 2, "region-threshold"),
        (
            ["--regions", "boxes.json", "--boxes-as-masks", "--region-threshold", "0.5"],
            2,
            "--boxes-as-masks makes none",
        ),
        (["--fallback", "none"], 2, "--fallback is about regions"),
    ],
)
def test_wrong_use(photo: Path, boxes: Path, capsys: Captured, arguments: list[str], code: int, message: str) -> None:
    assert main([str(photo), "--classes", "red", *arguments]) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1


def test_a_real_detector_with_given_names(capsys: Captured, tmp_path: Path) -> None:
    """YOLOX-nano holds no names; the picture's bus and persons are found, and a sure one is not asked twice."""
    detector = shared_data("models", "yolox_nano_416.onnx")
    image = shared_data("pictures", "bus.jpg")
    names = tmp_path / "names.txt"
    names.write_text("\n".join(["human", *(f"class {number}" for number in range(1, 5)), "coach", *"x" * 74]))
    arguments = [
        str(image),
        "--classes",
        "people",
        "coach",
        "--detector",
        str(detector),
        "--detector-names",
        str(names),
    ]
    assert main([*arguments, "--detector-format", "yolox", "--confidence", "0.5", "--boxes-as-masks", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["match"]["how"] for one in document["classes"]] == ["synonym", "exact"]
    assert [one["status"] for one in document["classes"]] == ["found", "found"]
    assert min(one["score"] for one in document["instances"]) >= 0.5
