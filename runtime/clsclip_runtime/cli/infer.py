"""``clsclip-infer``: segment pictures by words."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clsclip_runtime.backends.select import BACKENDS
from clsclip_runtime.cli.arguments import STANDARD_INPUT, MultiWordCommand, NamedSource, find_sources, read_words
from clsclip_runtime.cli.report import describe_model, one_line, table
from clsclip_runtime.cli.zoom import Zooming, zoom_options
from clsclip_runtime.errors import ClsclipRuntimeError, OptionError, OutputError, WordError
from clsclip_runtime.version import __version__

if TYPE_CHECKING:
    from clsclip_runtime.result import Result
    from clsclip_runtime.segmenter import Segmenter

DEFAULT_FOLDER = Path("clsclip-out")
PROGRAM = "clsclip-infer"

WRONG_USE, FAILURE, INTERRUPTED = 2, 1, 130

EXAMPLES = """\b
Examples:
  clsclip-infer photo.jpg --classes bottle boat "dining table"
  clsclip-infer holiday/ --classes dog --out masks --formats png,coco
  clsclip-infer "holiday/*.jpg" --classes-file words.txt --json
  clsclip-infer --classes dog cat -- photo.jpg
  clsclip-infer photo.jpg --classes dog --model model.clsclip
  clsclip-infer photo.jpg --classes dog --zoom-in --detector yolo11n.onnx

\b
Exit codes: 0 all done, 1 a failure (the other pictures are done),
2 wrong use, 130 interrupted."""


@click.command(
    cls=MultiWordCommand,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXAMPLES,
    help="""Segment the things that words name, in pictures.

    SOURCE is a picture, several, a folder, a quoted pattern, or - for standard input. A word that is not in a
    picture is reported absent and gets an empty mask.""",
)
@click.argument("sources", metavar="SOURCE...", nargs=-1)
@click.option("--classes", multiple=True, metavar="WORD...", help="Words to find, until the next option.")
@click.option(
    "--classes-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="More words, one a line (UTF-8; # comments).",
)
@click.option("--model", type=click.Path(path_type=Path), metavar="DIR", help="Bundle; default: the embedded model.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help=f"Where files go [default: {DEFAULT_FOLDER}; with --json none are written unless --out is given].",
)
@click.option(
    "--formats",
    default="png,overlay",
    show_default=True,
    metavar="LIST",
    help="Of png (a mask per word), overlay, labels, coco, npz; commas between.",
)
@click.option(
    "--presence-threshold",
    type=click.FloatRange(0, 1),
    metavar="0..1",
    help="Words scoring below are absent; 0 segments every word. Default: the model's own.",
)
@zoom_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document per picture and line on standard output.")
@click.option("--backend", type=click.Choice(["auto", *BACKENDS]), default="auto", show_default=True, help="Engine.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads of the engine. Default: its choice.")
@click.option(
    "--memory-mb",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    metavar="N",
    help="Bound on the activations of one call, MiB.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.version_option(__version__, prog_name=PROGRAM)
def command(sources: tuple[str, ...], classes: tuple[str, ...], classes_file: Path | None, **options: Any) -> int:
    """Parse, check everything that costs nothing, then run; returns the exit code."""
    # Wrong use must be told at once, not after a model was loaded or a picture was segmented.
    from clsclip_runtime.saving import check_formats
    from clsclip_runtime.words import clean_words

    words = [*classes, *(read_words(classes_file) if classes_file else [])]
    if not sources:
        raise click.UsageError(_no_source(words))
    if not words:
        raise click.UsageError("no words were given. Add them: --classes bottle boat")
    cleaned, notes = clean_words(words)
    found = find_sources(sources)
    options["zooming"] = Zooming.of(options)
    options["formats"] = check_formats([name.strip() for name in options["formats"].split(",")])
    if options["model"] is not None and not options["model"].is_dir():
        raise click.UsageError(f"no such bundle: {options['model']}. Give the folder that clsclip-export wrote")
    if options["out"] is None and not options["as_json"]:
        options["out"] = DEFAULT_FOLDER
    if options["out"] is not None:
        _check_folder(options["out"])
    if options["quiet"] or options["as_json"]:
        notes = []
    return _Run(options).all_pictures(found, cleaned, notes)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; never a traceback for a user's mistake."""
    debug = os.environ.get("CLSCLIP_DEBUG", "") not in ("", "0")
    if debug:
        logging.basicConfig(level=logging.DEBUG)
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with _own_bomb_limit():
            return int(command.main(arguments, prog_name=PROGRAM, standalone_mode=False) or 0)
    except click.Abort:
        return _fail("interrupted", INTERRUPTED)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except click.ClickException as error:
        return _fail(f"{error.format_message()} (see {PROGRAM} --help)", WRONG_USE)
    except (WordError, OptionError) as error:
        return _fail(error, WRONG_USE)
    except ClsclipRuntimeError as error:
        return _fail(error, FAILURE)
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _fail(f"unexpected {type(error).__name__}: {error}. Run with CLSCLIP_DEBUG=1 for the traceback", FAILURE)


class _Run:
    """One run over pictures with fixed options."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._out: Path | None = options["out"]
        self._json: bool = options["as_json"]
        self._tables = not (options["quiet"] or self._json)

    def all_pictures(self, sources: list[NamedSource], words: tuple[str, ...], notes: list[str]) -> int:
        from clsclip_runtime.result import readable
        from clsclip_runtime.segmenter import Segmenter

        options, code = self._options, 0
        sources_on_disk = {os.path.realpath(source.path) for source in sources}
        with Segmenter.load(
            options["model"],
            options["backend"],
            detector=options["zooming"].detector,
            threads=options["threads"],
            memory_mb=options["memory_mb"],
        ) as segmenter:
            if self._tables:
                click.echo(one_line_each(describe_model(segmenter.bundle.manifest, segmenter.backend)))
                for note in notes:
                    click.echo(f"note: {one_line(note)}")
            with self._progress(sources) as steps:
                for number, source in enumerate(steps, 1):
                    if self._tables:
                        click.echo(f"\n[{number}/{len(sources)}] {one_line(source.path)}")
                    try:
                        self._one_picture(segmenter, source, words, sources_on_disk)
                    except (OutputError, OptionError):
                        raise  # the next picture would fail in the same way
                    except ClsclipRuntimeError as error:
                        code = FAILURE
                        _fail(error, code)
                        if self._json:
                            _print_json({"source": readable(source.path), "error": one_line(error)})
        return code

    def _one_picture(
        self, segmenter: Segmenter, source: NamedSource, words: tuple[str, ...], sources_on_disk: set[str]
    ) -> None:
        from clsclip_runtime.result import readable

        content = sys.stdin.buffer.read() if source.path == STANDARD_INPUT else source.path
        options = self._options
        zooming = options["zooming"].arguments(source.path)
        result = segmenter(content, words, presence_threshold=options["presence_threshold"], **zooming)
        files = self._save(result, source.stem, sources_on_disk)
        if self._json:
            _print_json(result.to_json() | {"files": [readable(path) for path in files]})
        elif self._tables:
            click.echo(f"  {result.size[0]}x{result.size[1]} pixels, {result.timings['total']:.0f} ms")
            click.echo(table(result))
            for note in result.notes:
                click.echo(f"  note: {one_line(note)}")
            if files:
                click.echo(f"  wrote {_summary(files)}")

    def _save(self, result: Result, stem: str, sources_on_disk: set[str]) -> list[Path]:
        from clsclip_runtime.saving import plan

        if self._out is None:
            return []
        for name, _ in plan(result, self._options["formats"], stem):
            if os.path.realpath(self._out / name) in sources_on_disk:
                raise OutputError(f"{self._out / name} is one of the pictures and would be overwritten. Change --out")
        return result.save(self._out, self._options["formats"], stem)

    @contextmanager
    def _progress(self, sources: list[NamedSource]) -> Iterator[Iterator[NamedSource]]:
        # Where the tables go to the same terminal they are the progress; a bar would be torn by them.
        shown = sys.stderr.isatty() and len(sources) > 1 and not self._options["quiet"]
        if not shown or (self._tables and sys.stdout.isatty()):
            yield iter(sources)
            return
        with click.progressbar(sources, label="pictures", file=sys.stderr, show_pos=True) as steps:
            yield iter(steps)


def one_line_each(text: str) -> str:
    """Every line of a text made printable."""
    return "\n".join(one_line(line) for line in text.splitlines())


def _summary(files: list[Path]) -> str:
    overlays = [path for path in files if path.name.endswith("_overlay.png")]
    first = overlays[0] if overlays else files[0]
    return one_line(first) + (f" and {len(files) - 1} more in {one_line(first.parent)}" if len(files) > 1 else "")


def _no_source(words: list[str]) -> str:
    message = "no SOURCE was given. Give a picture, a folder or a pattern"
    if any(Path(word).exists() for word in words):
        message += f"; words run until the next option, so put it before --classes: {PROGRAM} photo.jpg --classes dog"
    return message


def _check_folder(folder: Path) -> None:
    """Fail before the work, not after it, where a folder cannot be made or written; make nothing yet."""
    existing = next((path for path in (folder, *folder.absolute().parents) if path.exists()), None)
    if existing is not None and (not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK)):
        raise OutputError(f"cannot write to {folder}: {existing} is not a folder that you may write to. Change --out")


def _print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, allow_nan=False))


def _fail(message: object, code: int) -> int:
    click.echo(f"{PROGRAM}: {one_line(message)}", err=True)
    return code


@contextmanager
def _own_bomb_limit() -> Iterator[None]:
    """Let the runtime's limit on pixels hold alone: Pillow's is lower and global, and only warns at first."""
    from PIL import Image

    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
