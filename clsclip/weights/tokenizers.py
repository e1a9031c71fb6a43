"""The tokenizer of a folder of weights, as transformers and the hub have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from clsclip.clip_tokenizer import clip_tokenizer, tokenizer_from
from clsclip.errors import TowersError
from clsclip.weights.documents import read_object
from clsclip_runtime.paths import is_file

TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt")
CLIPS_WORDS = 49408
"""Size of CLIP's own vocabulary."""

ENDS = ("<|startoftext|>", "<|endoftext|>")


def folder_tokenizer(folder: Path, words: int, notes: list[str]) -> Tokenizer:
    """CLIP's tokenizer with the folder's vocabulary; without one, CLIP's own where the text tower has its size.

    Args:
        folder: of the weights.
        words: size of the text tower's vocabulary.
        notes: gets what was assumed.

    Raises:
        TowersError: the files are damaged, or absent where the vocabulary is another.
    """
    whole, *pair = (folder / name for name in TOKENIZER_FILES)
    try:
        if is_file(whole):
            vocabulary, merges = own_vocabulary(read_object(whole))
        elif all(is_file(path) for path in pair):
            vocabulary = read_object(pair[0])
            lines = pair[1].read_text("utf-8").splitlines()
            merges = [line.split() for line in lines if line.strip() and not line.startswith("#version")]
        else:
            if words != CLIPS_WORDS:
                raise TowersError(f"{folder} has no tokenizer, and its vocabulary is not CLIP's.")
            notes.append("no tokenizer's files: CLIP's own")
            return clip_tokenizer()
        return tokenizer_from(vocabulary, [(first, second) for first, second in merges], ENDS)
    except TowersError:
        raise
    except Exception as error:  # the tokenizers library raises bare Exception
        raise TowersError(f"The tokenizer of {folder} cannot be read: {error}") from error


def own_vocabulary(document: dict[str, Any]) -> tuple[dict[str, int], list[list[str]]]:
    """Vocabulary and merges of a ``tokenizer.json``."""
    model = document["model"]
    merges = [one.split() if isinstance(one, str) else one for one in model["merges"]]
    return {**model["vocab"], **{one["content"]: one["id"] for one in document.get("added_tokens", [])}}, merges


def is_transformers(document: dict[str, Any]) -> bool:
    """Whether a ``tokenizer.json`` is CLIP's as transformers writes it."""
    model = document.get("model")
    return isinstance(model, dict) and isinstance(model.get("vocab"), dict) and ENDS[0] in model["vocab"]
