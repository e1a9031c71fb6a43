"""``clsclip-train``: learn to segment words from masks, on frozen CLIP towers."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clsclip.cli import recipes
from clsclip.cli.data_options import DataOptions, data_options, folds_asked, open_data, tell_data
from clsclip.errors import ClsclipError
from clsclip.numbers import numbers
from clsclip_runtime.cli.output import echo, json_option, print_json
from clsclip_runtime.cli.progress import LogHandler
from clsclip_runtime.cli.runner import run_command
from clsclip_runtime.paths import exists, is_dir, is_file

if TYPE_CHECKING:
    from clsclip.model import ClsClip
    from clsclip.training import TrainConfig

PROGRAM = "clsclip-train"

_log = logging.getLogger(__name__)

_PATH = click.Path(path_type=Path)
_COUNT = click.IntRange(min=1)

EXAMPLES = """\b
Examples:
  clsclip-train --towers ViT-B-16 --pretrained openai --data pascal --root VOC2012 --fold 0 --out runs/pascal0
  clsclip-train --towers ViT-B-16 --pretrained openai --data coco --root COCO --fold 1 --out runs/coco1
  clsclip-train --recipe pascal --root VOC2012 --fold 0 --out runs/pascal0
  clsclip-train --towers my_towers --data folder --root mine --out runs/mine --steps 2000 --absent 0.25
  clsclip-train ... --out runs/pascal0 --resume
  torchrun --nproc-per-node 2 -m clsclip.cli.train ...

\b
Exit codes: 0 done, 1 a failure, 2 wrong use, 130 interrupted (go on with --resume)."""


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@recipes.recipe_option
@click.option("--towers", required=True, metavar="NAME|DIR", help="open_clip model, or a folder of towers.")
@click.option("--pretrained", metavar="TAG|FILE", help="Weights of an open_clip model: a tag or a local file.")
@click.option("--from-checkpoint", "start", type=_PATH, metavar="CKPT", help="Start from these weights.")
@click.option("--image-size", type=_COUNT, metavar="PX", help="Side of the model's input. Default: the towers' own.")
@data_options("train")
@click.option("--fold", type=click.IntRange(0, 3), help="Whose classes are held out.")
@click.option(
    "--navigation-layers",
    callback=numbers,
    metavar="LIST",
    help="Layers whose [CLS] is replaced. Default: 2,3,4.",
)
@click.option("--use-of-text", default="replace", help="replace, channel, spatial or film.")
@click.option("--visual-prompts", type=click.IntRange(min=0), default=0, help="Learned tokens in the image tower.")
@click.option("--decoder-inputs", default="exact", help="exact, or some of text_token+similarity+stem.")
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
@click.option("--words-per-picture", type=_COUNT, default=1, help="Group so many classes of a picture in a batch.")
@click.option("--flip/--no-flip", default=True, help="Mirror every second picture.")
@click.option("--dice", type=float, default=0.5, help="Weight of the Dice loss; 0 leaves the cross entropy alone.")
@click.option("--clip-norm", type=float, default=1.0, help="Largest norm of the gradient; 0 does not clip.")
@click.option("--template", default="a photo of a {}", help="Prompt; {} is the word.")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), default="fp32", help="fp16 needs a GPU.")
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:1.")
@click.option("--workers", type=click.IntRange(min=0), default=2, help="Processes that read pictures.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of weights, order, absent words and flips.")
@click.option("--out", type=_PATH, required=True, metavar="DIR", help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--save-every", type=_COUNT, default=200, help="Steps between checkpoints.")
@click.option("--log-every", type=_COUNT, default=20, help="Steps between lines of metrics.")
@click.option("--tensorboard", is_flag=True, help="Write metrics for TensorBoard too.")
@click.option("--presence-pictures", type=click.IntRange(min=0), default=0, help="Fit the presence head on so many.")
@click.option("--description", help="A sentence for the checkpoint and its bundles.")
@click.option("--license", help="License of the trained weights, for the checkpoint and its bundles.")
@json_option("Print the summary as JSON.")
@click.version_option(package_name="clsclip")
def command(**options: Any) -> None:
    """Train ClsCLIP with masks; both CLIP towers stay frozen.

    OUT gets last.safetensors (for clsclip-export, at any time), training_state.safetensors (for --resume) and
    train.jsonl (metrics).
    """
    first = os.environ.get("RANK", "0") == "0"
    level = logging.INFO if first else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", handlers=[LogHandler()])
    recipes.settle(click.get_current_context(), options)
    for line in recipes.told(click.get_current_context()):
        _log.info("%s", line)
    out: Path = options["out"]
    data, chosen = DataOptions.from_values(options), ModelOptions.from_values(options)
    check_use(chosen, out, resume=options["resume"])
    from clsclip.tower_places import remember_towers
    from clsclip.training import train

    config = train_config(options, data)
    asked = None if options["fold"] is None else str(options["fold"])
    fold = open_data(folds_asked(data, asked)[0], data, "train")
    if first:
        tell_data(fold, data, err=options["as_json"])
    model = build_model(chosen, config.seed)
    provenance: dict[str, Any] = {}
    if options["start"] is not None:
        provenance["started_from"] = start_from(model, options["start"], chosen.towers, chosen.pretrained)
    if options["description"]:
        provenance["description"] = options["description"]
    if options["license"]:
        provenance["license"] = {"weights": options["license"], "notes": []}
    remember_towers(model.towers.fingerprint(), chosen.towers, chosen.pretrained)
    summary = train(
        model,
        fold,
        config,
        out,
        towers=towers_source(chosen.towers, chosen.pretrained, out),
        provenance=provenance,
        resume=options["resume"],
    )
    if not first:
        return
    if options["as_json"]:
        print_json(asdict(summary) | {"checkpoint": str(summary.checkpoint)})
        return
    loss = "nothing was left to do" if summary.loss is None else f"loss {summary.loss}"
    echo(f"{summary.steps} steps, {summary.epochs} epochs, {loss}, {summary.pairs_per_second} pairs/s")
    if summary.skipped:
        echo(f"{summary.skipped} steps were skipped: their loss or gradient was not finite.")
    if summary.presence:
        echo(f"presence threshold {summary.presence['threshold']}")
    echo(f"{summary.checkpoint} written. Next: clsclip-export --ckpt {summary.checkpoint} --out model.clsclip")


@dataclass(frozen=True)
class ModelOptions:
    """Towers and configuration of a model, as options say; see their help."""

    towers: str
    pretrained: str | None
    image_size: int | None
    navigation_layers: tuple[int, ...] | None
    use_of_text: str
    visual_prompts: int
    decoder_inputs: str
    decoder_layers: int
    decoder_heads: int | None
    upscale: int

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> ModelOptions:
        """Take them out of all values of a command."""
        return cls(**{one.name: values[one.name] for one in fields(cls)})


def check_use(chosen: ModelOptions, out: Path, *, resume: bool) -> None:
    """Refuse what cannot be meant, before anything is loaded."""
    # Click answers a wrong choice itself, but its list is in clsclip.variants, which imports torch.
    from clsclip.training.state import STATE_FILE
    from clsclip.variants import USES_OF_TEXT

    if chosen.use_of_text not in USES_OF_TEXT:
        raise click.UsageError(f"--use-of-text is one of {', '.join(USES_OF_TEXT)}.")
    if chosen.navigation_layers is not None and chosen.use_of_text != "replace":
        raise click.UsageError("--navigation-layers is for --use-of-text replace.")
    if exists(out / STATE_FILE) and not resume:
        raise click.UsageError(f"{out} holds a training run. Go on with it: --resume; or give another --out.")


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


def build_model(chosen: ModelOptions, seed: int) -> ClsClip:
    """Towers and fresh weights; click.UsageError where these towers cannot carry the configuration."""
    import torch

    from clsclip.errors import CheckpointError
    from clsclip.model import ClsClip, ModelConfig
    from clsclip.tower_files import load_towers

    towers = load_towers(chosen.towers, chosen.pretrained, image_size=chosen.image_size)
    inputs = chosen.decoder_inputs
    settings: dict[str, Any] = {
        "decoder_layers": chosen.decoder_layers,
        "decoder_heads": chosen.decoder_heads or (towers.width // 64 if towers.width % 64 == 0 else 1),
        "upscale": chosen.upscale,
        "decoder_inputs": () if inputs == "exact" else tuple(inputs.split("+")),
        "use_of_text": chosen.use_of_text,
        "visual_prompts": chosen.visual_prompts,
    }
    if chosen.navigation_layers is not None:
        settings["navigation_layers"] = chosen.navigation_layers
    torch.manual_seed(seed)
    try:
        return ClsClip(towers, ModelConfig(**settings))
    except CheckpointError as error:
        raise click.UsageError(str(error)) from error


def start_from(model: ClsClip, checkpoint: Path, towers: str, pretrained: str | None) -> dict[str, Any]:
    """Put a checkpoint's learned weights into ``model``; returns how they were made.

    Raises:
        CheckpointError: it is damaged, was trained on other towers, or is another model; its picture size may differ.
    """
    from clsclip.checkpoint import load_checkpoint, read_header
    from clsclip.errors import CheckpointError
    from clsclip.tower_files import load_towers

    size = read_header(checkpoint)["towers"]["image_size"]
    source, header = load_checkpoint(checkpoint, load_towers(towers, pretrained, image_size=size))
    if source.config != model.config:
        differing = [name for name, value in asdict(source.config).items() if value != getattr(model.config, name)]
        raise CheckpointError(f"{checkpoint} is another model: {', '.join(differing)} differ. Give the same options.")
    model.load_state_dict(source.learned_state(), strict=False)
    made = {name: header["provenance"].get(name) for name in ("steps", "seed", "pictures", "training")}
    return {"image_size": size} | made


def towers_source(towers: str, pretrained: str | None, out: Path) -> str:
    """Where the checkpoint says that its towers are; files and folders relative to the run's folder."""
    if is_dir(towers):
        return Path(os.path.relpath(towers, out)).as_posix()
    if pretrained is not None and is_file(pretrained):
        pretrained = Path(os.path.relpath(pretrained, out)).as_posix()
    return f"{towers}:{pretrained}" if pretrained else str(towers)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return run_command(command, PROGRAM, arguments, extra="train", errors=(ClsclipError,))


if __name__ == "__main__":
    sys.exit(main())
