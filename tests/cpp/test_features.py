"""Bundles whose features no runtime knows, in C++ and in Python: masks are those that numpy computes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from clsclip_runtime import Segmenter, ZoomIn
from clsclip_runtime.errors import BundleError, WordError
from clsclip_runtime.masks.upsampling import logit, mask_at
from clsclip_runtime.regions import Proposals
from clsclip_runtime.text.stored import write_text_tokens
from tests.cpp.c_api import CError, CSegmenter
from tests.cpp.opaque_bundle import WORDS, expected_logits, make_opaque_bundle, sentences
from tests.runtime.tiny_bundle import paint, sign

SCENE = paint({"red": (slice(1, 4), slice(1, 5)), "green": (slice(5, 7), slice(2, 4))})
BOXES, NAMES = [[4.0, 4.0, 24.0, 20.0], [0.0, 12.0, 30.0, 32.0]], [None, "green"]


def same_results(folder: Path, words: tuple[str, ...] = WORDS) -> CSegmenter:
    """Compare both runtimes on the whole image and on boxes; returns the C++ one."""
    cpp = CSegmenter(folder)
    with Segmenter.load(folder, threads=1, backend="onnxruntime-cpu") as python:
        for asked in ({}, {"presence_threshold": 0.0}, {"max_classes": 1, "presence_threshold": 0.2}):
            if asked and python.bundle.manifest.presence is None:
                continue
            for boxes in (None, BOXES):
                given = None if boxes is None else Proposals.from_boxes(boxes, NAMES)
                zoom = ZoomIn(crop_margin=0.0) if boxes else False
                mine = python(SCENE, words, regions=given, zoom_in=zoom, **asked)
                theirs = cpp(SCENE, words, boxes=boxes, names=NAMES if boxes else None, crop_margin=0.0, **asked)
                assert theirs.status == [one.status for one in mine]
                assert theirs.reason == [one.reason or "" for one in mine]
                assert theirs.searched == [one.searched for one in mine]
                presence = [np.nan if one.presence is None else one.presence for one in mine]
                np.testing.assert_allclose(theirs.presence, presence, atol=1e-5)
                for at, mask in enumerate(theirs.masks):
                    assert (mask == mine.mask(at)).all()
    return cpp


@pytest.mark.parametrize("form", ["logit", "probability"])
@pytest.mark.parametrize("presence", ["filter", "trunk", None])
def test_features_of_any_name_and_shape(tmp_path: Path, presence: str | None, form: str) -> None:
    folder = make_opaque_bundle(tmp_path / "opaque.clsclip", presence=presence, form=form)
    cpp = same_results(folder)
    theirs = cpp(SCENE, WORDS, **({} if presence is None else {"presence_threshold": 0.0}))
    logits = expected_logits(Image.fromarray(SCENE), WORDS)
    assert 3 <= sum(int(mask.any()) for mask in theirs.masks) < 5
    for mask, own in zip(theirs.masks, logits, strict=True):
        # The model's threshold is 0.4.
        assert (mask == mask_at(own, SCENE.shape[1::-1], logit(0.4))).all()
    if presence is not None:
        assert theirs.status != cpp(SCENE, WORDS).status, "the bundle's threshold leaves a class out"
    cpp.close()


@pytest.mark.parametrize("encoder", [False, True], ids=["words alone", "words and text encoder"])
def test_words_that_the_bundle_holds(tmp_path: Path, encoder: bool) -> None:
    folder = make_opaque_bundle(tmp_path / "opaque.clsclip", encoder=encoder, stored=True)
    plain = CSegmenter(make_opaque_bundle(tmp_path / "plain.clsclip"))
    cpp = same_results(folder)
    assert (cpp(SCENE, WORDS).masks == plain(SCENE, WORDS).masks).all()
    if encoder:
        assert (cpp(SCENE, ["a red table"]).masks == plain(SCENE, ["a red table"]).masks).all()
    else:
        told = (
            r"the bundle knows 4 words and 'cat' is not among them. It knows: red, green, blue, dining table\. Export"
        )
        with pytest.raises(CError, match=told) as theirs:
            cpp(SCENE, ["red", "cat"])
        assert theirs.value.status == 3
        with Segmenter.load(folder, threads=1) as python, pytest.raises(WordError, match=told):
            python(SCENE, ["red", "cat"])
    plain.close()
    cpp.close()


def test_words_that_the_bundle_holds_come_first(tmp_path: Path) -> None:
    folder = make_opaque_bundle(tmp_path / "opaque.clsclip", stored=True)
    write_text_tokens(folder / "text_tokens.safetensors", ["red"], {"sentence": sentences(("green",))}, ["red"])
    _sign_again(folder)
    cpp = same_results(folder, ("red", "green"))
    result = cpp(SCENE, ["red", "green"])
    assert result.masks[0].any() and (result.masks[0] == result.masks[1]).all()
    assert result.notes[0] == "'red' is longer than the model's 8 tokens: its end was cut off"
    cpp.close()


def _sign_again(folder: Path) -> None:
    sign(folder, json.loads((folder / "manifest.json").read_text("utf-8")))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("features", 0, "name"), "something", "wants the inputs anything|gives no something|does not give something"),
        (("features", 0, "shape"), [3, 8, 9], "has '?anything'? (of another type or shape|as float32)"),
        (("text", "features", 0, "shape"), [4, 3], "has '?sentence'? (of another type or shape|as float32)"),
        (("requires",), ["another way"], "needs 'another way', which this clsclip does not know"),
        (("features", 0, "dtype"), "float16", "(?i)upgrade clsclip"),
        (("schema_version",), 1, "Run: clsclip-bundle upgrade .*opaque.clsclip NEW"),
        (("schema_version",), 3, "Upgrade clsclip"),
    ],
)
def test_bundles_that_do_not_fit_are_refused_by_both(
    tmp_path: Path, place: tuple[str | int, ...], value: object, message: str
) -> None:
    folder = make_opaque_bundle(tmp_path / "opaque.clsclip")
    document = json.loads((folder / "manifest.json").read_text("utf-8"))
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    sign(folder, document)
    with pytest.raises(CError, match=message):
        CSegmenter(folder)(SCENE, WORDS)
    with pytest.raises(Exception, match=message), Segmenter.load(folder, threads=1) as python:
        python(SCENE, WORDS)


def test_an_input_that_nobody_feeds_is_refused_by_both(tmp_path: Path) -> None:
    """Engines leave out what no node reads, and a graph may still say that it takes it."""
    folder = make_opaque_bundle(tmp_path / "opaque.clsclip")
    trunk = onnx.load(folder / "trunk.onnx", load_external_data=False)
    trunk.graph.input.append(onnx.helper.make_tensor_value_info("zz", onnx.TensorProto.FLOAT, [1]))
    (folder / "trunk.onnx").write_bytes(trunk.SerializeToString())
    _sign_again(folder)
    message = r"trunk\.onnx in .* wants the inputs zz, which are none of its manifest"
    with pytest.raises(CError, match=message):
        CSegmenter(folder)
    for backend in ("onnxruntime-cpu", "openvino"):
        with pytest.raises(BundleError, match=message):
            Segmenter.load(folder, threads=1, backend=backend)


@pytest.mark.parametrize("damage", ["cut", "header", "nan", "other tensor"])
def test_damaged_words_are_refused_by_both(tmp_path: Path, damage: str) -> None:
    folder = make_opaque_bundle(tmp_path / "opaque.clsclip", encoder=False, stored=True)
    path = folder / "text_tokens.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[-5:]
    elif damage == "header":
        content[9] ^= 0xFF
    elif damage == "nan":
        content[-4:] = b"\x00\x00\xc0\x7f"
    else:
        content = bytearray(bytes(content).replace(b"sentence", b"sentense"))
    path.write_bytes(content)
    _sign_again(folder)
    with pytest.raises(CError, match=r"text_tokens\.safetensors") as theirs:
        CSegmenter(folder)
    assert theirs.value.status == 1
    with pytest.raises(BundleError, match=r"text_tokens\.safetensors"):
        Segmenter.load(folder, threads=1)
