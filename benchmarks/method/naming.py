"""How often towers name a single sticker right, by style: top 1 among every word of the world, no mask involved.

python benchmarks/method/naming.py STICKERS [--towers DIR] [--pictures 400]
"""

from __future__ import annotations

from pathlib import Path

import click

from clsclip.reproduce.naming import named_right, single_things
from clsclip.reproduce.stickers.sheets import STYLES
from clsclip.tower_files import load_towers

TOWERS = Path(__file__).parents[2] / "models" / "stickers" / "towers"


@click.command()
@click.argument("stickers", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--towers", type=click.Path(exists=True, file_okay=False, path_type=Path), default=TOWERS)
@click.option("--style", "styles", multiple=True, default=list(STYLES), show_default=True)
@click.option("--pictures", "images", default=400, show_default=True)
@click.option("--image-size", default=128, show_default=True)
def main(stickers: Path, towers: Path, styles: tuple[str, ...], images: int, image_size: int) -> None:
    """Print the share that the image embedding names right, in percent, for every style."""
    opened = load_towers(str(towers), image_size=image_size)
    for style in styles:
        shares = named_right(opened, [single_things(stickers, style, images, image_size)])[style]
        click.echo(f"{style}: {shares['trained']:g} % of trained words, {shares['held_out']:g} % of held-out words")


if __name__ == "__main__":
    main()
