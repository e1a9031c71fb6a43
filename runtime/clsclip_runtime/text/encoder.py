"""Words to the text features that the manifest lists, each word encoded once."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from clsclip_runtime._types import Floats, Integers
from clsclip_runtime.bundle.opening import TEXT_TOKENS, TOKENIZER, Bundle
from clsclip_runtime.bundle.specs import FeatureSpec
from clsclip_runtime.errors import BackendError, BundleError, WordError
from clsclip_runtime.limits import text_rows_per_call
from clsclip_runtime.protocols import Graph
from clsclip_runtime.text.encoded import EncodedWord, EncodedWords
from clsclip_runtime.text.mending import fill_template
from clsclip_runtime.text.stored import StoredWords
from clsclip_runtime.text.tokenizer_file import read_tokenizer, tokenizers_errors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from clsclip_runtime.text.cache import WordCache

CACHED_BYTES = 64 << 20
"""Of the words that are kept in memory; at the widths of CLIP ViT-B/16 these are 14,000."""

_ENTRY_BYTES = 512
"""Of one kept word beside its arrays: its name and Python's objects."""

_SHOWN_WORDS = 20

_log = logging.getLogger(__name__)


class TextEncoder:
    """Looks words up, or encodes them with a tokenizer and a graph. Safe to share between threads."""

    def __init__(
        self,
        features: Sequence[FeatureSpec],
        *,
        templates: Sequence[str] = ("{}",),
        context_length: int,
        pad_token_id: int = 0,
        word_bytes: int = 0,
        matching: str | None = None,
        tokenizer: Tokenizer | None = None,
        graph: Graph | None = None,
        stored: StoredWords | None = None,
        on_disk: WordCache | None = None,
        memory_mb: int = 1024,
        cached_bytes: int = CACHED_BYTES,
    ) -> None:
        """Take what words are encoded with; words come from ``stored`` first, then from the graph.

        Args:
            features: what the graph gives for every row of token ids.
            templates: texts with {} where the word goes; more than one only where every feature has rank 1.
            context_length: tokens of a row; longer texts are cut off, shorter ones padded.
            pad_token_id: the token that rows are padded with.
            word_bytes: estimated peak of the graph's activations for one row.
            matching: the feature by whose cosine words are compared with class names; None for no comparison.
            tokenizer: of the graph; its truncation and padding are set here.
            graph: the text encoder; None where only ``stored`` words are known.
            stored: words that are encoded already.
            on_disk: words that this machine has encoded before.
            memory_mb: of one call of the graph, MiB.
            cached_bytes: of the words that are kept in memory.

        Raises:
            BundleError: there is a graph without a tokenizer, or the tokenizer cannot be used.
        """
        self._features = tuple(features)
        self._templates = tuple(templates)
        self._context_length = context_length
        self._model: tuple[Tokenizer, Graph] | None = None
        if graph is not None:
            self._model = _fixed_length(tokenizer, context_length, pad_token_id), graph
        self._stored = stored
        self._on_disk = on_disk
        self._rows_per_call = text_rows_per_call(memory_mb, word_bytes)
        self._cache = _Memory(cached_bytes)
        # Held while new words are encoded, so that two threads never encode the same word.
        self._encode_lock = threading.Lock()
        self.matching = matching
        """The feature by whose cosine words are compared with class names; None for no comparison."""

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        graph: Graph | None,
        *,
        tokenizer: Tokenizer | None = None,
        memory_mb: int = 1024,
        on_disk: WordCache | None = None,
        cached_bytes: int = CACHED_BYTES,
    ) -> TextEncoder:
        """The text encoder of a bundle.

        Args:
            bundle: verified.
            graph: its text encoder, loaded; None where it has none.
            tokenizer: the bundle's, where it is loaded already.
            memory_mb, on_disk, cached_bytes: as in the constructor.

        Raises:
            BundleError: the tokenizer or the stored words are damaged.
        """
        manifest = bundle.manifest
        text, stored = manifest.text, None
        if TEXT_TOKENS in manifest.files:
            stored = StoredWords.of_bundle(bundle)
        return cls(
            text.features,
            templates=text.templates,
            context_length=text.context_length,
            pad_token_id=text.pad_token_id,
            word_bytes=manifest.memory.word_bytes,
            matching=text.matching,
            tokenizer=load_tokenizer(bundle) if tokenizer is None and graph is not None else tokenizer,
            graph=graph,
            stored=stored,
            on_disk=on_disk,
            memory_mb=memory_mb,
            cached_bytes=cached_bytes,
        )

    def knows(self, word: str) -> bool:
        """Whether ``encode`` can encode a word."""
        return self._model is not None or (self._stored is not None and word in self._stored)

    def encode(self, words: Sequence[str]) -> EncodedWords:
        """Encode clean words; those met before come from the bundle, from memory or from disk.

        Raises:
            WordError: the bundle has no text encoder, and does not hold a word.
            BackendError: the engine failed, or the model's outputs are not finite numbers.
        """
        notes: tuple[str, ...] = ()
        found = self._known(words)
        if len(found) < len(set(words)):
            with self._encode_lock:
                found = self._known(words)
                missing = [word for word in dict.fromkeys(words) if word not in found]
                added, notes = self._find(missing)
                found.update(added)
        arrays = {
            one.name: np.array([found[word].arrays[one.name] for word in words], np.float32).reshape(-1, *one.shape)
            for one in self._features
        }
        return EncodedWords(tuple(words), arrays, tuple(word for word in words if found[word].truncated), notes)

    def _known(self, words: Sequence[str]) -> dict[str, EncodedWord]:
        """Those words that need no graph and no disk."""
        stored = {} if self._stored is None else self._stored.find(words)
        return self._cache.find([word for word in words if word not in stored]) | stored

    def _find(self, missing: list[str]) -> tuple[dict[str, EncodedWord], tuple[str, ...]]:
        """Words from the disk or the graph, and notes for the user."""
        if self._model is None:
            raise self._unknown(missing[0])
        disk = self._on_disk
        found = {} if disk is None else disk.read(missing)
        missing = [word for word in missing if word not in found]
        new: dict[str, EncodedWord] = {}
        step = max(1, self._rows_per_call // len(self._templates))
        for start in range(0, len(missing), step):
            new.update(self._encode_new(*self._model, missing[start : start + step]))
        if disk is not None:
            disk.write(new)
        found.update(new)
        self._cache.add(found)
        return found, () if disk is None else disk.take_notes()

    def _unknown(self, word: str) -> WordError:
        known = () if self._stored is None else self._stored.words
        more = f" and {len(known) - _SHOWN_WORDS:,} more" if len(known) > _SHOWN_WORDS else ""
        return WordError(
            f"the bundle knows {len(known):,} words and '{word}' is not among them. It knows: "
            f"{', '.join(known[:_SHOWN_WORDS])}{more}. Export it with a text encoder, or with this word in "
            "--classes-file"
        )

    def _encode_new(self, tokenizer: Tokenizer, graph: Graph, words: Sequence[str]) -> dict[str, EncodedWord]:
        texts = [fill_template(template, word) for word in words for template in self._templates]
        with tokenizers_errors():
            encodings = tokenizer.encode_batch(texts)
        token_ids = np.asarray([encoding.ids for encoding in encodings], dtype=np.int64)
        outputs = self._run(graph, token_ids)
        found = {one.name: self._of_words(outputs[one.name], len(words), one) for one in self._features}
        for name, array in found.items():
            finite = [bool(np.isfinite(one).all()) for one in array]
            for word in (word for word, fine in zip(words, finite, strict=True) if not fine):
                raise BackendError(
                    f"the model gave NaN or infinity ({name}) for the word '{word}': the bundle's text weights are "
                    "damaged. Get the bundle again, or export it again"
                )
        count = len(self._templates)
        encoded = {}
        for at, word in enumerate(words):
            cut = any(encoding.overflowing for encoding in encodings[at * count : (at + 1) * count])
            if cut:
                _log.warning(
                    "'%s' is longer than the model's %d tokens: its end was cut off", word, self._context_length
                )
            # Copies: a row of the batch would keep all of the batch in memory.
            encoded[word] = EncodedWord({name: array[at].copy() for name, array in found.items()}, cut)
        return encoded

    def _run(self, graph: Graph, token_ids: Integers) -> dict[str, Floats]:
        """Every feature of every row of tokens, checked; no call has more rows than fit into memory."""
        parts: dict[str, list[Floats]] = {one.name: [] for one in self._features}
        for start in range(0, len(token_ids), self._rows_per_call):
            rows = token_ids[start : start + self._rows_per_call]
            outputs = graph.run({"token_ids": rows})
            for one in self._features:
                wanted, value = (len(rows), *one.shape), outputs.get(one.name)
                if value is None or value.shape != wanted:
                    got = "nothing" if value is None else f"shape {value.shape}"
                    raise BackendError(
                        f"text_encoder.onnx gave {got} for {one.name}, and {wanted} was expected. Export the bundle "
                        "again"
                    )
                parts[one.name].append(np.asarray(value, dtype=np.float32))
        return {name: np.concatenate(several) for name, several in parts.items()}

    def _of_words(self, rows: Floats, words: int, feature: FeatureSpec) -> Floats:
        """(words, *shape) of (words * templates, *shape): the mean over templates where a word is one vector."""
        if len(feature.shape) != 1:
            return rows.reshape(words, *feature.shape)  # the manifest allows one template alone
        mean: Floats = rows.reshape(words, len(self._templates), *feature.shape).mean(axis=1)
        if feature.unit_norm:
            with np.errstate(invalid="ignore", over="ignore"):  # of what is not finite, which is told later
                mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), np.float32(1e-12))
        return mean


class _Memory:
    """The words that were used last, as many as fit into a number of bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.nbytes = 0
        self._words: OrderedDict[str, EncodedWord] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, words: Sequence[str]) -> dict[str, EncodedWord]:
        with self._lock:
            found = {word: self._words[word] for word in words if word in self._words}
            for word in found:
                self._words.move_to_end(word)
            return found

    def add(self, encoded: Mapping[str, EncodedWord]) -> None:
        with self._lock:
            for word, one in encoded.items():
                self._drop(word)
                self._words[word] = one
                self.nbytes += one.nbytes + _ENTRY_BYTES
            while self.nbytes > self.limit:
                self._drop(next(iter(self._words)))

    def clear(self) -> None:
        with self._lock:
            self._words.clear()
            self.nbytes = 0

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __len__(self) -> int:
        return len(self._words)

    def _drop(self, word: str) -> None:
        one = self._words.pop(word, None)
        if one is not None:
            self.nbytes -= one.nbytes + _ENTRY_BYTES


def load_tokenizer(bundle: Bundle) -> Tokenizer:
    """The tokenizer of a bundle. BundleError if it is damaged, of another kind, or not what was verified."""
    return read_tokenizer(bundle.read(TOKENIZER))


def _fixed_length(tokenizer: Tokenizer | None, context_length: int, pad_token_id: int) -> Tokenizer:
    """The tokenizer, set to give rows of one length."""
    if tokenizer is None:
        raise BundleError(f"the bundle has a text encoder and no {TOKENIZER}. Export the bundle again")
    with tokenizers_errors():
        tokenizer.enable_truncation(max_length=context_length)
        tokenizer.enable_padding(length=context_length, pad_id=pad_token_id)
    return tokenizer
