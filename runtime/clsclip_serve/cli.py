"""``clsclip-serve``: the server as a command."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from clsclip_runtime.backends.select import MOST_THREADS
from clsclip_runtime.cli.output import echo
from clsclip_runtime.cli.runner import run_command
from clsclip_runtime.cli.sections import Command
from clsclip_runtime.limits import Limits
from clsclip_runtime.segmenter import Segmenter
from clsclip_runtime.version import __version__
from clsclip_serve.batching import measure_batch
from clsclip_serve.keys import ApiKeys
from clsclip_serve.labelstudio.images import LabelStudio, private_note
from clsclip_serve.options import URLS, ServerOptions

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_USUAL = ServerOptions()


EXAMPLES = """\b
Examples:
  clsclip-serve
  clsclip-serve --model model.clsclip --port 9000
  clsclip-serve --host 0.0.0.0 --api-keys keys.txt --no-page
  curl -F image=@photo.jpg -F classes=dog http://127.0.0.1:8000/v1/segment

\b
Exit codes: 0 stopped by SIGTERM or Ctrl-C, once what was asked is answered;
1 a failure, 2 wrong use."""

SECTIONS = {
    "Who may use it": ("--host", "--port", "--api-keys", "--urls", "--label-studio", "--no-page"),
    "Limits": (
        *("--queue", "--timeout", "--upload-timeout", "--max-upload-mb", "--max-words", "--images-mb", "--images-ttl"),
        *("--memory-mb", "--batch", "--batch-wait-ms"),
    ),
}


@click.command(
    cls=Command,
    sections=SECTIONS,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--model", metavar="DIR|hf:USER/NAME", help="Bundle. Default: the embedded model.")
@click.option("--backend", default="auto", metavar="NAME", show_default=True, help="Engine; see clsclip-doctor.")
@click.option("--detector", type=click.Path(path_type=Path), metavar="ONNX", help="Detector for zoom_in.")
@click.option("--threads", type=click.IntRange(1, MOST_THREADS), help="Threads of the engine. Default: its choice.")
@click.option(
    "--memory-mb",
    default=512,
    show_default=True,
    type=click.IntRange(1),
    help="Bound on the activations of one call of a graph, MiB.",
)
@click.option("--isolated", is_flag=True, help="Run the bundle in a process with limits: for bundles of strangers.")
@click.option(
    "--host",
    default="127.0.0.1",
    metavar="ADDRESS",
    show_default=True,
    help="0.0.0.0 is every network of this machine.",
)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--queue", default=_USUAL.queue, show_default=True, help="Requests that may wait; the next get 503.")
@click.option("--timeout", default=_USUAL.timeout, show_default=True, help="Seconds that a request may wait.")
@click.option(
    "--upload-timeout",
    default=_USUAL.upload_timeout,
    show_default=True,
    help="Seconds that its body may take to arrive.",
)
@click.option("--batch", default="auto", show_default=True, metavar="N", help="Requests that may share one call.")
@click.option(
    "--batch-wait-ms",
    default=_USUAL.batch_wait_ms,
    show_default=True,
    help="Milliseconds to wait for others to share it.",
)
@click.option("--max-upload-mb", default=_USUAL.max_upload_mb, show_default=True, help="Largest body, MiB.")
@click.option("--max-words", default=_USUAL.max_words, show_default=True, help="Most words of a request.")
@click.option(
    "--images-mb",
    default=_USUAL.images_mb,
    show_default=True,
    help="Memory for encoded pictures that clients ask again, MiB.",
)
@click.option("--images-ttl", default=_USUAL.images_ttl, show_default=True, help="Seconds that such a picture is kept.")
@click.option(
    "--api-keys", type=click.Path(path_type=Path), metavar="FILE", help="Keys that clients must send, one a line."
)
@click.option(
    "--urls",
    type=click.Choice(URLS),
    default=_USUAL.urls,
    show_default=True,
    help="Whether https addresses of clients are fetched.",
)
@click.option("--label-studio", metavar="URL", help="Fetch pictures of its tasks; token in LABEL_STUDIO_API_KEY.")
@click.option("--no-page", is_flag=True, help="Serve programs alone, and no page for people.")
@click.version_option(__version__, prog_name="clsclip-serve")
def command(
    model: str | None,
    backend: str,
    detector: Path | None,
    threads: int | None,
    memory_mb: int,
    isolated: bool,
    host: str,
    port: int,
    api_keys: Path | None,
    batch: str,
    label_studio: str | None,
    no_page: bool,
    **limits: Any,
) -> int:
    """Segment pictures over HTTP: POST a picture and words to /v1/segment, or open the page in a browser."""
    from clsclip_serve.server import serve
    from clsclip_serve.service import Service

    auto = batch == "auto"
    options = ServerOptions(batch=1 if auto else int(batch) if batch.isdecimal() else 0, **limits)
    studio = None if label_studio is None else LabelStudio.from_environment(label_studio)
    if studio is not None and (note := private_note(host)):
        echo(f"note: {note}", err=True)
    keys = None if api_keys is None else ApiKeys.read(api_keys)
    if host not in LOOPBACK and keys is None:
        echo(f"note: whoever reaches {host}:{port} may use this server. --api-keys FILE asks for a key", err=True)
    segmenter = Segmenter.load(
        model, backend, detector=detector, threads=threads, isolated=isolated, limits=Limits(memory_mb=memory_mb)
    )
    segmenter(np.full((32, 32, 3), 127, np.uint8), "thing")  # whatever an engine prepares is done now
    if auto:
        measured = measure_batch(segmenter)
        options = replace(options, batch=measured.batch)
        echo(str(measured), err=True)
    return asyncio.run(serve(Service(segmenter, options), keys, host, port, page=not no_page, studio=studio))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(command, "clsclip-serve", arguments, extra="serve")


if __name__ == "__main__":
    sys.exit(main())
