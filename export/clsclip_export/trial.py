"""The last step before a bundle takes its place: its own runtime opens it and segments a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clsclip_runtime.bundle.opening import TEXT_TOKENS, Bundle
from clsclip_runtime.errors import BundleError
from clsclip_runtime.segmenter import Segmenter
from clsclip_runtime.text.stored import StoredWords

NOT_ON_CPUS = ("bf16",)
"""Precisions that ONNX Runtime's CPU provider does not run; such a bundle is only opened."""


def open_new(folder: Path) -> Bundle:
    """Open the bundle at ``folder`` as its runtime will. BundleError if it takes none of this kind."""
    try:
        return Bundle.open(folder)
    except BundleError as error:
        reason = str(error).partition(". Export the bundle again")[0]
        raise BundleError(
            f"the new bundle would not open, so it was not kept: {reason}. Mend what it is made of: an option, or the "
            "checkpoint's header"
        ) from error


def try_bundle(folder: Path) -> None:
    """Open the bundle at ``folder`` and segment a gray picture by one word.

    Raises:
        BundleError: it is none that its runtime takes.
        BackendError: it does not run, or its outputs are not finite numbers.
    """
    bundle = open_new(folder)
    if bundle.manifest.precision in NOT_ON_CPUS:
        return
    word = "thing"
    if TEXT_TOKENS in bundle.manifest.files:
        word = StoredWords.of_bundle(bundle).words[0]
    with Segmenter.load(folder, "onnxruntime-cpu", word_cache=False) as segmenter:
        side = bundle.manifest.image.size
        segmenter(np.full((side, side, 3), 127, np.uint8), word, presence_threshold=0)
