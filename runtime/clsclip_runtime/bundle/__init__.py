"""The bundle format: what a folder must be before anything in it is used."""

from clsclip_runtime.bundle.opening import (
    DETECTOR,
    EMBEDDED,
    IMAGE_ENCODER,
    MANIFEST,
    PRESENCE,
    STEM,
    TEXT_ENCODER,
    TEXT_TOKENS,
    TOKENIZER,
    TRUNK,
    Bundle,
)

__all__ = [
    "DETECTOR",
    "EMBEDDED",
    "IMAGE_ENCODER",
    "MANIFEST",
    "PRESENCE",
    "STEM",
    "TEXT_ENCODER",
    "TEXT_TOKENS",
    "TOKENIZER",
    "TRUNK",
    "Bundle",
]
