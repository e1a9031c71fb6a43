"""``clsclip-infer`` with videos, cameras, streams and pipes; and ``--skip-existing``."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsclip_runtime import Segmenter
from clsclip_runtime.cli.infer import main
from clsclip_runtime.cli.outputs import RECORD
from tests.runtime.video.made import make_video, numbered, read_video
from tests.shared_data import shared_data

Captured = pytest.CaptureFixture[str]


def files(folder: str) -> set[str]:
    """Names of the files in a folder, without the record of what they were made of."""
    return {path.name for path in Path(folder).iterdir()} - {RECORD}


pytestmark = pytest.mark.usefixtures("embedded_tiny")


def fails(capsys: Captured, code: int, *arguments: str) -> str:
    assert main(arguments) == code
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("clsclip-infer: ")
    return line


def pipe(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))


def encoded(index: int, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(numbered(index)).save(out, kind)
    return out.getvalue()


def documents(capsys: Captured) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    return [json.loads(line) for line in captured.out.splitlines()]


def test_a_video_becomes_an_annotated_video(capsys: Captured) -> None:
    make_video(Path("clip.mp4"), 12, fps=10)
    assert main(["clip.mp4", "--classes", "red", "blue"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    rows = [line.split() for line in captured.out.splitlines()]
    assert ["[1/1]", "clip.mp4"] in rows
    assert ["blue", "0/12", "-"] in rows
    (red,) = (row for row in rows if row[:1] == ["red"])
    assert red[1] == "12/12"
    assert 15 < float(red[2]) < 30  # the red band is a quarter of every frame
    assert ["wrote", "clsclip-out/clip_overlay.mp4"] in rows
    assert [path.name for path in Path("clsclip-out").iterdir()] == ["clip_overlay.mp4"]
    frames, fps = read_video(Path("clsclip-out/clip_overlay.mp4"))
    assert (len(frames), fps) == (12, pytest.approx(10))
    assert frames[0].shape[1] == 512


def test_all_formats_of_a_video(capsys: Captured) -> None:
    make_video(Path("clip.avi"), 4)
    every = "png,overlay,labels,coco,npz,labelstudio,yolo,labelme,frames"
    formats = ["--formats", every, "--container", "webm"]
    assert main(["clip.avi", "--classes", "red", "--out", "o", "--every", "2", "--json", *formats]) == 0
    first, second, last = documents(capsys)
    assert [(one["source"], one["frame"], one["seconds"]) for one in (first, second)] == [
        ("clip.avi", 0, 0.0),
        ("clip.avi", 2, 0.08),
    ]
    assert first["classes"][0]["status"] == "found"
    assert (last["frames"], last["dropped"], last["complete"]) == (2, 0, True)
    assert last["files"] == [
        "o/clip_overlay.webm",
        "o/clip_coco.json",
        "o/clip_labelstudio.json",
        "o/clip_frames",
    ]
    assert sorted(path.name for path in Path("o/clip_frames").iterdir()) == [
        f"{index:06}{end}"
        for index in (0, 2)
        for end in (".jpg", ".npz", ".txt", "_labelme.json", "_labels.png", "_red.png")
    ]
    document = json.loads(Path("o/clip_coco.json").read_text())
    assert [one["id"] for one in document["images"]] == [1, 3]
    names = [one["file_name"] for one in document["images"]]
    assert names == ["clip_frames/000000.jpg", "clip_frames/000002.jpg"]
    assert {one["video"] for one in document["images"]} == {"clip.avi"}
    for name in names:
        with Image.open(Path("o", name)) as written:
            assert written.size == (96, 64)
    tasks = json.loads(Path("o/clip_labelstudio.json").read_text())
    assert [one["data"]["image"] for one in tasks] == [f"/data/local-files/?d={name}" for name in names]
    labelme = json.loads(Path("o/clip_frames/000002_labelme.json").read_text())
    assert labelme["imagePath"] == "000002.jpg"


def test_json_alone_writes_nothing(capsys: Captured) -> None:
    make_video(Path("clip.mp4"), 5)
    assert main(["clip.mp4", "--classes", "red", "--json", "--max-frames", "3", "--batch", "2"]) == 0
    *frames, last = documents(capsys)
    assert [one["frame"] for one in frames] == [0, 1, 2]
    assert last["files"] == []
    assert [path.name for path in Path().iterdir()] == ["clip.mp4"]


def test_videos_and_pictures_in_one_run(photo: Path, capsys: Captured) -> None:
    make_video(Path("photo.mp4"), 3)
    make_video(Path("other.mp4"), 2)
    assert main([str(photo), "*.mp4", "--classes", "red", "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert files("clsclip-out") == {
        "photo_overlay.png",
        "photo_red.png",
        "photo-2_overlay.mp4",
        "other_overlay.mp4",
    }


def test_frames_of_a_pipe(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, b"".join(encoded(index, "JPEG") for index in range(6)))
    assert main(["-", "--stdin", "stream", "--classes", "red", "--fps", "5", "--out", "o"]) == 0
    frames, fps = read_video(Path("o/video_overlay.mp4"))
    assert (len(frames), fps) == (6, pytest.approx(5))
    assert "6 frames of 96x64 pixels" in capsys.readouterr().out


def test_raw_frames_of_a_pipe(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, b"".join(numbered(index).tobytes() for index in range(3)))
    assert main(["-", "--stdin", "96x64", "--classes", "red", "--json", "--drop-frames"]) == 0
    *frames, last = documents(capsys)
    assert [one["width"] for one in frames] == [96] * len(frames)
    assert last["frames"] + last["dropped"] == 3
    assert last["source"] == "<stdin>"


def test_a_video_in_a_pipe(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, make_video(Path("clip.mkv"), 6, fps=10).read_bytes())
    assert main(["-", "--stdin", "video", "--classes", "red", "--json", "--out", "o", "--codec", "h264"]) == 0
    *frames, last = documents(capsys)
    assert [(one["frame"], one["seconds"]) for one in frames] == [(index, index / 10) for index in range(6)]
    assert len(read_video(Path("o/video_overlay.mp4"))[0]) == 6
    assert ["GPL" in note for note in last["notes"]] == [True]


def test_pipes_without_overlay_need_no_pyav(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, encoded(0) + encoded(1))
    monkeypatch.setitem(sys.modules, "av", None)
    assert main(["-", "--stdin", "stream", "--classes", "red", "--formats", "coco,labels", "-q"]) == 0
    assert Path("clsclip-out/video_coco.json").exists()
    assert "[video]'" in fails(capsys, 1, "0", "--classes", "red", "-q")


def test_a_damaged_picture_in_a_pipe_keeps_the_frames_before(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, encoded(0, "JPEG") + encoded(1, "JPEG") + b"garbage" + encoded(2, "JPEG"))
    line = fails(capsys, 1, "-", "--stdin", "stream", "--classes", "red")
    assert "<stdin>, picture 3" in line
    assert len(read_video(Path("clsclip-out/video_overlay.mp4"))[0]) == 2


def test_a_second_picture_where_one_was_meant_is_noted(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, encoded(0, "JPEG") + encoded(1, "JPEG"))
    assert main(["-", "--classes", "red", "--json"]) == 0
    (document,) = documents(capsys)
    assert "See --stdin stream" in document["notes"][0]
    pipe(monkeypatch, encoded(0, "JPEG"))
    assert main(["-", "--classes", "red", "--json"]) == 0
    assert documents(capsys)[0]["notes"] == []


def test_a_broken_video_among_good_sources(photo: Path, capsys: Captured) -> None:
    Path("bad.mp4").write_bytes(b"no video")
    assert "bad.mp4 is not a video that can be read" in fails(capsys, 1, "bad.mp4", str(photo), "--classes", "red")
    assert Path("clsclip-out/photo_red.png").exists()
    assert main(["bad.mp4", "--classes", "red", "--json"]) == 1
    (document,) = documents(capsys)
    assert document["source"] == "bad.mp4"
    assert "is not a video" in document["error"]


def test_a_video_that_is_cut_off_keeps_its_frames(capsys: Captured) -> None:
    path = make_video(Path("clip.avi"), 60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert main(["clip.avi", "--classes", "red", "--json", "--out", "o"]) == 1
    *frames, last, error = documents(capsys)
    assert last["complete"] is False
    assert last["frames"] == len(frames) == len(read_video(Path("o/clip_overlay.mp4"))[0])
    assert f"ends after {len(frames)} of 60 frames" in error["error"]


def test_a_damaged_video_keeps_its_other_frames(capsys: Captured) -> None:
    path = make_video(Path("clip.mp4"), 60)
    content = bytearray(path.read_bytes())
    middle = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2
    content[middle : middle + 300] = bytes(300)
    path.write_bytes(content)
    assert main(["clip.mp4", "--classes", "red", "--json", "--out", "o"]) == 1
    *frames, last, error = documents(capsys)
    assert last["complete"] is False
    assert last["files"] == ["o/clip_overlay.mp4"]
    assert len(read_video(Path("o/clip_overlay.mp4"))[0]) == len(frames) >= 55
    assert "of clip.mp4 are damaged, the first is frame " in error["error"]


def test_a_camera_and_a_file_of_its_name(photo: Path, capsys: Captured) -> None:
    assert "cannot open camera 98" in fails(capsys, 1, "98", "--classes", "red", "-q")
    shutil.copy(photo, "98")
    assert main(["98", "--classes", "red", "-q"]) == 0
    Path("97").mkdir()
    shutil.copy(photo, "97/a.png")
    assert main(["97", "--classes", "red", "-q"]) == 0
    assert {path.name for path in Path("clsclip-out").glob("*_red.png")} == {"98_red.png", "a_red.png"}


def test_a_stream_that_cannot_be_opened(capsys: Captured) -> None:
    address = "rtsp://me:secret@127.0.0.1:1/door"
    line = fails(capsys, 1, address, "--classes", "red", "-q")
    assert "cannot open the stream rtsp://me:***@127.0.0.1:1/door" in line
    assert main([address, "--classes", "red", "--json"]) == 1
    assert "secret" not in capsys.readouterr().out


def test_unexpected_errors_of_a_stage_are_one_line_unless_debugged(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    make_video(Path("clip.mp4"), 5)
    monkeypatch.setattr(Segmenter, "batch", explode)
    assert "unexpected ZeroDivisionError: a bug" in fails(capsys, 1, "clip.mp4", "--classes", "red")
    monkeypatch.setenv("CLSCLIP_DEBUG", "1")
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    assert main(["clip.mp4", "--classes", "red", "-q"]) == 1
    assert "in explode" in capsys.readouterr().err


def test_sources_are_never_overwritten(capsys: Captured) -> None:
    Path("o/clip_frames").mkdir(parents=True)
    make_video(Path("clip.mp4"), 2)
    trap = make_video(Path("o/clip_overlay.mp4"), 2)
    before = trap.read_bytes()
    assert "would be overwritten" in fails(capsys, 1, "clip.mp4", str(trap), "--classes", "red", "--out", "o", "-q")
    assert trap.read_bytes() == before
    Image.fromarray(numbered(0)).save("o/clip_frames/000000_red.png")
    sources = ["clip.mp4", "o/clip_frames/000000_red.png"]
    assert "would be overwritten" in fails(
        capsys, 1, *sources, "--classes", "red", "--out", "o", "-q", "--formats", "png"
    )


def test_a_folder_that_cannot_be_written(capsys: Captured) -> None:
    make_video(Path("clip.mp4"), 2)
    Path("clsclip-out/clip_overlay.mp4").mkdir(parents=True)
    assert "cannot write clsclip-out/clip_overlay.mp4" in fails(capsys, 1, "clip.mp4", "--classes", "red", "-q")
    assert [path.name for path in Path("clsclip-out").iterdir()] == ["clip_overlay.mp4"]


WRONG_USE = [
    (["{photo}", "--every", "2"], "--every is for videos"),
    (["{photo}", "--max-frames", "2"], "--max-frames is for videos"),
    (["{photo}", "--drop-frames"], "--drop-frames is for videos"),
    (["{photo}", "--container", "webm"], "--container is for videos"),
    (["{photo}", "--codec", "vp9"], "--codec is for videos"),
    (["clip.mp4", "--codec", "h264", "--container", "webm"], "--codec h264 is for --container mp4"),
    (["clip.mp4", "--stream-option", "a=b"], "--stream-option is for streams"),
    (["rtsp://host/", "--stream-option", "a"], "'a' is not NAME=VALUE"),
    (["clip.mp4", "--drop-frames"], "clip.mp4 is a file, which waits"),
    (["clip.mp4", "--reconnect", "2"], "--reconnect is for cameras and streams"),
    (["clip.mp4", "--skip-existing"], "--skip-existing is for pictures"),
    (["{photo}", "--skip-existing", "--json"], "Add --out"),
    (["clip.mp4", "--stdin", "stream"], "Give it as a SOURCE: -"),
    (["-", "--stdin", "640*480"], "'640*480' is not picture, stream, video"),
    (["-", "--stdin", "0x480"], "'0x480' is not picture, stream, video"),
    (["clip.mp4", "--every", "0"], "every"),
    (["clip.mp4", "--max-frames", "-1"], "max-frames"),
    (["clip.mp4", "--batch", "0"], "batch"),
    (["clip.mp4", "--fps", "0"], "fps"),
    (["clip.mp4", "--container", "gif"], "'gif' is not"),
    (["gopher://host/clip"], "no stream can be read by gopher://"),
    (["1000"], "no such file: 1000"),
    (["none.mp4"], "no such file: none.mp4"),
    (["clip.mp4", "--regions", "boxes.json"], "Use --detector for videos"),
    (["clips"], "For its videos: 'clips/*.mp4'"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG_USE, ids=range(len(WRONG_USE)))
def test_wrong_use_is_one_line_and_2(photo: Path, capsys: Captured, arguments: list[str], message: str) -> None:
    Path("clip.mp4").touch()
    Path("boxes.json").write_text('[{"image": "photo.png", "bbox": [4, 4, 16, 12]}]')
    Path("clips").mkdir()
    Path("clips/a.mp4").touch()
    line = fails(capsys, 2, *(one.replace("{photo}", str(photo)) for one in arguments), "--classes", "red")
    assert message in line
    assert not Path("clsclip-out").exists()


def test_skipping_existing_pictures(photo: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("in").mkdir()
    for name in "abc":
        shutil.copy(photo, f"in/{name}.png")
    run = ["in", "--classes", "red", "dining table", "--skip-existing"]
    assert main(run) == 0
    assert "skipped 0 of 3" in capsys.readouterr().out
    Path("clsclip-out/b_dining-table.png").unlink()
    assert main(run) == 0
    out = capsys.readouterr().out
    assert "skipped 2 of 3, made of the same before; 1 to do" in out
    assert "[1/1] in/b.png" in out
    assert main([*run, "--json", "--out", "clsclip-out"]) == 0
    assert [one["skipped"] for one in documents(capsys)] == [True] * 3
    assert main([*run, "--formats", "labels", "-q"]) == 0  # other files do not exist yet
    assert len(list(Path("clsclip-out").glob("*_labels.png"))) == 3

    def explode(*_: object, **__: object) -> None:
        raise AssertionError("nothing is left to do, so no model is needed")

    monkeypatch.setattr(Segmenter, "load", explode)
    assert main(run) == 0
    assert "skipped 3 of 3" in capsys.readouterr().out


def test_progress_is_a_line_on_a_terminal_only(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    make_video(Path("clip.mp4"), 30)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("clsclip_runtime.cli.progress.REDRAW_S", 0.0)
    assert main(["clip.mp4", "--classes", "red"]) == 0
    captured = capsys.readouterr()
    lines = captured.err.split("\r")
    assert any("clip.mp4  " in line and "/30" in line for line in lines)
    assert lines[-1] == ""
    assert lines[-2].strip() == ""  # nothing of it is left
    assert "\r" not in captured.out


def test_frames_are_zoomed_into(capsys: Captured) -> None:
    detector = shared_data("models", "yolov8n_320_int8.onnx")
    make_video(Path("clip.mp4"), 3)
    options = ["--detector", str(detector), "--fallback", "none", "--batch", "2", "--json"]
    assert main(["clip.mp4", "--classes", "red", *options]) == 0
    *frames, _ = documents(capsys)
    assert len(frames) == 3
    assert all(one["regions"]["source"].startswith("detector") for one in frames)


def test_masks_of_a_video_are_those_of_its_pictures(segmenter: Segmenter, capsys: Captured) -> None:
    path = make_video(Path("clip.avi"), 3)
    assert main([str(path), "--classes", "red", "--formats", "png", "-q", "--batch", "2"]) == 0
    for index, image in enumerate(read_video(path)[0]):
        expected = segmenter(np.ascontiguousarray(image), ["red"]).mask("red")
        stored = np.asarray(Image.open(f"clsclip-out/clip_frames/{index:06}_red.png")) > 0
        np.testing.assert_array_equal(stored, expected)
