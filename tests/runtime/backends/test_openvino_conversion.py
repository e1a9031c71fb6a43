"""Every operator behind a value that OpenVINO cannot convert: the graph is refused, and no process ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from clsclip_runtime.backends.openvino import OpenVino
from clsclip_runtime.bundle.clip_bounds import LIMITS
from clsclip_runtime.bundle.graph_file import read_graph
from clsclip_runtime.bundle.graph_rules import BUNDLES, DETECTORS, OperatorRules, Rules
from clsclip_runtime.errors import ClsclipRuntimeError

DTYPES: dict[int, Any] = {
    **{1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16, 11: np.float64}
}
VALUES: dict[str, Any] = {
    **{"axis": 0, "perm": [0, 1], "kernel_shape": [1, 1], "strides": [1, 1], "dilations": [1, 1], "pads": [0] * 4},
    **{"equation": "ij,jk->ik", "blocksize": 1, "axes": [0], "group": 1, "alpha": 1.0, "split": [1, 1]},
    "value": numpy_helper.from_array(np.zeros(1, np.float32)),
}
"""Of attributes."""


def graphs(operator: str, rules: OperatorRules) -> Iterator[bytes]:
    """Graphs in which one input of the operator is a Concat whose parts do not fit together, of every type."""
    for kinds, outputs in rules.types.items():
        if any(kind not in DTYPES for kind in kinds if kind):
            continue
        stated = {"to": next(iter(outputs))[0]} if operator == "Cast" else {}
        for bad in (at for at, kind in enumerate(kinds) if kind):
            for names in (rules.required, rules.attributes):
                given = {name: VALUES[name] for name in names if name in VALUES} | stated
                yield graph(operator, kinds, next(iter(outputs)), bad, given)


def graph(operator: str, kinds: tuple[int, ...], outputs: tuple[int, ...], bad: int, given: dict[str, Any]) -> bytes:
    """One of them."""
    tensors: dict[str, Any] = {"one": np.ones([2, 2], DTYPES[kinds[bad]]), "other": np.ones([3, 3], DTYPES[kinds[bad]])}
    names = [f"input{at}" if kind else "" for at, kind in enumerate(kinds)]
    for at, kind in enumerate(kinds):
        if kind and at != bad:
            tensors[names[at]] = np.ones([1] if kind == onnx.TensorProto.INT64 and at else [2, 2], DTYPES[kind])
    made = helper.make_graph(
        [
            helper.make_node("Concat", ["one", "other"], [names[bad]], axis=0),
            helper.make_node(operator, names, [f"output{at}" for at in range(len(outputs))], **given),
        ],
        "broken",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("output0", outputs[0], None)],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    return bytes(helper.make_model(made, opset_imports=opset, ir_version=10).SerializeToString())


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("rules", [BUNDLES, DETECTORS], ids=["bundles", "detectors"])
def test_what_cannot_be_converted_ends_no_process(rules: Rules, tmp_path: Any) -> None:
    path, tried, ended = tmp_path / "g.onnx", 0, []
    for operator, known in rules.operators.items():
        for content in {*graphs(operator, known)} if operator != "Constant" else ():
            path.write_bytes(content)
            child = os.fork()
            if child == 0:
                signal.alarm(60)
                code = 1
                try:
                    OpenVino().load(read_graph(path, rules))
                    code = 0
                except ClsclipRuntimeError:
                    code = 0
                finally:
                    os._exit(code)
            tried += 1
            if os.waitpid(child, 0)[1] != 0:
                ended.append((operator, onnx.load_model_from_string(content).graph.node[1]))
    assert tried > 100
    assert not ended


@pytest.mark.parametrize("rules", [BUNDLES, DETECTORS], ids=["bundles", "detectors"])
def test_bounds_of_every_type_are_known(rules: Rules) -> None:
    assert {kinds[0] for kinds in rules.operators["Clip"].types} <= {*LIMITS}
