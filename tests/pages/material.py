"""What the commands of pages name: pictures, a video, models, words. Everything is made here or lies in examples/.

Names are those that pages use. Photographs are stickers, since the embedded model knows those; ``yolo11n.onnx`` is a
graph of YOLO's form that always sees one thing, and ``old.clsclip`` a bundle as version 0.1 wrote it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
EMBEDDED = ROOT / "runtime" / "clsclip_runtime" / "models" / "stickers.clsclip"
STICKERS = ROOT / "models" / "stickers"
WORDS = ("bottle", "boat", "dog", "fish", "crown")


def image(path: Path, turn: int = 0, side: int = 512) -> None:
    """The example, turned by so many quarters."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(ROOT / "examples" / "cluttered.png") as image:
        image.convert("RGB").rotate(90 * turn).resize((side, side)).save(path)


def folder(path: Path) -> None:
    """Pictures, one of them in a folder below."""
    for turn in range(4):
        image(path / f"{turn}.jpg", turn)
    image(path / "below" / "4.jpg", side=300)


def many(path: Path) -> None:
    """Enough pictures for INT8."""
    for number in range(12):
        image(path / f"{number:02d}.jpg", number % 4, 256 + 16 * number)


def words(path: Path) -> None:
    """Some that the example shows, and some that it does not."""
    path.write_text("# words\n" + "\n".join((*WORDS, "pizza", "dining table")) + "\n", "utf-8")


def many_words(path: Path) -> None:
    """A thousand, of which few are nouns."""
    path.write_text("\n".join((*WORDS, *(f"thing {number}" for number in range(995)))) + "\n", "utf-8")


def bundle(path: Path) -> None:
    """The embedded model."""
    shutil.copytree(EMBEDDED, path)


def old_bundle(path: Path) -> None:
    """A bundle of schema 1."""
    from tests.runtime.bundle.schema1 import make_schema1

    make_schema1(path)


def clip(path: Path) -> None:
    """A second of video in which the example moves."""
    import av

    with Image.open(ROOT / "examples" / "cluttered.png") as image:
        pixels = np.asarray(image.convert("RGB").resize((384, 384)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 320, "yuv420p"
        for step in range(10):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[2 * step :][:320, :320]), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def masks(path: Path) -> None:
    """Pictures with masks, as a folder of one's own data: made by the model itself, so that training can follow it."""
    from clsclip_runtime import Segmenter

    (path / "images").mkdir(parents=True)
    (path / "masks").mkdir()
    (path / "classes.txt").write_text("\n".join(WORDS) + "\n", "utf-8")
    with Segmenter.load(EMBEDDED, threads=1) as segmenter:
        for number in range(10):
            name = f"{number:02d}"
            image(path / "images" / f"{name}.jpg", number % 4, 128 + 8 * number)
            found = segmenter(path / "images" / f"{name}.jpg", list(WORDS))
            Image.fromarray(found.labels().astype(np.uint8)).save(path / "masks" / f"{name}.png")


def yolo(path: Path) -> None:
    """A detector of YOLOv8's form."""
    from tests.export.test_detector import yolov8

    yolov8(path)


def link(source: Path) -> Callable[[Path], None]:
    """What lies in the project."""
    return lambda path: path.symlink_to(source)


def towers(path: Path) -> None:
    """A copy: a checkpoint takes towers from its own folder alone, and a link leads out of it."""
    shutil.copytree(STICKERS / "towers", path)


MADE: dict[str, Callable[[Path], None]] = {
    "examples": link(ROOT / "examples"),
    "benchmarks": link(ROOT / "benchmarks"),
    "build": link(ROOT / "build"),
    "last.safetensors": link(STICKERS / "last.safetensors"),
    "towers": towers,
    "photos": many,
    "holiday": folder,
    "words.txt": words,
    "thousand.txt": many_words,
    "clip.mp4": clip,
    "mine": masks,
    "yolo11n.onnx": yolo,
    "old.clsclip": old_bundle,
    **dict.fromkeys(("photo.jpg", "site.jpg", "street.jpg", "a.jpg", "b.jpg"), image),
    **dict.fromkeys(
        ("model.clsclip", "mine.clsclip", "a.clsclip", "b.clsclip", "downloaded.clsclip", "new.clsclip"), bundle
    ),
}


def lay_out(work: Path, text: str) -> None:
    """Make in ``work`` what a page's ``text`` names; ``last.safetensors`` finds its towers beside it."""
    for name, maker in MADE.items():
        named = name in text or (name == "towers" and "last.safetensors" in text)
        if named and not (work / name).exists():
            maker(work / name)
