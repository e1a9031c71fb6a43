"""``clsclip-eval``: measure models on benchmarks, and draw what they do."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clsclip.cli.benchmark import benchmark_options, run_benchmark
from clsclip.cli.data_options import STICKER_SECTION, DataOptions, data_options, folds_asked, is_own, open_data
from clsclip.cli.protocol import size_protocol
from clsclip.cli.tables import table_command
from clsclip.cli.threshold import threshold_command
from clsclip.data import GROUPS, asking
from clsclip.errors import ClsclipError
from clsclip_runtime.backends.select import BACKENDS, MOST_THREADS
from clsclip_runtime.bundle.hub import on_hub
from clsclip_runtime.cli.options import take
from clsclip_runtime.cli.output import echo, json_option, print_json
from clsclip_runtime.cli.progress import LogHandler, Progress
from clsclip_runtime.cli.runner import run_command
from clsclip_runtime.cli.sections import Group
from clsclip_runtime.cli.zoom import CROP_FLAGS, CropOptions, crop_options
from clsclip_runtime.libraries import import_matplotlib
from clsclip_runtime.paths import exists, plain, readable

if TYPE_CHECKING:
    from clsclip.evaluation import Method, RegionSource
    from clsclip.evaluation.predictors import Search

PROGRAM = "clsclip-eval"

_log = logging.getLogger(__name__)

_FILE = click.Path(path_type=Path)

EXAMPLES = """\b
Examples:
  clsclip-eval run --data folder --root mine --model model.clsclip
  clsclip-eval run --data folder --root mine --model model.clsclip --presence
  clsclip-eval run --data pascal --root VOC2012 --splits lists --fold all
  clsclip-eval run --data coco --root COCO --fold 0 --model last.safetensors
  clsclip-eval run --benchmark voc21 --root VOC2012 --model model.clsclip
  clsclip-eval show --data folder --root mine --model a.clsclip --out show.png
  clsclip-eval threshold --data folder --root mine --model a.clsclip --write
  clsclip-eval attention photo.jpg dog --model last.safetensors --out dog.png

\b
Exit codes: 0 done, 1 a failure, 2 wrong use, 130 interrupted."""

RUNNING = {"How models run": ("--backend", "--threads", "--device", "--towers", "--pretrained")}
SECTIONS = {
    "Regions (ClsCLIP+)": (
        *("--detector", "--regions", "--true-regions", "--zoom-in", "--boxes-as-masks", *CROP_FLAGS),
    ),
    **RUNNING,
    **STICKER_SECTION,
}


@click.group(cls=Group, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="clsclip")
def command() -> None:
    """Measure models on benchmarks, and draw what they do.

    A model is a bundle's folder or a checkpoint (.safetensors); without --model, the embedded bundle.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[LogHandler()])


TOWERS = (
    click.option("--towers", metavar="NAME|DIR", help="Towers of a checkpoint, where it does not find them by itself."),
    click.option("--pretrained", metavar="TAG|FILE", help="Weights of --towers NAME."),
)
"""Options of what reads checkpoints."""


def method_options(function: Any) -> Any:
    """Options that say how a model is asked."""
    options = (
        click.option("--detector", type=_FILE, metavar="ONNX", help="ClsCLIP+: regions that this detector finds."),
        click.option("--regions", type=_FILE, metavar="JSON|tiles", help="ClsCLIP+: regions of a file, or tiles."),
        click.option("--true-regions", is_flag=True, help="ClsCLIP+: regions of the true masks."),
        click.option("--zoom-in", is_flag=True, help="ClsCLIP+: regions of the bundle's own detector, else tiles."),
        click.option("--refine", is_flag=True, help="Give a bundle's masks the edges of the picture."),
        click.option("--protocol", default="original", show_default=True, help="original, or a side: 480, 473, 400."),
        click.option("--presence", is_flag=True, help="Absent words get empty masks, by the model's own threshold."),
        click.option("--backend", type=click.Choice(["auto", *BACKENDS]), default="auto", help="Engine of bundles."),
        click.option(
            "--threads", type=click.IntRange(1, MOST_THREADS), metavar="N", help="Threads of a bundle's engine."
        ),
        click.option("--device", default="auto", show_default=True, help="Where checkpoints run: auto, cpu, cuda."),
        *TOWERS,
    )
    for option in reversed(options):
        function = option(function)
    return crop_options(function)


@dataclass(frozen=True)
class MethodOptions(CropOptions):
    """How a model is asked; see the options' own help."""

    detector: Path | None
    regions: Path | None
    true_regions: bool
    zoom_in: bool
    refine: bool
    protocol: str
    presence: bool
    backend: str
    threads: int | None
    device: str
    towers: str | None
    pretrained: str | None


@command.command(short_help="Measure mIoU, FB-IoU, leakage, which-word mIoU.", sections=SECTIONS)
@data_options("test", or_benchmark=True)
@benchmark_options
@method_options
@click.option(
    "--model", "models", type=_FILE, multiple=True, metavar="PATH", help="Bundle or checkpoint; repeat to compare."
)
@click.option("--fold", type=click.Choice(["0", "1", "2", "3", "all"]), help="Fold, where the data have folds.")
@click.option(
    "--episodes",
    type=click.Choice(["1000", "every"]),
    help="How often pairs are asked. Default: every pair once of your own data, 1000 of benchmarks.",
)
@click.option("--ask", type=click.Choice(GROUPS), default="novel", show_default=True, help="Words that are asked.")
@click.option("--shuffle-words", is_flag=True, help="Control: ask another word than the mask's; its mIoU is chance.")
@click.option("--boxes-as-masks", is_flag=True, help="The regions alone as masks, without a model.")
@click.option("--no-absent", is_flag=True, help="Do not ask for absent words: faster, and no leakage.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N pictures.")
@json_option("One JSON document on standard output.")
def run(
    models: tuple[Path, ...],
    fold: str | None,
    episodes: str | None,
    ask: str,
    shuffle_words: bool,
    boxes_as_masks: bool,
    no_absent: bool,
    limit: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure mIoU, FB-IoU, leakage and which-word mIoU; or, with --benchmark, give every pixel the strongest name.

    Of your own data, precision and recall of every class are shown too.
    """
    from clsclip.evaluation import evaluate, mean_of, prompted, shuffled, table
    from clsclip.evaluation.seen import told_apart, what_was_trained

    if options["benchmark"] is not None and len(models) > 1:
        raise click.UsageError("--benchmark takes one --model.")
    if run_benchmark(models[0] if models else None, options, limit, as_json=as_json):
        return
    asked, data = take(MethodOptions, options), DataOptions.from_values(options)
    folds = folds_asked(data, fold)
    protocol = size_protocol(asked.protocol, episodes == "every" or (episodes is None and is_own(data)))
    if boxes_as_masks and models:
        raise click.UsageError("--boxes-as-masks needs no --model.")
    if shuffle_words and boxes_as_masks:
        raise click.UsageError("--shuffle-words needs a model.")
    methods = told_apart([_method(model, asked, boxes_as_masks) for model in models or (None,)])
    reports = []
    for number in folds:
        opened = asking(open_data(number, data, "test"), ask)
        for method in methods:
            one = prompted(method, opened.test)
            one = shuffled(one, opened.test.classes) if shuffle_words else one
            with Progress(f"fold {number}, pictures" if number >= 0 else "pictures", alive=True) as progress:
                found = evaluate(opened, one, protocol, absent=not no_absent, limit=limit, progress=progress.update)
            reports.append(what_was_trained(found, method.predictor, opened))
    if as_json:
        document: dict[str, Any] = {"reports": [report.to_json() for report in reports]}
        names = list(dict.fromkeys(report.method for report in reports))
        means = {name: plain(mean_of([one for one in reports if one.method == name])) for name in names}
        document |= {"mean": means[names[0]]} if len(names) == 1 else {"means": means}
        print_json(document)
    else:
        echo(table(reports))


@command.command(sections=SECTIONS, short_help="Draw truths and masks of models side by side.")
@data_options("test")
@method_options
@click.option("--model", "models", type=_FILE, multiple=True, metavar="PATH", help="Bundle or checkpoint; repeat.")
@click.option("--fold", type=click.Choice(["0", "1", "2", "3"]), help="Fold, where the data have folds.")
@click.option("--key", "keys", multiple=True, metavar="NAME", help="A picture by its name; repeat.")
@click.option("--count", type=click.IntRange(min=1), default=4, show_default=True, help="Pairs, when no --key.")
@click.option("--out", type=_FILE, required=True, metavar="PNG", help="The drawing.")
@json_option("Name the file in a JSON document on standard output.")
def show(
    models: tuple[Path, ...],
    fold: str | None,
    keys: tuple[str, ...],
    count: int,
    out: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Draw pictures, truths and the masks of models side by side."""
    import_matplotlib()
    from clsclip.evaluation.figures import save_figure, side_by_side
    from clsclip.evaluation.seen import told_apart

    asked, data = take(MethodOptions, options), DataOptions.from_values(options)
    protocol = size_protocol(asked.protocol, True)
    numbers = folds_asked(data, fold)
    methods = told_apart([_method(model, asked, False) for model in models or (None,)])
    opened = open_data(numbers[0], data, "test")
    pairs = list(dict.fromkeys(opened.test_pairs))
    chosen = [pair for pair in pairs if opened.test.key(pair[0]) in keys] if keys else spread(pairs, count)
    save_figure(side_by_side(opened, methods, protocol, chosen), out)
    _tell_file(out, as_json)


@command.command(short_help="Draw where the encoder looks.")
@click.argument("image", type=_FILE)
@click.argument("words", nargs=-1, required=True)
@click.option("--model", type=_FILE, required=True, metavar="CKPT", help="Checkpoint (.safetensors).")
@click.option("--out", type=_FILE, required=True, metavar="PNG", help="The drawing.")
@TOWERS[0]
@TOWERS[1]
@json_option("Name the file in a JSON document on standard output.")
def attention(
    image: Path,
    words: tuple[str, ...],
    model: Path,
    out: Path,
    towers: str | None,
    pretrained: str | None,
    as_json: bool,
) -> None:
    """Draw where the encoder looks, layer by layer: the original one, and the one that WORDS navigate."""
    import_matplotlib()
    from clsclip.data.files import read_image
    from clsclip.evaluation.figures import attention_figure, save_figure
    from clsclip.evaluation.predictors import CheckpointPredictor, open_predictor
    from clsclip_runtime.text.typed import typed_classes

    asked = typed_classes(words).words
    predictor = open_predictor(model, towers=towers, pretrained=pretrained) if model.suffix == ".safetensors" else None
    if not isinstance(predictor, CheckpointPredictor):
        raise click.UsageError("Attention is read from a checkpoint (.safetensors); bundles do not give theirs.")
    save_figure(attention_figure(predictor, read_image(image), asked), out)
    _tell_file(out, as_json)


def _tell_file(out: Path, as_json: bool) -> None:
    if as_json:
        print_json({"files": [readable(out)]})
    else:
        echo(f"wrote {out}")


def spread(pairs: Sequence[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """``count`` pairs from the whole list, evenly spaced, not only its first classes."""
    step = max(1, len(pairs) // count)
    return list(pairs[::step][:count])


def _method(model: Path | None, asked: MethodOptions, boxes_as_masks: bool) -> Method:
    from clsclip.evaluation import Method, open_predictor
    from clsclip.evaluation.predictors import CHECKPOINT_SUFFIX
    from clsclip_runtime.regions import ZoomIn

    search, source = _search(asked), _regions(asked)
    if search is not None and boxes_as_masks:
        raise click.UsageError(f"{search.name.lstrip(' +')} needs a model, and --boxes-as-masks uses none.")
    if search is not None and model is not None and model.suffix == CHECKPOINT_SUFFIX:
        raise click.UsageError(
            "--zoom-in, --regions tiles and --refine are the runtime's, for bundles. Export the checkpoint first: "
            f"clsclip-export --ckpt {model} --out model.clsclip"
        )
    if boxes_as_masks and source is None:
        raise click.UsageError("--boxes-as-masks needs --detector, --regions or --true-regions.")
    given = asked.given_options()
    of_detector = asked.zoom_in and not _tiles(asked)
    if given and ((source is None and not of_detector) or boxes_as_masks):
        raise click.UsageError(f"{given[0]} is about crops of --detector, --regions or --true-regions.")
    predictor = None
    if not boxes_as_masks:
        if model is not None and not on_hub(model) and not exists(model):
            raise click.UsageError(f"no such model: {model}. Give a bundle's folder or a checkpoint.")
        predictor = open_predictor(
            model,
            backend=asked.backend,
            threads=asked.threads,
            presence=asked.presence,
            device=asked.device,
            towers=asked.towers,
            pretrained=asked.pretrained,
            search=search,
        )
    return Method(predictor, source, ZoomIn(**asked.given()))


def _tiles(asked: MethodOptions) -> bool:
    from clsclip_runtime.regions import TILES

    return str(asked.regions) == TILES


def _search(asked: MethodOptions) -> Search | None:
    """How the runtime searches whole pictures; None for plainly."""
    from clsclip.evaluation.predictors import Search
    from clsclip_runtime.regions import ZoomIn

    tiles = _tiles(asked)
    if not (asked.zoom_in or asked.refine or tiles):
        return None
    if asked.detector is not None or asked.true_regions or (asked.regions is not None and not tiles):
        raise click.UsageError(
            "--zoom-in and --refine are for whole pictures and --regions tiles: crops of --detector, --true-regions "
            "and --regions FILE go to the model one by one."
        )
    if (tiles or asked.zoom_in) and not asked.presence:
        _log.warning("without --presence every tile is searched for every word: expect leakage")
    return Search(ZoomIn(**asked.given()) if asked.zoom_in else None, tiles, asked.refine)


def _regions(asked: MethodOptions) -> RegionSource | None:
    from clsclip.evaluation import DetectorRegions, FileRegions, TruthRegions

    if sum((asked.detector is not None, asked.regions is not None, asked.true_regions)) > 1:
        raise click.UsageError("Give one of --detector, --regions and --true-regions.")
    if asked.detector is not None:
        from clsclip_runtime.detectors import Detector

        return DetectorRegions(Detector.load(asked.detector, threads=asked.threads), asked.detector.stem)
    if asked.regions is not None and not _tiles(asked):
        return FileRegions(asked.regions)
    return TruthRegions() if asked.true_regions else None


command.add_command(table_command)
command.add_command(threshold_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(command, PROGRAM, arguments, extra="train", errors=(ClsclipError,))


if __name__ == "__main__":
    sys.exit(main())
