"""CLIP's byte-pair tokenizer as a Hugging Face ``tokenizers`` object, made from open_clip's own vocabulary."""

from __future__ import annotations

import open_clip
from open_clip.tokenizer import SimpleTokenizer
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from clsclip.errors import TowersError

WORD_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def hub_tokenizer(name: str) -> Tokenizer:
    """The tokenizer of an open_clip model.

    Raises:
        TowersError: the model uses a tokenizer from a hub instead of CLIP's.
    """
    text = open_clip.get_model_config(name).get("text_cfg", {})
    if text.get("hf_tokenizer_name"):
        raise TowersError(
            f"{name} uses the tokenizer {text['hf_tokenizer_name']} from a hub; ClsCLIP reads CLIP's only."
        )
    if text.get("tokenizer_kwargs"):
        raise TowersError(f"{name} changes CLIP's tokenizer by {text['tokenizer_kwargs']}, which is not supported.")
    return clip_tokenizer()


def clip_tokenizer() -> Tokenizer:
    """CLIP's tokenizer: lower case, byte-level BPE with ``</w>`` ends, start and end tokens added.

    open_clip also repairs broken Unicode and HTML entities (ftfy) before it tokenises; a class word has neither.
    """
    source = SimpleTokenizer()
    merges = sorted(source.bpe_ranks, key=lambda pair: source.bpe_ranks[pair])
    return tokenizer_from(source.encoder, merges, ("<start_of_text>", "<end_of_text>"))


def tokenizer_from(vocabulary: dict[str, int], merges: list[tuple[str, str]], ends: tuple[str, str]) -> Tokenizer:
    """Make CLIP's tokenizer with a vocabulary of its own.

    Args:
        vocabulary: the number of every token.
        merges: pairs of tokens that become one, the first ones first.
        ends: names of the start and the end token.
    """
    start, end = ends
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>", unk_token=end))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, vocabulary[start]), (end, vocabulary[end])]
    )
    return tokenizer
