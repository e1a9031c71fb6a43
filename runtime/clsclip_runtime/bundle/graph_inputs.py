"""What the graphs of a bundle take and give, compared with what its manifest says before any engine sees them."""

from __future__ import annotations

from collections.abc import Sequence

from clsclip_runtime.bundle.signature import Signature, Value
from clsclip_runtime.bundle.specs import Manifest

_IMAGE_GRAPHS = ("image_encoder.onnx", "stem.onnx")
_OPEN = -1


class OtherValuesError(ValueError):
    """A graph's inputs or outputs are not those of its manifest; says which, as the end of a sentence."""


def check_values(name: str, signature: Signature, manifest: Manifest) -> None:
    """Compare types and sizes of a graph's inputs and outputs with the manifest; names are checked when it is loaded.

    Args:
        name: the graph's file.
        signature: of the graph.
        manifest: of its bundle.

    Raises:
        OtherValuesError: one has another type or shape.
    """
    if name == "detector.onnx":
        _check_detector(signature, manifest)
        return
    size = manifest.image.size
    known: dict[str, tuple[str, Sequence[int]]] = {
        "pixel_values": ("float32", (_OPEN, 3, size, size)),
        "token_ids": ("int64", (_OPEN, manifest.text.context_length)),
        "crop_index": ("int64", (_OPEN,)),
        "class_index": ("int64", (_OPEN,)),
        "mask_logits": ("float32", (_OPEN, manifest.mask.height, manifest.mask.width)),
        "presence": ("float32", (_OPEN, _OPEN) if name == "presence.onnx" else (_OPEN,)),
    }
    for feature in (*manifest.features, *manifest.text.features):
        known[feature.name] = (feature.dtype, (_OPEN, *feature.shape))
    for value in signature.inputs:  # engines take one that is fixed at their word, whatever follows from it
        if value.name in known and any(
            isinstance(own, int) and wanted == _OPEN
            for own, wanted in zip(value.shape, known[value.name][1], strict=False)
        ):
            raise OtherValuesError(f"takes {value.name} with a first axis of a fixed size, and it must be open")
    for value in (*signature.inputs, *signature.outputs):
        if value.name not in known:
            if value.dtype not in ("float32", "int64"):
                raise OtherValuesError(f"has {value.name[:40]!r} of the type {value.dtype}")
            continue
        dtype, shape = known[value.name]
        if value.dtype != dtype or not _fits(value, shape):
            wanted = ", ".join("any" if one == _OPEN else str(one) for one in shape)
            raise OtherValuesError(
                f"has {value.name} as {value.dtype} of shape ({', '.join(map(str, value.shape))}), and its manifest "
                f"says {dtype} of ({wanted})"
            )


def _fits(value: Value, shape: Sequence[int]) -> bool:
    """Whether every size that the graph states is the one of the manifest; an axis that is open there may be any."""
    if len(value.shape) != len(shape):
        return False
    pairs = zip(value.shape, shape, strict=True)
    return all(not isinstance(own, int) or wanted in (_OPEN, own) for own, wanted in pairs)


def _check_detector(signature: Signature, manifest: Manifest) -> None:
    spec = manifest.detector
    if spec is None:
        return
    wanted = (_OPEN if spec.batch is None else spec.batch, 3, spec.height, spec.width)
    if len(signature.inputs) != 1 or signature.inputs[0].dtype != spec.input_type:
        raise OtherValuesError(f"takes {len(signature.inputs)} inputs, and a detector takes one of {spec.input_type}")
    if not _fits(signature.inputs[0], wanted):
        raise OtherValuesError(f"takes an input of shape {signature.inputs[0].shape}, and its manifest says {wanted}")
    for value in signature.outputs:
        if value.dtype not in ("float32", "float16", "int64", "int32"):
            raise OtherValuesError(f"gives {value.name[:40]!r} of the type {value.dtype}")
