"""Large files are verified while engines load: what is damaged is told all the same, whatever else goes on."""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from clsclip_runtime import Bundle, BundleError, Segmenter
from clsclip_runtime.backends.openvino import OpenVino, OpenVinoGraph
from clsclip_runtime.bundle import opening
from clsclip_runtime.bundle.contents import read_verified
from clsclip_runtime.inference import model
from clsclip_runtime.protocols import GraphFile
from tests.runtime.tiny_bundle import make_bundle

FILES = [
    *("text_encoder.onnx", "image_encoder.onnx", "trunk.onnx", "presence.onnx", "tokenizer.json"),
    *("vision.weights", "segmenter.onnx"),
]
ENGINES = ["onnxruntime-cpu", "openvino"]
PICTURE = np.random.default_rng(3).integers(0, 256, (40, 48, 3), np.uint8)


@pytest.fixture(params=[1 << 20, 1000, 0], ids=["graphs are small", "some are", "none is"])
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A bundle all of whose files but small graphs are large."""
    monkeypatch.setattr(opening, "_SMALL_FILE", 0)
    monkeypatch.setattr(opening, "_SMALL_GRAPH", request.param)
    before = threading.active_count()
    yield make_bundle(tmp_path / "own.clsclip")
    assert threading.active_count() == before


@pytest.mark.parametrize("engine", ENGINES)
def test_masks_are_the_usual_ones(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    with Segmenter.load(own, engine, word_cache=False) as segmenter:
        found = segmenter(PICTURE, ["red", "blue"], presence_threshold=0)
    monkeypatch.undo()
    with Segmenter.load(own, engine, word_cache=False) as segmenter:
        usual = segmenter(PICTURE, ["red", "blue"], presence_threshold=0)
    for one, other in zip(found, usual, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        assert one.presence == other.presence


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_flipped_byte_is_found(own: Path, engine: str, name: str) -> None:
    data = bytearray((own / name).read_bytes())
    data[len(data) // 2] ^= 1
    (own / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} in .* is damaged: its SHA-256"):
        Segmenter.load(own, engine, word_cache=False)
    with pytest.raises(BundleError, match=f"{name} in .* is damaged: its SHA-256"):
        Bundle.open(own)
    with pytest.raises(BundleError, match=f"{name} in .* is damaged: its SHA-256"):
        Segmenter.load(own, "nonsense", word_cache=False)  # damage is told first


def test_what_is_found_last_closes_what_was_loaded(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph that no engine loads is read when all others have been loaded, and then it is damaged.

    Nothing else waits for it here, as in a bundle whose words are encoded already.
    """
    monkeypatch.setattr(model, "_late_tokenizer", model.load_tokenizer)
    closed: list[Segmenter] = []
    close = Segmenter.close

    def noted(segmenter: Segmenter) -> None:
        closed.append(segmenter)
        close(segmenter)

    monkeypatch.setattr(Segmenter, "close", noted)
    loaded = threading.Event()
    init = Segmenter.__init__

    def made(segmenter: Segmenter, *args: object, **options: object) -> None:
        init(segmenter, *args, **options)  # type: ignore[arg-type]
        loaded.set()

    def late(folder: Path, name: str, entry: object, *, keep: bool) -> object:
        if name == "segmenter.onnx":
            assert loaded.wait(60)
            raise BundleError("damaged at last")
        return read_verified(folder, name, entry, keep=keep)  # type: ignore[arg-type]

    monkeypatch.setattr(Segmenter, "__init__", made)
    monkeypatch.setattr(opening, "read_verified", late)
    with pytest.raises(BundleError, match="damaged at last"):
        Segmenter.load(own, "onnxruntime-cpu", word_cache=False)
    assert len(closed) == 1


def test_who_interrupts_does_not_wait_for_all_files(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are not yet begun are left; after any other error damage would be told first."""
    waited: list[Bundle] = []
    monkeypatch.setattr(Bundle, "wait_until_verified", lambda bundle: waited.append(bundle))
    bundle = Bundle.open(own, to_load=True)
    with pytest.raises(KeyboardInterrupt), bundle.loading():
        raise KeyboardInterrupt
    assert not waited
    assert not bundle._held.late
    bundle = Bundle.open(own, to_load=True)
    with pytest.raises(ValueError, match="another"), bundle.loading():
        raise ValueError("another")
    assert waited == [bundle]


def test_nothing_of_it_is_held_afterwards(own: Path) -> None:
    with Segmenter.load(own, "onnxruntime-cpu", word_cache=False) as segmenter:
        held = segmenter.bundle._held
        assert not held.files and not held.graphs and not held.late
        with pytest.raises(BundleError, match="is missing"):
            (own / "trunk.onnx").unlink()
            segmenter.bundle.graph("trunk.onnx")


@pytest.mark.parametrize("engine", ENGINES)
def test_every_file_is_read_once(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    """The key of stored words names the text encoder's files, after that has been let go of."""
    read: Counter[str] = Counter()

    def noted(folder: Path, name: str, entry: object, *, keep: bool) -> object:
        read[name] += 1
        return read_verified(folder, name, entry, keep=keep)  # type: ignore[arg-type]

    monkeypatch.setattr(opening, "read_verified", noted)
    with Segmenter.load(own, engine, word_cache=tmp_path / "words") as segmenter:
        segmenter(PICTURE, ["red"])
        if opening._SMALL_GRAPH == 0:  # which files large graphs share is known too late to hold them
            del read["vision.weights"]
        assert read == dict.fromkeys(set(segmenter.bundle.manifest.files) & {*read}, 1)
        assert {*read} >= set(segmenter.bundle.manifest.files) - {"vision.weights"}
    assert [*(tmp_path / "words").iterdir()], "the word has a place"


def test_openvino_compiles_when_what_it_has_copied_is_gone(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else weights are in memory three times: as they were read, as OpenVINO copied them, and compiled."""
    handed: list[weakref.ref[object]] = []
    left: list[int] = []
    read = OpenVino.read
    all_read = threading.Barrier(4, timeout=60)

    def noted(engine: OpenVino, file: GraphFile) -> Callable[[], OpenVinoGraph]:
        handed.extend(weakref.ref(weight.data.base) for weight in file.weights)
        compile_copy = read(engine, file)
        del file

        def compile_noted() -> OpenVinoGraph:
            all_read.wait()
            end = time.monotonic() + 30  # the last of the threads lets go of files
            while any(one() is not None for one in handed) and time.monotonic() < end:
                time.sleep(0.01)
            left.append(sum(one() is not None for one in handed))
            return compile_copy()

        return compile_noted

    monkeypatch.setattr(OpenVino, "read", noted)
    with Segmenter.load(own, "openvino", word_cache=False) as segmenter:
        assert segmenter(PICTURE, ["red"], presence_threshold=0)["red"].mask.shape == (40, 48)
    assert handed
    assert left == [0] * 4
