"""``python -m clsclip.reproduce.stickers``: make pictures, and pre-train towers that have read every word.

Training with masks and evaluation are ``clsclip-train --data stickers`` and ``clsclip-eval run --data stickers``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image

from clsclip.checkpoint import change_provenance, load_checkpoint
from clsclip.numbers import numbers
from clsclip.reproduce.domain import Doubles, Pixels, fit_line, pooled_features, sticker_images
from clsclip.reproduce.naming import single_things
from clsclip.reproduce.pretrain import PretrainConfig, new_towers, pretrain
from clsclip.reproduce.stickers.captions import train_tokenizer
from clsclip.reproduce.stickers.images import StickerWorld
from clsclip.reproduce.stickers.mosaics import CaptionedBatches
from clsclip.reproduce.stickers.sheets import STYLES, StickerBook
from clsclip.reproduce.stickers.tensor_maker import Atlas
from clsclip.reproduce.stickers.vocabulary import nouns
from clsclip.tower_files import CONFIG_FILE, load_towers
from clsclip_runtime.cli.output import echo, print_json
from clsclip_runtime.cli.progress import Progress
from clsclip_runtime.documents import read_json
from clsclip_runtime.images import open_image
from clsclip_runtime.paths import write_json

STICKERS = click.option(
    "--stickers",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="node_modules folder that holds the sticker packages.",
)
STYLE = click.option(
    "--style", "styles", multiple=True, default=("noto", "fluent"), show_default=True, type=click.Choice(list(STYLES))
)
OUT = click.option("--out", required=True, type=click.Path(path_type=Path))


@click.group()
def main() -> None:
    """The sticker world: a small world in which ClsCLIP can be trained and tested without any download of weights."""


@main.command("pictures")
@STICKERS
@STYLE
@OUT
@click.option("--count", default=12, show_default=True)
@click.option("--side", default=512, show_default=True)
@click.option("--seed", default=1000, show_default=True)
def images(stickers: Path, styles: tuple[str, ...], out: Path, count: int, side: int, seed: int) -> None:
    """Write pictures and what they show (JSON lines on standard output)."""
    world = StickerWorld(StickerBook(stickers, styles), side=side, sizes=(0.1, 0.5), seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        image = world.image(index)
        path = out / f"sticker_{seed}_{index:04d}.png"
        Image.fromarray(image.pixels).save(path)
        print_json({"file": str(path), "words": [nouns()[noun].name for noun in image.nouns]})


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@STICKERS
@STYLE
@click.option(
    "--photographs",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of photographs (.jpg). Every second one is kept back, to measure on.",
)
@click.option("--pictures", "count", default=6000, show_default=True, help="Sticker pictures to fit on.")
@click.option("--measured", default=1000, show_default=True, help="Sticker pictures to measure on.")
@click.option("--seed", default=7000, show_default=True)
@click.option("--bundle", type=click.Path(path_type=Path), help="Its manifest gets the domain too.")
def domain(
    model: Path,
    stickers: Path,
    styles: tuple[str, ...],
    photographs: Path,
    count: int,
    measured: int,
    seed: int,
    bundle: Path | None,
) -> None:
    """Fit the line that tells stickers from photographs, and write it into a checkpoint: exports carry it."""
    loaded, _ = load_checkpoint(model)
    book, files = StickerBook(stickers, styles), sorted(photographs.glob("*.jpg"))
    if len(files) < 2:
        raise click.ClickException(f"{photographs} holds {len(files)} .jpg files, and two or more are needed.")

    def read(chosen: list[Path]) -> Iterator[Pixels]:
        return (np.asarray(open_image(one).image.convert("RGB")) for one in chosen)

    def pooled(name: str, images: Iterator[Pixels], total: int) -> tuple[Doubles, tuple[int, ...]]:
        with Progress(name, alive=True) as progress:
            return pooled_features(loaded, counted(images, total, progress))

    near, widths = pooled("sticker pictures", sticker_images(book, count, seed), count)
    far, _ = pooled("photographs", read(files[::2]), len(files[::2]))
    line = fit_line(near, far, widths)
    fresh, _ = pooled("other sticker pictures", sticker_images(book, measured, seed + 1000), measured)
    others, _ = pooled("other photographs", read(files[1::2]), len(files[1::2]))
    change_provenance(model, {"domain": line.to_json()})
    if bundle is not None:
        path = bundle / "manifest.json"
        write_json(path, read_json(path) | {"domain": line.to_json()})
    echo(
        f"told {line.told(others):.1%} of {len(others)} other photographs, and {line.told(fresh):.1%} of {len(fresh)} "
        "other sticker pictures"
    )


def counted(images: Iterator[Pixels], total: int, progress: Progress) -> Iterator[Pixels]:
    """The same images; the progress is told of each."""
    for done, image in enumerate(images, 1):
        yield image
        progress.update(done, total)


@main.command()
@STICKERS
@click.option(
    "--style", "styles", multiple=True, default=("noto", "fluent", "flat", "blobs", "emojione"), show_default=True
)
@OUT
@click.option("--side", default=48, show_default=True, help="Of a drawing, pixels.")
@click.option("--grounds", default=200, show_default=True)
@click.option("--seed", default=11, show_default=True)
def atlas(stickers: Path, styles: tuple[str, ...], out: Path, side: int, grounds: int, seed: int) -> None:
    """Pack drawings and grounds into one file, for training on a machine that has no sticker packages."""
    packed = Atlas.of(StickerBook(stickers, styles), side, grounds, seed=seed)
    packed.save(out)
    echo(f"{out}: {len(packed.drawings)} drawings, {len(packed.grounds)} grounds, {out.stat().st_size} bytes")


@main.command(name="pretrain")
@STICKERS
@STYLE
@OUT
@click.option("--start", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Towers to go on from.")
@click.option("--side", default=96, show_default=True, help="Pictures' side in pixels, a multiple of 8.")
@click.option("--parts", callback=numbers, default="1,2,2,2,3,3,3,3,4", help="Mosaics' parts a side; 1: a scene.")
@click.option("--sizes", nargs=2, type=float, default=(0.08, 0.9), show_default=True, help="Of things in scenes.")
@click.option("--things", default=6, show_default=True, help="Most things a scene.")
@click.option("--recolour", type=click.FloatRange(0, 1), default=0.0, help="Share of pictures in other colours.")
@click.option("--steps", default=6000, show_default=True)
@click.option("--batch", default=32, show_default=True)
@click.option("--learning-rate", default=1e-3, show_default=True)
@click.option("--warmup", default=200, show_default=True, help="Steps of linear warm-up.")
@click.option("--cooldown", type=int, help="Steps of linear descent at the end of a plateau; without: a cosine.")
@click.option("--mean-decay", default=0.0, show_default=True, help="Of the running mean of weights; 0: none.")
@click.option("--probes", default=0, show_default=True, help="Single things a style that are named for the log.")
@click.option("--probe-style", "probe_styles", multiple=True, default=("noto", "fluent"), show_default=True)
@click.option("--save-minutes", default=10.0, show_default=True, help="Between two writings of towers and state.")
@click.option("--workers", default=2, show_default=True, help="Processes that make pictures.")
@click.option("--threads", type=int, help="Of PyTorch; default: its own.")
@click.option("--seed", default=0, show_default=True)
def pretrain_command(
    stickers: Path,
    styles: tuple[str, ...],
    out: Path,
    start: Path | None,
    side: int,
    parts: tuple[int, ...],
    sizes: tuple[float, float],
    things: int,
    recolour: float,
    steps: int,
    batch: int,
    learning_rate: float,
    warmup: int,
    cooldown: int | None,
    mean_decay: float,
    probes: int,
    probe_styles: tuple[str, ...],
    save_minutes: float,
    workers: int,
    threads: int | None,
    seed: int,
) -> None:
    """Train small CLIP towers on pictures and captions; no masks. Stopped, the same command goes on where it was."""
    if threads:
        torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    world = StickerWorld(StickerBook(stickers, styles), side=side, sizes=sizes, things=(1, things), seed=seed)
    if start is None:
        towers, config = new_towers(train_tokenizer(), side, seed)
    else:
        towers = load_towers(str(start), image_size=side).requires_grad_(True).train()
        config = read_json(start / CONFIG_FILE)["model_cfg"]
    made = {"styles": styles, "side": side, "parts": parts, "sizes": sizes, "things": things, "recolour": recolour}
    pretrain(
        towers,
        config,
        CaptionedBatches(world, batch, steps, parts, recolour=recolour),
        PretrainConfig(
            steps=steps,
            learning_rate=learning_rate,
            cooldown=cooldown,
            warmup=warmup,
            mean_decay=mean_decay,
            save_minutes=save_minutes,
            workers=workers,
            seed=seed,
        ),
        out,
        settings=made | {"batch": batch, "start": towers.fingerprint() if start else None},
        probes=[single_things(stickers, style, probes, side) for style in probe_styles] if probes else [],
    )


if __name__ == "__main__":
    main()
