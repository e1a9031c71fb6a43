"""``tokenizer.json``: checked to be of a kind that both runtimes know, and not to grow a text, before it is built.

The ``tokenizers`` library reads much more than CLIP needs: steps that make a short text endless, regular expressions
that never end, parts that end the process. What C++ does not read is refused here too, so a bundle is the same bundle
in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clsclip_runtime.bundle.specs import MOST_TOKENIZER_BYTES
from clsclip_runtime.documents import Bounds, parse_json
from clsclip_runtime.errors import BundleError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BOUNDS = Bounds(bytes=MOST_TOKENIZER_BYTES, values=1 << 21, depth=16)
"""Of the file: a vocabulary of 250,000 tokens has 20 MB."""

CLIP_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
SPACES_PATTERN = r"\s+"

MOST_ADDED = 4096
MOST_TOKEN_BYTES = 4096
MOST_STEPS = 16
MOST_GROWTH = 4
"""Times as many characters as a text had that all replacements together may make of it."""

_MOST_ID = 2**31 - 1
_MOST_UTF8 = 4
"""Bytes of a character."""


class _UnknownError(ValueError):
    """A part that this version does not know, or a value that it must not have."""


def read_tokenizer(document: bytes) -> Tokenizer:
    """Build the tokenizer of a ``tokenizer.json``.

    Raises:
        BundleError: it is no JSON, is damaged, or has a part that this version does not know.
    """
    from tokenizers import Tokenizer

    with tokenizers_errors():
        check_tokenizer(parse_json(document, BOUNDS))
        return Tokenizer.from_str(document.decode("utf-8-sig"))


@contextmanager
def tokenizers_errors() -> Iterator[None]:
    """Turn whatever the tokenizers library raises into BundleError; it panics with what is no Exception."""
    try:
        yield
    except (BundleError, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:
        reason = " ".join(str(error).split())[:200]
        raise BundleError(f"tokenizer.json is not a usable tokenizer: {reason}. Export the bundle again") from error


def check_tokenizer(data: Any) -> None:
    """Check that a document is a tokenizer of the known kind. ValueError with the reason if it is not."""
    whole = _object(data, "the file")
    growth = _Growth()
    _each(whole.get("normalizer"), "normalizers", growth.add_normalizer)
    _each(whole.get("pre_tokenizer"), "pretokenizers", _pre_tokenizer)
    vocabulary = _model(_object(whole.get("model"), "model"))
    _added(whole.get("added_tokens"), vocabulary)
    templates: list[str] = []
    _each(whole.get("post_processor"), "processors", lambda one: templates.extend(_post_processor(one)))
    if len(templates) > 1:
        raise _UnknownError("several post-processors add tokens, and this version of clsclip knows one")
    decoder = whole.get("decoder")
    if decoder is not None and _text(_object(decoder, "decoder"), "type") not in ("ByteLevel", "BPEDecoder"):
        raise _UnknownError(f"this version of clsclip does not know the decoder {decoder['type']!a}")


def _each(data: Any, inner: str, take: Callable[[dict[str, Any]], None]) -> None:
    """Give every step of a pipeline to ``take``: the step itself, or those of a sequence, of sequences as well."""
    pending, steps = [] if data is None else [data], 0
    while pending:
        one = _object(pending.pop(), inner)
        if _text(one, "type") == "Sequence":
            pending += _list(one, inner)
        else:
            take(one)
        steps += 1
        if steps > MOST_STEPS:
            raise _UnknownError(f"it has more than {MOST_STEPS} {inner}")


class _Growth:
    """Normalizers, and how much longer they may make a text in all."""

    def __init__(self) -> None:
        self.factor = 1.0

    def add_normalizer(self, one: dict[str, Any]) -> None:
        kind = _text(one, "type")
        if kind in ("NFC", "Lowercase"):
            return
        if kind != "Replace":
            raise _UnknownError(f"this version of clsclip does not know the normalizer {kind!a}")
        pattern, content = _object(one.get("pattern"), "pattern"), _text(one, "content", empty=True)
        if "String" in pattern:
            replaced = len(_text(pattern, "String"))
        elif pattern.get("Regex") == SPACES_PATTERN:
            replaced = 1
        else:
            raise _UnknownError("this version of clsclip does not know the pattern of a normalizer")
        self.factor *= max(1.0, len(content) / replaced)
        if self.factor > MOST_GROWTH:
            raise _UnknownError("its steps make a short text endless")


def _pre_tokenizer(one: dict[str, Any]) -> None:
    kind = _text(one, "type")
    if kind == "ByteLevel":
        _flags(one, "add_prefix_space", "use_regex", "trim_offsets")
    elif kind != "Split":
        raise _UnknownError(f"this version of clsclip does not know the pre-tokenizer {kind!a}")
    elif _object(one.get("pattern"), "pattern").get("Regex") != CLIP_PATTERN:
        raise _UnknownError("this version of clsclip does not know the pattern of a split")
    elif one.get("behavior") != "Removed" or one.get("invert") is not True:
        raise _UnknownError('this version of clsclip knows splits with invert and the behavior "Removed" alone')


def _model(model: dict[str, Any]) -> dict[str, int]:
    """Check the model; its vocabulary."""
    if model.get("type", "BPE") not in ("BPE", None):
        raise _UnknownError(f"this version of clsclip does not know the model {str(model['type'])[:40]!a}")
    dropout = model.get("dropout")
    if dropout is not None and (isinstance(dropout, bool) or dropout != 0):
        raise _UnknownError("a tokenizer that is used has no dropout")
    _flags(model, "fuse_unk", "byte_fallback", "ignore_merges")
    if model.get("byte_fallback"):
        raise _UnknownError("this version of clsclip does not know byte_fallback")
    for key in ("unk_token", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key) is not None:
            _token(_text(model, key, empty=True), empty=True)
    vocabulary = _object(model.get("vocab"), "vocab")
    if not vocabulary:
        raise _UnknownError("'vocab' is empty")
    _vocabulary(vocabulary)
    _merges(_list(model, "merges"))
    return vocabulary


def _vocabulary(vocabulary: dict[str, Any]) -> None:
    """Check every token and number. There are 50,000: what is wrong is looked for only where something is."""
    kinds, numbers = set(map(type, vocabulary.values())), vocabulary.values()
    if max(map(len, vocabulary)) * _MOST_UTF8 > MOST_TOKEN_BYTES:
        for token in vocabulary:
            _token(token, empty=True)
    if kinds != {int} or min(numbers) < 0 or max(numbers) > _MOST_ID:
        for number in numbers:
            _number(number)


def _merges(merges: list[Any]) -> None:
    if set(map(type, merges)) <= {str}:
        fine = {one.count(" ") for one in merges} <= {1}
    else:
        pairs = [one.split(" ") if isinstance(one, str) else one for one in merges]
        fine = all(
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair) for pair in pairs
        )
    if not fine:
        raise _UnknownError("'merges' must be pairs of tokens")


def _added(data: Any, vocabulary: dict[str, int]) -> None:
    """Check added tokens. The library numbers those that the vocabulary lacks by itself: other numbers are refused."""
    if data is None:
        return
    if not isinstance(data, list) or len(data) > MOST_ADDED:
        raise _UnknownError(f"'added_tokens' must be a list of up to {MOST_ADDED} tokens")
    known: set[str] = set()
    following = len(vocabulary)
    for entry in data:
        one = _object(entry, "added_tokens")
        content = _token(_text(one, "content"))
        if content in known:
            raise _UnknownError("an added token comes twice")
        known.add(content)
        number = _number(one.get("id"))
        expected = vocabulary.get(content, following)
        if number != expected:
            raise _UnknownError(f"an added token has the number {number}, and by the vocabulary it is {expected}")
        following = max(following, number + 1)
        _flags(one, "single_word", "lstrip", "rstrip", "normalized", "special")
        if any(one.get(key) for key in ("single_word", "lstrip", "rstrip")):
            raise _UnknownError("this version of clsclip does not know added tokens with single_word, lstrip or rstrip")


def _post_processor(one: dict[str, Any]) -> list[str]:
    """Check a post-processor; its kind, if it adds tokens."""
    kind = _text(one, "type")
    if kind == "ByteLevel":
        return []
    if kind == "RobertaProcessing":
        for key in ("cls", "sep"):
            pair = _list(one, key)
            if len(pair) != 2 or not isinstance(pair[0], str):
                raise _UnknownError(f"'{key}' must be a token and its number")
            _number(pair[1])
    elif kind == "TemplateProcessing":
        _template(one)
    else:
        raise _UnknownError(f"this version of clsclip does not know the post-processor {kind!a}")
    return [kind]


def _template(one: dict[str, Any]) -> None:
    specials, texts = _object(one.get("special_tokens"), "special_tokens"), 0
    for entry in _list(one, "single"):
        part = _object(entry, "single")
        if "Sequence" in part:
            texts += _text(_object(part["Sequence"], "Sequence"), "id") == "A" or 2
            continue
        name = _text(_object(part.get("SpecialToken"), "SpecialToken"), "id")
        for number in _list(_object(specials.get(name), "special_tokens"), "ids"):
            _number(number)
    if texts != 1:
        raise _UnknownError("a template for one text must hold that text once")


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _UnknownError(f"{what} must be an object")
    return value


def _list(data: dict[str, Any], key: str) -> list[Any]:
    value = data.get(key)
    if not isinstance(value, list):
        raise _UnknownError(f"'{key}' must be a list")
    return value


def _text(data: dict[str, Any], key: str, *, empty: bool = False) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not (value or empty):
        raise _UnknownError(f"'{key}' must be a text")
    return value


def _flags(data: dict[str, Any], *keys: str) -> None:
    for key in keys:
        if not isinstance(data.get(key), (bool, type(None))):
            raise _UnknownError(f"'{key}' must be true or false")


def _token(token: str, *, empty: bool = False) -> str:
    if not (token or empty) or len(token) > MOST_TOKEN_BYTES or len(token.encode()) > MOST_TOKEN_BYTES:
        raise _UnknownError("a token is empty or too long")
    return token


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_ID:
        raise _UnknownError(f"a token's number must be a whole number from 0 to {_MOST_ID}")
    return value
