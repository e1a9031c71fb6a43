"""How fast this machine multiplies matrices: the peak of which every row is a percentage.

One product of square matrices, in every engine that is installed and has the precision. It is a case like the others,
called in the same rounds. In every round the fastest product of the fastest engine counts, because a peak that is
measured too low flatters every row.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from clsclip_bench.case import Workload
from clsclip_runtime.backends.openvino import process_core
from clsclip_runtime.errors import BackendError
from clsclip_runtime.libraries import import_openvino

SIZE = {"cpu": 2048, "gpu": 8192}
"""Side of the matrices: large enough that starting a product does not count."""

PRECISIONS = ("fp32", "fp16", "bf16", "int8")

_TRIES = 3
"""Products of an engine at a time; the first of them wakes its threads."""

_HOPELESS = 3.0
"""An engine that took so many times as long as the fastest when it was loaded is not asked again."""

Product = Callable[[], object]


class MatrixProduct:
    """The fastest square matrix product of a precision and device. A case."""

    def __init__(
        self, precision: str, device: str = "cpu", threads: int | None = None, size: int | None = None
    ) -> None:
        """``threads`` of the product; None is the engines' own choice. ``size`` is the side of the matrices."""
        self._precision, self._device, self._threads = precision, device, threads
        self._size = size or SIZE[device]
        self._products: dict[str, Product] = {}
        self._rates: dict[str, float] = {}

    def load(self) -> None:
        """Try every engine.

        Raises:
            BackendError: none that is installed has the precision.
        """
        reasons, products = [], {}
        for engine, make in _ENGINES[self._device].items():
            try:
                product = make(self._precision, self._size, self._threads)
                product()
            except Exception as error:  # an engine that lacks the precision says so in its own way
                reasons.append(f"{engine}: {' '.join(str(error).split())[:120]}")
            else:
                products[engine] = product
        if not products:
            raise BackendError(f"no engine multiplies {self._precision} on this {self._device} ({'; '.join(reasons)})")
        seconds = {engine: _fastest(product) for engine, product in products.items()}
        self._rates = {engine: self.operations / one for engine, one in seconds.items()}
        enough = min(seconds.values()) * _HOPELESS
        self._products = {engine: product for engine, product in products.items() if seconds[engine] <= enough}

    @property
    def operations(self) -> float:
        """Of one product; a multiplication and an addition are two."""
        return 2.0 * self._size**3

    def prepare(self, workload: Workload) -> None:
        """Nothing: a product is the same for every workload."""

    def call(self) -> dict[str, float]:
        """Products of every engine that may be the fastest; ``product`` is the shortest, seconds."""
        if not self._products:
            raise BackendError("load comes first")
        seconds = {engine: _fastest(product) for engine, product in self._products.items()}
        for engine, one in seconds.items():
            self._rates[engine] = max(self._rates[engine], self.operations / one)
        return {"product": min(seconds.values())}

    def facts(self) -> dict[str, Any]:
        """The engine that was fastest so far, and the best rate of each, in operations a second."""
        engine = max(self._rates, key=lambda one: self._rates[one], default="")
        return {"engine": engine, "size": self._size, "operations": self.operations, "tried": dict(self._rates)}

    def logits(self) -> None:
        """None."""


def _fastest(product: Product) -> float:
    """Seconds of the shortest of a few."""
    seconds = []
    for _ in range(_TRIES):
        start = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _numpy(precision: str, size: int, threads: int | None) -> Product:
    if precision != "fp32":
        raise BackendError(f"numpy has no fast product of {precision}")
    first, second = _matrices(size)
    return lambda: first @ second  # threads: by OMP_NUM_THREADS, which the parent sets


def _torch(precision: str, size: int, threads: int | None) -> Product:
    torch = import_module("torch")
    if threads is not None:
        torch.set_num_threads(threads)
    first, second = (torch.from_numpy(one) for one in _matrices(size))
    if precision == "int8":
        first, second = ((one * 100).to(torch.int8) for one in (first, second))
        return lambda: torch._int_mm(first, second)
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    first, second = first.to(dtype), second.to(dtype)
    return lambda: first @ second


def _torch_cuda(precision: str, size: int, threads: int | None) -> Product:
    torch = import_module("torch")
    if not torch.cuda.is_available():
        raise BackendError("PyTorch finds no GPU")
    torch.backends.cuda.matmul.allow_tf32 = False  # an fp32 product is one of fp32
    first, second = (torch.from_numpy(one).cuda() for one in _matrices(size))
    if precision == "int8":
        first, second = ((one * 100).to(torch.int8) for one in (first, second))
        # The second is stored by columns: cuBLAS's int8 product wants it so.
        second = second.t().contiguous().t()

        def whole() -> None:
            torch._int_mm(first, second)
            torch.cuda.synchronize()

        return whole
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    first, second = first.to(dtype), second.to(dtype)

    def product() -> None:
        first @ second
        torch.cuda.synchronize()

    return product


def _openvino(precision: str, size: int, threads: int | None) -> Product:
    openvino = import_openvino()
    hint = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}.get(precision)
    if hint is None:
        raise BackendError(f"OpenVINO on a CPU has no fast product of {precision}")
    if precision == "bf16" and "BF16" not in process_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise BackendError("this CPU has no bf16 instructions")
    first, second = _matrices(size)
    operators: Any = import_module("openvino.opset13")
    rows = operators.parameter([size, size], np.float32)
    left, right = rows, operators.constant(second)
    if precision == "int8":
        low, high = np.float32(0), np.float32(1)
        left = operators.fake_quantize(rows, low, high, low, high, 256)
        whole = operators.constant(np.round(second * 127).astype(np.int8))
        right = operators.multiply(operators.convert(whole, np.float32), operators.constant(np.float32(1 / 127)))
    model = openvino.Model([operators.matmul(left, right, False, False)], [rows], "product")
    options = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = str(threads)
    request = process_core().compile_model(model, "CPU", options).create_infer_request()
    request.set_input_tensor(openvino.Tensor(first))
    return lambda: request.infer()


_ENGINES: dict[str, dict[str, Callable[[str, int, int | None], Product]]] = {
    "cpu": {"numpy": _numpy, "openvino": _openvino, "torch": _torch},
    "gpu": {"torch": _torch_cuda},
}


def _matrices(size: int) -> list[Any]:
    """Two square matrices of numbers from 0 to 1."""
    rng = np.random.default_rng(0)
    return [rng.random((size, size), np.float32) for _ in range(2)]
