"""``clsclip-eval threshold``: fit the mask threshold, the presence threshold and the least confidence; store them."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clsclip.cli.data_options import STICKER_SECTION, DataOptions, data_options, folds_asked, is_own, open_data
from clsclip.data import GROUPS, Fold, asking
from clsclip.data.marks import marked
from clsclip.errors import DataError
from clsclip_runtime.backends.select import BACKENDS, MOST_THREADS
from clsclip_runtime.cli.output import echo, json_option, print_json
from clsclip_runtime.cli.progress import Progress
from clsclip_runtime.cli.sections import Command
from clsclip_runtime.libraries import import_matplotlib
from clsclip_runtime.paths import exists, plain, readable

if TYPE_CHECKING:
    from clsclip.evaluation.thresholds import Point

_FILE = click.Path(path_type=Path)

_FEW = 20
"""Pictures below which it is said that there are few."""


@click.command(
    name="threshold", cls=Command, sections=STICKER_SECTION, short_help="Fit mask and presence threshold on pictures."
)
@data_options("test")
@click.option("--model", type=_FILE, required=True, metavar="PATH", help="Bundle or checkpoint.")
@click.option("--fold", type=click.Choice(["0", "1", "2", "3"]), help="Fold, where the data have folds.")
@click.option(
    "--ask", type=click.Choice(GROUPS), help="Words that are asked. Default: all of your own data, seen of benchmarks."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Most pictures, chosen by their names.")
@click.option("--trained-too", is_flag=True, help="Use pictures too that the model was trained on.")
@click.option(
    "--max-leakage",
    type=click.FloatRange(min=0, min_open=True),
    metavar="X",
    help="Largest area that absent words mark, as a share of that of present ones. Default: any.",
)
@click.option("--out", type=_FILE, metavar="PNG", help="Draw the curves.")
@click.option("--write", is_flag=True, help="Store what was found in the model.")
@click.option("--backend", type=click.Choice(["auto", *BACKENDS]), default="auto", help="Engine of bundles.")
@click.option("--threads", type=click.IntRange(1, MOST_THREADS), metavar="N", help="Threads of a bundle's engine.")
@click.option("--device", default="auto", show_default=True, help="Where checkpoints run: auto, cpu, cuda.")
@click.option("--towers", metavar="NAME|DIR", help="Towers of a checkpoint, where it does not find them by itself.")
@click.option("--pretrained", metavar="TAG|FILE", help="Weights of --towers NAME.")
@json_option("One JSON document on standard output.")
def threshold_command(
    model: Path,
    fold: str | None,
    ask: str | None,
    limit: int | None,
    trained_too: bool,
    max_leakage: float | None,
    out: Path | None,
    write: bool,
    backend: str,
    threads: int | None,
    device: str,
    towers: str | None,
    pretrained: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Fit mask and presence threshold on pictures that the model was not trained on.

    Every picture is asked for its words and for as many that it does not show. The best values have the largest mean
    IoU, what absent words mark counted. The least confidence is fitted with them: the logits of masks that are less
    sure are lowered.
    """
    if out is not None:
        import_matplotlib()
    if not exists(model):
        raise click.UsageError(f"no such model: {model}. Give a bundle's folder or a checkpoint.")
    from clsclip.evaluation.predictors import BundlePredictor, CheckpointPredictor, open_predictor
    from clsclip.evaluation.thresholds import LEAST_CONFIDENCES, best, count, point, sample

    data = DataOptions.from_values(options)
    number = folds_asked(data, fold)[0]
    opened = asking(open_data(number, data, "test"), ask or ("all" if is_own(data) else "seen"))
    predictor = open_predictor(
        model, backend=backend, threads=threads, device=device, towers=towers, pretrained=pretrained
    )
    if not isinstance(predictor, (BundlePredictor, CheckpointPredictor)):
        raise TypeError(f"{type(predictor).__name__} gives no logits")
    opened, told = not_trained_on(opened, predictor.provenance, trained_too=trained_too)
    opened = sample(opened, limit)
    *current_thresholds, own = stored(predictor)
    levels = sorted({*LEAST_CONFIDENCES, own})
    with Progress("pictures", alive=True) as progress:
        every = count(opened, predictor.logits, progress.update, levels)
    current = point(every[levels.index(own)], *current_thresholds)
    fitting = [one for one in (best(counts, max_leakage) for counts in every) if one is not None]
    if not fitting:
        raise DataError(f"Absent words mark more than {max_leakage:g} at all thresholds. Allow more: --max-leakage.")
    found = max(fitting, key=lambda one: one.iou)
    counts = every[levels.index(found.least_confidence)]
    if out is not None:
        from clsclip.evaluation.figures import save_figure, thresholds_figure

        save_figure(thresholds_figure(counts, current, found), out)
    if write:
        store(model, found)
    if as_json:
        document = {"pictures": counts.images, "pairs": len(counts.words), "stored": asdict(current)}
        document |= {"best": asdict(found), "written": write, "files": [] if out is None else [readable(out)]}
        print_json(plain(document))
        return
    echo(f"{counts.images} pictures, {len(counts.words)} words asked{told}")
    if counts.images < _FEW:
        echo(f"note: {counts.images} pictures are few; with others the best thresholds may be different")
    echo(_line("stored", current))
    echo(_line("best", found))
    if out is not None:
        echo(f"wrote {out}")
    again = "" if write else ". To store it, run this again with --write"
    echo(f"{'stored in ' + str(model) if write else 'nothing was changed'}{again}")


def not_trained_on(fold: Fold, provenance: Any, *, trained_too: bool) -> tuple[Fold, str]:
    """The fold without the test pictures that a model was trained on, and what is to be said about it.

    Raises:
        DataError: it was trained on every one.
    """
    indices = sorted({index for index, _ in fold.test_pairs})
    known = marked([fold.test.key(index) for index in indices], provenance.get("trained_pictures"))
    if known is None:
        return fold, "; the model does not say which pictures it was trained on"
    if not known or trained_too:
        return fold, f"; {len(known)} pictures were trained on" if known else ""
    left = tuple(pair for pair in fold.test_pairs if fold.test.key(pair[0]) not in set(known))
    if not left:
        raise DataError(
            f"The model was trained on all {len(indices)} pictures, so thresholds that fit them say nothing about "
            "others. Give pictures that it has not seen, or --trained-too."
        )
    return replace(fold, test_pairs=left), f"; {len(known)} others were trained on and left out"


def stored(predictor: Any) -> tuple[float, float, float]:
    """Mask threshold, presence threshold and least confidence that a model has now."""
    from clsclip.checkpoint import least_confidence_of
    from clsclip.evaluation.predictors import BundlePredictor

    if isinstance(predictor, BundlePredictor):
        manifest = predictor.segmenter.bundle.manifest
        presence = manifest.presence
        if presence is None:
            return manifest.mask.threshold, 0.0, 0.0
        return manifest.mask.threshold, presence.threshold, presence.least_confidence
    provenance = predictor.provenance
    return predictor.mask_threshold, float(provenance.get("presence_threshold") or 0.0), least_confidence_of(provenance)


def store(model: Path, found: Point) -> None:
    """Write thresholds into a checkpoint or a bundle.

    Raises:
        CheckpointError, BundleError, OutputError: it cannot be read, or cannot be written.
    """
    from clsclip.checkpoint import change_provenance
    from clsclip.evaluation.predictors import CHECKPOINT_SUFFIX
    from clsclip_runtime.bundle.editing import edit_bundle

    values = {"mask_threshold": found.mask, "presence_threshold": found.presence}
    values["least_confidence"] = found.least_confidence
    if model.suffix == CHECKPOINT_SUFFIX:
        change_provenance(model, values)
        return
    edit_bundle(model, values)


def _line(name: str, one: Point) -> str:
    def percent(value: float) -> str:
        return f"{value:.0%}" if value == value else "-"

    leakage = f"{one.leakage:.3f}" if one.leakage == one.leakage else "-"
    kept = f"keeps {percent(one.present_kept)} of present and {percent(one.absent_kept)} of absent words"
    values = f"mask threshold {one.mask:.3f}, presence threshold {one.presence:.2f}"
    values += f", least confidence {one.least_confidence:g}" if one.least_confidence else ""
    return f"{name:>6}: {values}: IoU {one.iou:.1f}, leakage {leakage}, {kept}"
