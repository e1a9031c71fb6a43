"""The tiny bundle with byte-pair tokens, which the C++ runtime reads; its tests have it as ``tests/tiny.clsclip``.

python -m tests.cpp.tiny_bpe runtime/cpp/tests/tiny.clsclip
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from tests.runtime import tiny_bundle
from tests.runtime.tiny_bundle import COLOURS, make_bundle, manifest, sign

WORDS = [*COLOURS, "a", "picture", "of", "dining", "table"]
SPECIAL = ["[PAD]", "[START]", "[END]"]


def make_bpe_bundle(folder: Path) -> Path:
    """Write the bundle into ``folder``."""
    made = tokenizer()
    make_bundle(folder)
    made.save(str(folder / "tokenizer.json"))
    (folder / "text_encoder.onnx").write_bytes(text_encoder(made).SerializeToString())
    (folder / "manifest.json").unlink()
    sign(folder, manifest())
    return folder


def tokenizer() -> Tokenizer:
    """Bytes, and merges that make each known word one token, built like the embedded model's."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary, merges = [*SPECIAL, *alphabet], []
    for word in WORDS:
        whole = "Ġ"
        for letter in word:
            if whole + letter not in vocabulary:
                vocabulary.append(whole + letter)
                merges.append((whole, letter))
            whole += letter
    made = Tokenizer(models.BPE({token: at for at, token in enumerate(vocabulary)}, merges))
    made.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    made.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.post_processor = processors.TemplateProcessing(
        single="[START] $A [END]", special_tokens=[("[START]", 1), ("[END]", 2)]
    )
    return made


def text_encoder(made: Tokenizer) -> onnx.ModelProto:
    """A word's token is the colour it names; others change nothing."""
    table = np.zeros((made.get_vocab_size(), 3), dtype=np.float32)
    for word, colour in COLOURS.items():
        table[made.token_to_id("Ġ" + word)] = colour
    return tiny_bundle.text_graph(table)


if __name__ == "__main__":
    make_bpe_bundle(Path(sys.argv[1]))
