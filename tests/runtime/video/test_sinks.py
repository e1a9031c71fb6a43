"""What is written: playable videos, COCO documents that others read, files of frames; never half of one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pycocotools.coco import COCO

from clsclip_runtime import OptionError, OutputError, Segmenter
from clsclip_runtime.video import AnnotatedVideo, CocoFile, Frame, FrameFiles
from clsclip_runtime.video import writer as writer_module
from tests.runtime.video.made import make_video, number_of, numbered, read_video, times_of


def drawn(image: npt.NDArray[np.uint8]) -> Any:
    """A stand-in for a result whose overlay is ``image``."""
    return SimpleNamespace(overlay=lambda: Image.fromarray(image))


def frame(index: int, width: int = 96, height: int = 64, seconds: float | None = None) -> tuple[Frame, Any]:
    image = numbered(index, width, height)
    return Frame(image, index, index / 10 if seconds is None else seconds), drawn(image)


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", None), (".mp4", "h264"), (".webm", None)])
def test_a_video_holds_its_frames_at_the_source_s_rate(tmp_path: Path, suffix: str, codec: str | None) -> None:
    path = tmp_path / "new" / f"a{suffix}"
    sink = AnnotatedVideo(path, fps=12.5, codec=codec)
    for index in range(20):
        sink.write(*frame(index, seconds=index / 12.5))
        assert not path.exists()
    sink.close()
    assert sink.done
    frames, fps = read_video(path)
    assert fps == pytest.approx(12.5, abs=0.01)
    assert [number_of(image) for image in frames] == list(range(20))
    assert times_of(path) == pytest.approx([index / 12.5 for index in range(20)], abs=0.001)
    assert frames[0][-6:].mean(axis=(0, 1))[0] > 200  # red is red
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_nothing_is_written_without_frames(tmp_path: Path) -> None:
    for sink in (AnnotatedVideo(tmp_path / "a.mp4"), CocoFile(tmp_path / "a.json", "a")):
        sink.close()
        assert not sink.done
    assert list(tmp_path.iterdir()) == []


def test_the_usual_codec_is_one_that_browsers_play_and_gpl_is_noted(tmp_path: Path) -> None:
    codecs = {}
    for name, codec in (("a.mp4", None), ("b.webm", None), ("c.mp4", "h264")):
        sink = AnnotatedVideo(tmp_path / name, codec=codec)
        sink.write(*frame(0))
        sink.close()
        with av.open(str(sink.path)) as container:
            stream = container.streams.video[0]
            codecs[name] = (container.format.name.split(",")[0], stream.codec_context.name, stream.format.name)
        assert bool(sink.notes) == (codec == "h264")
        assert all("GPL" in note for note in sink.notes)
    assert codecs == {
        "a.mp4": ("mov", "vp9", "yuv420p"),
        "b.webm": ("matroska", "vp9", "yuv420p"),
        "c.mp4": ("mov", "h264", "yuv420p"),
    }


def test_each_nth_frame_keeps_the_pace(tmp_path: Path) -> None:
    sink = AnnotatedVideo(tmp_path / "a.mp4", fps=30, every=5)
    for index in (0, 5, 10):
        sink.write(*frame(index, seconds=index / 30))
    sink.close()
    frames, fps = read_video(sink.path)
    assert (len(frames), fps) == (3, pytest.approx(6))


def test_frames_without_a_time_come_at_the_rate_that_was_told(tmp_path: Path) -> None:
    sink = AnnotatedVideo(tmp_path / "a.mp4", fps=30, every=5)
    for index in (0, 5, 10):
        sink.write(*frame(index, seconds=0))
    sink.close()
    assert times_of(sink.path) == pytest.approx([0, 1 / 6, 2 / 6], abs=0.001)


@pytest.mark.parametrize("fps", [1 / 3600, 0.1, 1000.0, 1e9])
def test_rates_of_time_lapses_and_high_speed_cameras(tmp_path: Path, fps: float) -> None:
    step = 1 / min(fps, 90_000)
    sink = AnnotatedVideo(tmp_path / "a.mp4", fps=fps)
    for index in range(3):
        sink.write(*frame(index, seconds=index * step))
    sink.close()
    assert times_of(sink.path) == pytest.approx([0, step, 2 * step], rel=0.001, abs=1e-5)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_each_frame_is_shown_at_its_own_time(tmp_path: Path, suffix: str) -> None:
    """So a source's varying rate, and frames that were dropped, keep its pace."""
    times = [0.4, 0.6, 1.2, 1.21, 3.0]
    sink = AnnotatedVideo(tmp_path / f"a{suffix}")
    for index, seconds in enumerate(times):
        sink.write(*frame(index, seconds=seconds))
    sink.close()
    assert times_of(sink.path) == pytest.approx(times, abs=0.002)
    assert [number_of(image) for image in read_video(sink.path)[0]] == list(range(5))


@pytest.mark.parametrize("height", [64, 720])
def test_colors_survive(tmp_path: Path, height: int) -> None:
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (40, 120, 200)]
    image = np.repeat(np.array(colors, np.uint8), 32, axis=0)[None].repeat(height, axis=0)
    sink = AnnotatedVideo(tmp_path / "a.mp4")
    sink.write(Frame(image, 0, 0), drawn(image))
    sink.close()
    with av.open(str(sink.path)) as container:  # what players go by
        assert container.streams.video[0].codec_context.colorspace == 1
    (stored,), _ = read_video(sink.path)
    for at, color in enumerate(colors):
        assert np.abs(stored[height // 2, at * 32 + 16].astype(int) - color).max() <= 6


def test_odd_sizes_lose_no_row(tmp_path: Path) -> None:
    sink = AnnotatedVideo(tmp_path / "a.mp4")
    sink.write(*frame(1, 95, 63))
    sink.close()
    (image,), _ = read_video(sink.path)
    assert image.shape == (64, 96, 3)
    assert image[60:62, :90].mean(axis=(0, 1))[0] > 200  # the red band reaches down to row 62


def test_a_stream_may_change_its_size(tmp_path: Path) -> None:
    sink = AnnotatedVideo(tmp_path / "a.mp4")
    for index, (width, height) in enumerate([(96, 64), (192, 128), (48, 32)]):
        sink.write(*frame(index, width, height))
    sink.close()
    frames, _ = read_video(sink.path)
    assert [image.shape for image in frames] == [(64, 96, 3)] * 3
    assert [number_of(frames[0]), number_of(frames[1])] == [0, 1]


def test_containers_must_be_known(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"must end with \.mp4, \.webm"):
        AnnotatedVideo(tmp_path / "a.gif")
    with pytest.raises(OptionError, match=r"a \.webm video has no codec 'h264'\. It takes: vp9"):
        AnnotatedVideo(tmp_path / "a.webm", codec="h264")


def test_an_existing_video_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 3)
    before = path.read_bytes()
    sink = AnnotatedVideo(path)
    sink.write(*frame(0))
    assert path.read_bytes() == before
    sink.close()
    assert len(read_video(path)[0]) == 1


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from PIL import Image
from clsclip_runtime import OutputError
from clsclip_runtime.video import AnnotatedVideo, Frame

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
random = np.random.default_rng(0)
sink = AnnotatedVideo(Path(sys.argv[1]))
try:
    for index in range(100):
        image = random.integers(0, 256, (64, 96, 3), dtype=np.uint8)
        sink.write(Frame(image, index, index / 25), SimpleNamespace(overlay=lambda: Image.fromarray(image)))
    sink.close()
except OutputError as error:
    print(error)
    try:
        sink.close()
    except OutputError as again:
        print(again)
"""


def test_a_video_that_does_not_fit_on_the_disk_is_told_and_not_kept(tmp_path: Path) -> None:
    """A process of its own may write 20 kB to a file."""
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "a.mp4")], capture_output=True, text=True, check=False
    )
    assert run.stderr == ""
    assert "a.mp4: File too large. Give a folder that you may write to" in run.stdout
    assert list(tmp_path.iterdir()) == []


def test_folders_that_cannot_be_written_are_told(tmp_path: Path, segmenter: Segmenter) -> None:
    (tmp_path / "file").touch()
    result = segmenter(numbered(0), ["red"])
    for sink in (
        AnnotatedVideo(tmp_path / "file" / "a.mp4"),
        CocoFile(tmp_path / "file" / "a.json", "a"),
        FrameFiles(tmp_path / "file", ["labels"]),
    ):
        with pytest.raises(OutputError, match="cannot write"):
            sink.write(Frame(numbered(0), 0, 0), result)
        sink.close()


def test_a_size_that_cannot_be_encoded_is_told(tmp_path: Path) -> None:
    sink = AnnotatedVideo(tmp_path / "a.mp4")
    with pytest.raises(OutputError, match="libvpx-vp9 cannot encode 70000x2 pixels"):
        sink.write(*frame(0, 70000, 2))
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_a_build_without_the_encoder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(writer_module._ENCODERS, "vp9", ("none", {}))
    sink = AnnotatedVideo(tmp_path / "a.mp4")
    with pytest.raises(OutputError, match=r"none cannot encode 96x64 pixels .* or another build of PyAV"):
        sink.write(*frame(0))
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_frames_is_never_a_link_and_old_files_are_noted(tmp_path: Path, segmenter: Segmenter) -> None:
    result = segmenter(numbered(0), ["red"])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="link is a link"):
        FrameFiles(tmp_path / "link", ["png"]).write(Frame(numbered(0), 0, 0), result)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    for count in (0, 1):
        sink = FrameFiles(tmp_path / "frames", ["png"])
        sink.write(Frame(numbered(0), 0, 0), result)
        sink.write(Frame(numbered(1), 1 + count, 0.1), result)
        assert ["held 2 files before" in note for note in sink.notes] == [True] * count
        assert len(list((tmp_path / "frames").iterdir())) == 2 + count


@pytest.fixture
def results(segmenter: Segmenter) -> Iterator[list[tuple[Frame, Any]]]:
    made = [Frame(numbered(index), index * 3, index / 10) for index in range(4)]
    yield [(one, segmenter(one.image, ["red", "blue"])) for one in made]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_of_all_frames_is_read_by_pycocotools(tmp_path: Path, results: list[tuple[Frame, Any]]) -> None:
    sink = CocoFile(tmp_path / "a.json", "clip.mp4")
    for one in results:
        sink.write(*one)
        assert not sink.path.exists()
    sink.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    document = json.loads(sink.path.read_text(encoding="utf-8"))
    assert [image["frame_index"] for image in document["images"]] == [0, 3, 6, 9]
    assert [image["seconds"] for image in document["images"]] == [0, 0.1, 0.2, 0.3]
    names = [f"clip_frames/{index:06}.jpg" for index in (0, 3, 6, 9)]
    assert [image["file_name"] for image in document["images"]] == names
    assert {image["video"] for image in document["images"]} == {"clip.mp4"}
    coco = COCO(str(sink.path))
    assert len(coco.anns) == 4  # red in every frame, blue in none
    for one, result in results:
        (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=[one.index + 1], catIds=[1]))
        np.testing.assert_array_equal(coco.annToMask(annotation), result.mask("red"))


def test_coco_without_any_mask_is_still_a_document(tmp_path: Path, segmenter: Segmenter) -> None:
    sink = CocoFile(tmp_path / "a.json", "x")
    sink.write(Frame(numbered(0), 0, 0), segmenter(numbered(0), ["blue"]))
    sink.close()
    document = json.loads(sink.path.read_text())
    assert document["annotations"] == []
    assert [one["name"] for one in document["categories"]] == ["blue"]


def test_a_coco_document_that_could_not_be_written_is_not_kept(
    tmp_path: Path, results: list[tuple[Frame, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = CocoFile(tmp_path / "a.json", "x")
    sink.write(*results[0])
    assert sink._writer._images is not None

    def full(_: str) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sink._writer._images, "write", full)
    with pytest.raises(OutputError, match="No space left"):
        sink.write(*results[1])
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_files_of_every_frame(tmp_path: Path, results: list[tuple[Frame, Any]]) -> None:
    sink = FrameFiles(tmp_path / "frames", ["labels", "npz"])
    assert not sink.done
    for one in results:
        sink.write(*one)
    sink.close()
    assert sink.done
    names = [f"{index:06}{end}" for index in (0, 3, 6, 9) for end in (".npz", "_labels.png")]
    assert sorted(path.name for path in sink.path.iterdir()) == names
    with np.load(sink.path / "000003.npz") as stored:
        np.testing.assert_array_equal(stored["masks"][0], results[1][1].mask("red"))
