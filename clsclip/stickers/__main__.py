"""``python -m clsclip.stickers``: make pictures, pre-train the towers, train ClsCLIP, evaluate a bundle."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import click
import torch
from PIL import Image

from clsclip.checkpoint import save_checkpoint
from clsclip.model import ClsClip, ModelConfig
from clsclip.presence import fit_presence
from clsclip.pretrain import PretrainConfig, new_towers, pretrain
from clsclip.stickers.captions import train_tokenizer
from clsclip.stickers.dataset import StickerPictures
from clsclip.stickers.evaluate import evaluate
from clsclip.stickers.mosaics import CaptionedBatches
from clsclip.stickers.pictures import StickerWorld
from clsclip.stickers.sheets import STYLES, StickerBook
from clsclip.stickers.vocabulary import nouns
from clsclip.tower_files import CONFIG_FILE, load_towers, save_towers
from clsclip.towers import Towers
from clsclip.train import PROMPT, TrainConfig, train

STICKERS = click.option(
    "--stickers",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="node_modules folder that holds the sticker packages.",
)
STYLE = click.option(
    "--style", "styles", multiple=True, default=("noto", "twemoji"), show_default=True, type=click.Choice(list(STYLES))
)
OUT = click.option("--out", required=True, type=click.Path(path_type=Path))

DESCRIPTION = "Knows stickers (emoji pasted on cluttered grounds), not photographs."
LICENCE = {
    "weights": "Apache-2.0",
    "notes": ["Trained on pictures made with Noto Color Emoji (OFL-1.1) and scikit-image's photographs."],
}


@click.group()
def main() -> None:
    """The sticker world: a small world in which ClsCLIP can be trained and tested without any download of weights."""


@main.command()
@STICKERS
@STYLE
@OUT
@click.option("--count", default=12, show_default=True)
@click.option("--side", default=512, show_default=True)
@click.option("--seed", default=1000, show_default=True)
def pictures(stickers: Path, styles: tuple[str, ...], out: Path, count: int, side: int, seed: int) -> None:
    """Write pictures and what they show (JSON lines on standard output)."""
    world = StickerWorld(StickerBook(stickers, styles), side=side, sizes=(0.1, 0.5), seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        picture = world.picture(index)
        path = out / f"sticker_{seed}_{index:04d}.png"
        Image.fromarray(picture.pixels).save(path)
        click.echo(json.dumps({"file": str(path), "words": [nouns()[noun].name for noun in picture.nouns]}))


@main.command(name="pretrain")
@STICKERS
@STYLE
@OUT
@click.option("--start", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Towers to go on from.")
@click.option("--side", default=96, show_default=True, help="Pictures' side in pixels, a multiple of 8.")
@click.option("--parts", default="1,1,1,2,2,3,3,3,4,4", show_default=True, help="Parts a side of mosaics; 1: a scene.")
@click.option("--sizes", nargs=2, type=float, default=(0.08, 0.9), show_default=True, help="Of things in scenes.")
@click.option("--things", default=6, show_default=True, help="Most things a scene.")
@click.option("--steps", default=6000, show_default=True)
@click.option("--batch", default=32, show_default=True)
@click.option("--learning-rate", default=1e-3, show_default=True)
@click.option("--seed", default=0, show_default=True)
def pretrain_command(
    stickers: Path,
    styles: tuple[str, ...],
    out: Path,
    start: Path | None,
    side: int,
    parts: str,
    sizes: tuple[float, float],
    things: int,
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
) -> None:
    """Train small CLIP towers on pictures and captions; no masks."""
    out.mkdir(parents=True, exist_ok=True)
    world = StickerWorld(StickerBook(stickers, styles), side=side, sizes=sizes, things=(1, things), seed=seed)
    if start is None:
        towers, config = new_towers(train_tokenizer(), side, seed)
    else:
        towers = load_towers(str(start), image_size=side).requires_grad_(True).train()
        config = json.loads((start / CONFIG_FILE).read_text("utf-8"))["model_cfg"]
    settings = PretrainConfig(steps=steps, learning_rate=learning_rate, seed=seed)
    pretrain(towers, config, CaptionedBatches(world, batch, steps, sides(parts)), settings, out)


def sides(parts: str) -> tuple[int, ...]:
    """``"1,2,3"`` as numbers."""
    try:
        return tuple(int(part) for part in parts.split(","))
    except ValueError as error:
        raise click.UsageError(f"--parts takes numbers with commas between, not {parts!r}.") from error


@main.command(name="train")
@STICKERS
@STYLE
@OUT
@click.option("--towers", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--side", default=96, show_default=True)
@click.option("--sizes", nargs=2, type=float, default=(0.05, 0.6), show_default=True)
@click.option("--things", default=6, show_default=True)
@click.option("--decoder-inputs", default="text_token+similarity", show_default=True, help='"exact" for the paper\'s.')
@click.option("--steps", default=1200, show_default=True)
@click.option("--seed", default=5, show_default=True)
def train_command(
    stickers: Path,
    styles: tuple[str, ...],
    out: Path,
    towers: Path,
    side: int,
    sizes: tuple[float, float],
    things: int,
    decoder_inputs: str,
    steps: int,
    seed: int,
) -> None:
    """Train ClsCLIP with masks of the seen words, fit the presence head, and write OUT/last.safetensors."""
    out.mkdir(parents=True, exist_ok=True)
    frozen = half_towers(towers, side, out / "towers")
    config = ModelConfig(decoder_inputs=() if decoder_inputs == "exact" else tuple(decoder_inputs.split("+")))
    torch.manual_seed(seed)
    model = ClsClip(frozen, config)
    world = StickerWorld(StickerBook(stickers, styles), side=side, sizes=sizes, things=(1, things), seed=seed)
    settings = TrainConfig(steps=steps, seed=seed)
    provenance: dict[str, object] = {
        "description": DESCRIPTION,
        "licence": LICENCE,
        "styles": list(styles),
        "templates": [PROMPT],
        "seen_words": sum(not noun.held_out for noun in nouns()),
        "held_out_words": [noun.name for noun in nouns() if noun.held_out],
    }
    made = StickerPictures(world, steps * settings.pictures + settings.pictures)
    for step in train(model, made, settings, out / "train.jsonl"):
        save_checkpoint(model, out / "last.safetensors", "towers", provenance | {"steps": step})
    fitted = fit_presence(model, StickerPictures(world, 400, first=10_000_000))
    provenance |= {"steps": steps, "presence_threshold": fitted["threshold"], "presence_fit": fitted}
    save_checkpoint(model, out / "last.safetensors", "towers", provenance)
    click.echo(json.dumps(fitted))


def half_towers(folder: Path, side: int, out: Path) -> Towers:
    """Copy towers to ``out`` rounded to float16 values, and load that copy: its files are half as large, losslessly."""
    config = json.loads((folder / CONFIG_FILE).read_text("utf-8"))["model_cfg"]
    save_towers(load_towers(str(folder), image_size=side), config, out, torch.float16)
    return load_towers(str(out))


@main.command(name="evaluate")
@STICKERS
@STYLE
@click.option("--model", type=click.Path(exists=True, path_type=Path), help="Bundle; default: the embedded one.")
@click.option("--count", default=500, show_default=True)
@click.option("--side", default=256, show_default=True)
@click.option("--things", default=8, show_default=True)
@click.option("--sizes", nargs=2, type=float, default=(0.02, 0.6), show_default=True)
@click.option("--seed", default=2026, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def evaluate_command(
    stickers: Path,
    styles: tuple[str, ...],
    model: Path | None,
    count: int,
    side: int,
    things: int,
    sizes: tuple[float, float],
    seed: int,
    as_json: bool,
) -> None:
    """mIoU and leakage of a bundle on new pictures, through the runtime, with presence and without."""
    from clsclip_runtime import Segmenter

    logging.disable(logging.INFO)
    world = StickerWorld(StickerBook(stickers, styles), side=side, things=(1, things), sizes=sizes, seed=seed)
    rows = []
    with Segmenter.load(model) as segmenter:
        for label, threshold in (("bundle's presence", None), ("no presence", 0.0)):
            scores = evaluate(segmenter, (world.picture(index) for index in range(count)), threshold)
            for group, score in scores.items():
                rows.append({"words": group, "presence": label, "miou": score.miou, "leakage": score.leakage})
    if as_json:
        click.echo(json.dumps({"pictures": count, "side": side, "styles": styles, "seed": seed, "rows": rows}))
        return
    click.echo(f"{count} pictures, {side} px, styles {', '.join(styles)}, seed {seed}")
    click.echo("| words | presence | mIoU | leakage |\n|---|---|---|---|")
    for row in rows:
        click.echo(f"| {row['words']} | {row['presence']} | {row['miou']:.1f} | {row['leakage']:.2f} |")


if __name__ == "__main__":
    main()
