"""Benchmarks of training-free segmentation: layouts, names, and figures equal to torchmetrics' confusion matrix."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as judge
from PIL import Image

from clsclip.cli.evaluate import main
from clsclip.data.benchmarks import BENCHMARKS, Benchmark, names_file
from clsclip.errors import DataError
from clsclip.evaluation.benchmark import Asking, confusion, ious, label_map, read_names, score_benchmark
from clsclip.evaluation.protocol import Protocol
from clsclip_runtime import Segmenter
from clsclip_runtime.images import open_image
from clsclip_runtime.results.class_result import ClassSearch
from clsclip_runtime.results.pairs import Pairs
from clsclip_runtime.results.result import Result
from tests.clsclip.data.made import make_coco, make_voc, save_image, save_labels
from tests.shared_data import shared_data

THINGS = [one for one in range(1, 91) if one not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
"""COCO's ids of its 80 objects."""

STUFF = list(range(92, 183))
"""COCO-Stuff's ids of its 91 kinds of stuff."""


@pytest.fixture(scope="module")
def segmenter() -> Iterator[Segmenter]:
    with Segmenter.load(backend="onnxruntime-cpu", threads=1) as loaded:
        yield loaded


class Drawn:
    """Stands for a segmenter: logits drawn from the picture, smooth, one map for every name."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.bundle, self.backend = segmenter.bundle, segmenter.backend

    def __call__(self, image: np.ndarray, classes: dict[str, tuple[str, ...]], **options: Any) -> Result:
        assert options["presence_filter"] is False, "every name is asked"
        rng = np.random.default_rng(int(image.sum()))
        counts = [len(names) for names in classes.values()]
        total, (height, width) = sum(counts), image.shape[:2]
        windows = np.tile(np.array([0, 0, width, height]), (total, 1))
        return Result(
            classes=tuple(classes),
            prompts=tuple(classes.values()),
            searches=tuple(ClassSearch(None, True, False, ("whole-image",)) for _ in classes),
            pairs=Pairs(
                classes=np.repeat(np.arange(len(classes)), counts),
                prompts=np.arange(total),
                windows=windows,
                limits=windows,
                boxes=np.full(total, -1),
                mask_logits=np.zeros(total),
                presence=np.full(total, np.nan, np.float32),
                logits=(rng.normal(size=(total, 9, 9)) - 1.5).astype(np.float32),
            ),
            mask_threshold=0.5,
            image=open_image(image),
            model="drawn",
            backend="none",
            presence_threshold=None,
        )


class Recorded:
    """A segmenter that remembers its results."""

    def __init__(self, segmenter: Segmenter | Drawn) -> None:
        self.segmenter, self.bundle, self.backend = segmenter, segmenter.bundle, segmenter.backend
        self.results: list[Result] = []

    def __call__(self, *arguments: Any, **options: Any) -> Result:
        self.results.append(self.segmenter(*arguments, **options))
        return self.results[-1]


def patches(rng: np.random.Generator, values: list[int], size: tuple[int, int] = (44, 60)) -> np.ndarray:
    """A label map of blocks, each of a value."""
    blocks = rng.choice(values, (size[0] // 4, size[1] // 4))
    return np.kron(blocks, np.ones((4, 4), np.int64)).astype(np.uint8)


def photograph(path: Path, labels: np.ndarray, rng: np.random.Generator) -> None:
    save_image(path, (8, 8))
    coarse = Image.fromarray(rng.integers(0, 256, (9, 11, 3), np.uint8))
    coarse.resize(labels.shape[::-1], Image.Resampling.BICUBIC).save(path)


def voc(root: Path) -> Path:
    rng = np.random.default_rng(1)
    masks = {name: patches(rng, [*range(21), 255]) for name in ("a", "b", "c")}
    make_voc(root, masks, ["a"], ["b", "c"])
    for name, labels in masks.items():
        photograph(root / "JPEGImages" / f"{name}.jpg", labels, rng)
    return root


def context(root: Path) -> Path:
    rng = np.random.default_rng(2)
    for name in ("2008_1", "2008_2"):
        labels = patches(rng, [*range(60), 255])
        save_labels(root / "SegmentationClassContext" / f"{name}.png", labels)
        photograph(root / "JPEGImages" / f"{name}.jpg", labels, rng)
    lists = root / "ImageSets" / "SegmentationContext"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("2008_1\n2008_2\n")
    return root


def stuff(root: Path) -> Path:
    rng = np.random.default_rng(3)
    for name in ("000000000139", "000000000285"):
        labels = patches(rng, [one - 1 for one in (*THINGS, *STUFF)] + [255])
        save_labels(root / "annotations" / "val2017" / f"{name}.png", labels)
        photograph(root / "images" / "val2017" / f"{name}.jpg", labels, rng)
    return root


def converted(root: Path, suffix: str, ids: list[int], first: int, other: int) -> Path:
    """What others' converters make of COCO-Stuff's files: the classes of ``ids`` counted from ``first``."""
    meant = {one - 1: at + first for at, one in enumerate(ids)}
    for path in sorted((root / "annotations" / "val2017").glob("*[0-9].png")):
        stored = np.asarray(Image.open(path)).astype(int)
        labels = np.vectorize(lambda value: meant.get(value, other))(stored)
        save_labels(path.with_name(f"{path.stem}{suffix}.png"), labels)
    return root


MAKERS = {"voc21": voc, "voc20": voc, "context59": context, "cocostuff": stuff, "coco-object": stuff}


def against_torchmetrics(
    benchmark: Benchmark, segmenter: Segmenter | Drawn, asking: Asking, limit: int | None = None
) -> None:
    names = read_names(names_file(benchmark), benchmark)
    recorded = Recorded(segmenter)
    score = score_benchmark(benchmark, recorded, names, asking, limit=limit)  # type: ignore[arg-type]
    truths, drawn = [], []
    for index, result in enumerate(recorded.results):
        truth = asking.protocol.mask(benchmark.images.labels(index)).astype(np.int64)
        each = torch.from_numpy(np.array(result.pairs.logits))[None]
        each = torch.nn.functional.interpolate(each, truth.shape, mode="bilinear", align_corners=False)[0]
        own = [each[np.flatnonzero(result.pairs.classes == at)] for at in range(len(result.classes))]
        logits = torch.stack([one.max(dim=0).values for one in own])  # the strongest name of every class
        if benchmark.background:
            logits = torch.cat([torch.full_like(logits[:1], result.mask_logit), logits])
        ours = label_map(result, names, benchmark)
        # Where two are as strong to the last digits, either may win.
        short = logits.max(dim=0).values - logits.gather(0, torch.from_numpy(ours)[None])[0]
        assert float(short.max()) < 1e-4
        truths.append(truth.ravel())
        drawn.append(ours.ravel())
    matrix = judge.multiclass_confusion_matrix(
        torch.from_numpy(np.concatenate(drawn)),
        torch.from_numpy(np.concatenate(truths)),
        num_classes=benchmark.classes,
        ignore_index=255,
    ).numpy()
    counts = sum(
        confusion(truth.astype(np.uint8), one, benchmark.classes) for truth, one in zip(truths, drawn, strict=True)
    )
    np.testing.assert_array_equal(counts[:, :-1], matrix)
    assert counts[:, -1].sum() == 0
    with np.errstate(invalid="ignore"):
        expected = 100 * np.diag(matrix) / (matrix.sum(0) + matrix.sum(1) - np.diag(matrix))
    np.testing.assert_allclose([iou for _, iou, _ in score.classes], expected, rtol=1e-12)
    assert score.miou == pytest.approx(np.nanmean(expected))
    assert score.accuracy == pytest.approx(100 * np.trace(matrix) / matrix.sum())
    assert [pixels for _, _, pixels in score.classes] == matrix.sum(axis=1).tolist()


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_made_label_maps(name: str, segmenter: Segmenter, tmp_path: Path) -> None:
    opened = BENCHMARKS[name](MAKERS[name](tmp_path), False)
    against_torchmetrics(opened, Drawn(segmenter), Asking(Protocol(40) if name == "voc21" else Protocol()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["voc21", "voc20", "coco-object"])
def test_real_pictures(name: str, segmenter: Segmenter) -> None:
    root = shared_data("COCO" if name == "coco-object" else "VOC2012")
    against_torchmetrics(BENCHMARKS[name](root, False), segmenter, Asking(), limit=4)


def test_values_of_coco_stuff(tmp_path: Path) -> None:
    stuff(tmp_path)
    raw = {name: BENCHMARKS[name](tmp_path, False) for name in ("cocostuff", "coco-object")}
    maps = {name: [one.images.labels(at) for at in range(2)] for name, one in raw.items()}
    converted(tmp_path, "_labelTrainIds", [*THINGS, *STUFF], 0, 255)
    converted(tmp_path, "_instanceTrainIds", THINGS, 1, 0)
    for name, one in raw.items():
        again = BENCHMARKS[name](tmp_path, False)
        assert len(again.images) == len(one.images) == 2
        for at in range(2):
            np.testing.assert_array_equal(again.images.labels(at), maps[name][at])
    assert np.isin(255, maps["cocostuff"]) and not np.isin(255, maps["coco-object"])


def test_objects_drawn_from_instances(tmp_path: Path) -> None:
    make_coco(tmp_path, {"one": [(3, (0, 0, 40, 40)), (79, (5, 5, 15, 15)), (0, (30, 30, 60, 44))]})
    opened = BENCHMARKS["coco-object"](tmp_path, False)
    labels = opened.images.labels(0)
    assert labels[10, 10] == 80 and labels[2, 2] == 4 and labels[35, 35] == 1 and labels[47, 63] == 0


def test_values_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    stuff(tmp_path)
    path = min((tmp_path / "annotations" / "val2017").glob("*.png"))
    labels = np.zeros((44, 60), np.uint8)
    labels[0, 0] = 90
    save_labels(path, labels)
    opened = BENCHMARKS["cocostuff"](tmp_path, False)
    with pytest.raises(DataError, match="holds the value 90"):
        opened.images.labels(0)


def test_a_picture_that_is_listed_twice(tmp_path: Path) -> None:
    root = voc(tmp_path)
    path = root / "ImageSets" / "Segmentation" / "val.txt"
    path.write_text(path.read_text("utf-8") + path.read_text("utf-8").split()[0] + ".jpg\n", "utf-8")
    with pytest.raises(DataError, match=r"val.txt lists .* twice"):
        BENCHMARKS["voc21"](root, False)


def test_pixels_without_a_class_are_missed() -> None:
    truth = np.array([[0, 0, 1, 255]], np.uint8)
    counts = confusion(truth, np.array([[0, 2, 1, 2]]), 2)
    assert counts.tolist() == [[1, 0, 1], [0, 1, 0]]
    assert ious(counts).tolist() == [50, 100]


def test_names(tmp_path: Path) -> None:
    opened = BENCHMARKS["voc21"](voc(tmp_path), False)
    own = tmp_path / "names.txt"
    lines = names_file(opened).read_text().splitlines()
    own.write_text("\n".join(["sky, wall", *lines]))
    names = read_names(own, opened)
    assert names.asked["sky"] == ("sky", "wall") and names.classes == tuple(range(21))
    own.write_text("\n".join(lines))
    assert read_names(own, opened).classes == tuple(range(1, 21))
    own.write_text("\n".join(lines[:-1]))
    with pytest.raises(DataError, match="19 lines, and voc21 has 20 classes: a line each, or 21 with"):
        read_names(own, opened)
    own.write_text("\n".join([*lines[:-1], lines[0]]))
    with pytest.raises(DataError, match="begin with the same name"):
        read_names(own, opened)
    own.write_text("\n".join([*lines[:-1], f"{lines[-1]}, {lines[0].split(',')[0].upper()}"]))
    with pytest.raises(DataError, match=r"and it is a class of its own\. Leave it out there"):
        read_names(own, opened)
    for name, make in MAKERS.items():
        one = BENCHMARKS[name](make(tmp_path / name), False)
        assert len(read_names(names_file(one), one).asked) == one.classes - one.background


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(one) for one in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    base = ("run", "--benchmark", "voc20", "--root", voc(tmp_path), "--threads", 1, "--limit", 1)
    code, out, err = run(capsys, *base, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["benchmark"] == "voc20" and document["pictures"] == 1 and len(document["classes"]) == 20
    assert any("only the first 1" in note for note in document["notes"])
    code, out, err = run(capsys, *base, "--refine")
    assert code == 0 and "| voc20 |" in out and "refine" in out, err
    for extra, message in (
        (("--fold", "0"), "--fold means nothing with --benchmark"),
        (("--data", "pascal"), "--data means nothing with --benchmark"),
        (("--shuffle-words",), "--shuffle-words means nothing"),
        (("--model", tmp_path / "none"), "no such model"),
        (("--model", tmp_path / "JPEGImages" / "a.jpg"), "scores bundles"),
    ):
        code, _, err = run(capsys, *base, *extra)
        assert code == 2 and message in err, (extra, err)
    code, _, err = run(capsys, "run", "--root", tmp_path)
    assert code == 2 and "Give --data, or --benchmark" in err
    code, _, err = run(capsys, "run", "--data", "pascal", "--root", tmp_path, "--names", "x")
    assert code == 2 and "--names is for --benchmark" in err
    code, _, err = run(capsys, "run", "--benchmark", "cocostuff", "--root", tmp_path)
    assert code == 1 and "val2017" in err
