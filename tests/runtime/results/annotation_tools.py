"""Reads annotations with the tools' own packages, in a Python that has them: ``python annotation_tools.py FOLDER``.

FOLDER has ``wanted.npy``, the masks (K, H, W) bool of the classes in ``names.json``, and what was written of them.
Prints a line for each that was equal.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(sys.argv[1])
NAMES = json.loads((FOLDER / "names.json").read_text("utf-8"))
WANTED = np.load(FOLDER / "wanted.npy")
CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="label" toName="image">{0}</BrushLabels></View>"""
POLYGONS = CONFIG.replace("BrushLabels", "PolygonLabels")


def equal(what: str, found: Any) -> None:
    if not np.array_equal(np.asarray(found, bool), WANTED):
        raise SystemExit(f"{what}: other masks")
    print(what)


def label_studio_brush() -> None:
    from label_studio_sdk.converter.brush import decode_rle

    (task,) = json.loads((FOLDER / "brush_labelstudio.json").read_text("utf-8"))
    found = np.zeros_like(WANTED)
    for one in task["predictions"][0]["result"]:
        at = NAMES.index(one["value"]["brushlabels"][0])
        pixels = decode_rle(one["value"]["rle"]).reshape(one["original_height"], one["original_width"], 4)
        found[at] |= pixels[..., 3] > 0
    equal("label studio: brush", found)


def label_studio_converter() -> None:
    """As Label Studio exports COCO where an annotator accepted all predictions."""
    from label_studio_sdk.converter.converter import Converter, Format
    from label_studio_sdk.label_interface import LabelInterface
    from pycocotools.coco import COCO

    labels = "".join(f'<Label value="{name}"/>' for name in NAMES)
    for name, config in (("brush", CONFIG), ("polygons", POLYGONS)):
        (task,) = json.loads((FOLDER / f"{name}_labelstudio.json").read_text("utf-8"))
        interface = LabelInterface(config.format(labels))
        assert interface.validate_prediction(task["predictions"][0]), name
        task |= {"id": 1, "annotations": [task.pop("predictions")[0] | {"id": 1, "completed_by": 1}]}
        path, out = FOLDER / f"{name}_tasks.json", FOLDER / f"{name}_converted"
        out.mkdir()
        path.write_text(json.dumps([task]), encoding="utf-8")
        converter = Converter(config.format(labels), str(FOLDER), download_resources=False)
        if name == "brush":
            converter.convert(str(path), str(out), Format.BRUSH_TO_NUMPY, is_dir=False)
            found = np.zeros_like(WANTED)
            for file in out.glob("*.npy"):
                at = next(at for at, one in enumerate(NAMES) if f"-{one}-" in file.name)
                found[at] |= np.load(file) > 0
        else:
            converter.convert_to_coco(str(path), str(out), is_dir=False)
            coco = COCO(str(out / "result.json"))
            found = np.zeros_like(WANTED)
            for one in coco.loadAnns(coco.getAnnIds()):
                at = NAMES.index(coco.loadCats(one["category_id"])[0]["name"])
                found[at] |= coco.annToMask(one) > 0
        equal(f"label studio's converter: {name}", found)


def labelme() -> None:
    from labelme.utils import shape_to_mask

    document = json.loads((FOLDER / "scene_labelme.json").read_text("utf-8"))
    assert (FOLDER / document["imagePath"]).is_file()
    found = np.zeros_like(WANTED)
    for one in document["shapes"]:
        found[NAMES.index(one["label"])] |= shape_to_mask(WANTED.shape[1:], one["points"], one["shape_type"])
    equal("labelme", found)


def cvat() -> None:
    from cvat_sdk.masks import encode_mask

    for mask, points in zip(WANTED, json.loads((FOLDER / "cvat.json").read_text("utf-8")), strict=True):
        rows, columns = np.nonzero(mask)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert encode_mask(mask, [int(value) for value in box]) == points
    equal("cvat-sdk", WANTED)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    label_studio_brush()
    label_studio_converter()
    labelme()
    cvat()
