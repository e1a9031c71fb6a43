"""Names are decided before anything is written, and what is skipped was made of the same."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsclip_runtime.bundle import opening
from clsclip_runtime.cli.infer import main
from clsclip_runtime.cli.outputs import RECORD, Made, Origin, Record, refuse_overwriting
from clsclip_runtime.errors import OutputError
from tests.runtime.tiny_bundle import paint

pytestmark = pytest.mark.usefixtures("embedded_tiny")

RED, GREEN = (paint({word: (slice(1, 5), slice(1, 5))}) for word in ("red", "green"))


def save(path: str, pixels: object = RED) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)  # type: ignore[arg-type]
    return path


def area(path: Path) -> int:
    return int(np.count_nonzero(np.asarray(Image.open(path))))


@pytest.mark.parametrize(
    "names",
    [["y" * 118 + "_01", "y" * 118 + "_02"], ["会" * 40 + one for one in "一二三"], ["x" * 250 + "a", "x" * 250]],
)
def test_long_names_that_begin_alike_stay_distinct(names: list[str]) -> None:
    for at, name in enumerate(names):
        save(f"in/{name}.png" if at == 0 else f"in{at}/{name}.png", RED if at == 0 else GREEN)
    folders = [f"in{at or ''}" for at in range(len(names))]
    assert main([*folders, "--classes", "red", "green", "--formats", "png", "-q"]) == 0
    found = sorted(Path("clsclip-out").glob("*.png"))
    assert len(found) == 2 * len(names)
    assert sum(area(path) > 0 for path in found if path.name.endswith("_red.png")) == 1
    assert max(len(os.fsencode(path.name)) for path in found) <= 255


def test_equal_long_names_of_two_folders_stay_distinct() -> None:
    """Numbered after they are cut, not before."""
    for folder in "ab":
        save(f"{folder}/{'y' * 120}.png")
        save(f"{folder}/{'z' * 200}.png")
    assert main(["a", "b", "--classes", "red", "--formats", "npz", "-q"]) == 0
    assert len(list(Path("clsclip-out").glob("*.npz"))) == 4


def test_no_picture_of_the_run_is_overwritten_and_nothing_is_written_before() -> None:
    """The second picture has the name of the first one's overlay."""
    save("p.png")
    trap = save("p_overlay.png", GREEN)
    before = Path(trap).read_bytes()
    assert main(["p.png", trap, "--classes", "red", "--out", ".", "-q"]) == 1
    assert Path(trap).read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == ["p.png", "p_overlay.png"]


def test_links_on_the_way_to_a_picture_are_kept_too(tmp_path: Path) -> None:
    out, far = tmp_path / "out", tmp_path / "far"
    out.mkdir()
    far.mkdir()
    (far / "real.png").touch()
    (out / "middle.png").symlink_to(far / "real.png")
    (far / "first.png").symlink_to(out / "middle.png")
    for name in ("middle.png", "other.png"):
        if name == "other.png":
            refuse_overwriting([far / "first.png"], [out / name], out)
        else:
            with pytest.raises(OutputError, match=r"middle\.png is or holds one of the pictures"):
                refuse_overwriting([far / "first.png"], [out / name], out)
    (out / "clip_frames").mkdir()
    with pytest.raises(OutputError, match="clip_frames is or holds"):
        refuse_overwriting([out / "clip_frames" / "0.png"], [out / "clip_frames"], out)
    refuse_overwriting([tmp_path / "real.png"], [tmp_path / "none" / "real.png"], tmp_path / "none")


def skipped(*arguments: str) -> int:
    """How many pictures of a run are skipped."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main([*arguments, "--json", "--out", "o", "--skip-existing"]) == 0
    return sum("skipped" in json.loads(line) for line in printed.getvalue().splitlines())


def test_a_picture_that_takes_anothers_name_is_done() -> None:
    """x.jpg sorts before x.png, and would take the stem of what x.png left."""
    save("in/x.png")
    assert skipped("in", "--classes", "red", "--formats", "npz") == 0
    Image.fromarray(GREEN).resize((40, 40)).save("in/x.jpg")
    assert skipped("in", "--classes", "red", "--formats", "npz") == 0
    with np.load("o/x.npz") as jpg, np.load("o/x-2.npz") as png:
        assert (jpg["masks"].shape[1:], png["masks"].shape[1:]) == ((40, 40), (32, 32))
    assert skipped("in", "--classes", "red", "--formats", "npz") == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["--classes", "red"], ["--classes", "green"]),
        (["--classes", "ice cream"], ["--classes", "ice-cream"]),
        (["--classes", "red"], ["--classes", "red", "--presence-threshold", "0.2"]),
        (["--classes", "red"], ["--classes", "red", "--no-presence-filter"]),
        (["--classes", "red"], ["--classes", "red", "--model", "other.clsclip"]),
        (["--classes", "red"], ["--classes", "red", "--regions", "boxes.json"]),
        (["--classes", "red"], ["--classes", "red", "--formats", "labels"]),
    ],
)
def test_other_words_options_and_models_are_done_again(first: list[str], second: list[str]) -> None:
    save("x.png")
    shutil.copytree(opening.EMBEDDED, "other.clsclip")
    document = json.loads(Path("other.clsclip/manifest.json").read_text("utf-8"))
    Path("other.clsclip/manifest.json").write_text(json.dumps(document | {"description": "another"}), "utf-8")
    Path("boxes.json").write_text(json.dumps([{"bbox": [4, 4, 16, 16]}]), "utf-8")
    assert skipped("x.png", *first) == 0
    assert skipped("x.png", *first) == 1
    assert skipped("x.png", *second) == 0
    assert skipped("x.png", *second) == 1


def test_a_picture_that_changed_is_done_again() -> None:
    save("x.png")
    assert skipped("x.png", "--classes", "red") == 0
    stat = Path("x.png").stat()
    save("x.png", GREEN)
    os.utime("x.png", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert skipped("x.png", "--classes", "red") == 0
    assert skipped("x.png", "--classes", "red") == 1
    Path("o/x_red.png").write_bytes(b"")  # as a power cut may leave it
    assert skipped("x.png", "--classes", "red") == 0


def test_outputs_that_were_cut_or_replaced_are_made_again() -> None:
    save("x.png")
    assert skipped("x.png", "--classes", "red") == 0
    mask = Path("o/x_red.png")
    whole = mask.read_bytes()
    mask.write_bytes(whole[:50])
    assert skipped("x.png", "--classes", "red") == 0
    assert mask.read_bytes() == whole
    mask.rename("o/another.png")
    mask.symlink_to("another.png")
    assert skipped("x.png", "--classes", "red") == 0
    assert not mask.is_symlink() and mask.read_bytes() == whole
    assert skipped("x.png", "--classes", "red") == 1


def test_other_formats_of_the_same_add_up() -> None:
    save("x.png")
    assert skipped("x.png", "--classes", "red", "--formats", "png") == 0
    assert skipped("x.png", "--classes", "red", "--formats", "labels") == 0
    assert skipped("x.png", "--classes", "red", "--formats", "png,labels") == 1


def test_a_damaged_record_loses_lines_only(tmp_path: Path) -> None:
    record = Record(tmp_path, {"words": ["dog"]})
    (tmp_path / "a.png").touch()
    origin = record.origin(str(tmp_path / "a.png"))
    assert origin is not None
    record.add("a", origin, ["png"])
    path = tmp_path / RECORD
    content = path.read_bytes()
    path.write_bytes(content + b'{"stem": "b", "formats": [' + b"\n[1]\n{}\nnull\n" + b"[" * 100_000 + b"\n\xff\n")
    record.add("c", origin, ["npz"])
    assert record.read() == {"a": Made(origin, {"png"}, {}), "c": Made(origin, {"npz"}, {})}
    path.unlink()
    os.mkfifo(path)
    assert record.read() == {}, "a pipe is not waited for"
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    assert record.read() == {}
    with pytest.raises(OutputError, match="cannot write"):
        record.add("a", origin, ["png"])
    assert not (tmp_path / "elsewhere").exists()


def test_a_record_does_not_grow_for_ever(tmp_path: Path) -> None:
    record, other = Record(tmp_path, {"words": ["dog"]}), Origin("a", 1, 2, "x")
    (tmp_path / "a.png").touch()
    origin = record.origin(str(tmp_path / "a.png"))
    assert origin is not None
    for _ in range(600):
        record.add("a", other, ["png"])
        record.add("a", origin, ["png"])
    assert record.read() == {"a": Made(origin, {"png"}, {})}
    assert len((tmp_path / RECORD).read_text("utf-8").splitlines()) == 1
    assert record.read() == {"a": Made(origin, {"png"}, {})}
