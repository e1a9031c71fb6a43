"""What people look at: names on the things, fonts for every script, colors, and what a notebook shows."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsclip_runtime import OptionError, Result, Segmenter
from clsclip_runtime.results import fonts
from clsclip_runtime.results.labels import Label, _deepest, draw_labels, labels_of
from clsclip_runtime.results.overlay import colors


@pytest.fixture
def result(segmenter: Segmenter, photo: Path) -> Result:
    return segmenter(photo, ["red", "blue"])


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A system whose only folder of fonts is the one that is given, and empty."""
    folder = tmp_path / "fonts"
    folder.mkdir()
    caches = (fonts.can_draw, fonts._file_with, fonts._files, fonts._fonts, fonts._opened)
    monkeypatch.setattr(fonts, "_FOLDERS", (str(folder),))
    monkeypatch.setattr(fonts, "_FONTS", ())
    for one in caches:
        one.cache_clear()
    yield folder
    for one in caches:
        one.cache_clear()


def test_names_lie_on_their_things(result: Result) -> None:
    found = labels_of(result, [0, 1], [(255, 0, 0), (0, 0, 255)], result.size)
    assert {one.text for one in found} == {one.name for one in result if one.area}
    for one in found:
        assert result[one.text].mask[int(one.middle[1]), int(one.middle[0])]
        left, top, right, bottom = result[one.text].box or (0, 0, 0, 0)
        assert one.box == (left, top, right, bottom)
    plain, named = (np.asarray(result.overlay(labels=labels, legend=False)) for labels in (False, True))
    assert plain.shape == named.shape
    changed = np.argwhere((plain != named).any(axis=2))
    assert len(changed)
    red = found[0]
    assert np.abs(changed.mean(axis=0) - red.middle[::-1]).max() < 300, "near, whatever the scale"


def test_names_do_not_cover_each_other_nor_small_things() -> None:
    image = Image.new("RGB", (200, 200), (255, 255, 255))
    small = Label("small", (100, 100), (95, 95, 105, 105), (200, 0, 0))
    draw_labels(image, [small], 15)
    pixels = np.asarray(image)
    assert (pixels[95:105, 95:105] == 255).all(), "the thing is still seen"
    assert not (pixels[70:94] == 255).all(), "its name is above it"
    crowd = Image.new("RGB", (200, 200), (255, 255, 255))
    many = [Label("same", (100, 100), (0, 0, 200, 200), (0, shade, 0)) for shade in range(50, 250, 20)]
    draw_labels(crowd, many, 15)
    areas = [int((np.asarray(crowd) == one.color).all(axis=2).sum()) for one in many]
    written = [area for area in areas if area > 100]
    assert written == areas[: len(written)], "the first ones are written"
    assert 2 <= len(written) <= 5, "those that find a place"
    assert max(written) - min(written) < 30, "and none lies on another"


def test_the_deepest_pixel_of_a_mask() -> None:
    mask = np.zeros((30, 40), bool)
    mask[2:27, 3:28] = True
    mask[10:12, 28:40] = True  # a tail does not pull it
    assert _deepest(mask) == (14, 15)


def test_options_of_overlays(result: Result) -> None:
    own = np.asarray(result.overlay(alpha=1.0, palette=[(1, 2, 3), (4, 5, 6)], labels=False, legend=False))
    assert (own.reshape(-1, 3) == (1, 2, 3)).all(axis=1).any()
    bare = result.overlay(alpha=0.0, labels=False, legend=False)
    assert bare.height < result.overlay().height
    for wrong in (
        {"alpha": 2},
        {"alpha": "x"},
        {"palette": [(1, 2, 3)]},
        {"palette": [(1, 2), (1, 2)]},
        {"palette": [(0, 0, 300)] * 2},
    ):
        with pytest.raises(OptionError):
            result.overlay(**wrong)


def test_a_note_that_the_image_is_unlike_what_the_model_knows_is_in_the_caption(result: Result) -> None:
    before = result.overlay().height
    result.notes.append("this image is unlike what the model knows (stickers: emoji). Its masks mean little here")
    assert result.overlay().height > before


def test_the_first_colors_differ_for_every_kind_of_color_vision() -> None:
    """By the matrices of Vienot, Brettel and Mollon (1999) for people without red or green cones."""
    deuter = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])
    protan = np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]])
    linear = (colors(7) / 255.0) ** 2.2
    for matrix in (np.eye(3), deuter, protan):
        seen = 255 * np.clip(linear @ matrix.T, 0, 1) ** (1 / 2.2)
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=2) + 1000 * np.eye(7)
        assert apart.min() > 35


def test_a_font_of_the_system_is_found_for_its_script(no_fonts: Path) -> None:
    script = "Ж猫"
    assert not fonts.can_draw("\u0e01\u0e02"), "Thai letters, which Pillow's own font lacks"
    assert fonts.can_draw("plain")
    known = next((path for path in ("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",) if Path(path).exists()), None)
    assert known is not None, "the tests need the font DejaVu Sans"
    shutil.copy(known, no_fonts / "x.ttf")
    (no_fonts / "broken.ttf").write_bytes(b"no font")
    for one in (fonts.can_draw, fonts._file_with, fonts._files):
        one.cache_clear()
    assert fonts.can_draw("\u0531\u0532"), "Armenian is in DejaVu Sans"
    font: Any = fonts.font_for("\u0531\u0532", 15)
    assert font.path == str(no_fonts / "x.ttf")
    assert not fonts.can_draw(script)


def test_what_a_notebook_shows(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    with Image.open(io.BytesIO(result._repr_png_())) as image:
        assert image.size == result.overlay().size
    shown: list[Any] = []
    display = SimpleNamespace(display=shown.append)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=object, display=display))
    result.show(legend=False)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None, display=display))
    monkeypatch.setattr(Image.Image, "show", lambda self: shown.append("viewer"))
    result.show()
    assert shown[0].size == result.overlay(legend=False).size
    assert shown[1:] == ["viewer"]
