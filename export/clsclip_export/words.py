"""Words in a bundle: encoded when it is written, so that a runtime can do without tokenizer and text encoder."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from clsclip.base import WordSegmenter
from clsclip_export.architectures import architecture_of
from clsclip_export.errors import ParityError
from clsclip_export.parity import Parity, row_cosines
from clsclip_export.trial import try_bundle
from clsclip_runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from clsclip_runtime.bundle.folder import check_target, file_entries, staged_folder
from clsclip_runtime.bundle.graph_file import read_graph
from clsclip_runtime.bundle.manifest import parse_manifest
from clsclip_runtime.bundle.opening import MANIFEST, TEXT_ENCODER, TEXT_TOKENS, TOKENIZER, Bundle
from clsclip_runtime.bundle.specs import TextSpec
from clsclip_runtime.errors import OptionError
from clsclip_runtime.paths import is_file, write_bytes, write_json
from clsclip_runtime.text.encoded import EncodedWords
from clsclip_runtime.text.encoder import TextEncoder
from clsclip_runtime.text.mending import fill_template
from clsclip_runtime.text.stored import StoredWords, write_text_tokens
from clsclip_runtime.text.tokenizer_file import read_tokenizer

MEMORY_MB = 1024
"""Of a call of the text encoder."""


def encode_words(proto: onnx.ModelProto, tokenizer: Path, text: TextSpec, words: Sequence[str]) -> EncodedWords:
    """Encode words with a text encoder in FP32; each comes averaged over the templates.

    Args:
        proto: the graph, weights inside.
        tokenizer: its file.
        text: of the manifest.
        words: clean.
    """
    with tempfile.TemporaryDirectory(prefix="clsclip.words.") as folder:
        path = Path(folder) / TEXT_ENCODER
        write_bytes(path, proto.SerializeToString())
        encoder = TextEncoder(
            text.features,
            templates=text.templates,
            context_length=text.context_length,
            pad_token_id=text.pad_token_id,
            tokenizer=read_tokenizer(tokenizer.read_bytes()),
            graph=OnnxRuntimeCpu().load(read_graph(path)),
            memory_mb=MEMORY_MB,
        )
        return encoder.encode(words)


def store_words(folder: Path, document: Mapping[str, Any], encoded: EncodedWords | None, *, text_encoder: bool) -> None:
    """Put words into a bundle that is being written, leave the text encoder out if asked, and write the manifest.

    Args:
        folder: all files of the bundle.
        document: its manifest; ``files`` is made anew.
        encoded: the words; None leaves those that are there.
        text_encoder: whether text encoder and tokenizer stay.
    """
    changed = dict(document)
    if encoded is not None:
        write_text_tokens(folder / TEXT_TOKENS, encoded.words, encoded.arrays, encoded.truncated)
    if not text_encoder:
        for file in (TEXT_ENCODER, TOKENIZER):
            (folder / file).unlink(missing_ok=True)
        changed["memory"] = {**changed["memory"], "word_bytes": 0}
        changed["graphs"] = {file: one for file, one in changed.get("graphs", {}).items() if file != TEXT_ENCODER}
    changed["files"] = file_entries(folder)
    write_json(folder / MANIFEST, changed)


def add_words(source: Path, out: Path, words: Sequence[str], *, text_encoder: bool = True, force: bool = False) -> None:
    """Write a bundle again with words in it; nothing stands at ``out`` until it is whole.

    Args:
        source: an existing bundle, which is verified first; it may be ``out``.
        out: the new bundle.
        words: clean; none keeps those that the bundle holds already.
        text_encoder: whether text encoder and tokenizer stay.
        force: replace what stands at ``out``.

    Raises:
        BundleError: ``source`` is none, or damaged.
        BackendError: the text encoder cannot run here.
        OptionError: it would know no word.
        OutputError: ``out`` exists and ``force`` is not set, or its folder cannot be written.
    """
    check_target(out, force=force)
    opened = Bundle.open(source)
    has_encoder = TEXT_ENCODER in opened.manifest.files
    if words and not has_encoder:
        raise OptionError(f"{source} has no text encoder, so it cannot take words. Give one that has, or --ckpt")
    if not words and not text_encoder and TEXT_TOKENS not in opened.manifest.files:
        raise OptionError("without a text encoder and without words a bundle knows no word. Give --classes-file")
    encoded = None
    if words:
        graph = OnnxRuntimeCpu().load(opened.graph(TEXT_ENCODER))
        encoded = TextEncoder.from_bundle(opened, graph, memory_mb=MEMORY_MB).encode(words)
    with staged_folder(out, force=force) as folder:
        opened.copy(opened.manifest.files, folder)
        store_words(folder, opened.manifest.raw, encoded, text_encoder=text_encoder)
        try_bundle(folder)


def check_words(model: WordSegmenter, folder: Path) -> list[Parity]:
    """Compare the words that a folder holds with PyTorch's: the mean over templates, of unit norm where it is stated.

    Raises:
        ParityError: they differ.
    """
    if not is_file(folder / TEXT_TOKENS):
        return []
    text = parse_manifest((folder / MANIFEST).read_bytes()).text
    stored = StoredWords.read(folder / TEXT_TOKENS, text.features)
    encode = architecture_of(model).encode_texts
    rows = [encode([fill_template(one, word) for word in stored.words]) for one in text.templates]
    found = stored.find(stored.words)
    parity = []
    for spec in text.features:
        name = spec.name
        mean = torch.stack([one[name] for one in rows]).mean(dim=0)
        if spec.unit_norm:
            mean = torch.nn.functional.normalize(mean, dim=-1)
        ours = np.stack([found[word].arrays[name] for word in stored.words])
        row = _parity(name, ours, mean.detach().numpy())
        if row.fault is not None:
            raise ParityError(f"{row.line()}: {row.fault}. The words in {TEXT_TOKENS} are not what PyTorch computes.")
        parity.append(row)
    return parity


def _parity(name: str, ours: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> Parity:
    difference = float(np.abs(ours - theirs).max())
    cosine = float(row_cosines(ours, theirs).min())
    return Parity(TEXT_TOKENS, name, 0, len(ours), 0, "words", "as stored", "fp32", difference, cosine, None)
