"""What the presence filter costs at ViT-B/16 size, and what a photo of 12 megapixels costs beside the engine.

    python benchmarks/presence/cost.py BUNDLE [--backend onnxruntime-cpu] [--rounds 5] [--kept 1 2 3] [--report FILE]

BUNDLE may have random weights: a time does not depend on them, only on how many words are let through, and
``max_classes`` fixes that here. Every row is one call of a warm Segmenter on one picture, words known; rows run in
rounds. The peer is what a user writes first, PyTorch eager with one class at a time and nothing shared, on as many
words as there are in ``--peer-words``, times 20 / that. Milliseconds: wall clock and processor (all threads).
"""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image

from clsclip.model import ClsClip, ModelConfig
from clsclip.tower_files import load_towers
from clsclip_runtime import Bundle, Result, Segmenter
from clsclip_runtime.text.cache import WordCache
from clsclip_runtime.text.encoded import EncodedWord

WORDS = 20


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--backend", default="onnxruntime-cpu", show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--peer-words", default=4, show_default=True)
@click.option("--report", "report_path", type=click.Path(path_type=Path))
def main(bundle: Path, backend: str, rounds: int, peer_words: int, report_path: Path | None) -> None:
    """Measure in turns, print a table."""
    many = words(1000)
    few = many[:WORDS]
    photo = jpeg_of_12_megapixels()
    with tempfile.TemporaryDirectory() as folder, known_words(bundle, backend, many, folder) as segmenter:
        size = segmenter.bundle.manifest.image.size
        image = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
        segmenter(image, many, max_classes=1)

        def filtered(asked: list[str], max_classes: int) -> Callable[[], Result]:
            return lambda: segmenter(image, asked, presence_filter=True, max_classes=max_classes, presence_threshold=0)

        def photo_to_files() -> Result:
            result = segmenter(photo, few, presence_filter=False)
            result.save(folder, "png")
            return result

        rows: dict[str, Callable[[], Any]] = {
            f"{WORDS} words, exact": lambda: segmenter(image, few, presence_filter=False),
            **{f"{WORDS} words, filtered, {kept} through": filtered(few, kept) for kept in (1, 2, 3, 5)},
            **{f"1,000 words, filtered, {kept} through": filtered(many, kept) for kept in (1, 2, 3, 5, 10)},
            "12 megapixel JPEG to 20 PNG files, exact": photo_to_files,
            f"PyTorch eager, one class at a time ({peer_words} of {WORDS} words)": eager_loop(peer_words),
        }
        engine = ("image", "presence", "masks")
        taken = in_turns(rows, rounds)
        result = photo_to_files()
        inside = sum(result.timings.get(name, 0.0) for name in engine)
    click.echo("| row | wall ms | CPU ms |\n|---|---:|---:|")
    for name, (wall, cpu) in taken.items():
        click.echo(f"| {name} | {np.median(wall):.0f} | {np.median(cpu):.0f} |")
    click.echo(f"of the photo's last call, {inside:.0f} ms wall were preparing the crop and the engine")
    if report_path is not None:
        document = {"backend": backend, "torch_threads": torch.get_num_threads(), "rows": taken}
        report_path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def known_words(bundle: Path, backend: str, asked: list[str], folder: str) -> Segmenter:
    """A segmenter to which the words are known already: random encodings in the cache spare a minute of encoding."""
    opened, rng = Bundle.open(bundle), np.random.default_rng(1)
    cache = WordCache.from_bundle(opened, backend, folder)
    if cache is None:
        raise click.UsageError("no words can be kept on disk")
    encoded = {}
    for word in asked:
        arrays = {one.name: rng.normal(size=one.shape).astype(np.float32) for one in opened.manifest.text.features}
        for one in opened.manifest.text.features:
            if one.unit_norm:
                arrays[one.name] /= np.linalg.norm(arrays[one.name])
        encoded[word] = EncodedWord(arrays, False)
    cache.write(encoded)
    return Segmenter.load(bundle, backend, word_cache=folder)


def in_turns(rows: dict[str, Callable[[], Any]], rounds: int) -> dict[str, tuple[list[float], list[float]]]:
    """Milliseconds of every row, (wall, processor), after one call of each to warm up."""
    taken: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in rows}
    for at in range(rounds + 1):
        for name, call in rows.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            if at:
                taken[name][0].append((time.perf_counter() - wall) * 1000)
                taken[name][1].append((time.process_time() - cpu) * 1000)
    return taken


def words(count: int) -> list[str]:
    """Made words: what they mean is not asked here."""
    return [f"thing {at}" for at in range(count)]


def jpeg_of_12_megapixels() -> bytes:
    """A smooth picture with some grain, as photographs are."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).resize((4000, 3000), Image.BICUBIC)
    pixels = np.asarray(coarse).astype(np.int16) + rng.integers(-6, 7, (3000, 4000, 1), dtype=np.int16)
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=92)
    return file.getvalue()


def eager_loop(count: int) -> Callable[[], None]:
    """PyTorch eager, fp32, one class at a time, nothing shared."""
    torch.manual_seed(0)
    model = ClsClip(load_towers("ViT-B-16"), ModelConfig(decoder_heads=12)).eval()
    size = model.towers.image.size
    pixels, tokens = torch.randn(1, 3, size, size), torch.randn(count, model.towers.text_width)
    zero = torch.zeros(1, dtype=torch.int64)

    def run() -> None:
        with torch.no_grad():
            for at in range(count):
                model(pixels, tokens[at : at + 1], zero, zero)

    return run


if __name__ == "__main__":
    main()
