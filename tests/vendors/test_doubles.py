"""What stands in for a vendor in tests has no name, argument or answer that the real package has not."""

from __future__ import annotations

import enum
import inspect
import re
from typing import Any

import pytest

from tests.runtime.backends import fakes, test_onnxruntime_gpu
from tests.runtime.backends.cuda.cuda_runtime import CudaRuntime

from .names import signatures

ANSWERS = re.compile(r"Returns\n-------\n(.*?)\n\n", re.DOTALL)


def test_cuda() -> None:
    cuda: Any = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed (no wheel for here?)")
    calls = {name: call for name, call in vars(CudaRuntime).items() if hasattr(call, "answers")}
    assert len(calls) >= 16
    for name, call in calls.items():
        real = getattr(cuda, name)
        ours = [one.name for one in inspect.signature(call).parameters.values()][1:]
        assert ours == [one.name for one in inspect.signature(real).parameters.values()], name
        found = ANSWERS.search(real.__doc__)
        assert found is not None, name
        assert call.answers == sum(not line.startswith(" ") for line in found[1].splitlines()), f"answers of {name}"
    enums = {name: value for name, value in vars(CudaRuntime).items() if inspect.isclass(value)}
    assert len(enums) == 3
    for name, ours in enums.items():
        assert issubclass(ours, enum.IntEnum)
        assert {one.name: one.value for one in ours}.items() <= {
            one.name: int(one) for one in getattr(cuda, name)
        }.items()
    assert CudaRuntime.cudaStreamNonBlocking == cuda.cudaStreamNonBlocking


def test_tensorrt() -> None:
    trt: Any = pytest.importorskip("tensorrt_rtx", reason="the wheel tensorrt-rtx-cu13 is not installed (none here?)")
    module = fakes.FakeTensorRt(fakes.FakeCuda())
    for ours, reals in (
        (fakes.Engine, [trt.ICudaEngine, trt.IRuntimeConfig, trt.IRuntimeCache]),
        (fakes.Context, [trt.IExecutionContext]),
        (module.Runtime, [trt.Runtime]),
        (module.Refitter, [trt.Refitter]),
        (module.OnnxParserRefitter, [trt.OnnxParserRefitter]),
    ):
        same(ours, reals)
    assert list(inspect.signature(module.nptype).parameters) == ["kind"]
    assert len(inspect.signature(trt.nptype).parameters) == 1


def test_onnxruntime() -> None:
    import onnxruntime

    for ours, real in (
        (test_onnxruntime_gpu.Session, onnxruntime.InferenceSession),
        (test_onnxruntime_gpu.Binding, onnxruntime.IOBinding),
        (test_onnxruntime_gpu.Value, onnxruntime.OrtValue),
    ):
        same(ours, [real])


def same(ours: type, reals: list[Any]) -> None:
    """Every public method of ``ours`` is one of the real classes, and takes as many arguments."""
    methods = {name: one for name, one in vars(ours).items() if inspect.isfunction(one) and not name.startswith("_")}
    assert methods
    for name, method in methods.items():
        real = next((getattr(one, name) for one in reals if hasattr(one, name)), None)
        assert real is not None, f"{reals[0].__name__} has no {name}"
        count = len(inspect.signature(method).parameters)
        known = [arguments for arguments, _ in signatures(real)]
        assert any(sum(one.values()) <= count <= len(one) for one in known), f"{ours.__name__}.{name}: {known}"


def test_a_double_that_knows_more_is_told() -> None:
    class Context:
        def execute_async_v3(self, stream: int) -> bool:
            return True

        def execute_async_v9(self, stream: int) -> bool:
            return True

    class Few:
        def set_tensor_address(self, name: str) -> bool:
            return True

    trt: Any = pytest.importorskip("tensorrt_rtx", reason="the wheel tensorrt-rtx-cu13 is not installed (none here?)")
    with pytest.raises(AssertionError, match="IExecutionContext has no execute_async_v9"):
        same(Context, [trt.IExecutionContext])
    with pytest.raises(AssertionError, match=r"Few\.set_tensor_address"):
        same(Few, [trt.IExecutionContext])
