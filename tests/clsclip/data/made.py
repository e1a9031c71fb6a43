"""Small data sets in the layouts that the loaders read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from clsclip.data.annotated import AnnotatedImages
from clsclip.data.base import Fold
from clsclip.data.coco import CLASSES

SIZE = (64, 48)
BOX = [8, 8, 40, 8, 40, 40, 8, 40]
INSIDE = [8, 8, 39, 8, 39, 39, 8, 39]
"""The same box by the pixels on its border."""

AREA = 32 * 32


def save_labels(path: Path, labels: np.ndarray) -> None:
    """An indexed PNG, as VOC's are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette([value for one in range(256) for value in (one, 255 - one, (one * 37) % 256)])
    image.save(path)


def save_image(path: Path, size: tuple[int, int], colour: str = "teal") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def labels_with(*things: tuple[int, tuple[int, int, int, int]], size: tuple[int, int] = (160, 128)) -> np.ndarray:
    """Label map (height, width) of rectangles (value, (left, top, right, bottom)); later ones lie on top."""
    labels = np.zeros((size[1], size[0]), np.uint8)
    for value, (left, top, right, bottom) in things:
        labels[top:bottom, left:right] = value
    return labels


def make_voc(root: Path, masks: dict[str, np.ndarray], train: list[str], val: list[str]) -> Path:
    for name, labels in masks.items():
        save_labels(root / "SegmentationClassAug" / f"{name}.png", labels)
        save_image(root / "JPEGImages" / f"{name}.jpg", (labels.shape[1], labels.shape[0]))
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(train) + "\n")
    (lists / "val.txt").write_text("\n".join(val) + "\n")
    return root


def make_coco(root: Path, boxes: dict[str, list[tuple[int, tuple[int, int, int, int]]]], side: str = "val") -> Path:
    """COCO with 64x48 pictures; ``boxes``: picture -> (class id, (left, top, right, bottom))."""
    images, annotations = [], []
    for number, (name, things) in enumerate(boxes.items(), start=1):
        save_image(root / f"{side}2017" / f"{name}.jpg", (64, 48))
        images.append({"id": number, "file_name": f"{name}.jpg", "width": 64, "height": 48})
        for class_id, (left, top, right, bottom) in things:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": class_id + 1,
                    "iscrowd": 0,
                    "area": (right - left) * (bottom - top),
                    "bbox": [left, top, right - left, bottom - top],
                    "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
                }
            )
    categories = [{"id": one + 1, "name": f"thing {one}"} for one in range(CLASSES)]
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    document = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / f"instances_{side}2017.json").write_text(json.dumps(document))
    return root


def make_folder(root: Path, masks: dict[str, np.ndarray], classes: list[str]) -> Path:
    for name, labels in masks.items():
        save_labels(root / "masks" / f"{name}.png", labels)
        save_image(root / "images" / f"{name}.png", (labels.shape[1], labels.shape[0]))
    (root / "classes.txt").write_text("\n".join(classes) + "\n")
    return root


def drawn(box: tuple[int, int, int, int] = (8, 8, 40, 40)) -> np.ndarray:
    """Mask of a box in a picture of this size."""
    mask = np.zeros(SIZE[::-1], np.bool_)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def lines(fold: Fold) -> str:
    """What a fold says of its training pictures."""
    assert isinstance(fold.train, AnnotatedImages)
    return "\n".join(fold.train.account.lines())
