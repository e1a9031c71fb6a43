"""A random ViT-B/16, the size that people have: parity in FP32 and FP16 on photographs, size on disk, engines."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from PIL import Image

from clsclip.model import ClsClip, ModelConfig
from clsclip.tower_files import load_towers
from clsclip_bench.operations import count_operations
from clsclip_export import bundle as bundle_module
from clsclip_export.bundle import write_bundle
from clsclip_export.check_data import CheckData
from clsclip_export.engines.build import build_engines
from clsclip_export.engines.options import EngineOptions
from clsclip_export.graphs import export_graphs
from clsclip_export.options import BundleOptions
from clsclip_export.parity import TOLERANCE
from clsclip_export.profiles import Profile
from clsclip_runtime.backends.tensorrt.edition import find_edition
from clsclip_runtime.backends.tensorrt.engine_files import Machine
from clsclip_runtime.bundle.opening import TRUNK, Bundle
from tests.shared_data import shared_data


@pytest.mark.slow
def test_parity_size_and_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    towers = load_towers("ViT-B-16")
    model = ClsClip(towers, ModelConfig(decoder_heads=12)).eval()
    exported = export_graphs(model)
    monkeypatch.setattr(bundle_module, "export_graphs", lambda model: exported)
    data, profile = CheckData.read(photographs()), Profile((1, 1, 2), (1, 4, 8), (1, 4, 8))
    wide, half = tmp_path / "fp32.clsclip", tmp_path / "fp16.clsclip"
    parity = write_bundle(model, {}, wide, BundleOptions("b16", profile=profile), data=data)
    assert max(row.difference for row in parity) <= TOLERANCE
    assert {row.pairs for row in parity} == {1, 2, 8}
    counted_by_hand(wide)
    parity = write_bundle(model, {}, half, BundleOptions("b16", "fp16", profile), data=data)
    judged = [row.iou for row in parity if row.iou is not None]
    assert min(judged) >= 0.99
    assert len(judged) >= 12, "a random model marks about half of every picture"
    assert min(row.cosine for row in parity if row.precision == "fp16") >= 0.999
    sizes = [sum(path.stat().st_size for path in folder.iterdir()) for folder in (wide, half)]
    assert sizes[1] < 0.505 * sizes[0]
    from clsclip_runtime import Segmenter

    with Segmenter.load(half) as segmenter:
        result = segmenter(Image.new("RGB", (300, 200), "teal"), classes=["bottle", "boat"], presence_threshold=0)
    assert result.masks.shape == (2, 200, 300)
    if find_spec("tensorrt_rtx") is None:
        pytest.skip(
            "all but the engines passed; the wheel tensorrt-rtx-cu13 is not installed (none for this platform?)"
        )
    # The tests keep no cache else; engines are kept in this user's.
    monkeypatch.setenv("CLSCLIP_CACHE", str(tmp_path / "cache"))
    engines(wide, half, profile)


def counted_by_hand(folder: Path) -> None:
    """The operations that the benchmark counts are those of ViT-B/16: 12 layers, 768 wide, 197 tokens of 16 px."""
    tokens, width, text = 197, 768, 512

    def layer(count: int) -> int:
        return 2 * count * 12 * width**2 + 4 * count**2 * width

    decoder = 2 * layer(tokens - 1) + 2 * (tokens - 1) * width * 16
    # The first navigation layer: attention among patches once a crop, a word's map, query, key and value once a word.
    crop = 2 * (tokens - 1) * 3 * width**2 + 4 * (tokens - 1) ** 2 * width
    word = 2 * text * width + 2 * 3 * width**2
    # What is left of it for a pair: the word's key to all patches, the word's query to all tokens, and its mixed value.
    shared = layer(tokens) - 2 * tokens * 3 * width**2 - 4 * tokens**2 * width
    shared += 2 * (tokens - 1) * width + 4 * tokens * width
    pair = shared + 9 * layer(tokens) + 2 * 2 * text * width + decoder
    stem = 2 * (tokens - 1) * 3 * 16**2 * width + 2 * layer(tokens)
    assert count_operations(folder / TRUNK).terms == {("C",): crop, ("K",): word, ("P",): pair}
    assert count_operations(folder / "segmenter.onnx").terms == {("C",): stem + crop, ("K",): word, ("P",): pair}
    words = count_operations(folder / "text_encoder.onnx").at(K=1)
    by_hand = 12 * (2 * 77 * 12 * text**2 + 4 * 77**2 * text) + 2 * text**2
    assert words == pytest.approx(by_hand, rel=1e-3)


def photographs() -> Path | None:
    """The folder of real pictures; None, for scikit-image's, where it is not here."""
    try:
        return shared_data("pictures")
    except pytest.skip.Exception:
        return None


def engines(wide: Path, half: Path, profile: Profile) -> None:
    """Both trunks built, each in its precision, the half one of half the size."""
    edition = find_edition("tensorrt-rtx")
    machine, options = Machine(edition.name, edition.version, None, None), EngineOptions(profile)
    plans = []
    for folder, precision in ((wide, "fp32"), (half, "fp16")):
        (built,) = build_engines(Bundle.open(folder), edition, machine, options, graphs=(TRUNK,))
        assert built.engine.document["weights"].get(precision, 0) > 0.99
        log = built.engine.plan.with_suffix(".log").read_text("utf-8")
        assert "Name: stem_tokens, IOMode: Input, DataType: Float, Dimensions: [-1,197,768]" in log
        assert "MinShape: [1], OptShape: [4], MaxShape: [8]" in log
        plans.append(built.engine.document["plan_bytes"])
    assert plans[1] < 0.52 * plans[0]
