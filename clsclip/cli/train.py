"""``clsclip-train``: learn to segment words from masks, on frozen CLIP towers."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clsclip.cli import recipes
from clsclip.cli.data_options import (
    STICKER_SECTION,
    DataOptions,
    data_options,
    folds_asked,
    is_own,
    open_data,
    tell_data,
    tell_first,
)
from clsclip.cli.tower_options import flavor_options
from clsclip.cli.train_model import ModelOptions, build_model, check_use, inherit, open_towers, start_from
from clsclip.cli.train_told import told
from clsclip.errors import ClsclipError
from clsclip.numbers import numbers
from clsclip.run_files import TOWERS_FOLDER
from clsclip.split import split
from clsclip_runtime.cli.output import echo, json_option, print_json
from clsclip_runtime.cli.progress import LogHandler
from clsclip_runtime.cli.runner import run_command
from clsclip_runtime.cli.sections import Command

if TYPE_CHECKING:
    from clsclip.training import TrainConfig

PROGRAM = "clsclip-train"

_log = logging.getLogger(__name__)

_PATH = click.Path(path_type=Path)
_COUNT = click.IntRange(min=1)

EXAMPLES = """\b
Examples:
  clsclip-train --towers ViT-B-16 --pretrained openai --data folder \\
    --root mine --absent 0.25 --out runs/mine
  clsclip-train ... --out runs/mine --resume
  clsclip-train --from-checkpoint runs/mine/best.safetensors --data folder \\
    --root more --out runs/more
  clsclip-train --recipe pascal --root VOC2012 --fold 0 --out runs/pascal0
  clsclip-train --towers ViT-B-16 --pretrained openai --data coco \\
    --root COCO --fold 1 --out runs/coco1
  torchrun --nproc-per-node 2 -m clsclip.cli.train ...

\b
Exit codes: 0 done, 1 a failure, 2 wrong use, 130 interrupted (what was done
is written: go on with --resume)."""

SECTIONS = {
    "Towers and start": ("--random-towers", "--activation", "--mean-std", "--from-checkpoint", "--image-size"),
    "Model": (
        *("--navigation-layers", "--use-of-text", "--visual-prompts", "--decoder-inputs", "--decoder-layers"),
        *("--decoder-heads", "--upscale", "--template", "--presence-pictures"),
    ),
    "Optimization": (
        *("--accumulate", "--lr", "--weight-decay", "--restart-epochs", "--restart-factor", "--warmup"),
        *("--words-per-picture", "--flip", "--dice", "--clip-norm"),
    ),
    "Checkpoints and validation": (
        *("--save-every", "--save-minutes", "--validate-minutes", "--validation-pictures", "--log-every"),
        *("--tensorboard", "--strict"),
    ),
    **STICKER_SECTION,
}


@click.command(
    cls=Command,
    sections=SECTIONS,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@recipes.recipe_option
@click.option("--towers", metavar="NAME|DIR", help="open_clip model, or a folder of towers.")
@click.option("--pretrained", metavar="TAG|FILE", help="Weights of an open_clip model: a tag or a local file.")
@click.option("--random-towers", is_flag=True, help="Towers without weights, to test the machinery. They know no word.")
@flavor_options
@click.option(
    "--from-checkpoint",
    "start",
    type=_PATH,
    metavar="CKPT",
    help="Start from these weights, with their towers and settings where no option says otherwise.",
)
@click.option("--image-size", type=_COUNT, metavar="PX", help="Side of the model's input. Default: the towers' own.")
@data_options("train")
@click.option("--fold", type=click.IntRange(0, 3), help="Whose classes are held out.")
@click.option(
    "--val",
    type=click.FloatRange(0, 0.9),
    metavar="SHARE",
    help="Share of the pictures kept back for validation, by --seed; 0 for none. Default: 0.1 of your own data that "
    "have no list of their own, 0 of benchmarks.",
)
@click.option(
    "--navigation-layers",
    callback=numbers,
    metavar="LIST",
    help="Layers whose [CLS] is replaced. Default: 2,3,4.",
)
@click.option("--use-of-text", default="replace", help="replace, channel, spatial or film.")
@click.option("--visual-prompts", type=click.IntRange(min=0), default=0, help="Learned tokens in the image tower.")
@click.option("--decoder-inputs", default="exact", help="exact, or some of text_token+similarity+stem+residual+detail.")
@click.option("--decoder-layers", type=_COUNT, default=2, help="Transformer layers of the decoder.")
@click.option("--decoder-heads", type=_COUNT, help="Attention heads of each. Default: one for 64 channels.")
@click.option("--upscale", type=_COUNT, default=4, help="Mask logits a side of one patch.")
@click.option("--epochs", type=_COUNT, default=200, help="Passes over the training pairs.")
@click.option("--steps", type=_COUNT, help="Optimizer steps, in place of --epochs.")
@click.option("--batch", type=_COUNT, help="Pairs a step. Default: 512 for coco, else 64.")
@click.option("--accumulate", type=_COUNT, default=1, help="Micro-batches of --batch pairs a step.")
@click.option("--lr", "learning_rate", type=float, default=1e-3, help="Peak learning rate.")
@click.option("--weight-decay", type=float, default=0.01, help="Of AdamW.")
@click.option("--restart-epochs", type=float, help="T_0, epochs of the first cycle. Default: one cycle, the whole run.")
@click.option("--restart-factor", type=_COUNT, default=1, help="T_mult, how much longer the next cycle is.")
@click.option("--warmup", "warmup_steps", type=click.IntRange(min=0), default=0, help="Steps of linear warm-up.")
@click.option("--absent", type=float, default=0.0, help="Share of pairs that ask an absent word, as 0.25.")
@click.option("--words-per-picture", type=_COUNT, default=1, help="Classes of a picture to group in a batch.")
@click.option("--flip/--no-flip", default=True, help="Mirror every second picture.")
@click.option("--dice", type=float, default=0.5, help="Weight of the Dice loss; 0 leaves the cross entropy alone.")
@click.option("--clip-norm", type=float, default=1.0, help="Largest norm of the gradient; 0 does not clip.")
@click.option("--template", default="a photo of a {}", help="Prompt; {} is the word.")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), default="fp32", help="fp16 needs a GPU.")
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:1.")
@click.option("--workers", type=click.IntRange(min=0), default=2, help="Processes that read pictures.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of weights, order, absent words and flips.")
@click.option("--out", type=_PATH, required=True, metavar="DIR", help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out; with more --steps beyond its end.")
@click.option("--save-every", type=_COUNT, default=200, help="Most steps between checkpoints.")
@click.option("--save-minutes", type=click.FloatRange(min=0), default=10.0, help="Most minutes between checkpoints.")
@click.option("--validate-minutes", type=click.FloatRange(min=0), default=10.0, help="Minutes between validations.")
@click.option("--validation-pictures", type=_COUNT, default=200, help="Most pictures of a validation.")
@click.option("--strict", is_flag=True, help="End where a picture or mask cannot be read, in place of counting it.")
@click.option("--log-every", type=_COUNT, default=20, help="Steps between lines of metrics.")
@click.option("--tensorboard", is_flag=True, help="Write metrics for TensorBoard too.")
@click.option(
    "--presence-pictures",
    type=click.IntRange(min=0),
    default=500,
    help="Pictures to fit the presence head on; 0: none.",
)
@click.option("--description", help="A sentence for the checkpoint and its bundles.")
@click.option("--license", help="License of the trained weights, for the checkpoint and its bundles.")
@json_option("Print the summary as JSON.")
@click.version_option(package_name="clsclip")
@click.pass_context
def command(context: click.Context, /, **options: Any) -> None:
    """Train ClsCLIP with masks; both CLIP towers stay frozen.

    OUT gets last.safetensors and best.safetensors (for clsclip-export, at any time), training_state.safetensors (for
    --resume), a copy of the towers, train.jsonl and validation.jsonl (figures), curves.png, and contact sheets.
    """
    begun = time.monotonic()
    if find_spec("torch") is None:  # told before the data are read
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    first = os.environ.get("RANK", "0") == "0"
    level = logging.INFO if first else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", handlers=[LogHandler()])
    recipes.settle(context, options)
    for line in recipes.told(context):
        _log.info("%s", line)
    out: Path = options["out"]
    start: Path | None = options["start"]
    data = DataOptions.from_values(options)
    asked = None if options["fold"] is None else str(options["fold"])
    folds = folds_asked(data, asked)
    check_use(ModelOptions.from_values(options), out, resume=options["resume"])
    own = is_own(data)
    # Data before PyTorch: what is wrong with them shows in the first seconds.
    looked = first and tell_first(data, err=options["as_json"])
    fold = open_data(folds[0], data, "both" if own else "train")
    found = split(fold, options["val"], options["seed"], own=own)
    if first:
        tell_data(fold, data, since=begun, err=options["as_json"], told=looked)
    _log.info("%s", found.told)
    if start is not None:
        _log.info("%s", inherit(context, options, start))
    chosen = ModelOptions.from_values(options)
    from clsclip.kept_towers import keep_towers
    from clsclip.tower_places import remember_towers
    from clsclip.training import train

    config = train_config(options, data)
    towers = open_towers(chosen, out, config.seed)
    for note in towers.notes:
        _log.info("note: %s", note)
    model = build_model(chosen, towers, config.seed)
    provenance: dict[str, Any] = {"split": found.told}
    if chosen.random_towers:
        provenance["random_towers"] = True
    if start is not None:
        provenance["started_from"] = start_from(model, chosen)
    if options["description"]:
        provenance["description"] = options["description"]
    if options["license"]:
        provenance["license"] = {"weights": options["license"], "notes": []}
    if first:
        keep_towers(towers, out / TOWERS_FOLDER)
        remember_towers(towers.fingerprint(), str(out / TOWERS_FOLDER), None)
    summary = train(
        model,
        found.training,
        config,
        out,
        towers=TOWERS_FOLDER,
        provenance=provenance,
        resume=options["resume"],
        validation=found.validation,
    )
    if not first:
        return
    if options["as_json"]:
        document = asdict(summary) | {"checkpoint": str(summary.checkpoint)}
        print_json(document | {"best": None if summary.best is None else str(summary.best)})
        return
    for line in told(summary, out):
        echo(line)


def train_config(values: Mapping[str, Any], data: DataOptions) -> TrainConfig:
    """The settings of a run; click.UsageError where they cannot be meant."""
    from clsclip.errors import TrainingError
    from clsclip.training import TrainConfig

    settings = {one.name: values[one.name] for one in fields(TrainConfig)}
    settings["batch"] = values["batch"] or (512 if data.kind == "coco" and data.annotations is None else 64)
    try:
        return TrainConfig(**settings)
    except TrainingError as error:
        raise click.UsageError(str(error)) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return run_command(command, PROGRAM, arguments, extra="train", errors=(ClsclipError,))


if __name__ == "__main__":
    sys.exit(main())
