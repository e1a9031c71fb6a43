"""One COCO document of a table."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from clsclip_runtime.documents import DATA_FILE, parse_json
from clsclip_runtime.errors import OutputError
from clsclip_runtime.results.streams import CocoWriter
from clsclip_serve.batch.places import Place, RemoteError
from clsclip_serve.batch.shards import list_files, made_of_table, open_table


def coco_from_parquet(table: str, out: str, *, classes: Sequence[str] | None = None) -> list[str]:
    """Write a table of ``clsclip-batch`` as one COCO document, images in the order of their names.

    Masks are read and written one image after another: memory holds names alone, about 200 bytes for each image, and
    the folder of temporary files gets as many bytes as the document.

    Args:
        table: the folder of Parquet files, on any file system.
        out: the JSON file, on any file system.
        classes: in the order of their numbers; None takes those that ``clsclip-batch`` wrote down. Tables that Ray
            wrote of ``Segment`` do not know them.

    Returns:
        Notes: images with an error, which the document does not have, and rows that came twice.

    Raises:
        OutputError: there is no table, it cannot be read or is damaged, or the document cannot be written.
        OptionError: a file system is not known.
    """
    source, target = Place.from_address(table), Place.from_address(out)
    names = list_files(source)
    if not names:
        raise OutputError(f"{source.address} holds no table. Give the --out of clsclip-batch")
    places: dict[str, tuple[int, int]] = {}
    known: list[str] | None = None if classes is None else list(classes)
    model, errors, twice = "", 0, 0
    with tempfile.TemporaryFile() as spool:
        for name in names:
            file = source.inside(name)
            try:
                content = file.attempt(partial(file.fs.cat_file, file.path))
                with open_table(name, content) as parquet:
                    made_of = made_of_table(parquet.schema_arrow.metadata)
                    if made_of is None and known is None:
                        raise OutputError(f"{file.address} does not say what its classes are. Give them: classes=[...]")
                    found = known if made_of is None else [one for one, _ in made_of["classes"]]
                    if known is not None and found != known:
                        raise OutputError(f"{file.address} is of other classes than what is beside it, or was given")
                    known = found
                    for batch in parquet.iter_batches(64):
                        for row in batch.to_pylist():
                            if row["error"] is not None:
                                errors += 1
                            elif row["path"] in places:
                                twice += 1
                            else:
                                model = row["model"]
                                line = json.dumps(_entry(row, known or [])).encode()
                                places[row["path"]] = (spool.tell(), len(line))
                                spool.write(line)
            except (RemoteError, FileNotFoundError) as error:
                raise OutputError(f"cannot read {file.address}: {error}") from error
            except OutputError:
                raise
            except Exception as error:  # whatever pyarrow says of damaged bytes
                raise OutputError(
                    f"{file.address} is damaged ({error}). Run clsclip-batch again: it does its images again"
                ) from error
        with tempfile.TemporaryDirectory() as folder:
            path = Path(target.path) if target.is_local else Path(folder, "coco.json")
            writer = CocoWriter(path)
            try:
                rest = {
                    "info": {"description": f"ClsCLIP masks by the model {model}"},
                    "categories": [{"id": at, "name": one} for at, one in enumerate(known or (), 1)],
                }
                for number, name in enumerate(sorted(places), 1):
                    at, size = places[name]
                    spool.seek(at)
                    image, annotations = parse_json(spool.read(size), DATA_FILE)
                    moved = [one | {"image_id": number} for one in annotations]
                    writer.add({"images": [image | {"id": number}], "annotations": moved} | rest)
            finally:
                writer.close()
            if not target.is_local and writer.done:
                try:
                    target.attempt(lambda: target.fs.put_file(str(path), target.path))
                except (RemoteError, FileNotFoundError) as error:
                    raise OutputError(f"cannot write {target.address}: {error}") from error
    notes = [f"{errors:,} images have an error, and the document does not have them"] if errors else []
    return notes + ([f"{twice:,} rows came twice, and were written once"] if twice else [])


def _entry(row: dict[str, Any], classes: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An image and its annotations, without the numbers that its place gives it."""
    size = [row["height"], row["width"]]
    image = {"id": 0, "file_name": row["path"], "width": row["width"], "height": row["height"]}
    annotations = []
    for one in row["annotations"]:
        found = {
            "id": 0,
            "image_id": 0,
            "category_id": classes.index(one["name"]) + 1,
            "segmentation": {"size": size, "counts": one["counts"]},
            "area": one["area"],
            "bbox": one["bbox"],
            "iscrowd": 0,
        }
        annotations.append(found if one["score"] is None else found | {"score": round(one["score"], 6)})
    return image, annotations
