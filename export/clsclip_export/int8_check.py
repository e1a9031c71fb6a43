"""Whether an INT8 bundle draws what its FP32 original draws, on images that it was not calibrated on."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from PIL import Image

from clsclip_export.calibration import STRESS_IMAGES, Calibration, Feeds, text_encoder
from clsclip_export.check_data import CheckData, stress_images
from clsclip_export.divergence import all_tensors
from clsclip_export.errors import CheckDataError, ParityError
from clsclip_export.parity import MIN_COVER, drawn, row_cosines
from clsclip_runtime import Segmenter
from clsclip_runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from clsclip_runtime.bundle.opening import SEGMENTER, Bundle
from clsclip_runtime.images import preprocess
from clsclip_runtime.masks.confidence import lowered
from clsclip_runtime.masks.upsampling import logit
from clsclip_runtime.text.encoded import EncodedWords

_log = logging.getLogger(__name__)

MIN_MEAN_IOU = 0.97
"""Smallest allowed mean IoU of the masks of one kind of images, against FP32's."""

MAX_TENSOR_ERROR = 0.15
"""Length of the difference of a tensor to FP32's, as a share of FP32's, above which it is named as diverging."""

RUN = "as the runtime runs it"
MOST_WORDS = 4
"""Words that a failure names."""

MOST_IMAGES = 8
"""Images of one kind that are checked on; every word is asked of every one."""


@dataclass(frozen=True)
class Figures:
    """How the masks of one kind of images compare.

    Attributes:
        run: which graphs: ``segmenter.onnx``, or as the runtime runs them.
        kind: ``real`` or ``stress``.
        images: how many.
        masks: how many of their masks, of FP32 or INT8, cover :data:`MIN_COVER` of the image and so were judged.
        mean_iou, min_iou: of these; None where there are none.
        min_cosine: of the logits of any pair that both segment; None where there is none.
        presence: largest difference of any presence score; 0 for ``segmenter.onnx``, which gives none.
        allowed: smallest mean IoU with which a bundle is written.
    """

    run: str
    kind: str
    images: int
    masks: int
    mean_iou: float | None
    min_iou: float | None
    min_cosine: float | None
    presence: float
    allowed: float = MIN_MEAN_IOU

    @property
    def fault(self) -> str | None:
        """Why it fails; None when it does not. NaN fails."""
        if self.mean_iou is not None and not self.mean_iou >= self.allowed:
            return f"mean mask IoU {self.mean_iou:.4f} < {self.allowed}"
        return None

    def line(self) -> str:
        """For people."""
        iou = "no mask of a size that can be judged"
        if self.mean_iou is not None:
            iou = f"mean mask IoU {self.mean_iou:.4f} (lowest {self.min_iou:.4f}) of {self.masks} masks"
        if self.min_cosine is not None:
            iou += f", lowest cosine {self.min_cosine:.5f}"
        mark = "ok" if self.fault is None else "fail"
        return (
            f"[{mark}] int8 {self.run:22} {self.kind:7} {self.images} images: {iou}, "
            f"presence differs by at most {self.presence:.3f}"
        )


@dataclass(frozen=True)
class Int8Check:
    """All figures of one bundle."""

    rows: tuple[Figures, ...]
    allowed: float = MIN_MEAN_IOU

    def to_json(self) -> dict[str, Any]:
        """What the manifest tells."""
        return {
            "reference": "the same graphs in FP32",
            "min_mean_mask_iou_allowed": self.allowed,
            "images": "none that was calibrated on",
            "rows": [{name: _plain(value) for name, value in vars(row).items()} for row in self.rows],
        }


def check_int8(
    wide: Bundle, narrow: Bundle, calibration: Calibration, data: CheckData, allowed: float = MIN_MEAN_IOU
) -> Int8Check:
    """Compare an INT8 bundle with its FP32 original, down to a mean IoU of ``allowed``.

    Raises:
        CheckDataError: no image or no mask is left to judge by.
        ParityError: the masks differ; it names the words that differ most, and the first tensor that diverges.
    """
    real = calibration.disjoint(data.images)[:MOST_IMAGES]
    if not real:
        raise CheckDataError("INT8 was calibrated on every image that is to check it. Give other --check-images.")
    stress = stress_images(STRESS_IMAGES, wide.manifest.image.size)
    rows = []
    for kind, images in (("real", real), ("stress", tuple(stress))):
        _log.info("comparing the masks of %d %s images and %d words", len(images), kind, len(data.words))
        for row, worst, weak in _compare(wide, narrow, kind, images, data.words):
            row = replace(row, allowed=allowed)
            if row.fault is not None:
                named = first_divergence(wide, narrow, images[worst[0]], data.words[worst[1]])
                raise ParityError(
                    f"{row.line()}: {row.fault}. Words that differ most: {weak}. {named} No bundle was written. What "
                    "helps: words of what the images show (--calibration-words, --check-words), more images like those "
                    "that the model will see (--calibration-images), or --fp16. To take it as it is: "
                    f"--accept {math.floor(100 * (row.mean_iou or 0)) / 100}"
                )
            rows.append(row)
    if not any(row.masks for row in rows if row.kind == "real"):
        raise CheckDataError(
            "INT8 cannot be judged: no word marks anything in the images to check on. Give images and words of "
            "what the model knows: --check-images, --check-words."
        )
    return Int8Check(tuple(rows), allowed)


Compared = tuple[Figures, tuple[int, int], str]


def _compare(
    wide: Bundle, narrow: Bundle, kind: str, images: Sequence[Image.Image], words: Sequence[str]
) -> Iterator[Compared]:
    """Figures of both ways to run a bundle, with the worst pair (image, word) and words of each.

    Masks are those that the runtime draws on an image of the model's size by the bundle's own presence threshold: an
    absent word is empty, so one that only FP32 or only INT8 calls absent has an IoU of 0.
    """
    mask_logit, side = logit(wide.manifest.mask.threshold), wide.manifest.image.size
    least = wide.manifest.presence.least_confidence if wide.manifest.presence else 0.0
    expected, runtime, whole, presence = [], [], [], 0.0
    session = OnnxRuntimeCpu().load(narrow.graph(SEGMENTER))
    encoded = text_encoder(narrow).encode(words)
    engine = OnnxRuntimeCpu()
    # Without a word cache: the text encoders are checked too, and an export leaves nothing in the user's folders.
    with Segmenter(wide, engine, word_cache=False) as first, Segmenter(narrow, engine, word_cache=False) as second:
        for image in images:
            original, found = first(image, words), second(image, words)
            expected.append(original.logits)
            runtime.append(found.logits)
            for one, other in zip(original.searches, found.searches, strict=True):
                if one.presence is not None and other.presence is not None:
                    presence = max(presence, abs(one.presence - other.presence))
            logits = session.run(whole_inputs(narrow, image, encoded))["mask_logits"]
            segmented = np.array([one.segmented for one in original.searches])
            if least:  # a graph alone lowers no faint mask, and the runtime's were
                logits = lowered(logits.astype(np.float32), least)
            whole.append(np.where(segmented[:, None, None], logits, -np.inf))
    for run, made, differs in ((RUN, runtime, presence), (SEGMENTER, whole, 0.0)):
        quantized, exact = np.stack(made), np.stack(expected)
        ours, theirs = (np.stack([drawn(one, side, mask_logit) for one in logits]) for logits in (quantized, exact))
        figures, worst = _figures(run, kind, quantized, exact, mask_ious(ours, theirs), differs)
        yield figures, worst, _weakest(ours, theirs, words)


def _weakest(ours: npt.NDArray[np.bool_], theirs: npt.NDArray[np.bool_], words: Sequence[str]) -> str:
    """The words whose masks (images, words, h, w) agree least, in words."""
    found = []
    for at, word in enumerate(words):
        ious = mask_ious(ours[:, at], theirs[:, at])
        if len(ious):
            found.append((float(ious.mean()), word, len(ious)))
    return ", ".join(f"{word} {iou:.2f} ({count} masks)" for iou, word, count in sorted(found)[:MOST_WORDS]) or "none"


def _figures(
    run: str,
    kind: str,
    ours: npt.NDArray[Any],
    theirs: npt.NDArray[Any],
    ious: npt.NDArray[np.float64],
    presence: float,
) -> tuple[Figures, tuple[int, int]]:
    """Figures of logits (images, words, h, w) and of their masks, and where the cosine is lowest."""
    images, words = ours.shape[:2]
    first, second = (one.reshape(images * words, -1) for one in (ours, theirs))
    both = np.flatnonzero(np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1))
    cosines = row_cosines(first[both], second[both])
    worst = int(both[cosines.argmin()]) if len(both) else 0
    row = Figures(
        run,
        kind,
        images,
        len(ious),
        float(ious.mean()) if len(ious) else None,
        float(ious.min()) if len(ious) else None,
        float(cosines.min()) if len(both) else None,
        presence,
    )
    return row, divmod(worst, words)


def mask_ious(ours: npt.NDArray[np.bool_], theirs: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """IoU of every pair of masks (..., h, w) of which one covers :data:`MIN_COVER`: of fewer pixels it says nothing."""
    size = ours.shape[-1] * ours.shape[-2]
    areas = np.maximum(ours.sum(axis=(-2, -1)), theirs.sum(axis=(-2, -1)))
    judged = areas >= MIN_COVER * size
    both, either = (ours & theirs).sum(axis=(-2, -1)), (ours | theirs).sum(axis=(-2, -1))
    ious: npt.NDArray[np.float64] = both[judged] / either[judged]
    return ious


def whole_inputs(bundle: Bundle, image: Image.Image, encoded: EncodedWords) -> Feeds:
    """Inputs of ``segmenter.onnx`` for one image and K words."""
    count, features = len(encoded.words), bundle.manifest.text.features
    return {
        "pixel_values": preprocess(image.convert("RGB"), bundle.manifest.image)[None],
        **{one.name: encoded.arrays[one.name] for one in features if "trunk" in one.needed_by},
        "crop_index": np.zeros(count, np.int64),
        "class_index": np.arange(count, dtype=np.int64),
    }


def first_divergence(wide: Bundle, narrow: Bundle, image: Image.Image, word: str) -> str:
    """A sentence that names the first tensor of ``segmenter.onnx`` that INT8 turns away from FP32's."""
    feeds = whole_inputs(wide, image, text_encoder(wide).encode([word]))
    exact, turned = (onnx.load_model_from_string(one.graph(SEGMENTER).model()) for one in (wide, narrow))
    makers = {name: node for node in exact.graph.node for name in node.output}
    expected = {name: value for name, value in all_tensors(exact, feeds) if name in makers}
    for name, found in all_tensors(turned, feeds):
        theirs = expected.get(name)
        if theirs is None or theirs.shape != found.shape or found.ndim < 2 or not found.size:
            continue
        error = float(np.linalg.norm(found - theirs) / max(float(np.linalg.norm(theirs)), 1e-12))
        if not error <= MAX_TENSOR_ERROR:
            made = f"{makers[name].op_type} of {', '.join(makers[name].input)}"
            return f"First tensor that diverges from FP32, for '{word}': {name} ({made}): by {error:.0%} of its length."
    return "No single tensor diverges much: small differences add up."


def _plain(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value
