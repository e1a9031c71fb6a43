"""Every vendor's name that the product uses, with its arguments, is one that the real package has.

They are collected from the source (:mod:`.names`), so that a new call is held by itself. What nothing tells of, an
argument of type Any, must be in :data:`SEEDS` with its class, or in :data:`OTHERS`. pycuda is not held: it has no
wheels to compare with.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from .names import Held, Object, Of, Reader, Use, any_names

trt = pytest.importorskip("tensorrt_rtx", reason="the wheel tensorrt-rtx-cu13 is not installed (none here?)")
cuda = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed (no wheel for here?)")
driver = pytest.importorskip("cuda.bindings.driver", reason="cuda-python is not installed (no wheel for here?)")
ort: Any = pytest.importorskip("onnxruntime")

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("runtime/clsclip_runtime", "export/clsclip_export", "clsclip", "benchmarks")
VENDORS = {"cuda.bindings.runtime": cuda, "cuda.bindings.driver": driver, "tensorrt_rtx": trt, "onnxruntime": ort}

SEEDS: dict[str, dict[str, Held]] = {
    "*": dict.fromkeys(("edition.module", "self._edition.module", "self._flavour.module"), Object(trt)),
    "*/backends/tensorrt/backend.py": {
        "_refit(engine)": Of(trt.ICudaEngine),
        "_fits(engine)": Of(trt.ICudaEngine),
        "__init__(engine)": Of(trt.ICudaEngine),
    },
    "*/backends/tensorrt/worker.py": {
        "self.trt": Object(trt),
        "self.engine": Of(trt.ICudaEngine),
        "self._context": Of(trt.IExecutionContext),
    },
    "*/backends/tensorrt/runtime_cache.py": {
        "open(engine)": Of(trt.ICudaEngine),
        "__init__(config)": Of(trt.IRuntimeConfig),
        "__init__(cache)": Of(trt.IRuntimeCache),
        "open(cache)": Of(trt.IRuntimeCache),
    },
    "*/detectors/spec.py": {
        "_output_shapes(session)": Of(ort.InferenceSession),
        "_read_metadata(session)": Of(ort.InferenceSession),
    },
    "*/backends/sessions.py": {
        "open_session(onnxruntime)": Object(ort),
        "open_session(options)": Of(ort.SessionOptions),
        "_reads_in_place(onnxruntime)": Object(ort),
        "_value(onnxruntime)": Object(ort),
    },
    "*/clsclip_export/engines/trt.py": {
        "use(config)": Of(trt.IBuilderConfig),
        "take(config)": Of(trt.IBuilderConfig),
        "configure(config)": Of(trt.IBuilderConfig),
        "parser_errors(parser)": Of(trt.OnnxParser),
        "parser_errors(found)": Of(trt.ParserError, several=True),
        "optimization_profile(builder)": Of(trt.Builder),
        "optimization_profile(network)": Of(trt.INetworkDefinition),
    },
    "*/backends/onnxruntime_*.py": {
        "__init__(session)": Of(ort.InferenceSession),
        "self._session": Of(ort.InferenceSession),
        "_bind(binding)": Of(ort.IOBinding),
        "_bound(binding)": Of(ort.IOBinding),
        "run_kept(binding)": Of(ort.IOBinding),
        "_kept(value)": Of(ort.OrtValue),
        "to_host(value)": Of(ort.OrtValue),
    },
}
"""What is of type Any in the product and holds a vendor's object: by file, then as :class:`~.names.Reader` names it."""

OTHERS: dict[str, set[str]] = {
    "*/backends/cuda/calls.py": {
        "__init__(self._runtime)",  # known by its import
        "launch(graph)",
        "end_graph(graph)",
        "__init__(self._driver)",  # pycuda's
        "unpin(base)",
        "_do(call)",
    },
    "*/backends/tensorrt/backend.py": {"_placed(value)", "__init__(logger)", "log(severity)"},
    "*/backends/tensorrt/worker.py": {"self.logger", "last_lines(logger)", "__init__(self._recorded)"},
    "*/backends/onnxruntime_gpu.py": {"self.value", "self.session", "_bind(value)"},
    "*/clsclip_export/engines/trt.py": {"log(severity)"},
    "*/savings.py": {"run(layer)", "shared_projections(layer)"},
}
"""What is of type Any and holds no vendor's object, or one that nothing is asked of, or is known otherwise."""


ROOTS = re.compile(r"onnxruntime|cuda|tensorrt|\.module\b|trt")
"""What a module has in its text that uses a vendor."""


def sources() -> dict[str, str]:
    """Every module of the product."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in paths}


def seeds_of(path: str) -> dict[str, Held]:
    """Those for one file."""
    return {name: held for pattern, seeds in SEEDS.items() if fnmatch(path, pattern) for name, held in seeds.items()}


def uses_of(path: str, source: str) -> list[Use]:
    """The vendors' names in one file."""
    return Reader(VENDORS, seeds_of(path)).read(source)


@pytest.fixture(scope="module")
def uses() -> dict[str, list[Use]]:
    """The vendors' names by file, where there are any."""
    found = {path: uses_of(path, source) for path, source in sources().items() if ROOTS.search(source)}
    return {path: names for path, names in found.items() if names}


def test_the_real_packages_have_every_name(uses: dict[str, list[Use]]) -> None:
    wrong = [f"{path}:{use.line}: {use.problem}" for path, names in uses.items() for use in names if use.problem]
    assert not wrong, "\n".join(wrong)


def test_names_are_found(uses: dict[str, list[Use]]) -> None:
    """Fewer than there were would mean that they are no longer seen."""
    found = {use.name for names in uses.values() for use in names}
    for name in (
        "cudaMemcpyAsync",
        "execute_async_v3",
        "set_tensor_address",
        "deserialize_cuda_engine",
        "refit_cuda_engine",
        "create_runtime_cache",
        "build_serialized_network",
        "get_dimension_name",
        "node_operator",
        "bind_input",
        "copy_outputs_to_cpu",
        "data_ptr",
        "add_external_initializers",
        "quantize_static",
    ):
        assert any(name in one for one in found), name
    counts = Counter(use.vendor for names in uses.values() for use in names)
    assert counts["cuda"] >= 40
    assert counts["tensorrt_rtx"] >= 100
    assert counts["onnxruntime"] >= 60


def test_nothing_of_type_any_is_forgotten(uses: dict[str, list[Use]]) -> None:
    forgotten = []
    for path, source in sources().items():
        if path in uses:
            others = {name for pattern, names in OTHERS.items() if fnmatch(path, pattern) for name in names}
            forgotten += [f"{path}: {name}" for name in any_names(source) if name not in {*seeds_of(path), *others}]
    assert not forgotten, "put it into SEEDS or OTHERS:\n" + "\n".join(forgotten)


def test_names_in_strings() -> None:
    """CUDA's names that are looked up by text, and those of the driver's library."""
    kinds = {name for enum in (cuda.cudaMemcpyKind, cuda.cudaStreamCaptureMode, cuda.cudaError_t) for name in dir(enum)}
    names = {name for name in dir(driver)}
    seen = Counter[str]()
    for path, source in sources().items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if re.fullmatch(r"cuda[A-Z]\w+", node.value):
                    assert node.value in kinds or hasattr(cuda, node.value), f"{path}:{node.lineno}: {node.value}"
                    seen["runtime"] += 1
                elif re.fullmatch(r"cu[A-Z]\w+", node.value):
                    assert node.value.removesuffix("_v2") in names, f"{path}:{node.lineno}: {node.value}"
                    seen["driver"] += 1
    assert seen["runtime"] >= 3
    assert seen["driver"] >= 7


def test_numbers_and_words_of_cuda() -> None:
    from clsclip_runtime.backends.cuda import calls
    from clsclip_runtime.backends.cuda import driver as ours

    attributes = driver.CUdevice_attribute
    assert int(attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) == ours._MAJOR
    assert int(attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR) == ours._MINOR
    plain = "clsclip-doctor says what works here"
    advice = {one.name: calls._advice(one.name) for one in cuda.cudaError_t}
    assert "out of memory" in advice["cudaErrorMemoryAllocation"]
    assert "driver" in advice["cudaErrorInsufficientDriver"]
    assert "driver" in advice["cudaErrorNoDevice"]
    assert advice["cudaErrorLaunchFailure"] == plain


WRONG = {
    "a misspelt call": ("self._runtime.cudaMalloc(4)", "self._runtime.cudaMallok(4)", "has no cudaMallok"),
    "an argument too few": ("runtime.cudaFree(1)", "runtime.cudaFree()", "does not fit cudaFree"),
    "an argument too many": ("runtime.cudaFree(1)", "runtime.cudaFree(1, 2)", "does not fit cudaFree"),
    "a wrong keyword": ("runtime.cudaFree(devPtr=1)", "runtime.cudaFree(pointer=1)", "does not fit cudaFree"),
    "a member of an enumeration": ("trt.BuilderFlag.TF32", "trt.BuilderFlag.TF31", "BuilderFlag has no TF31"),
    "what a call gives": ("builder.create_network(0)", "builder.create_networks(0)", "has no create_networks"),
    "what that gives": ("network.get_input(0).shape", "network.get_input(0).shapes", "has no shapes"),
    "an overload": ("context.set_input_shape('x', (1,))", "context.set_input_shape('x')", "does not fit"),
    "an attribute that is set": ("config.engine_capability = 1", "config.engine_capabilities = 1", "has no engine_cap"),
    "a method that is overridden": ("def log(self, a, b): ...", "def logs(self, a, b): ...", "has no logs"),
    "its arguments": ("def log(self, a, b): ... ", "def log(self, a): ...", "takes {3} arguments"),
    "an imported name": ("from onnxruntime import OrtValue", "from onnxruntime import OrtValues", "has no OrtValues"),
    "a method of Python": ("session.run(None, {})", "session.run(None)", "does not fit run"),
    "a value in a list": (
        "binding.get_outputs()[0].data_ptr()",
        "binding.get_outputs()[0].pointer()",
        "has no pointer",
    ),
}

SAMPLE = """
import onnxruntime
from importlib import import_module

class Cuda:
    def use(self):
        runtime = self.here()
        {}

    def here(self):
        return self._runtime

    def __init__(self):
        self._runtime = import_module("cuda.bindings.runtime")

class Logger(trt.ILogger):
    {}

def build(context, session: onnxruntime.InferenceSession):
    builder = trt.Builder(Logger())
    network, config = builder.create_network(0), builder.create_builder_config()
    binding = session.io_binding()
    {}
"""


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_name_is_told(what: str) -> None:
    places = {"runtime": 0, "def log": 1}
    right, wrong, problem = WRONG[what]
    at = next((place for start, place in places.items() if start in wrong), 2)
    seeds: dict[str, Held] = {"trt": Object(trt), "build(context)": Of(trt.IExecutionContext)}
    for line, expected in ((right, ""), (wrong, problem)):
        lines = ["pass"] * 3
        lines[at if "import" not in line else 2] = line
        problems = [use.problem for use in Reader(VENDORS, seeds).read(SAMPLE.format(*lines)) if use.problem]
        assert len(problems) == bool(expected), problems
        assert expected in "".join(problems)
