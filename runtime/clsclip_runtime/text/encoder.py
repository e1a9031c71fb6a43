"""Words to text tokens and text features, each word encoded once."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from clsclip_runtime.bundle.opening import TOKENIZER, Bundle
from clsclip_runtime.errors import BackendError, BundleError
from clsclip_runtime.limits import words_per_call
from clsclip_runtime.protocols import Graph
from clsclip_runtime.text.encoded import EncodedWord, EncodedWords

if TYPE_CHECKING:
    from clsclip_runtime.text.cache import WordCache


CACHED_WORDS = 16384
"""Words kept by default; at CLIP ViT-B/16's widths that is 64 MiB."""

_log = logging.getLogger(__name__)


class TextEncoder:
    """Encodes words with a bundle's tokenizer and text graph. Safe to share between threads."""

    def __init__(
        self,
        bundle: Bundle,
        graph: Graph,
        *,
        memory_mb: int,
        on_disk: WordCache | None = None,
        cached_words: int = CACHED_WORDS,
    ) -> None:
        """Load the tokenizer of ``bundle``; ``graph`` is its text encoder. BundleError if the former is damaged."""
        self._on_disk = on_disk
        spec = bundle.manifest.text
        self._templates = spec.templates
        self._context_length = spec.context_length
        self._tokenizer = _load_tokenizer(bundle)
        self._graph = graph
        self._memory_mb = memory_mb
        self._limit = cached_words
        self._cache: OrderedDict[str, EncodedWord] = OrderedDict()
        self._cache_lock = threading.Lock()
        # Held while new words are encoded, so that two threads never encode the same word.
        self._encode_lock = threading.Lock()
        self._width = 64

    def encode(self, words: Sequence[str]) -> EncodedWords:
        """Encode clean words; those met before come from memory or disk.

        Raises:
            BackendError: the engine failed, or the model's outputs are not finite numbers.
        """
        found = self._cached(words)
        if len(found) < len(words):
            with self._encode_lock:
                found = self._cached(words)
                missing = [word for word in words if word not in found]
                if self._on_disk is not None:
                    found.update(self._on_disk.read(missing))
                    missing = [word for word in missing if word not in found]
                new: dict[str, EncodedWord] = {}
                for start in range(0, len(missing), step := self._words_per_call()):
                    new.update(self._encode_new(missing[start : start + step]))
                if self._on_disk is not None:
                    self._on_disk.write(new)
                found.update(new)
                self._remember(found)
        return EncodedWords(
            tokens=np.stack([found[word].token for word in words]),
            features=np.stack([found[word].feature for word in words]),
            truncated=tuple(word for word in words if found[word].truncated),
        )

    def _words_per_call(self) -> int:
        return words_per_call(self._memory_mb, self._context_length, self._width, len(self._templates))

    def _cached(self, words: Sequence[str]) -> dict[str, EncodedWord]:
        with self._cache_lock:
            found = {word: self._cache[word] for word in words if word in self._cache}
            for word in found:
                self._cache.move_to_end(word)
            return found

    def _remember(self, encoded: dict[str, EncodedWord]) -> None:
        with self._cache_lock:
            self._cache.update(encoded)
            while len(self._cache) > self._limit:
                self._cache.popitem(last=False)

    def _encode_new(self, words: list[str]) -> dict[str, EncodedWord]:
        texts = [template.replace("{}", word) for word in words for template in self._templates]
        encodings = self._tokenizer.encode_batch(texts)
        token_ids = np.asarray([encoding.ids for encoding in encodings], dtype=np.int64)
        outputs = self._graph.run({"token_ids": token_ids})
        by_word = (len(words), len(self._templates), -1)
        try:
            tokens = np.asarray(outputs["text_tokens"], dtype=np.float32).reshape(by_word).mean(axis=1)
            features = np.asarray(outputs["text_features"], dtype=np.float32).reshape(by_word).mean(axis=1)
        except (KeyError, ValueError) as error:
            raise BackendError(
                f"text_encoder.onnx gave outputs of an unexpected name or shape ({error}). Export the bundle again"
            ) from error
        features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), np.float32(1e-12))
        for word, token, feature in zip(words, tokens, features, strict=True):
            if not (np.isfinite(token).all() and np.isfinite(feature).all()):
                raise BackendError(
                    f"the model gave NaN or infinity for the word '{word}': the bundle's text weights are damaged. "
                    "Get the bundle again, or export it again"
                )
        self._width = tokens.shape[1]
        cut = [any(encodings[at * len(self._templates) + t].overflowing for t in range(len(self._templates)))
               for at in range(len(words))]  # fmt: skip
        for word in (word for word, was_cut in zip(words, cut, strict=True) if was_cut):
            _log.warning("'%s' is longer than the model's %d tokens: its end was cut off", word, self._context_length)
        return {word: EncodedWord(tokens[at], features[at], cut[at]) for at, word in enumerate(words)}


def _load_tokenizer(bundle: Bundle) -> Tokenizer:
    spec = bundle.manifest.text
    # The library raises bare Exceptions.
    try:
        tokenizer = Tokenizer.from_file(str(bundle.path(TOKENIZER)))
        tokenizer.enable_truncation(max_length=spec.context_length)
        tokenizer.enable_padding(length=spec.context_length, pad_id=spec.pad_token_id)
    except Exception as error:
        raise BundleError(
            f"{TOKENIZER} in {bundle.folder} is not a usable tokenizer ({error}). Export the bundle again"
        ) from error
    return tokenizer
