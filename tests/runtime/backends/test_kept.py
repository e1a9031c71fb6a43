"""Between encoder and masks: what crosses between a made-up GPU and the host, who frees what stays, what NaN names."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from clsclip_runtime import BackendError, OptionError, Segmenter
from clsclip_runtime.arrays import DeviceArray, join_rows, to_host
from clsclip_runtime.backends.tensorrt.backend import TensorRt
from clsclip_runtime.bundle.opening import Bundle
from clsclip_runtime.inference.model import LoadedModel
from clsclip_runtime.limits import Limits
from tests.runtime.backends.fakes import WORDS, FakeCuda, FakeTensorRt, make_engine_bundle, scene
from tests.runtime.reading import presence_of
from tests.runtime.tiny_bundle import CONTEXT, GRID, PATCHES, SIZE, make_bundle

pytestmark = pytest.mark.usefixtures("user_cache")

BOXES = [[0, 0, 20, 20], [4, 4, 30, 30], [2, 2, 10, 28], [0, 0, 32, 32], [8, 8, 24, 24]]

FLOAT = 4
PIXELS = 3 * SIZE * SIZE * FLOAT
STEM, FEATURES = (1 + PATCHES) * 3 * FLOAT, PATCHES * 3 * FLOAT
IMAGE_FEATURES = TOKEN = 3 * FLOAT
LOGITS = GRID * GRID * FLOAT
INDEX = 8


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_engine_bundle(tmp_path / "tiny.clsclip")


def crossed_since(cuda: FakeCuda, before: Counter[str]) -> dict[str, int]:
    return dict(cuda.crossed - before)


def test_what_crosses_for_one_picture(bundle: Path, backend: TensorRt, cuda: FakeCuda) -> None:
    """By hand, byte for byte: the encoder's outputs, a thousand times the indices in a real model, do not."""
    with Segmenter.load(bundle, backend) as segmenter:
        features = segmenter.set_image(scene())
        assert cuda.crossed == {"to_device": PIXELS, "to_host": IMAGE_FEATURES}
        assert all(isinstance(array, DeviceArray) for array in features.arrays.values())
        before = cuda.crossed.copy()
        segmenter.predict(["red", "green"], presence_threshold=0)
        text = {"to_device": 2 * CONTEXT * INDEX, "to_host": 2 * 2 * TOKEN}
        gate = {"to_device": 2 * TOKEN, "to_host": 2 * FLOAT}
        trunk = {"to_device": 2 * TOKEN + 2 * 2 * INDEX, "to_host": 2 * LOGITS}
        assert crossed_since(cuda, before) == {key: text[key] + gate[key] + trunk[key] for key in text}
        before = cuda.crossed.copy()
        segmenter.predict(["green", "red"], presence_threshold=0)
        assert crossed_since(cuda, before) == {key: gate[key] + trunk[key] for key in gate}, "words are kept"


def test_what_crosses_for_regions(bundle: Path, backend: TensorRt, cuda: FakeCuda) -> None:
    """More crops, pairs and words than the engines take at a time: rows are picked and joined on the GPU."""
    with Segmenter.load(bundle, backend) as segmenter:
        segmenter(scene(), WORDS, presence_threshold=0)  # words are encoded
        before = cuda.crossed.copy()
        result = segmenter(scene(), WORDS, presence_threshold=0, regions=BOXES)
        crops, words, pairs = len(BOXES), len(WORDS), len(result.pairs)
        assert pairs == crops * words
        found = crossed_since(cuda, before)
        assert found["to_host"] == crops * (IMAGE_FEATURES + words * FLOAT) + pairs * LOGITS
        gate_calls, filled_up = 3, 8  # ceil(crops / 2) for all words; 45 pairs, of which the last 3 become 4
        assert crops * PIXELS < found["to_device"]
        assert found["to_device"] <= (
            crops * PIXELS + gate_calls * words * TOKEN + (pairs + filled_up) * (2 * INDEX + TOKEN)
        )
        assert "on_device" in cuda.calls


def test_kept_and_host_features_give_the_same(bundle: Path, backend: TensorRt, cuda: FakeCuda) -> None:
    with Segmenter.load(bundle, backend) as ours, Segmenter.load(bundle, "onnxruntime-cpu") as theirs:
        features = ours.set_image(scene())
        moved = features.to_host()
        assert moved.to_host() is moved
        assert all(isinstance(array, np.ndarray) for array in moved.arrays.values())
        kept = ours.predict(WORDS, image=features, presence_threshold=0)
        for segmenter in (ours, theirs):
            same = segmenter.predict(WORDS, image=moved, presence_threshold=0)
            np.testing.assert_array_equal(same.pairs.logits, kept.pairs.logits)
            np.testing.assert_array_equal(presence_of(same), presence_of(kept))
        with pytest.raises(OptionError, match=r"features are there.*predict\(image=features\.to_host\(\)\)"):
            theirs.predict(WORDS, image=features)
        expected = theirs.set_image(scene()).arrays
        for name, array in features.arrays.items():
            np.testing.assert_array_equal(to_host(array), to_host(expected[name]))
        # The whole picture's features are on the host here and the regions' on the GPU, in the same calls.
        mixed = ours.predict(WORDS, image=moved, presence_threshold=0, regions=BOXES[:1])
        np.testing.assert_array_equal(
            mixed.masks, theirs(scene(), WORDS, presence_threshold=0, regions=BOXES[:1]).masks
        )


def test_host_and_device_crops_in_one_call(bundle: Path, backend: TensorRt) -> None:
    graphs = LoadedModel(Bundle.open(bundle), backend, limits=Limits(memory_mb=64))
    text = graphs.text.encode(["red", "green"]).arrays
    pixels = np.random.default_rng(0).normal(size=(2, 3, SIZE, SIZE)).astype(np.float32)
    arrays = graphs.encode(pixels, ["one", "other"])
    moved = {name: to_host(array) for name, array in arrays.items()}
    first, second, index = np.array([1]), np.array([0, 1]), np.array([0, 0, 1, 2])
    found = []
    for one, other in ((arrays, arrays), (arrays, moved), (moved, arrays), (moved, moved)):
        joined = {name: join_rows([(one[name], first), (other[name], second)]) for name in arrays}
        found.append(graphs.trunk(joined, text, index, np.array([0, 1, 1, 0]))[0])
    for again in found[1:]:
        np.testing.assert_array_equal(again, found[0])


def test_features_are_freed_with_their_last_reference(bundle: Path, backend: TensorRt, cuda: FakeCuda) -> None:
    segmenter = Segmenter.load(bundle, backend)
    features = [segmenter.set_image(scene(number)) for number in range(3)]
    assert len(cuda.device) == 1 + 3 * 3, "the encoder's input, and three arrays a picture"
    del features[0]
    assert len(cuda.device) == 1 + 2 * 3
    expected = segmenter.predict(["red"], presence_threshold=0)
    segmenter.close()
    gc.collect()
    assert cuda.left() == {"device": 2 * 3}, "closing frees all but what somebody holds"
    with Segmenter.load(bundle, backend) as other:
        same = other.predict(["red"], image=features[1], presence_threshold=0)
        np.testing.assert_array_equal(same.pairs.logits, expected.pairs.logits)
    moved = features[0].to_host()
    features.clear()
    assert cuda.left() == {}
    with Segmenter.load(bundle, backend) as other:
        assert other.predict(["red"], image=moved, presence_threshold=0).mask("red").any()
    assert cuda.left() == {}


def test_features_of_one_thread_are_read_by_others(bundle: Path, backend: TensorRt, cuda: FakeCuda) -> None:
    with Segmenter.load(bundle, backend) as segmenter:
        features = [segmenter.set_image(scene(number)) for number in range(3)]
        expected = [segmenter.predict(WORDS, image=one, presence_threshold=0).pairs.logits for one in features]
        barrier = threading.Barrier(4)

        def work(number: int) -> None:
            barrier.wait()
            for turn in range(4):
                at = (number + turn) % 3
                image = features[at] if turn % 2 else segmenter.set_image(scene(at))
                found = segmenter.predict(WORDS, image=image, presence_threshold=0)
                np.testing.assert_array_equal(found.pairs.logits, expected[at])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        features.clear()
    assert cuda.left() == {}


@pytest.mark.parametrize(
    ("output", "named"),
    [
        ("image_features", r"NaN or infinity \(image_features\) for <array>: .*image encoder are damaged"),
        ("patch_features", r"NaN or infinity as the presence score of the word 'red'"),
        ("stem_tokens", r"NaN or infinity as the mask of the word 'red'"),
        ("presence", r"NaN or infinity as the presence score of the word 'red'"),
        ("mask_logits", r"NaN or infinity as the mask of the word 'green'"),
    ],
)
def test_nan_is_found_wherever_it_comes_up(
    bundle: Path, backend: TensorRt, fake: FakeTensorRt, cuda: FakeCuda, output: str, named: str
) -> None:
    fake.damaged.add(output)
    with Segmenter.load(bundle, backend) as segmenter:
        with pytest.raises(BackendError, match=named):
            segmenter(scene(), ["red", "green"], presence_threshold=0)
        with pytest.raises(BackendError, match="NaN or infinity"):  # in the second of two crops
            segmenter(scene(), ["red", "green"], presence_threshold=0, regions=BOXES[:2])
        fake.damaged.clear()
        assert segmenter(scene(), ["red"], presence_threshold=0).mask("red").any(), "and all goes on"
    gc.collect()
    assert cuda.left() == {}


@pytest.mark.parametrize("call", ["set_input_shape", "set_tensor_address", "execute_async_v3"])
def test_a_failed_call_leaves_nothing_and_the_next_one_works(
    bundle: Path, backend: TensorRt, fake: FakeTensorRt, cuda: FakeCuda, call: str
) -> None:
    with Segmenter.load(bundle, backend) as segmenter:
        features = segmenter.set_image(scene())
        expected = segmenter.predict(["red"], image=features, presence_threshold=0).pairs.logits
        for attempt in ("trunk", "image_encoder"):
            fake.refuses.add(call)
            with pytest.raises(BackendError, match="TensorRT refused"):
                if attempt == "trunk":
                    segmenter.predict(["red"], image=features, presence_threshold=0)
                else:
                    segmenter.set_image(scene())
            fake.refuses.clear()
            again = segmenter.predict(["red"], image=features, presence_threshold=0).pairs.logits
            np.testing.assert_array_equal(again, expected)
        room, cuda.room = cuda.room, sum(array.nbytes for array in cuda.device.values()) + STEM + FEATURES
        with pytest.raises(BackendError, match="out of memory"):
            segmenter.set_image(scene())
        cuda.room = room
        segmenter.set_image(scene())
    del features
    gc.collect()
    assert cuda.left() == {}


def test_a_bundle_without_presence(tmp_path: Path, fake: FakeTensorRt, backend: TensorRt, cuda: FakeCuda) -> None:
    from tests.runtime.backends.fakes import scene, write_engine

    bundle = make_bundle(tmp_path / "bare.clsclip", presence=False)
    for name in ("text_encoder", "image_encoder", "trunk"):
        write_engine(bundle / f"{name}.onnx")
    with Segmenter.load(bundle, backend) as segmenter:
        assert segmenter(scene(), ["red"]).mask("red").any()
        fake.damaged.add("stem_tokens")
        with pytest.raises(BackendError, match="as the mask of the word 'red'"):
            segmenter(scene(), ["red"])
    gc.collect()
    assert cuda.left() == {}
