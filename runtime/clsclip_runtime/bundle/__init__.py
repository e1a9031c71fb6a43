"""The bundle format: what a folder must be before anything in it is used."""

from clsclip_runtime.bundle.opening import (
    DETECTOR,
    EMBEDDED,
    GATE,
    IMAGE_ENCODER,
    MANIFEST,
    STEM,
    TEXT_ENCODER,
    TOKENIZER,
    TRUNK,
    Bundle,
)

__all__ = [
    "DETECTOR",
    "EMBEDDED",
    "GATE",
    "IMAGE_ENCODER",
    "MANIFEST",
    "STEM",
    "TEXT_ENCODER",
    "TOKENIZER",
    "TRUNK",
    "Bundle",
]
