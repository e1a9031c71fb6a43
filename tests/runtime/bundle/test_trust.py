"""What is said about how far a model can be trusted: from any manifest, in results, overlays and the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsclip_runtime import Segmenter
from clsclip_runtime.bundle.trust import doubt_of, trust_line
from clsclip_runtime.cli.infer import main
from tests.runtime.tiny_bundle import make_bundle, paint

VALIDATED = {"steps": 1200, "pictures": 36, "validation": {"miou": 41.25, "leakage": 0.118, "pictures": 4}}


@pytest.mark.parametrize(
    ("provenance", "line", "doubtful"),
    [
        (VALIDATED, "trained 1,200 steps on 36 pictures; validation: mIoU 41.2, leakage 0.12 on 4 pictures", False),
        ({"steps": 1, "pictures": 1}, "trained 1 step on 1 picture; never validated", True),
        ({"steps": 4, "random_towers": True}, "trained 4 steps on random towers, which know no word; never", True),
        (VALIDATED | {"random_towers": True}, "random towers, which know no word; validation: mIoU 41.2", True),
        ({}, "never validated", True),
        (None, "never validated", True),
        ([1], "never validated", True),
        ({"validation": {"miou": "good"}}, "never validated", True),
        ({"validation": {"miou": True}, "steps": True}, "never validated", True),
        ({"validation": {"leakage": 0.5}}, "validation: leakage 0.50", True),
        ({"steps": -4, "pictures": 1e300, "validation": {"miou": 1e300}}, "never validated", True),
        ({"steps": 10**18, "validation": 5}, "never validated", True),
    ],
)
def test_what_manifests_say(provenance: Any, line: str, doubtful: bool) -> None:
    manifest = {"provenance": provenance}
    assert line in trust_line(manifest)
    assert (doubt_of(manifest) is not None) == doubtful
    assert not doubtful or line in str(doubt_of(manifest))


def without_validation(document: dict[str, Any]) -> None:
    document["provenance"] = {"steps": 4, "pictures": 40, "random_towers": True}


@pytest.mark.parametrize(("edit", "doubtful"), [(None, False), (without_validation, True)])
def test_results_and_the_command_tell_it(
    edit: Callable[[dict[str, Any]], None] | None, doubtful: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    bundle = make_bundle(tmp_path / "m.clsclip", edit=edit)
    pixels = paint({"red": (slice(1, 4), slice(1, 4))})
    with Segmenter.load(bundle, "onnxruntime-cpu", word_cache=False) as segmenter:
        result = segmenter(pixels, ["red"])
    assert result.trust == segmenter.bundle.manifest.trust
    assert any("nobody knows how good" in note for note in result.notes) == doubtful
    Image.fromarray(pixels).save(tmp_path / "p.png")
    places = [str(tmp_path / "p.png"), "--model", str(bundle), "--out", str(tmp_path / "out")]
    assert main([*places, "--classes", "red"]) == 0
    out = capsys.readouterr().out
    said = "random towers, which know no word; never validated" if doubtful else "validation: mIoU 100.0, leakage 0.00"
    assert out.count(said) == 1
    assert main([*places, "--classes", "red", "--validated-only"]) == doubtful
    assert ("So --validated-only refuses it" in capsys.readouterr().err) == doubtful


def test_the_overlay_has_it_in_its_caption(tmp_path: Path) -> None:
    pixels = np.kron(paint({"red": (slice(1, 4), slice(1, 4))}), np.ones((12, 12, 1), np.uint8))
    sizes = []
    for name, edit in (("with", None), ("without", lambda document: document["provenance"].clear())):
        with Segmenter.load(make_bundle(tmp_path / name, edit=edit), "onnxruntime-cpu", word_cache=False) as segmenter:
            sizes.append(np.asarray(segmenter(pixels, ["red"]).overlay()))
    one, other = sizes
    assert one.shape == other.shape
    assert (one[: len(pixels)] == other[: len(pixels)]).all() and (one != other).any()
