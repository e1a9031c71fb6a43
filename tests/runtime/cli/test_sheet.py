"""Contact sheets of a run: every picture is on one, with its name and what was found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsclip_runtime.cli.infer import main
from clsclip_runtime.results import sheet
from tests.runtime.tiny_bundle import paint

pytestmark = [
    pytest.mark.long,
    pytest.mark.usefixtures("embedded_tiny"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

RED = paint({"red": (slice(1, 6), slice(1, 6))})
BLUE = paint({"blue": (slice(1, 6), slice(1, 6))})


def run(count: int, *more: str) -> int:
    for number in range(count):
        Path("in").mkdir(exist_ok=True)
        Image.fromarray((RED, BLUE)[number % 2]).save(f"in/{number:02d}.png")
    return main(["in", "--classes", "red", "blue", "--out", "o", "--formats", "sheet", "-q", *more])


def files() -> list[str]:
    return sorted(path.name for path in Path("o").iterdir() if not path.name.startswith("."))


def test_all_pictures_are_on_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet, "TILES", 4)
    monkeypatch.setattr("clsclip_runtime.cli.collected.TILES", 4)
    assert run(6) == 0
    assert files() == ["sheet-2.png", "sheet.png"]
    tile = 320 + 10
    with Image.open("o/sheet.png") as full, Image.open("o/sheet-2.png") as rest:
        assert full.width == 4 * tile + 10 and rest.width == 2 * tile + 10
        pixels = np.asarray(full).astype(int)
    for at, channel in ((0, 0), (1, 2), (2, 0)):
        middle = pixels[60:120, 10 + at * tile + 60 : 10 + at * tile + 120].mean(axis=(0, 1))
        assert middle.argmax() == channel or middle[channel] > 80, "the picture itself, in order"
    words = pixels[330:, 10 : 10 + 320]
    assert (words < 128).any(), "its name is below it"


def test_a_sheet_is_drawn_anew_and_videos_are_on_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(1) == 0
    before = Path("o/sheet.png").read_bytes()
    Path("o/sheet.png").unlink()
    assert run(1, "--skip-existing") == 0
    assert Path("o/sheet.png").read_bytes() == before
    Path("clip.mp4").write_bytes(b"no video")
    code = main(["in", "clip.mp4", "--classes", "red", "--out", "p", "--formats", "sheet"])
    assert code == 1
    assert "frames of videos and streams are on no sheet" in capsys.readouterr().err
    assert Path("p/sheet.png").is_file()


def test_a_picture_that_is_called_like_a_sheet_is_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    Path("o").mkdir()
    Image.fromarray(RED).save("o/sheet.png")
    assert main(["o/sheet.png", "--classes", "red", "--out", "o", "--formats", "sheet"]) == 1
    assert "would be overwritten" in capsys.readouterr().err
