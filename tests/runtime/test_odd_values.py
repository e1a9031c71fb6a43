"""Every argument of the public functions with values that make no sense: the product's errors, or TypeError."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsclip_runtime import Bundle, ClsclipRuntimeError, Detector, Limits, RegionFile, Result, Segmenter, open_image
from clsclip_runtime.results.overlay import overlay
from tests.runtime.tiny_bundle import paint

SCENE = paint({"red": (slice(1, 4), slice(1, 5))})

ODD: tuple[Any, ...] = (
    *("a\0b", "a\ud800b", "", "x" * 5000, "\x1b[2J", b"a", Path("a\0b"), Path("a\ud800b")),
    *(5, -1, 10**400, -(10**400), float("nan"), float("inf"), 0.5, None, np.float64("nan"), 1j, object()),
    *([], [1], [[1]], [["a"]], (0, 0), (10**400, 5), (float("nan"), 5), ("a", "b"), {"a": 1}, {1}, ["a", "\ud800"]),
    *([[0, 0, 10**400, 5]], [[0, 0, float("nan"), 5]], [["a"] * 4], [{"bbox": [0, 0, 5, 5], "class": "\ud800"}]),
)


def try_all(call: Callable[..., object], but: Sequence[str] = (), **usual: Any) -> None:
    """Give every parameter of a function but some every odd value, beside the usual ones of the others."""
    for name in inspect.signature(call).parameters.keys() - set(but):
        for value in ODD:
            try:
                call(**{**usual, name: value})
            except TypeError:
                pass
            except ClsclipRuntimeError as error:
                str(error).encode()
            except Exception as error:
                pytest.fail(f"{name}={str(value)[:80]!r} raises {error!r}")


@pytest.mark.parametrize("what", ["__call__", "batch", "set_image", "predict"])
def test_segmenters(segmenter: Segmenter, what: str) -> None:
    segmenter.set_image(SCENE)
    usual: dict[str, dict[str, Any]] = {
        "__call__": {"image": SCENE, "classes": ["red"]},
        "batch": {"images": [SCENE], "classes": ["red"]},
        "set_image": {"image": SCENE},
        "predict": {"classes": ["red"]},
    }
    try_all(getattr(segmenter, what), **usual[what])


def test_loading(bundle: Path) -> None:
    # What is true starts a process.
    try_all(Segmenter.load, ["isolated"], path=bundle, backend="onnxruntime-cpu", word_cache=False)
    for call in (Limits, Bundle.open, RegionFile, partial(open_image, SCENE)):
        try_all(call)
    for value in ODD:
        with pytest.raises((ClsclipRuntimeError, TypeError)):
            open_image(value)
        with pytest.raises((ClsclipRuntimeError, TypeError)):
            Detector.load(value)


@pytest.mark.parametrize("what", ["index", "mask", "probabilities", "mask_at_size", "rle", "labels", "to_coco", "save"])
def test_results(segmenter: Segmenter, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # an odd value can be a folder's name
    found: Result = segmenter(SCENE, ["red"])
    call = getattr(found, what)
    usual: dict[str, Any] = {"name": "red", "size": (5, 5), "folder": tmp_path}
    try_all(call, **{name: value for name, value in usual.items() if name in inspect.signature(call).parameters})


def test_overlays(segmenter: Segmenter) -> None:
    found = segmenter(SCENE, ["red"])
    try_all(partial(overlay, found))


def test_messages_can_be_printed() -> None:
    with pytest.raises(ClsclipRuntimeError, match=r"a\\ud800b"):
        Bundle.open("a\ud800b")
