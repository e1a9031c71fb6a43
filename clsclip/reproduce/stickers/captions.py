"""Captions of sticker pictures, and the small tokenizer that is trained on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from clsclip.reproduce.stickers.vocabulary import nouns

WORD_TEMPLATES = ("{}", "a {}", "a picture of a {}", "a photo of a {}", "a sticker of a {}", "one {}", "the {}")
CAPTION_STARTS = ("", "a picture of ", "a photo of ", "stickers of ", "here are ", "I see ")


def word_for(rng: np.random.Generator, noun: int) -> str:
    """The noun's name, or now and then one of its synonyms."""
    entry = nouns()[noun]
    if entry.synonyms and rng.random() < 0.3:
        return str(rng.choice(entry.synonyms))
    return entry.name


def caption_of(rng: np.random.Generator, words: Sequence[str]) -> str:
    """A sentence that names every word once, in random order."""
    if not words:
        return "an empty picture"
    named = [f"a {words[index]}" for index in rng.permutation(len(words))]
    start = CAPTION_STARTS[int(rng.integers(len(CAPTION_STARTS)))]
    return start + (named[0] if len(named) == 1 else ", ".join(named[:-1]) + " and " + named[-1])


def train_tokenizer(vocabulary_size: int = 2000) -> Tokenizer:
    """A byte-level BPE tokenizer trained on every word of the vocabulary in its templates.

    Token 0 pads; ``<start>`` and ``<end>`` are added by the tokenizer's own post-processor. Bytes cover every script,
    so no word is ever unknown, only unread.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=["<pad>", "<start>", "<end>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    words = [word for noun in nouns() for word in (noun.name, *noun.synonyms)]
    texts = [template.format(word) for word in words for template in WORD_TEMPLATES]
    tokenizer.train_from_iterator(texts + [start + "and an empty picture" for start in CAPTION_STARTS], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    return tokenizer
