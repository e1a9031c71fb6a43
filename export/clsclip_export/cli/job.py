"""A job of ``clsclip-export``, and how it is done: steps of which each writes a bundle for the next."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsclip_export.options import Published
from clsclip_export.profiles import Profile
from clsclip_export.triton import Repository, write_repository
from clsclip_runtime.backends.tensorrt.edition import TensorRtEdition, find_edition
from clsclip_runtime.bundle.opening import MANIFEST
from clsclip_runtime.cli.output import echo
from clsclip_runtime.cli.progress import Progress
from clsclip_runtime.documents import read_json
from clsclip_runtime.paths import cannot_write, readable

if TYPE_CHECKING:
    from clsclip.base import WordSegmenter
    from clsclip_export.check_data import CheckData
    from clsclip_export.detector import DetectorSource, PreparedDetector
    from clsclip_export.engines.build import Built

_log = logging.getLogger(__name__)

Step = Callable[[Path, Path], None]
"""(bundle to start from, bundle to write)."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint to export.

    Attributes:
        path: the file.
        towers: folder or open_clip name; None takes those that it names.
        pretrained: weights of ``towers``.
        name: of the model; None takes the bundle's file name.
        precision: of the graphs: fp32, fp16 or bf16.
    """

    path: Path
    towers: str | None
    pretrained: str | None
    name: str | None
    precision: str


@dataclass(frozen=True)
class Calibrate:
    """What INT8's ranges come from, and how near to FP32 it must be.

    Attributes:
        images: a folder.
        words: none for the usual ones.
        accept: smallest mean IoU of the masks against FP32's; None is the usual one.
    """

    images: Path
    words: tuple[str, ...]
    accept: float | None = None


@dataclass(frozen=True)
class Engines:
    """TensorRT engines to build, and the folder for them; None is the user's cache.

    See :class:`clsclip_export.engines.options.EngineOptions` for the rest.
    """

    edition: str
    folder: Path | None = None
    workspace_mib: int | None = None
    optimization_level: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    strip_weights: bool = False
    tf32: bool = False


@dataclass(frozen=True)
class Job:
    """All that one call of the command asks for.

    Attributes:
        checkpoint, bundle: what it starts from: one of the two.
        out: the bundle to write; None where engines alone are built.
        force: replace what stands at ``out``.
        detector: to put into it.
        words: to encode into it.
        text_encoder: whether it keeps text encoder and tokenizer.
        calibrate: makes it INT8.
        check_images, check_words: to check on; None and nothing are the usual ones.
        profile: sizes of calls that are given, by axis.
        engines: to build in the end.
        tiles_presence: least presence of a class in a tile, for the manifest; None takes the checkpoint's.
        license: of the weights; None is what the model comes with.
        description: likewise.
        triton: the model repository to write of ``bundle``.
        repository: how.
    """

    checkpoint: Checkpoint | Published | None
    bundle: Path | None
    out: Path | None
    force: bool = False
    detector: DetectorSource | None = None
    words: tuple[str, ...] = ()
    text_encoder: bool = True
    calibrate: Calibrate | None = None
    check_images: Path | None = None
    check_words: tuple[str, ...] = ()
    profile: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    engines: Engines | None = None
    tiles_presence: float | None = None
    license: str | None = None
    description: str | None = None
    triton: Path | None = None
    repository: Repository = field(default_factory=Repository)

    def check_data(self) -> CheckData:
        """Read the images and words to check on. CheckDataError if they cannot be used."""
        from clsclip_export.check_data import CheckData

        return CheckData.read(self.check_images, self.check_words)


@dataclass(frozen=True)
class Done:
    """What a job made.

    Attributes:
        out: the bundle that was written; None where engines alone were built.
        engines: the engines that are there now.
    """

    out: Path | None
    engines: tuple[Built, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; of the bundle, what its manifest says of precision and parity."""
        document: dict[str, Any] = {"bundle": None, "engines": []}
        if self.out is not None:
            manifest = read_json(self.out / MANIFEST)
            size = sum(path.stat().st_size for path in self.out.iterdir())
            document["bundle"] = {"path": readable(self.out), "bytes": size}
            document["bundle"] |= {key: manifest.get(key) for key in ("name", "precision", "parity")}
        for one in self.engines:
            engine = {"path": readable(one.engine.plan), "graph": one.engine.spec.graph, "reused": one.reused}
            document["engines"].append(engine | {"seconds": round(one.seconds, 3)})
        return document


def run_job(job: Job) -> Done:
    """Do a job, and print what was done and how well."""
    # Told before an export and not after it.
    edition = None if job.engines is None else find_edition(job.engines.edition)
    if job.out is not None:
        write(job, job.out)
        size = sum(path.stat().st_size for path in job.out.iterdir()) / 2**20
        known = "words chosen at call time" if job.text_encoder else f"it knows {len(job.words)} words"
        echo(f"[ok] {job.out} written: {size:.1f} MiB, {known}")
    if job.triton is not None and job.bundle is not None:
        models = write_repository(job.bundle, job.triton, job.repository, force=job.force)
        echo(f"[ok] {job.triton} written: {', '.join(models)}. Run: tritonserver --model-repository {job.triton}")
    folder = job.out or job.bundle
    if job.engines is not None and edition is not None and folder is not None:
        return Done(job.out, build(job.engines, edition, folder, job.profile))
    return Done(job.out, ())


def write(job: Job, out: Path) -> None:
    """Write the bundle that a job asks for: all steps but the last write beside ``out``."""
    with ExitStack() as stack:
        detector = None
        if job.detector is not None:
            from clsclip_export.detector import prepared_detector

            detector = stack.enter_context(prepared_detector(job.detector))
            for line in detector.lines():
                echo(line)
        todo = steps(job, detector, out.name)
        between = stack.enter_context(beside(out)) if len(todo) > 1 else out.parent
        source = job.bundle or out
        for number, step in enumerate(todo, 1):
            target = out if number == len(todo) else between / f"{number}.clsclip"
            step(source, target)
            source = target


def steps(job: Job, detector: PreparedDetector | None, name: str) -> list[Step]:
    """What is to be done, in order."""
    # Calibration asks words of its own, so the text encoder goes last.
    words_later = job.checkpoint is None or (job.calibrate is not None and not job.text_encoder)
    found: list[Step] = []
    if job.checkpoint is not None:
        found.append(lambda source, out: export_checkpoint(job, out, detector, name, with_words=not words_later))
    elif detector is not None:
        found.append(lambda source, out: put_detector(source, out, detector, job.force))
    if job.calibrate is not None:
        found.append(lambda source, out: quantize(job, source, out))
    if words_later and (job.words or not job.text_encoder):
        found.append(lambda source, out: put_words(job, source, out))
    return found


@contextmanager
def beside(out: Path) -> Iterator[Path]:
    """Give a folder for what comes before ``out``, on the same disk."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent)
    except OSError as error:
        raise cannot_write(out.parent, error) from error
    with temporary as folder:
        yield Path(folder)


def export_checkpoint(job: Job, out: Path, detector: PreparedDetector | None, name: str, *, with_words: bool) -> None:
    """Write a checkpoint's bundle, and print how well it computes what PyTorch does."""
    from clsclip_export.bundle import write_bundle
    from clsclip_export.options import BundleOptions

    chosen = job.checkpoint
    if chosen is None:
        raise ValueError("the job has no checkpoint")
    _log.info("loading the model")
    model, header = load_model(chosen)
    provenance = dict(header.get("provenance", {}))
    if job.description is not None:
        provenance["description"] = job.description
    if job.license is not None:
        provenance["license"] = {"weights": job.license, "notes": []}
    header = {**header, "provenance": provenance}
    options = BundleOptions(
        name=chosen.name or name.removesuffix(".clsclip"),
        precision=chosen.precision,
        profile=Profile(**job.profile),
        detector=detector,
        words=job.words if with_words else (),
        text_encoder=job.text_encoder or not with_words,
        tiles_presence=job.tiles_presence,
    )
    for row in write_bundle(model, header, out, options, data=job.check_data(), force=job.force):
        echo(row.line())
    if chosen.precision == "bf16":
        echo("[i] ONNX Runtime's CPU provider runs no BF16: checked as rounded doubles, never as shipped")


def load_model(chosen: Checkpoint | Published) -> tuple[WordSegmenter, Mapping[str, Any]]:
    """Load a model, and a header as checkpoints have it; print what was assumed."""
    if isinstance(chosen, Published):
        from clsclip_export.published import load_published

        model, header, notes = load_published(chosen)
        for note in notes:
            echo(f"[i] {note}")
        return model, header
    from clsclip.checkpoint import given_towers, load_checkpoint
    from clsclip.tower_places import remember_towers

    if chosen.towers is None:
        return load_checkpoint(chosen.path, None)
    given = given_towers(chosen.path, chosen.towers, chosen.pretrained)
    for note in given.notes:
        echo(f"[i] {note}")
    model, header = load_checkpoint(chosen.path, given)
    remember_towers(header["fingerprint"], chosen.towers, chosen.pretrained)
    return model, header


def put_detector(source: Path, out: Path, detector: PreparedDetector, force: bool) -> None:
    """Write a bundle again with a detector."""
    from clsclip_export.detector import add_to_bundle

    add_to_bundle(source, detector, out, force=force)


def put_words(job: Job, source: Path, out: Path) -> None:
    """Write a bundle again with the job's words."""
    from clsclip_export.words import add_words

    add_words(source, out, job.words, text_encoder=job.text_encoder, force=job.force)


def quantize(job: Job, source: Path, out: Path) -> None:
    """Make a bundle INT8, and print how well it draws what FP32 draws."""
    from clsclip_export.calibration import Calibration
    from clsclip_export.int8_bundle import quantize_bundle
    from clsclip_export.int8_check import MIN_MEAN_IOU

    if job.calibrate is None:
        raise ValueError("the job has nothing to calibrate on")
    allowed = MIN_MEAN_IOU if job.calibrate.accept is None else job.calibrate.accept
    calibration = Calibration.read(job.calibrate.images, job.calibrate.words)
    chosen = f"{len(calibration.paths)} of {calibration.found} images"
    echo(f"[i] int8: calibrated on {chosen} and {len(calibration.words)} words")
    for row in quantize_bundle(source, out, calibration, job.check_data(), force=job.force, allowed=allowed).rows:
        echo(row.line())


def build(
    engines: Engines, edition: TensorRtEdition, folder: Path, profile: Mapping[str, tuple[int, int, int]]
) -> tuple[Built, ...]:
    """Build the engines of a bundle; sizes that are not given are the bundle's own."""
    from clsclip_export.engines.build import build_engines
    from clsclip_export.engines.options import EngineOptions
    from clsclip_runtime.backends.tensorrt.engine_files import this_machine
    from clsclip_runtime.backends.tensorrt.engine_place import EnginePlace
    from clsclip_runtime.bundle.opening import Bundle

    bundle = Bundle.open(folder)
    settings = {name: value for name, value in asdict(engines).items() if name not in ("edition", "folder")}
    options = EngineOptions(Profile(**{**asdict(bundle.manifest.profile), **profile}), **settings)
    place = EnginePlace(engines.folder)
    where = place.writable(bundle.fingerprint)
    echo(f"[i] {edition.name} {edition.version}, {bundle.manifest.precision}, into {where}")
    built = []
    with Progress("engines") as progress:

        def show(phase: str, done: int, total: int) -> bool:
            progress.update(done, total, phase)
            return True

        for one in build_engines(bundle, edition, this_machine(edition), options, place=place, progress=show):
            progress.clear()
            echo(one.line())
            built.append(one)
    return tuple(built)
