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

from clsclip_runtime.cli.output import echo
from clsclip_runtime.cli.runner import run_command
from clsclip_runtime.limits import Limits
from clsclip_runtime.segmenter import Segmenter
from clsclip_runtime.version import __version__
from clsclip_serve.batching import measure_batch
from clsclip_serve.keys import ApiKeys
from clsclip_serve.labelstudio.images import LabelStudio, private_note
from clsclip_serve.options import URLS, ServerOptions

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_USUAL = ServerOptions()


@click.command()
@click.option("--model", metavar="DIR", help="Bundle, or hf:USER/NAME. Default: the model that is installed.")
@click.option("--backend", default="auto", show_default=True, help="Engine; see clsclip-doctor.")
@click.option("--detector", type=click.Path(path_type=Path), metavar="FILE", help="ONNX detector for zoom_in.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Of one call of the engine.")
@click.option("--memory-mb", default=512, show_default=True, type=click.IntRange(1), help="Of one call of a graph.")
@click.option("--isolated", is_flag=True, help="Run the bundle in a process with limits: for bundles of strangers.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--queue", default=_USUAL.queue, show_default=True, help="Requests that may wait.")
@click.option("--timeout", default=_USUAL.timeout, show_default=True, help="Seconds that one may wait.")
@click.option("--upload-timeout", default=_USUAL.upload_timeout, show_default=True, help="Seconds of a body.")
@click.option("--batch", default="auto", show_default=True, metavar="N", help="Requests that may share one call.")
@click.option("--batch-wait-ms", default=_USUAL.batch_wait_ms, show_default=True, help="For others to share it.")
@click.option("--max-upload-mb", default=_USUAL.max_upload_mb, show_default=True)
@click.option("--max-words", default=_USUAL.max_words, show_default=True, help="Of a request.")
@click.option("--images-mb", default=_USUAL.images_mb, show_default=True, help="Pictures kept for their next words.")
@click.option("--images-ttl", default=_USUAL.images_ttl, show_default=True, help="Seconds that one is kept.")
@click.option("--api-keys", type=click.Path(path_type=Path), metavar="FILE", help="A key on every line.")
@click.option(
    "--urls", type=click.Choice(URLS), default=_USUAL.urls, show_default=True, help="Fetch clients' https URLs."
)
@click.option("--label-studio", metavar="URL", help="Its tasks' pictures are fetched; token in LABEL_STUDIO_API_KEY.")
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
    """Segment pictures over HTTP: POST a picture and words to /v1/segment."""
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
