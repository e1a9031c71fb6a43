"""Results as files, each of which appears complete or not at all."""

from __future__ import annotations

import json
import os
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from clsclip_runtime.errors import OptionError, OutputError
from clsclip_runtime.masks.png import write_mask
from clsclip_runtime.paths import Writer, as_path, cannot_write, is_file, readable, write_file
from clsclip_runtime.results.labelme import labelme_document
from clsclip_runtime.results.labelstudio import labelstudio_task
from clsclip_runtime.results.yolo import yolo_lines

if TYPE_CHECKING:
    from clsclip_runtime.results.result import Result

FORMATS = ("png", "overlay", "labels", "coco", "npz", "labelstudio", "yolo", "labelme")

_THREADS = min(8, os.cpu_count() or 1)

# File systems take names of 255 bytes; a stem, a slug, their numbers and the suffix must fit together.
_MOST_STEM_BYTES = 150
_STEM_BYTES = 120
_SLUG_BYTES = 80


def save(
    result: Result, where: object, formats: str | Sequence[str], stem: str | None, *, parts: bool, polygons: bool
) -> list[Path]:
    """See ``Result.save``."""
    folder = as_path("folder", where)
    files = plan(result, formats, stem, folder, parts=parts, polygons=polygons)
    own = None if result.source.startswith("<") else os.path.realpath(result.source)
    for name, _ in files:
        if os.path.realpath(folder / name) == own:
            raise OutputError(f"{folder / name} is the image itself and would be overwritten. Give another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    # Compressing lets other threads run. The first error is told; files that others have begun become complete.
    pool = ThreadPoolExecutor(min(len(files), _THREADS))
    try:
        pending = [pool.submit(write_file, folder / name, writer) for name, writer in files]
        for one in pending:
            one.result()
    finally:
        pool.shutdown(cancel_futures=True)
    return [folder / name for name, _ in files]


def plan(
    result: Result,
    formats: str | Sequence[str],
    stem: str | None,
    folder: Path = Path(),
    *,
    parts: bool = False,
    polygons: bool = False,
) -> list[tuple[str, Writer]]:
    """The names of the files that ``save`` would write into ``folder``, and what writes them."""
    start = default_stem(result.source) if stem is None else stem
    names = file_names(result.classes, formats, start)
    writers: dict[str, Callable[[], list[Writer]]] = {
        "png": lambda: _mask_writers(result),
        "overlay": lambda: [lambda file: result.overlay().save(file, "PNG")],
        "labels": lambda: [lambda file: label_image(result).save(file, "PNG")],
        "coco": lambda: [lambda file: _write_json(result.to_coco(parts=parts, polygons=polygons), file)],
        "npz": lambda: [lambda file: _write_npz(result, file)],
        "labelstudio": lambda: [
            lambda file: _write_json([labelstudio_task(result, _name(result), parts=parts, polygons=polygons)], file)
        ],
        "yolo": lambda: [lambda file: file.write(yolo_lines(result).encode())],
        "labelme": lambda: [
            lambda file: _write_json(labelme_document(result, _way(result, folder), parts=parts), file)
        ],
    }
    return list(zip(names, (one for name in check_formats(formats) for one in writers[name]()), strict=True))


def file_names(words: Sequence[str], formats: str | Sequence[str], stem: str) -> list[str]:
    """The names of the files that results of cleaned ``words`` are saved as, in the order of ``formats``."""
    start = check_stem(stem)
    names: dict[str, Callable[[], list[str]]] = {
        "png": lambda: [f"{start}_{slug}.png" for slug in slugs(words)],
        "overlay": lambda: [f"{start}_overlay.png"],
        "labels": lambda: [f"{start}_labels.png"],
        "coco": lambda: [f"{start}_coco.json"],
        "npz": lambda: [f"{start}.npz"],
        "labelstudio": lambda: [f"{start}_labelstudio.json"],
        "yolo": lambda: [f"{start}.txt"],
        "labelme": lambda: [f"{start}_labelme.json"],
    }
    return [item for name in check_formats(formats) for item in names[name]()]


def check_formats(formats: str | Sequence[str]) -> list[str]:
    """The formats, each once. OptionError if one is unknown or there is none."""
    names = list(dict.fromkeys([formats] if isinstance(formats, str) else formats))
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        what = f"there is no format {unknown[0]!r}" if unknown else "no format was given"
        raise OptionError(f"{what}. Choose from: {', '.join(FORMATS)}")
    return names


def check_stem(stem: str) -> str:
    """``stem``, if it is a plain file name that leaves room for slugs. OptionError if not."""
    if stem in ("", ".", "..") or any(c in "/\\\0" or ord(c) < 32 for c in stem):
        raise OptionError(f"stem must be a plain file name without folders, and it is {stem!r}")
    try:
        os.fsencode(stem)
    except UnicodeEncodeError as error:
        raise OptionError(f"stem must be a name that files can have, and it is {stem!a}") from error
    # Not cut: two that begin alike would write the same files.
    if (size := len(_bytes(stem))) > _MOST_STEM_BYTES:
        raise OptionError(f"stem takes {size} bytes, and the limit is {_MOST_STEM_BYTES}: {stem!r}")
    return stem


def default_stem(source: str) -> str:
    """The name without suffix of a source; ``picture`` where that gives none.

    One that is too long ends with a checksum of all of it, so that two which begin alike stay two.
    """
    if source.startswith("<"):
        return "picture"
    if "://" in source:  # an address: what follows its path is no name
        source = re.split("[?#]", source.partition("://")[2], maxsplit=1)[0].partition("/")[2]
    stem = "".join(c for c in Path(source).stem if ord(c) >= 32 and c not in "/\\")
    if len(_bytes(stem)) > _STEM_BYTES:
        checksum = f"-{zlib.crc32(_bytes(stem)):08x}"
        stem = _cut_bytes(stem, _STEM_BYTES - len(checksum)) + checksum
    return stem or "picture"


def slugs(words: Sequence[str]) -> list[str]:
    """A safe and distinct part of a file name for every word.

    Letters and digits of any script stay, all else becomes ``-``; distinct also where the file system
    ignores case. Never ``overlay`` or ``labels``, which name other files.
    """
    taken = {"overlay", "labels"}
    found = []
    for word in words:
        base = _cut_bytes(re.sub(r"[\W_]+", "-", unicodedata.normalize("NFKC", word)).strip("-"), _SLUG_BYTES) or "word"
        slug, number = base, 1
        while folded(slug) in taken:
            number += 1
            slug = f"{base}-{number}"
        taken.add(folded(slug))
        found.append(slug)
    return found


def label_image(result: Result) -> Image.Image:
    """The label map as an image: palette with the overlay's colours up to 255 words, 16-bit grey above."""
    from clsclip_runtime.results.overlay import colors

    labels = result.labels()
    count = len(result.classes)
    if count > 65535:
        raise OutputError(f"a label map holds at most 65535 words, and {count} were asked. Use the format npz")
    if count > 255:
        return Image.fromarray(labels.astype(np.uint16))
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette([0, 0, 0, *colors(count).flatten().tolist()])
    return image


def _mask_writers(result: Result) -> list[Writer]:
    def writer(at: int) -> Writer:
        return lambda file: write_mask(file, result.rle(at))

    return [writer(at) for at in range(len(result.classes))]


def _write_json(document: Any, file: IO[bytes]) -> None:
    file.write(json.dumps(document, ensure_ascii=False, indent=1).encode())


def _name(result: Result) -> str:
    return readable(Path(result.source).name)


def _way(result: Result, folder: Path) -> str:
    """The path of a result's image from a folder, with slashes; its name where it is no file."""
    if not is_file(result.source):
        return _name(result)
    try:
        return readable(Path(os.path.relpath(os.path.realpath(result.source), os.path.realpath(folder))).as_posix())
    except ValueError:  # on another drive
        return readable(Path(result.source).absolute().as_posix())


def _write_npz(result: Result, file: IO[bytes]) -> None:
    from clsclip_runtime.results.json_form import SCHEMA_VERSION

    segmented = np.array([at for at, one in enumerate(result.searches) if one.segmented], np.int64)
    pairs, regions = result.pairs, result.regions
    presence = [np.nan if one.presence is None else one.presence for one in result.searches]
    arrays: dict[str, Any] = {
        "schema_version": np.int64(SCHEMA_VERSION),
        "classes": np.asarray(result.classes, dtype=np.str_),
        "status": np.asarray([one.status for one in result], dtype=np.str_),
        "presence": np.asarray(presence, np.float32),
        "areas": np.asarray([one.area for one in result], np.int64),
        "mask_index": segmented,
        "mask_logit": np.float32(result.mask_logit),
        "pair_class": pairs.classes,
        "pair_prompt": pairs.prompts,
        "prompts": np.asarray([word for one in result for word in one.prompts], dtype=np.str_),
        "pair_window": pairs.windows,
        "pair_limit": pairs.limits,
        "pair_box": pairs.boxes,
        "pair_mask_logit": pairs.mask_logits.astype(np.float32),
        "pair_presence": pairs.presence,
        "logits": pairs.logits,
        "boxes": np.zeros((0, 4), np.float32) if regions is None else regions.boxes,
        "scores": np.zeros(0, np.float32) if regions is None else regions.scores,
    }
    width, height = result.size
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)
        with archive.open("masks.npy", "w", force_zip64=True) as entry:  # one mask in memory at a time
            header = {"descr": "|b1", "fortran_order": False, "shape": (len(segmented), height, width)}
            np.lib.format.write_array_header_2_0(entry, header)
            for at in segmented:
                entry.write(result.mask(int(at)).tobytes())


def folded(text: str) -> str:
    """A name as file systems compare it that know no case, and that know letters in one form."""
    return unicodedata.normalize("NFKC", text.casefold())


def _cut_bytes(text: str, limit: int) -> str:
    """The longest beginning of ``text`` that takes at most ``limit`` bytes in a file name."""
    while len(_bytes(text)) > limit:
        text = text[:-1]
    return text


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
