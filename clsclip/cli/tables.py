"""``clsclip-eval table N``: train and evaluate what a table of the paper needs, and print it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clsclip.cli.data_options import STICKER_SECTION, DataOptions, data_options, open_data
from clsclip.cli.protocol import size_protocol
from clsclip.cli.tower_options import asked_flavor, flavor_options
from clsclip.cli.train_model import check_random
from clsclip.numbers import numbers
from clsclip_runtime.cli.output import echo, json_option, print_json
from clsclip_runtime.cli.sections import Command
from clsclip_runtime.paths import is_dir, plain, write_json

if TYPE_CHECKING:
    from clsclip.data import Fold
    from clsclip.evaluation import RegionSource
    from clsclip.reproduce.tables.runs import GivenModel

_PATH = click.Path(path_type=Path)


@click.command(
    name="table",
    cls=Command,
    sections=STICKER_SECTION,
    short_help="Train and measure a table of the paper, 1 to 7.",
)
@click.argument("number", type=click.IntRange(1, 7))
@data_options("both")
@click.option("--towers", required=True, metavar="NAME|DIR", help="open_clip name, or a folder of towers.")
@click.option("--pretrained", metavar="TAG|FILE", help="Weights of a named tower.")
@click.option("--random-towers", is_flag=True, help="Towers without weights, to test the machinery.")
@flavor_options
@click.option("--image-size", type=click.IntRange(min=16), help="Side of the model's pictures; default: the towers'.")
@click.option("--runs", type=_PATH, required=True, metavar="DIR", help="Trainings and results; done ones are kept.")
@click.option("--folds", default="0,1,2,3", show_default=True, callback=numbers, help="Folds to run.")
@click.option("--seeds", default="0", show_default=True, callback=numbers, help="Seeds of the trainings.")
@click.option("--rows", metavar="1,2", callback=numbers, help="Only these rows, counted from 1. Default: all.")
@click.option("--epochs", default=200, show_default=True, help="Of every training.")
@click.option("--steps", type=click.IntRange(min=1), help="Of every training, in place of --epochs.")
@click.option("--batch", type=click.IntRange(min=1), help="Pairs a step; default: the paper's, 64 (COCO 512).")
@click.option(
    "--precision", type=click.Choice(["fp32", "bf16", "fp16"]), default="fp32", show_default=True, help="Of trainings."
)
@click.option("--device", default="auto", show_default=True, help="Where trainings run.")
@click.option("--workers", type=click.IntRange(min=0), default=2, show_default=True, help="Of trainings.")
@click.option("--template", default="a photo of a {}", show_default=True, help="Prompt for a word.")
@click.option(
    "--decoder-heads", type=click.IntRange(min=1), help="Attention heads of the decoder. Default: one for 64 channels."
)
@click.option("--detector", type=_PATH, metavar="ONNX", help="Regions of ClsCLIP+ (tables 4 to 7).")
@click.option("--regions", type=_PATH, metavar="JSON", help="Manual regions (table 7), or ClsCLIP+'s without detector.")
@click.option("--true-regions", is_flag=True, help="ClsCLIP+'s are the true masks' boxes: the best of any detector.")
@click.option("--clipseg-model", type=_PATH, metavar="DIR", help="Bundle of CLIPSeg, for its row in tables 4 and 5.")
@click.option("--protocol", default="original", show_default=True, help="original, or a side: 480, 473, 400.")
@click.option(
    "--episodes", type=click.Choice(["1000", "every"]), default="1000", show_default=True, help="Pairs asked."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N pictures of every fold.")
@click.option("--report", type=_PATH, metavar="FILE", help="Write every figure here too, as JSON.")
@json_option("Print the figures as one JSON document in place of the table.")
def table_command(
    number: int,
    towers: str,
    pretrained: str | None,
    random_towers: bool,
    activation: str | None,
    mean_std: str | None,
    image_size: int | None,
    runs: Path,
    folds: tuple[int, ...],
    seeds: tuple[int, ...],
    rows: tuple[int, ...] | None,
    epochs: int,
    steps: int | None,
    batch: int | None,
    precision: str,
    device: str,
    workers: int,
    template: str,
    decoder_heads: int | None,
    detector: Path | None,
    regions: Path | None,
    true_regions: bool,
    clipseg_model: Path | None,
    protocol: str,
    episodes: str,
    limit: int | None,
    report: Path | None,
    as_json: bool,
    **values: Any,
) -> None:
    """Table NUMBER of the paper: 1 use of the text token, 2 visual prompts, 3 navigation layers, 4 PASCAL-5i, 5
    COCO-20i, 6 boxes alone as masks, 7 regions by hand.

    Interrupt at any time and start the same command again: what is in --runs is not done again.
    """
    from clsclip.model import ModelConfig
    from clsclip.reproduce.tables.published import TABLES
    from clsclip.reproduce.tables.report import markdown, summary
    from clsclip.reproduce.tables.runs import TableRun, run_table
    from clsclip.tower_files import load_towers
    from clsclip.training.config import TrainConfig

    table = TABLES[number]
    if clipseg_model is not None and not any(row.given == "clipseg" for row in table.rows):
        raise click.UsageError(f"--clipseg-model is for tables 4 and 5, and this is table {number}.")
    check_random(towers, pretrained, random_towers=random_towers)
    data = DataOptions.from_values(values)
    opened = load_towers(towers, pretrained, image_size, asked_flavor(activation, mean_std))

    @lru_cache(maxsize=4)  # rows and seeds share their folds, and listing one can take minutes
    def open_fold(fold: int) -> Fold:
        return open_data(fold, data, "both")

    run = TableRun(
        open_fold=open_fold,
        towers=opened,
        towers_source=towers if is_dir(towers) else f"{towers}:{pretrained or ''}",
        folds=folds,
        seeds=seeds,
        base=ModelConfig(decoder_heads=decoder_heads or max(1, opened.width // 64)),
        training=TrainConfig(
            epochs=epochs,
            steps=steps,
            batch=batch or (512 if data.kind == "coco" else 64),
            precision=precision,
            device=device,
            workers=workers,
            template=template,
        ),
        protocol=size_protocol(protocol, episodes == "every"),
        runs=runs,
        regions=region_sources(detector, regions, true_regions=true_regions),
        limit=limit,
        data=json.dumps(asdict(data) | {"root": data.root and data.root.resolve()}, sort_keys=True, default=str),
        rows=rows,
        given={} if clipseg_model is None else {"clipseg": given_model(clipseg_model)},
    )
    found = [summary(outcome, run) for outcome in run_table(table, run)]
    text = markdown(table, found, run, data.kind)
    document = plain({"table": number, "title": table.title, "seeds": seeds, "rows": found, "markdown": text})
    if as_json:
        print_json(document)
    else:
        echo(text)
    if report is not None:
        write_json(report, document)


def given_model(path: Path) -> GivenModel:
    """A bundle, to be measured as it is. BundleError or BackendError where it cannot be loaded."""
    from clsclip.evaluation import BundlePredictor
    from clsclip.reproduce.tables.runs import GivenModel
    from clsclip_runtime import Segmenter

    segmenter = Segmenter.load(path)
    return GivenModel(BundlePredictor(segmenter), segmenter.bundle.fingerprint[:8])


def region_sources(detector: Path | None, regions: Path | None, *, true_regions: bool) -> dict[str, RegionSource]:
    """Regions by the name that rows of tables give them.

    Raises:
        click.UsageError: ClsCLIP+'s are to come from the truth and from a detector.
    """
    from clsclip.evaluation import DetectorRegions, FileRegions, TruthRegions
    from clsclip_runtime.detectors import Detector

    sources: dict[str, RegionSource] = {}
    if regions is not None:
        drawn = FileRegions(regions)
        drawn.name += f" {digest(regions)}"
        sources["manual"] = sources["regions"] = drawn
    if true_regions and detector is not None:
        raise click.UsageError("Give --detector or --true-regions, not both: each says where ClsCLIP+ looks.")
    if true_regions:
        sources["regions"] = TruthRegions()
    if detector is not None:
        sources["regions"] = DetectorRegions(Detector.load(detector), f"{detector.stem} {digest(detector)}")
    return sources


def digest(path: Path) -> str:
    """Of a file, short: another file's runs are not this one's, whatever it is called."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]
