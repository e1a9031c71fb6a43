"""``text_tokens.safetensors``: words that were encoded when the bundle was exported, so that no tokenizer is needed.

One tensor (N, *shape) float32 for every text feature of the manifest, by its name. The file's metadata have
``schema_version`` and ``words``, a JSON list of N clean words. ``truncated`` is optional: a JSON list of those words
whose end was cut off.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from clsclip_runtime._types import Floats
from clsclip_runtime.bundle.opening import TEXT_TOKENS, Bundle
from clsclip_runtime.bundle.specs import FeatureSpec
from clsclip_runtime.documents import parse_json
from clsclip_runtime.errors import BundleError, OptionError, WordError
from clsclip_runtime.extras import upgrade_advice
from clsclip_runtime.paths import write_file
from clsclip_runtime.tensor_files import TensorFile
from clsclip_runtime.text.encoded import EncodedWord
from clsclip_runtime.text.words import clean_word

STORED_SCHEMA = "2"

_NORM_ERROR = 1e-3
"""Largest error of the length of a vector of unit norm. Words without any meaning have length 0."""


class StoredWords:
    """Words and their features, in memory."""

    def __init__(self, words: Sequence[str], arrays: Mapping[str, Floats], truncated: Sequence[str] = ()) -> None:
        """Hold N words; ``arrays`` are (N, *shape) float32."""
        self.words = tuple(words)
        self._arrays = dict(arrays)
        self._rows = {word: row for row, word in enumerate(self.words)}
        self._truncated = frozenset(truncated)

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> StoredWords:
        """The words of a bundle that holds some, as they were verified. BundleError as :meth:`read`."""
        return cls.read(bundle.path(TEXT_TOKENS), bundle.manifest.text.features, bundle.read(TEXT_TOKENS))

    @classmethod
    def read(cls, path: Path, features: Sequence[FeatureSpec], content: bytes | None = None) -> StoredWords:
        """Read and check the file at ``path``.

        Args:
            path: the file.
            features: the text features of the manifest, all of which must be there. Other tensors are ignored.
            content: its bytes, where it has been read and verified.

        Raises:
            BundleError: it is damaged, of a newer schema, or does not fit the manifest.
        """
        try:
            with TensorFile(path if content is None else content) as file:
                words, truncated = _read_words(file.metadata)
                _check_shapes(file, len(words), features)
                arrays = {one.name: file.read_float32(one.name) for one in features}
        except (OSError, ValueError) as error:
            raise _damaged(path, " ".join(str(error).split())) from error
        for one in features:
            array = arrays[one.name]
            if not np.isfinite(array).all():
                raise _damaged(path, f"{one.name} has NaN or infinity")
            if one.unit_norm:
                lengths = np.linalg.norm(array, axis=-1)
                if (np.abs(lengths[lengths > _NORM_ERROR] - 1) > _NORM_ERROR).any():
                    raise _damaged(path, f"{one.name} is not of unit length")
        return cls(words, arrays, truncated)

    def __contains__(self, word: object) -> bool:
        """Whether a word is there."""
        return word in self._rows

    def find(self, words: Sequence[str]) -> dict[str, EncodedWord]:
        """Those of ``words`` that are there; their arrays are views."""
        found = {}
        for word in words:
            row = self._rows.get(word)
            if row is not None:
                arrays = {name: array[row] for name, array in self._arrays.items()}
                found[word] = EncodedWord(arrays, word in self._truncated)
        return found


def write_text_tokens(
    path: Path, words: Sequence[str], arrays: Mapping[str, Floats], truncated: Sequence[str] = ()
) -> None:
    """Write ``text_tokens.safetensors``; the same words and arrays always give the same bytes.

    Args:
        path: of the file.
        words: N clean words, each once.
        arrays: (N, *shape) float32 of every text feature, averaged over templates and normalized.
        truncated: those words whose end was cut off.

    Raises:
        WordError: a word is not clean, or comes twice, or there is none.
        OptionError: an array does not fit the words, or is not finite float32.
        OutputError: the file cannot be written.
    """
    _check_words(words)
    if not set(truncated) <= set(words):
        raise OptionError("a word that was cut off is not among the words")
    header: dict[str, Any] = {
        "__metadata__": {"schema_version": STORED_SCHEMA, "words": json.dumps(list(words), ensure_ascii=False)}
    }
    if truncated:
        header["__metadata__"]["truncated"] = json.dumps(list(truncated), ensure_ascii=False)
    end = 0
    for name in sorted(arrays):
        array = arrays[name]
        if array.dtype != np.float32 or array.ndim < 1 or len(array) != len(words) or not np.isfinite(array).all():
            raise OptionError(
                f"{name} must be finite float32 with one row for each of the {len(words)} words, and it is "
                f"{array.dtype} of shape {array.shape}"
            )
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    document = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    document += b" " * (-len(document) % 8)  # tensors begin at a multiple of 8 bytes

    def write(file: IO[bytes]) -> None:
        file.write(struct.pack("<Q", len(document)) + document)
        for name in sorted(arrays):
            file.write(np.ascontiguousarray(arrays[name], dtype="<f4").tobytes())

    write_file(path, write)


def _read_words(about: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Words, and those that were cut off. ValueError if they are unusable."""
    version = about.get("schema_version", "")
    if version != STORED_SCHEMA:
        newer = version.isdecimal() and int(version) > int(STORED_SCHEMA)
        advice = f". {upgrade_advice()}" if newer else ""
        raise ValueError(f"schema version {version or 'missing'}, and {STORED_SCHEMA} was expected{advice}")
    words = parse_json(about.get("words", "null"))
    truncated = parse_json(about.get("truncated", "[]"))
    if not isinstance(words, list) or not isinstance(truncated, list):
        raise ValueError("its list of words is missing")
    try:
        _check_words(words)
    except WordError as error:
        raise ValueError(str(error)) from error
    if not all(isinstance(word, str) for word in truncated) or not set(truncated) <= set(words):
        raise ValueError("a word that was cut off is not among the words")
    return words, truncated


def _check_words(words: Sequence[str]) -> None:
    if not words:
        raise WordError("there is no word")
    seen = set()
    for word in words:
        if clean_word(word) != word:
            raise WordError(f"the word {word!a} is not clean: it has spaces too many, or is not in Unicode NFC")
        if word in seen:
            raise WordError(f"the word '{word}' comes twice")
        seen.add(word)


def _check_shapes(file: TensorFile, count: int, features: Sequence[FeatureSpec]) -> None:
    """Compare the header with the manifest before any tensor is read. ValueError if they differ."""
    for one in features:
        if one.name not in file.tensors:
            raise ValueError(f"it lacks {one.name}, which the manifest lists")
        found, wanted = file.tensors[one.name], (count, *one.shape)
        if found.shape != wanted or found.dtype != "F32":
            raise ValueError(f"{one.name} is {found.dtype} of shape {found.shape}, and F32 of {wanted} was expected")


def _damaged(path: Path, reason: str) -> BundleError:
    return BundleError(f"{path} is unusable ({reason}). Get the bundle again, or export it again with clsclip-export")
