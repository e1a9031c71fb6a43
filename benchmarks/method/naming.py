"""How often towers name a single sticker right, by style: top 1 among every word of the world, no mask involved.

python benchmarks/method/naming.py STICKERS [--towers DIR] [--pictures 400]
"""

from __future__ import annotations

from pathlib import Path

import click
import torch

from clsclip.reproduce.pretrain import encode, normalise
from clsclip.reproduce.stickers.pictures import StickerWorld
from clsclip.reproduce.stickers.sheets import STYLES, StickerBook
from clsclip.reproduce.stickers.vocabulary import nouns
from clsclip.tower_files import load_towers

TOWERS = Path(__file__).parents[2] / "models" / "stickers" / "towers"


@click.command()
@click.argument("stickers", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--towers", type=click.Path(exists=True, file_okay=False, path_type=Path), default=TOWERS)
@click.option("--style", "styles", multiple=True, default=list(STYLES), show_default=True)
@click.option("--pictures", default=400, show_default=True)
@click.option("--image-size", default=128, show_default=True)
def main(stickers: Path, towers: Path, styles: tuple[str, ...], pictures: int, image_size: int) -> None:
    """Print the share that the image embedding names right, in percent, for every style."""
    opened = load_towers(str(towers), image_size=image_size).eval()
    with torch.no_grad():
        texts = opened.text_features(opened.text_tokens(opened.tokenize([f"a picture of a {n.name}" for n in nouns()])))
    for style in styles:
        book = StickerBook(stickers, [style])
        world = StickerWorld(book, side=image_size, sizes=(0.5, 0.9), things=(1, 1), seed=31)
        right = {True: 0, False: 0}
        count = {True: 0, False: 0}
        for index in range(pictures):
            picture = world.picture(index)
            if not picture.nouns:
                continue
            pixels = torch.from_numpy(picture.pixels.copy()).permute(2, 0, 1)[None]
            with torch.no_grad():
                image, _ = opened.features(encode(opened, normalise(pixels, opened.image)))
            held_out = nouns()[picture.nouns[0]].held_out
            count[held_out] += 1
            right[held_out] += int((image @ texts.T).argmax()) == picture.nouns[0]
        shares = [f"{100 * right[one] / max(1, count[one]):.0f} %" for one in (False, True)]
        click.echo(
            f"{style}: {shares[0]} of trained words, {shares[1]} of held-out words ({sum(count.values())} pictures)"
        )


if __name__ == "__main__":
    main()
