"""An actor of Ray Data: tables of encoded images in, tables of masks out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from clsclip_runtime.errors import OptionError
from clsclip_runtime.text.words import Classes, clean_classes
from clsclip_serve.batch.job import Job
from clsclip_serve.batch.rows import FAULT, Rows
from clsclip_serve.batch.schema import SCHEMA
from clsclip_serve.batch.sources import Chunk, Reader

OPEN_SCHEMA = SCHEMA.append(pa.field(FAULT, pa.bool_()))
"""With whether an error is not the image's own."""


class Segment:
    """Segments the images of a table; a class for ``map_batches``.

        images = ray.data.read_binary_files("s3://bucket/images", include_paths=True)
        masks = images.map_batches(
            Segment, fn_constructor_kwargs={"classes": ["dog", "cat"]}, batch_format="pyarrow", batch_size=16,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=8), num_cpus=1,
        )
        masks.write_parquet("s3://bucket/masks")

    Tables have ``path`` (text) and ``bytes`` (an encoded image). The answer has a row for each, in order, with the
    columns of ``clsclip-batch``: an image that cannot be read is a row with ``error``, and fails no other.

    Memory of an actor: the model, ``memory_mb`` of activations, ``batch`` decoded images of up to ``max_pixels`` (3
    bytes a pixel), the table that came in, and the masks of one table as runs of pixels. Nothing grows with the number
    of tables.
    """

    def __init__(
        self,
        classes: Classes,
        model: str | None = None,
        backend: str = "auto",
        *,
        threads: int | None = 1,
        batch: int = 1,
        backend_options: Mapping[str, str] | None = None,
        memory_mb: int = 1024,
        max_pixels: int | None = None,
        **options: Any,
    ) -> None:
        """Load the model.

        Args:
            classes: words, or prompts by class.
            model: folder that every node has, ``hf:USER/NAME``, or None for the installed one.
            backend: engine.
            threads: of a call of the engine; Ray counts on ``num_cpus`` of them.
            batch: images that share a call: 1 on a CPU, more on a GPU.
            backend_options: of the engine.
            memory_mb: of the activations of a call.
            max_pixels: larger images are rows with an error.
            options: keywords of ``Segmenter.predict``, such as ``presence_threshold``.

        Raises:
            BundleError, BackendError, WordError, OptionError: as ``Segmenter.load``.
        """
        more = {} if max_pixels is None else {"max_pixels": max_pixels}
        job = Job.of_model(
            model,
            clean_classes(classes),
            backend=backend,
            backend_options=dict(backend_options or {}),
            threads=threads,
            batch=batch,
            memory_mb=memory_mb,
            options=options,
            **more,
        )
        self._rows = Rows(job, Reader("", ("path", "bytes")))

    def __call__(self, table: pa.Table) -> pa.Table:
        """Segment a table. OptionError if it has no ``path`` or ``bytes``."""
        missing = [name for name in ("path", "bytes") if name not in table.column_names]
        if missing:
            raise OptionError(
                f"the table has no column {' and no '.join(missing)}, only {', '.join(table.column_names)}. Read files "
                "by ray.data.read_binary_files(..., include_paths=True), or rename columns"
            )
        paths, contents = table.column("path"), table.column("bytes")
        items = ((path.as_py(), content.as_py() or b"") for path, content in zip(paths, contents, strict=True))
        return pa.Table.from_pylist(list(self._rows.of(items)), SCHEMA)


class SegmentNamed:
    """Segments images that it reads itself, for ``clsclip-batch --ray``: a table of ``path`` alone comes in."""

    def __init__(self, job: str, root: str, columns: tuple[str, str] | None) -> None:
        """Load the model of a job; see ``Job`` and ``Reader``."""
        self._rows = Rows(Job.from_json(job), Reader(root, columns))

    def __call__(self, table: pa.Table) -> pa.Table:
        """The rows of a table of ``path``, ``file``, ``group`` and ``row``."""
        found: list[dict[str, Any]] = []
        files: dict[tuple[str, int], list[tuple[str, int]]] = {}
        for one in table.to_pylist():
            files.setdefault((one["file"], one["group"]), []).append((one["path"], one["row"]))
        for (file, group), images in files.items():
            names = tuple(name for name, _ in images)
            found += self._rows.of_chunk(Chunk(names, file, group, tuple(row for _, row in images)))
        return pa.Table.from_pylist(found, OPEN_SCHEMA)
