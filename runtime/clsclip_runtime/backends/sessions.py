"""ONNX Runtime's sessions of graphs in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clsclip_runtime.errors import BackendError
from clsclip_runtime.protocols import GraphFile, Weight

_DTYPES = {
    **{1: "f4", 2: "u1", 3: "i1", 4: "u2", 5: "i2", 6: "i4", 7: "i8", 9: "?", 10: "f2", 11: "f8", 12: "u4", 13: "u8"},
    **{16: "u2", 17: "u1", 18: "u1", 19: "u1", 20: "u1"},
}
"""NumPy's names of types by ONNX's numbers; of those that NumPy does not have, names of types of the same size."""

_OWN_TYPES = (16, 17, 18, 19, 20)
"""BF16 and FP8, which NumPy does not have."""


def open_session(
    onnxruntime: Any, file: GraphFile, options: Any, providers: Sequence[Any], shared: list[Any] | None = None
) -> Any:
    """A session of a graph in memory, so that it has no folder to look for files in.

    Args:
        onnxruntime: the module.
        file: the graph.
        options: of the session; the weights are added to them, so they are of no use for another.
        providers: as ONNX Runtime takes them.
        shared: let the session read the weights where they lie, in place of a copy of its own, on the CPU; what it
            reads, which must live as long as the session, is added here.

    Raises:
        BackendError: the file has what it must not have, or onnxruntime is too old.
        Exception: ONNX Runtime's own; its errors share no base class of their own.
    """
    if file.weights and shared is not None and _reads_in_place(onnxruntime):
        names = {id(one): str(number) for number, one in enumerate(file.weights)}
        data = [one.data for one in file.weights]
        options.add_session_config_entry("session.use_external_initializer_file_buffers_directly", "1")
        options.add_external_initializers_from_files_in_memory([*names.values()], data, [one.nbytes for one in data])
        shared += data
        model = file.model(lambda one: {"location": names[id(one)], "offset": "0", "length": str(one.data.nbytes)})
        return onnxruntime.InferenceSession(model, sess_options=options, providers=list(providers))
    if file.weights:
        if not hasattr(onnxruntime.OrtValue, "ortvalue_from_numpy_with_onnx_type"):
            raise BackendError(
                f"onnxruntime {onnxruntime.__version__} is too old: weights are handed over in memory, which 1.20 and "
                "later take. Run: pip install --upgrade onnxruntime"
            )
        values = [_value(onnxruntime, one) for one in file.weights]
        options.add_external_initializers([one.name for one in file.weights], values)
        if shared is not None:  # the first call gives them to those who change graphs, this one to those who run them
            shared += [*file.weights, *values]
            for weight, value in zip(file.weights, values, strict=True):
                options.add_initializer(weight.name, value)
    model = file.model(lambda weight: {"location": "memory"})
    return onnxruntime.InferenceSession(model, sess_options=options, providers=list(providers))


def _reads_in_place(onnxruntime: Any) -> bool:
    """Whether weights can stay where they lie. What older versions take in memory, they copy for a while."""
    found = [int(one) for one in onnxruntime.__version__.split(".")[:2] if one.isdecimal()]
    return found >= [1, 32]


def _value(onnxruntime: Any, weight: Weight) -> Any:
    """A weight where it lies."""
    array = weight.data.view(_DTYPES[weight.dtype]).reshape(weight.shape)
    if weight.dtype in _OWN_TYPES:
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, weight.dtype)
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)
