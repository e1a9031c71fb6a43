"""INT8 in the graph itself: quantised products between the floating-point rest (QDQ), which every engine understands.

What is quantised was measured (ViT-B/16, one core with VNNI, times FP32 in ONNX Runtime; in OpenVINO, in ONNX Runtime):

    both sides of products with weights, activations UINT8 with a zero point    3.3   2.2   cosine 0.99990
    the same, activations INT8 without one                                      2.9   2.2   cosine 0.99987
    results of products too, and attention                                      3.2   1.9   cosine 0.99980

So results stay in floating point: where a sum follows, quantising them again costs an operator, and accuracy with it.
Attention between tokens, normalisation, softmax and sums stay in floating point too, as do products of which a pair has
one row (Gemm: the text token's maps, where there is nothing to gain) and the last one before the logits. TensorRT takes
no zero points, so these graphs are for CPUs; on GPUs half precision is the way.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from clsclip_export.calibration import Feeds
from clsclip_export.errors import PrecisionError
from clsclip_export.precision import last_products

QUANTIZED_OPS = ("Conv", "MatMul")

_PREPROCESSED = ("onnx.quant.pre_process", "onnxruntime.quant")
"""Without this mark ONNX Runtime advises to run its optimiser first; what that fuses, engines fuse by themselves."""


class _Reader(CalibrationDataReader):
    """Inputs, one call at a time, as ONNX Runtime wants them."""

    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self._feeds: Iterator[Feeds] = iter(feeds)

    def get_next(self) -> Feeds | None:
        return next(self._feeds, None)


def quantized(model: onnx.ModelProto, feeds: Sequence[Feeds]) -> onnx.ModelProto:
    """The graph with its products in INT8.

    Args:
        model: an FP32 graph with its weights inside; not changed.
        feeds: inputs to take the ranges of activations from.

    Raises:
        PrecisionError: ONNX Runtime cannot quantise it.
    """
    source = onnx.ModelProto()
    source.CopyFrom(model)
    for at, node in enumerate(source.graph.node):
        node.name = node.name or f"node_{at}"
    mark = source.metadata_props.add()
    mark.key, mark.value = _PREPROCESSED
    with tempfile.TemporaryDirectory(prefix="clsclip.int8.") as folder:
        path = Path(folder) / "quantized.onnx"
        try:
            quantize_static(
                source,
                path,
                _Reader(feeds),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTIZED_OPS),
                nodes_to_quantize=products(source.graph),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={
                    "ActivationSymmetric": False,
                    "WeightSymmetric": True,
                    "OpTypesToExcludeOutputQuantization": list(QUANTIZED_OPS),
                },
            )
        except Exception as error:  # ONNX Runtime's errors share no base class of their own
            reason = " ".join(str(error).split())[:300]
            raise PrecisionError(f"ONNX Runtime cannot quantise the graph: {reason}. Export in --fp16.") from error
        result = onnx.load(path)
    del result.metadata_props[:]
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    return result


def products(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes that are quantised."""
    weights = {tensor.name for tensor in graph.initializer}
    last = last_products(graph)
    return [
        node.name
        for at, node in enumerate(graph.node)
        if node.op_type in QUANTIZED_OPS and weights & set(node.input[:2]) and at not in last
    ]
