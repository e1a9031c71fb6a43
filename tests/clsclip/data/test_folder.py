"""A folder of one's own."""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clsclip.data import folder
from clsclip.data.base import prompts_of, trained_words
from clsclip.data.files import read_labels
from clsclip.data.folder import first_look
from clsclip.errors import DataError
from clsclip.folds import open_fold
from tests.clsclip.data.made import labels_with, make_folder, save_image


@pytest.fixture
def root(tmp_path: Path) -> Path:
    masks = {
        "x.1": labels_with((1, (0, 0, 10, 10)), (2, (20, 0, 30, 10)), (255, (40, 0, 50, 10)), size=(60, 40)),
        "y": labels_with((2, (0, 0, 3, 3)), size=(60, 40)),
        "z": labels_with(size=(60, 40)),
    }
    return make_folder(tmp_path / "own", masks, ["red mug", "spoon"])


def test_without_lists_all_pictures_are_on_both_sides(root: Path) -> None:
    fold = open_fold("folder", root, 0)
    assert fold.number == -1
    assert fold.seen == fold.novel == (0, 1)
    assert fold.train_pairs == fold.test_pairs == ((0, 0), (0, 1), (1, 1))
    mask = fold.test.mask(0, 1)
    assert (mask == 1).sum() == 100
    assert (mask == 255).sum() == 100
    assert fold.test.shown(2) == ()
    assert fold.test.mask(2, 0).sum() == 0


def test_lists_and_novel_classes(root: Path) -> None:
    (root / "train.txt").write_text("x.1\n\n y.png \n")
    (root / "val.txt").write_text("y\n")
    fold = open_fold("folder", root, -1, novel=["spoon"])
    assert (fold.seen, fold.novel) == ((0,), (1,))
    assert fold.train_pairs == ((0, 0),)
    assert fold.test_pairs == ((0, 1),)
    assert [fold.train.key(at) for at in range(2)] == ["x.1", "y"]
    assert len(open_fold("folder", root, -1, part="train").test) == 0
    with pytest.raises(DataError, match="'fork' is not in"):
        open_fold("folder", root, -1, novel=["fork"])
    (root / "val.txt").write_text("y\nw\n")
    with pytest.raises(DataError, match=r"1 of 2 files .*: w"):
        open_fold("folder", root, -1)
    assert len(open_fold("folder", root, -1, allow_missing=True).test) == 1


@pytest.mark.parametrize(
    ("lists", "train", "test"),
    [
        ({"val.txt": "y"}, ["x.1", "z"], ["y"]),
        ({"train.txt": "y\nz"}, ["y", "z"], ["x.1"]),
        ({"val.txt": "x.1\ny\nz"}, [], ["x.1", "y", "z"]),
        ({"train.txt": "y", "val.txt": "z"}, ["y"], ["z"]),
    ],
)
def test_one_list_alone_leaves_the_rest_to_the_other_side(
    root: Path, caplog: pytest.LogCaptureFixture, lists: dict[str, str], train: list[str], test: list[str]
) -> None:
    for name, text in lists.items():
        (root / name).write_text(text + "\n")
    fold = open_fold("folder", root, -1)
    assert [fold.train.key(at) for at in range(len(fold.train))] == train
    assert [fold.test.key(at) for at in range(len(fold.test))] == test
    assert ("is not there: the" in caplog.text) == (len(lists) == 1)
    alone = open_fold("folder", root, -1, part="train").train
    assert [alone.key(at) for at in range(len(alone))] == train


def test_files_that_are_no_images_and_odd_classes_are_counted(root: Path) -> None:
    for name in ("a.psd", "b.PSD", "c.dng", "README", "notes.txt", ".hidden.psd"):
        (root / "images" / name).write_bytes(b"x")
    (root / "classes.txt").write_text("cup\nspoon\nbackground\n")
    data = open_fold("folder", root, -1).train
    lines = data.account.lines()  # type: ignore[attr-defined]
    told = "4 files are no images that can be read, and were passed over (2 .psd, 1 .dng, 1 without a suffix; ...)"
    assert told in lines
    assert any("named like the background" in line and "background" in line for line in lines)


def test_a_first_look_at_masks_that_take_long(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert first_look(root, 60) is None, "there is time for all"
    (root / "masks" / "y.png").write_bytes(b"damaged")
    real, read = folder.summarize, []
    clock = iter(range(100))
    monkeypatch.setattr("clsclip.data.summary.time.monotonic", lambda: next(clock))
    monkeypatch.setattr(folder, "summarize", lambda *given, **more: read.append(real(*given, **more)) or read[-1])
    look = first_look(root, 2.5)
    assert look is read[0] and look is not None
    assert (look.images, look.counted) == (3, 2)
    assert any("figures of 2 of them" in line for line in look.lines())
    (root / "val.txt").write_text("x.1\ny\n")
    assert first_look(root, 60) is None and read[-1].images == 1


def test_grey_masks_do_as_well(root: Path) -> None:
    Image.fromarray(labels_with((2, (0, 0, 3, 3)), size=(60, 40))).save(root / "masks" / "y.png")
    assert open_fold("folder", root, -1).test.mask(1, 1).sum() == 9


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_masks_of_few_bits_keep_their_values(root: Path, bits: int) -> None:
    """Pillow spreads gray values of 2 and 4 bits over 8."""
    labels = labels_with((1, (0, 0, 3, 3)), size=(60, 40))
    (root / "masks" / "y.png").write_bytes(gray_png(labels, bits))
    np.testing.assert_array_equal(read_labels(root / "masks" / "y.png"), labels)


def gray_png(labels: NDArray[np.uint8], bits: int) -> bytes:
    """A gray PNG file of so many bits a pixel."""
    height, width = labels.shape
    spread = (labels[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(spread.reshape(height, -1).astype(np.uint8), axis=1)
    content = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


def test_gray_with_alpha_is_gray_and_frames_are_no_mask(root: Path) -> None:
    labels = labels_with((1, (0, 0, 3, 3)), size=(60, 40))
    opaque = Image.fromarray(np.full_like(labels, 255))
    Image.merge("LA", (Image.fromarray(labels), opaque)).save(root / "masks" / "y.png")
    np.testing.assert_array_equal(read_labels(root / "masks" / "y.png"), labels)
    one = Image.fromarray(labels)
    one.save(root / "y.gif", save_all=True, append_images=[Image.fromarray(labels[::-1])])
    with pytest.raises(DataError, match="it has 2 frames"):
        read_labels(root / "y.gif")


def test_lists_are_bounded_files(root: Path) -> None:
    (root / "classes.txt").write_text("a\n" * 3_000_000)
    with pytest.raises(DataError, match="3000000 classes"):
        open_fold("folder", root, -1)
    (root / "classes.txt").unlink()
    (root / "classes.txt").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="cannot be read"):
        open_fold("folder", root, -1)
    (root / "classes.txt").unlink()
    os.mkfifo(root / "classes.txt")
    with pytest.raises(DataError, match="cannot be read"):
        open_fold("folder", root, -1)


def test_worker_processes_get_the_data_without_its_memory(root: Path) -> None:
    data = open_fold("folder", root, -1).test
    data.image(0)
    again = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(again.mask(0, 0), data.mask(0, 0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a\nb\na\n", "names 'a' twice"),
        ("a\x07b\n", "control character"),
        ("a\n", "holds the value 2, and there are 1 classes"),
        ("\n".join(f"c{one}" for one in range(255)), "255 classes"),
    ],
)
def test_bad_classes(root: Path, text: str, message: str) -> None:
    (root / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        open_fold("folder", root, -1)


def test_bad_files(root: Path) -> None:
    save_image(root / "images" / "y.png", (61, 40))
    with pytest.raises(DataError, match=r"y\.png is 60x40 and its picture 61x40"):
        open_fold("folder", root, -1).test.mask(1, 1)
    save_image(root / "images" / "y.jpg", (60, 40))
    with pytest.raises(DataError, match="have the same name"):
        open_fold("folder", root, -1)
    (root / "classes.txt").unlink()
    with pytest.raises(DataError, match="No list"):
        open_fold("folder", root, -1)


def test_classes_as_people_write_them(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "classes.txt").write_text("“red_mug”, big\nspoon = tea spoon | teaspoon\n", "utf-8")
    fold = open_fold("folder", root, -1, novel=["spoon"])
    assert fold.test.classes == ("“red mug”, big".replace("“", '"').replace("”", '"'), "spoon")
    assert prompts_of(fold.test) == {"spoon": ("tea spoon", "teaspoon")}
    assert "was read as" in caplog.text and "was taken as one word" in caplog.text
    assert trained_words(fold.train, fold.seen) == ['"red mug", big']
    with pytest.raises(DataError, match="'spoon' has 2 prompts, and training takes one"):
        trained_words(fold.train, (1,))
