"""What words cost in bundles of published weights: 1, 20 and 1,000 of one picture, beside transformers.

    python -m benchmarks.published.words BUNDLE [--transformers FOLDER] [--backend openvino] [--report FILE]

BUNDLE is one of CLIPSeg or of CLIP without a decoder; weights may be random. Words are known (random encodings in the
word cache) and nothing is filtered. *engine* is what preparing the crop, image encoder, presence and trunk took, and
*wall* the whole call: masks are made of the words that have a pixel. *peak* is the resident memory of a process of its
own that made that one call. FOLDER holds the same CLIPSeg as transformers has it: *as documented* repeats the picture
for each of 20 words, *shared by hand* runs its encoder once and its decoder on all words.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.presence.cost import in_turns, known_words, words
from clsclip_runtime import Segmenter
from clsclip_runtime.paths import write_json
from clsclip_runtime.system import peak_memory

COUNTS = (1, 20, 1000)
PEER_WORDS = 20
ENGINE = ("image", "presence", "masks")


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--transformers", "peer", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--backend", default="openvino", show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--report", type=click.Path(path_type=Path))
@click.option("--once", type=int, hidden=True, help="Make one call of so many words, and print the peak of memory.")
def main(bundle: Path, peer: Path | None, backend: str, rounds: int, report: Path | None, once: int | None) -> None:
    """Measure in turns, print a table."""
    with tempfile.TemporaryDirectory() as folder, known_words(bundle, backend, words(max(COUNTS)), folder) as segmenter:
        size = segmenter.bundle.manifest.image.size
        image = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
        if once is not None:
            segmenter(image, words(once), presence_threshold=0)
            click.echo(peak_memory())
            return
        engine: dict[str, list[float]] = {}
        rows: dict[str, Callable[[], Any]] = {
            f"{count} words": asked(segmenter, image, count, engine.setdefault(f"{count} words", []))
            for count in COUNTS
        }
        if peer is not None:
            rows |= peers(peer, size)
        taken = in_turns(rows, rounds)
    peaks = {f"{count} words": peak_of(bundle, backend, count) for count in COUNTS}
    documents = [
        {
            "row": name,
            "wall_ms": round(float(np.median(wall)), 1),
            "cpu_ms": round(float(np.median(cpu)), 1),
            "engine_ms": round(float(np.median(engine[name][1:])), 1) if name in engine else None,
            "peak_bytes": peaks.get(name),
        }
        for name, (wall, cpu) in taken.items()
    ]
    click.echo("| row | wall ms | engine ms | processor ms | peak MiB |\n|---|---:|---:|---:|---:|")
    for one in documents:
        peak = "" if one["peak_bytes"] is None else f"{one['peak_bytes'] / 2**20:.0f}"
        click.echo(f"| {one['row']} | {one['wall_ms']} | {one['engine_ms'] or ''} | {one['cpu_ms']} | {peak} |")
    if report is not None:
        write_json(report, {"backend": backend, "torch_threads": torch.get_num_threads(), "rows": documents})


def asked(segmenter: Segmenter, image: NDArray[np.uint8], count: int, engine: list[float]) -> Callable[[], None]:
    """One call of so many words; what the engine took goes into ``engine``."""
    names = words(count)

    def call() -> None:
        timings = segmenter(image, names, presence_threshold=0).timings
        engine.append(sum(timings.get(name, 0.0) for name in ENGINE))

    return call


def peak_of(bundle: Path, backend: str, count: int) -> int:
    """Bytes that a process of its own had at most, in one call of so many words."""
    command = [sys.executable, "-m", "benchmarks.published.words", str(bundle), "--backend", backend]
    done = subprocess.run([*command, "--once", str(count)], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


def peers(folder: Path, size: int) -> dict[str, Callable[[], None]]:
    """transformers' CLIPSeg on 20 words: as its documentation has it, and with the encoder run once."""
    from transformers import CLIPSegForImageSegmentation

    model = CLIPSegForImageSegmentation.from_pretrained(folder).eval()
    length = model.config.text_config.max_position_embeddings
    ids = torch.randint(3, 400, (PEER_WORDS, length), generator=torch.Generator().manual_seed(0))
    ids[:, 8], ids[:, 9:] = 49407, 0
    pixels = torch.randn(1, 3, size, size)

    @torch.no_grad()
    def documented() -> None:
        model(pixel_values=pixels.repeat(PEER_WORDS, 1, 1, 1), input_ids=ids)

    @torch.no_grad()
    def shared() -> None:
        conditions = model.clip.get_text_features(ids).pooler_output
        vision = model.clip.vision_model(pixels, output_hidden_states=True, interpolate_pos_encoding=True).hidden_states
        activations = [vision[layer + 1].repeat(PEER_WORDS, 1, 1) for layer in model.extract_layers]
        model.decoder(activations, conditions)

    return {
        f"transformers, as documented, {PEER_WORDS} words": documented,
        f"transformers, encoder shared by hand, {PEER_WORDS} words": shared,
    }


if __name__ == "__main__":
    main()
