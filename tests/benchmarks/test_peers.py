"""Every way does the same work: their logits agree, on the embedded model."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.peers import clipseg, material, plus
from benchmarks.peers.engines import OnnxRuntimePeer, OpenVinoPeer
from benchmarks.peers.parity import difference, wrong_rows
from benchmarks.peers.pytorch import EagerBatched, EagerLoop
from benchmarks.peers.table import FIRST, TOGETHER, engine_specs, groups, markdown, torch_specs, with_ratios
from clsclip.checkpoint import load_checkpoint
from clsclip_bench.case import Workload
from clsclip_bench.ours import SegmenterCase
from clsclip_runtime.bundle.opening import EMBEDDED

WORKLOAD = Workload(1, 3)


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The embedded model in place of the large one; its bundle in a folder that may be written beside."""
    monkeypatch.setattr(material, "full_size_model", lambda: load_checkpoint(plus.CHECKPOINT)[0].eval())
    return str(shutil.copytree(EMBEDDED, tmp_path / "embedded.clsclip"))


def test_all_ways_agree(bundle: str) -> None:
    peers = [EagerLoop(bundle), EagerBatched(bundle), OnnxRuntimePeer(bundle, threads=1)]
    peers.append(SegmenterCase(bundle, "onnxruntime-cpu", side=material.SIDE, threads=1))
    found = []
    for peer in peers:
        peer.load()
        peer.prepare(WORKLOAD)
        peer.call()
        assert peer.facts()["pairs"] == 3
        found.append(peer.logits())
    loop, batched, plain, ours = (peer.facts() for peer in peers)
    for logits in found[1:]:
        figures = difference(logits, found[0])
        assert figures["max_difference"] <= 1e-4
        assert figures["words"] == 3
    image, pair = 1.788596736e9, 1.714688512e9
    assert loop["operations"] == pytest.approx(3 * (image + pair), rel=1e-3)
    # Together, what pairs share is computed once a crop.
    together = image + 0.12582912e9 + 3 * 1.588490752e9
    assert batched["operations"] == plain["operations"] == pytest.approx(together, rel=1e-3)
    assert ours["graphs"]
    assert (Path(bundle).parent / "tokens-3.npy").is_file(), "words are encoded once for all processes"


def test_openvino_agrees(bundle: str) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed: pip install openvino")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its modules warn when they are imported
        peers = [OnnxRuntimePeer(bundle, threads=1), OpenVinoPeer(bundle, threads=1)]
        for peer in peers:
            peer.load()
            peer.prepare(WORKLOAD)
            peer.call()
    first, second = (peer.logits() for peer in peers)
    assert first is not None
    assert second is not None
    assert difference(second, first)["max_difference"] <= 1e-4


def test_both_forms_of_clipseg_agree(bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 10, "num_attention_heads": 2}
    sizes = {"image_size": material.SIDE, "patch_size": material.PATCH}
    monkeypatch.setattr(clipseg, "CONFIG", {"vision_config": small | sizes, "text_config": {"num_hidden_layers": 1}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its modules warn when they are imported
        pytest.importorskip("transformers", reason="transformers is not installed: pip install 'clsclip[peers]'")
        found, operations = [], []
        for kind in (clipseg.Documented, clipseg.EncoderShared):
            peer = kind(bundle)
            peer.load()
            peer.prepare(WORKLOAD)
            peer.call()
            found.append(peer.logits())
            operations.append(peer.facts()["operations"])
    first, second = found
    assert first is not None
    assert second is not None
    assert first.shape == (3, 128, 128), "equal input size: the bundle's"
    assert np.abs(first - second).max() <= 1e-4
    assert operations[1] < operations[0]


def test_both_sides_of_the_end_to_end_row_mark_the_same() -> None:
    pytest.importorskip("ultralytics", reason="ultralytics is not installed")
    ours, theirs = plus.Ours("", "onnxruntime-cpu", threads=1), plus.Theirs("", shared=True)

    class NoDetector:
        """Stands for both detectors: boxes are drawn beforehand anyway."""

        def __call__(self, image: object) -> None: ...

        def predict(self, image: object, **_: object) -> None: ...

    masks = []
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr("ultralytics.YOLO", lambda weights: NoDetector())
        patch.setattr("clsclip_runtime.Segmenter.detector", NoDetector())
        ours._detector = None  # type: ignore[assignment]
        for side in (ours, theirs):
            side.load()
            side.call()
            assert side.facts()["pairs"] == 15
            masks.append(side.logits())
    figures = difference(masks[0], masks[1])
    assert figures["mean_iou"] >= 0.999


values = st.floats(-4, 4, width=32).filter(lambda value: value != 0)


@given(rows=st.lists(st.tuples(values, values), min_size=1, max_size=12))
def test_difference_by_hand(rows: list[tuple[float, float]]) -> None:
    found, expected = (np.asarray([[one]], np.float32) for one in zip(*rows, strict=True))
    figures = difference(found, expected)
    assert figures["max_difference"] == pytest.approx(float(np.abs(found - expected).max()), rel=6e-3)
    union = sum(one > 0 or other > 0 for one, other in rows)
    both = sum(one > 0 and other > 0 for one, other in rows)
    assert figures["mean_iou"] == (None if not union else pytest.approx(both / union, abs=1e-4))


def test_dropped_words_are_left_out() -> None:
    expected: NDArray[np.float32] = np.ones((3, 2, 2), np.float32)
    found = expected.copy()
    found[1] = -np.inf
    assert difference(found, expected) == {"max_difference": 0.0, "mean_iou": 1.0, "words": 2}
    assert difference(found[1:2], expected[:1]) == {"reason": "no word was segmented"}
    assert "shape" in difference(found[:1], expected)["reason"]


def test_the_first_row_stands_beside_every_group() -> None:
    first, *others = torch_specs("b", None, gpu=True) + engine_specs({"fp32": Path("b"), "int8": Path("c")}, None)
    made = list(groups(first, others))
    assert all(group[0] is first and len(group) <= 1 + TOGETHER for group in made)
    assert [spec for group in made for spec in group[1:]] == others
    assert len({spec.name for spec in others}) == len(others)
    assert {spec.device for spec in others} == {"cpu", "gpu"}


def test_ratios_and_the_table() -> None:
    def row(name: str, milliseconds: float | None) -> dict[str, object]:
        whole = None if milliseconds is None else {"p50": milliseconds}
        parity = {"reference": True} if name == FIRST else {"max_difference": 1e-6, "mean_iou": 1.0}
        figures = {
            "whole_ms": whole,
            "operations": {"call": 2e9},
            "peak_share": 0.5,
            "load_s": 1.0,
            "peak_memory_mib": 10.0,
        }
        return {"name": name, "reason": "not here", "pairs": 20, "parity": parity, "precision": "fp32", **figures}

    rows = with_ratios([row(FIRST, 100), row("a", 20), row("b", None)], 1) + with_ratios(
        [row(FIRST, 50), row("c", 5)], 2
    )
    assert [one["times_first"] for one in rows] == [1, 5, None, 1, 10]
    text = markdown({"rows": rows, "left_out": {"bundle int8": "no such precision"}})
    assert text.count(FIRST) == 1
    assert "| 10.0 |" in text
    assert "- b: not here" in text
    assert "- bundle int8: no such precision" in text


def test_rows_whose_masks_differ_are_wrong() -> None:
    def row(name: str, parity: dict[str, Any] | None, precision: str = "fp32", measured: bool = True) -> dict[str, Any]:
        return {"name": name, "parity": parity, "precision": precision, "whole_ms": {"p50": 1.0} if measured else None}

    rows = [
        row("first", {"reference": True}),
        row("same", {"mean_iou": 0.9999, "words": 20}),
        row("rounded", {"mean_iou": 0.96, "words": 20}, "int8"),
        row("not measured", {"reason": "it failed"}, measured=False),
        row("filtered", {}),
        row("none", None),
    ]
    assert wrong_rows(rows) == []
    half = row("half", {"mean_iou": 0.8457, "words": 20})
    assert wrong_rows([*rows, half, row("shape", {"reason": "logits of shape (1,)"})]) == [
        "half: mean mask IoU 0.8457 with the reference, and 0.999 is the least",
        "shape: logits of shape (1,)",
    ]
