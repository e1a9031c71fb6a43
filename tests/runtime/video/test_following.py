"""Steady videos: motion, classes that are held, masks that are averaged, ids that last."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from clsclip_runtime import Result, Segmenter
from clsclip_runtime.cli.infer import main
from clsclip_runtime.video import Follower, Frame
from clsclip_runtime.video.motion import Motion, carried
from clsclip_runtime.video.smoothing import HELD_SHARE, Smoother
from tests.runtime.tiny_bundle import paint
from tests.runtime.video.made import make_video

ROOT = Path(__file__).parents[3]
StickerImage = npt.NDArray[np.uint8]


def pan(count: int, size: tuple[int, int] = (640, 480)) -> Iterator[Frame]:
    """A camera that moves smoothly over the example picture, 25 frames a second."""
    with Image.open(ROOT / "examples" / "cluttered.png") as opened:
        image = opened.convert("RGB").resize((1024, 1024), Image.Resampling.BICUBIC)
    for at in range(count):
        shift = at / 250
        place = (1, 0, (1024 - size[0]) * shift, 0, 1, (1024 - size[1]) * shift)
        view = image.transform(size, Image.Transform.AFFINE, place, Image.Resampling.BILINEAR)
        yield Frame(np.asarray(view), at, at / 25)


def runs(found: Sequence[bool]) -> int:
    return sum(1 for one, _ in groupby(found) if one)


@pytest.mark.slow
def test_a_pan_of_250_frames_has_few_runs() -> None:
    with Segmenter.load(threads=1) as segmenter:
        spec = segmenter.bundle.manifest.presence
        assert spec is not None
        follower = Follower(smooth=True, presence_threshold=spec.threshold)
        plain, steady = [], []
        for frame in pan(250):
            result = segmenter(frame.image, ["dog"], presence_threshold=follower.asked_threshold)
            dog = result["dog"]
            plain.append(bool(dog.area) and dog.presence is not None and dog.presence >= spec.threshold)
            steady.append(follower(frame, result)["dog"].status == "found")
    assert runs(plain) > 5
    assert runs(steady) <= 3
    assert sum(steady) >= sum(plain)


def test_motion_is_the_shift_of_the_picture() -> None:
    motion = Motion()
    frames = list(pan(5))
    assert motion(frames[0].image) is None
    assert (motion(frames[0].image) == 0).all()
    found = motion(np.roll(frames[0].image, (20, 40), axis=(0, 1)))  # 20 down, 40 to the right
    assert found is not None
    across, down = np.median(found[0]) * 640, np.median(found[1]) * 480
    assert (across, down) == (pytest.approx(-40, abs=4), pytest.approx(-20, abs=4))
    assert motion(frames[0].image[:240]) is None


def test_flat_pictures_stay() -> None:
    motion = Motion()
    motion(np.full((60, 90, 3), 7, np.uint8))
    assert (motion(np.full((60, 90, 3), 7, np.uint8)) == 0).all()
    motion(np.zeros((1, 1, 3), np.uint8))
    assert (motion(np.zeros((1, 1, 3), np.uint8)) == 0).all()


def test_values_are_carried_to_where_things_are() -> None:
    values = np.zeros((16, 16), np.float32)
    values[4, 4] = 8
    field = np.zeros((2, 3, 3))
    field[0], field[1] = -3 / 16, -2 / 16  # what is here was 3 to the left and 2 above
    moved = carried(values, field)
    assert moved[6, 7] == pytest.approx(8)
    assert moved.sum() == pytest.approx(8)


def with_presence(result: Result, presence: float) -> Result:
    return replace(result, searches=tuple(replace(one, presence=presence) for one in result.searches))


@pytest.fixture
def red(segmenter: Segmenter) -> Result:
    return segmenter(paint({"red": (slice(1, 4), slice(1, 5))}), ["red"])


def follow(red: Result, presence: Sequence[float], fps: float = 25) -> list[Result]:
    smoother = Smoother(0.9)
    image = np.asarray(red.image.image)
    return [
        smoother(Frame(image, at, at / fps), with_presence(red, one), None if at == 0 else np.zeros((2, 1, 1)))
        for at, one in enumerate(presence)
    ]


def test_a_class_that_flickers_is_held(red: Result) -> None:
    presence = [0.95, 0.85] * 20
    steady = follow(red, presence)
    assert [one["red"].status for one in steady] == ["found"] * 40
    assert runs([one >= 0.9 for one in presence]) == 20
    assert steady[-1]["red"].presence == pytest.approx(0.9, abs=0.01)
    assert any("averaged over" in note for note in steady[0].notes)
    np.testing.assert_array_equal(steady[-1].mask("red"), red.mask("red"))


def test_a_class_that_goes_is_gone_and_one_frame_does_not_bring_it(red: Result) -> None:
    found = [one["red"].status for one in follow(red, [0.95] * 10 + [0.1] * 30 + [0.95] + [0.1] * 9)]
    assert found[:10] == ["found"] * 10
    assert runs([one == "found" for one in found]) == 1
    last = max(at for at, one in enumerate(found) if one == "found")
    assert 9 < last < 25
    assert found[-1] == "absent"


def test_everything_begins_anew_behind_a_gap(red: Result) -> None:
    steady = follow(red, [0.95, 0.85, 0.85], fps=0.5)
    assert [one["red"].status for one in steady] == ["found", "absent", "absent"]
    assert steady[1]["red"].reason == "presence below 0.90"


def test_masks_are_averaged(segmenter: Segmenter, red: Result) -> None:
    """One frame in which the thing is elsewhere does not move the mask there."""
    other = segmenter(paint({"red": (slice(5, 8), slice(5, 8))}), ["red"])
    smoother, still = Smoother(None), np.zeros((2, 1, 1))
    image = np.asarray(red.image.image)
    found = [smoother(Frame(image, at, at / 25), one, still) for at, one in enumerate([red] * 6 + [other] + [red] * 3)]
    for one in found:
        assert one.mask("red")[8, 8] and not one.mask("red")[26, 26]
    assert HELD_SHARE < 1


def moving(count: int, gone: range = range(0)) -> Iterator[tuple[Frame, StickerImage]]:
    for at in range(count):
        image = np.full((96, 96, 3), 160, np.uint8)
        if at not in gone:
            image[12:36, 6 + at : 36 + at] = (255, 0, 0)
        image[60:84, 60 - at : 84 - at] = (255, 0, 0)
        yield Frame(image, at, at / 10), image


def ids(segmenter: Segmenter, frames: Iterator[tuple[Frame, StickerImage]]) -> list[list[int | None]]:
    follower = Follower(track=True)
    found = []
    for frame, image in frames:
        result = follower(frame, segmenter(image, ["red"], presence_threshold=0))
        assert result.tracked is not None
        found.append([one.track_id for one in result.tracked])
    return found


def test_ids_last(segmenter: Segmenter) -> None:
    assert ids(segmenter, moving(12)) == [[1, 2]] * 12
    assert ids(segmenter, moving(12, gone=range(4, 7))) == [[1, 2]] * 4 + [[2]] * 3 + [[1, 2]] * 5
    late = ids(segmenter, moving(20, gone=range(3, 16)))
    assert late[:3] == [[1, 2]] * 3
    assert late[16:] == [[3, 2]] * 4


def test_ids_are_in_every_output(segmenter: Segmenter) -> None:
    frame, image = next(moving(1))
    plain = segmenter(image, ["red"])
    result = Follower(track=True)(frame, plain)
    assert [one["track_id"] for one in result.to_json()["instances"]] == [1, 2]
    assert [one["track_id"] for one in result.to_coco()["annotations"]] == [1, 2]
    assert result.to_supervision().tracker_id.tolist() == [1, 2]
    assert "track_id" not in json.dumps(plain.to_json())
    assert np.asarray(result.overlay()).shape == np.asarray(plain.overlay()).shape


@pytest.mark.usefixtures("embedded_tiny")
def test_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    make_video(Path("clip.mp4"), 4)
    assert (
        main(["clip.mp4", "--classes", "red", "--smooth", "--track", "--json", "--out", "o", "--formats", "coco"]) == 0
    )
    *frames, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert [[one["track_id"] for one in frame["instances"]] for frame in frames] == [[1]] * 4
    assert {one["track_id"] for one in json.loads(Path(last["files"][0]).read_text())["annotations"]} == {1}
    assert frames[0]["presence_threshold"] == 0.9
    for wrong, told in (
        (["p.png", "--smooth"], "--smooth is for videos"),
        (["p.png", "--track"], "--track is for videos"),
        (["clip.mp4", "--smooth", "--regions", "tiles"], "--smooth is for whole pictures"),
    ):
        Image.new("RGB", (8, 8)).save("p.png")
        assert main([*wrong, "--classes", "red"]) == 2
        assert told in capsys.readouterr().err
