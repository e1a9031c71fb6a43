"""From a model to a bundle in three steps, each handing a value on: export the graphs, write the folder, verify it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from clsclip.base import WordSegmenter
from clsclip_export.check_data import CheckData
from clsclip_export.divergence import weight_name
from clsclip_export.graphs import Exported, ExportedGraph, export_graphs
from clsclip_export.manifest import build_manifest
from clsclip_export.options import BundleOptions
from clsclip_export.parity import Parity
from clsclip_export.precision import to_half
from clsclip_export.trial import open_new, try_bundle
from clsclip_export.verify import ALWAYS_FP32, parity_figures, verify
from clsclip_export.weights import WEIGHTS_FILE, save_shared
from clsclip_export.words import encode_words, store_words
from clsclip_runtime.bundle.folder import staged_folder
from clsclip_runtime.bundle.manifest import parse_manifest
from clsclip_runtime.bundle.opening import DETECTOR, MANIFEST, TEXT_ENCODER, TOKENIZER
from clsclip_runtime.documents import read_json
from clsclip_runtime.errors import OptionError
from clsclip_runtime.paths import write_bytes, write_json

OWN_WEIGHTS = (TEXT_ENCODER,)
"""Graphs that share no weights with the others and so carry their own."""


def write_bundle(
    model: WordSegmenter,
    header: Mapping[str, Any],
    out: Path,
    options: BundleOptions,
    *,
    data: CheckData | None = None,
    force: bool = False,
) -> list[Parity]:
    """Export ``model`` to the folder ``out``: nothing is there until everything is right.

    Args:
        model: in evaluation mode.
        header: its checkpoint's header (towers, provenance).
        out: the bundle, by custom ending in ``.clsclip``.
        options: what it is to be.
        data: images and words to check on; None is scikit-image's photographs and common nouns.
        force: replace what stands at ``out``.

    Returns:
        The parity figures, which the manifest holds too.

    Raises:
        OutputError: ``out`` exists and ``force`` is not set, or its folder cannot be written.
        ParityError: a graph does not compute what PyTorch computes.
        PrecisionError: the model cannot be expressed in this precision.
        CheckDataError: there are no images to check on.
        OptionError: the bundle would know no word.
    """
    if not options.text_encoder and not options.words:
        raise OptionError("without a text encoder and without words a bundle knows no word. Give --classes-file")
    with staged_folder(out, force=force) as folder:
        data = data or CheckData.read(None)
        exported = export_graphs(model)
        write(exported, folder, header, options)
        open_new(folder)  # what no runtime would take is not checked for minutes first
        parity = verify(exported, folder, data, options.profile)
        document = read_json(folder / MANIFEST)
        write_json(folder / MANIFEST, {**document, "parity": parity_figures(parity, data)})
        try_bundle(folder)
    return parity


def write(exported: Exported, folder: Path, header: Mapping[str, Any], options: BundleOptions) -> None:
    """Write graphs, tokenizer, detector, words and manifest into ``folder``.

    Raises:
        PrecisionError: the model cannot be expressed in this precision.
    """
    write_graphs({file: shipped(one, options.precision) for file, one in exported.graphs.items()}, folder)
    tokenizer = exported.model.towers.tokenizer
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(folder / TOKENIZER))
    if options.detector is not None:
        shutil.copyfile(options.detector.path, folder / DETECTOR)
    document = build_manifest(exported.model, folder, header, options)
    write_json(folder / MANIFEST, document)
    if options.words:
        text = parse_manifest((folder / MANIFEST).read_bytes()).text
        encoded = encode_words(exported.graphs[TEXT_ENCODER].proto, folder / TOKENIZER, text, options.words)
        store_words(folder, document, encoded, text_encoder=options.text_encoder)


def shipped(exported: ExportedGraph, precision: str) -> onnx.ModelProto:
    """Make the graph that goes into a bundle of this precision."""
    if precision == "fp32" or exported.graph.file in ALWAYS_FP32:
        return exported.proto
    return to_half(exported.proto, precision, lambda weight: weight_name(exported.graph.module, weight))


def write_graphs(protos: Mapping[str, onnx.ModelProto], folder: Path) -> None:
    """Write every graph; those of the image share one weights file."""
    for file in OWN_WEIGHTS:
        if file in protos:
            write_bytes(folder / file, protos[file].SerializeToString())
    shared = {file: proto for file, proto in protos.items() if file not in OWN_WEIGHTS}
    save_shared(shared, folder, WEIGHTS_FILE)
