"""``python -m benchmarks.judge``: make the judge's pictures, score models on them, and fill the ladder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.judge import ladder
from benchmarks.judge.maker import Maker, Scene
from benchmarks.judge.scenes import TRAINED_STYLES
from clsclip.evaluation.predictors import Search
from clsclip.reproduce.stickers.vocabulary import nouns

STICKERS = click.argument("stickers", type=click.Path(exists=True, file_okay=False, path_type=Path))


@click.group()
def main() -> None:
    """A picture maker that training never sees. STICKERS is the node_modules folder with the sticker packages."""


@main.command("pictures")
@STICKERS
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option("--first", default=0, show_default=True, help="Seed of the first picture.")
@click.option("--count", default=12, show_default=True)
@click.option(
    "--masks", is_flag=True, help="Label maps too, and words.json: the words shown, and two of the next picture's."
)
def images(stickers: Path, out: Path, first: int, count: int, masks: bool) -> None:
    """Write pictures as PNG files, and a JSON line with the words and boxes of each."""
    maker = Maker(stickers, TRAINED_STYLES)
    out.mkdir(parents=True, exist_ok=True)
    scenes = [maker.scene(seed) for seed in range(first, first + count)]
    asked = []
    for scene, other in zip(scenes, [*scenes[1:], scenes[0]], strict=True):
        path = out / f"judge_{scene.seed:04d}.png"
        Image.fromarray(scene.pixels).save(path, optimize=True)
        things = [{"word": nouns()[thing.noun].name, "box": thing.box} for thing in scene.things]
        click.echo(json.dumps({"file": str(path), "digest": scene.digest(), "things": things}))
        if masks:
            labels = _label_map(scene)
            Image.fromarray(labels).save(out / f"judge_{scene.seed:04d}_masks.png", optimize=True)
            digest = hashlib.sha256(scene.pixels.tobytes() + labels.tobytes()).hexdigest()
            shown, absent = _names(scene), [name for name in _names(other) if name not in _names(scene)]
            asked.append({"file": path.name, "sha256": digest, "shown": shown, "absent": absent[:2]})
    if masks:
        (out / "words.json").write_text("[\n" + ",\n".join(map(json.dumps, asked)) + "\n]\n", "utf-8")


def _names(scene: Scene) -> list[str]:
    """The words of what a picture shows, from the back to the front, each once."""
    return list(dict.fromkeys(nouns()[thing.noun].name for thing in scene.things))


def _label_map(scene: Scene) -> NDArray[np.uint8]:
    """(H, W): 1 + the position of the word in ``_names``; 0 is the ground."""
    labels = np.zeros(scene.pixels.shape[:2], np.uint8)
    for number, noun in enumerate(dict.fromkeys(thing.noun for thing in scene.things), 1):
        labels[scene.mask(noun)] = number
    return labels


@main.command()
@STICKERS
@click.option(
    "--model", type=click.Path(exists=True, path_type=Path), help="Bundle, checkpoint or towers. Default: embedded."
)
@click.option("--kind", type=click.Choice(ladder.KINDS), default="model", show_default=True)
@click.option("--data", type=click.Choice(ladder.DATA), default="judge", show_default=True)
@click.option("--presence/--no-presence", default=True, help="Empty masks below the model's threshold.")
@click.option("--tiles", is_flag=True, help="Let a bundle search tiles beside the whole image.")
@click.option("--refine", is_flag=True, help="Give a bundle's masks the edges of the image.")
@click.option("--pictures", "count", type=click.IntRange(min=1), help="Default: 500 of the judge, 1,000 of training.")
@click.option("--choice", is_flag=True, help="The seeds that choices are made on, not those of the figures.")
@click.option("--label", help="What the ladder calls the row; without it nothing is written.")
def score(
    stickers: Path,
    model: Path | None,
    kind: str,
    data: str,
    presence: bool,
    tiles: bool,
    refine: bool,
    count: int | None,
    choice: bool,
    label: str | None,
) -> None:
    """Score one model, print the figures as JSON, and with --label write them into the ladder."""
    if label and (count or choice):
        raise click.UsageError("The ladder has whole runs on the figures' seeds: leave out --pictures and --choice.")
    search = Search(tiles=tiles, refine=refine) if tiles or refine else None
    (row,) = ladder.measure(stickers, [ladder.Row(label or "", data, kind, model, presence, search)], count, choice)
    click.echo(json.dumps(row, indent=1))
    if label:
        ladder.record(row)
        ladder.fill_readme()


@main.command(name="ladder")
@STICKERS
@click.option("--again", is_flag=True, help="Measure rows too that the ladder has already.")
def ladder_command(stickers: Path, again: bool) -> None:
    """Measure every row of the ladder that is absent, and write ladder.json and the tables of README.md."""
    for data in ladder.DATA:
        rows = [row for row in ladder.ROWS if row.data == data and (again or row.label not in ladder.measured(data))]
        if rows:
            click.echo(f"measuring on {data}: {', '.join(row.label for row in rows)}", err=True)
            for document in ladder.measure(stickers, rows):
                ladder.record(document)
    ladder.fill_readme()


@main.command()
@click.argument("log", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--label", required=True, help="The towers' name in the table.")
def towers(log: Path, label: str) -> None:
    """Write into the ladder what LOG, the pretrain.jsonl of a towers' training, says so far."""
    ladder.record_towers(label, log)
    ladder.fill_readme()


if __name__ == "__main__":
    main()
