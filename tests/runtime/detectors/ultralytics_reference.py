"""What ultralytics itself makes of random weights: run as a program, so that its settings and warnings stay there.

For every model: an ONNX export, and the boxes that ultralytics' own predictor finds with that export on pictures.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from ultralytics import RTDETR, YOLO

SIDE = 160
MODELS: dict[str, dict[str, object]] = {
    "yolov5n": {},  # ultralytics' YOLOv5, which has YOLOv8's head
    "yolov8n": {},
    "yolo11n": {"dynamic": True},
    "yolov10n": {},
    "yolo26n": {"batch": 3},
    "rtdetr-l": {},  # ultralytics' other family
}
BRANCHES = ("cv2", "cv3", "one2one_cv2", "one2one_cv3")
SUPPRESSED = "yolov8n-nms"


def images() -> list[np.ndarray]:
    """RGB pictures: one of the input's size, and others that are made smaller and larger."""
    rng = np.random.default_rng(3)
    return [
        rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((SIDE, SIDE), (121, SIDE), (333, 217), (80, 50))
    ]


def random_rtdetr(yaml: str) -> RTDETR:
    """An RT-DETR of random weights, many of whose scores are above the threshold."""
    torch.manual_seed(1)
    model = RTDETR(yaml)
    last = model.model.model[-1].dec_score_head[-1]
    with torch.no_grad():
        last.weight *= 4
        last.bias[:] = -3
    return model


def random_model(yaml: str) -> YOLO:
    """A model of random weights whose boxes and scores differ from place to place, many above the threshold."""
    torch.manual_seed(1)
    model = YOLO(yaml, task="detect")
    head = model.model.model[-1]
    outputs: dict[int, torch.Tensor] = {}
    # Mean and spread of what the last layers give: sizes for the box branches, logits for the class branches.
    wanted = {name: (1.0, 1.0) if name.endswith("cv2") else (-4.5, 1.2) for name in BRANCHES if hasattr(head, name)}
    layers = {at[-1]: aim for name, aim in wanted.items() for at in getattr(head, name) or ()}
    hooks = [layer.register_forward_hook(lambda own, _, out: outputs.update({id(own): out})) for layer in layers]
    norms = [layer for layer in model.model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    model.model.eval()
    with torch.no_grad():
        for norm in norms:  # without statistics of their own, random layers fade to a constant
            norm.train().momentum = 1.0
        model.model(torch.rand(4, 3, SIDE, SIDE))
        model.model.eval()
        model.model(torch.rand(1, 3, SIDE, SIDE))
        for layer, (mean, spread) in layers.items():
            output = outputs[id(layer)]
            scale = spread / output.std(dim=(2, 3)).mean()
            layer.weight *= scale
            layer.bias[:] = mean - scale * (output.mean(dim=(0, 2, 3)) - layer.bias)
    for hook in hooks:
        hook.remove()
    return model


def main() -> None:
    """Write ``NAME.onnx`` and ``NAME.npz`` for the models named, into the current folder."""
    # What has "-nms" is written under the plain name first, and renamed.
    for name in sorted(sys.argv[1:], key=lambda name: not name.endswith("-nms")):
        options = {SUPPRESSED: {"nms": True}, **MODELS}[name]
        family = RTDETR if name.startswith("rtdetr") else YOLO
        model = (random_rtdetr if family is RTDETR else random_model)(f"{name.removesuffix('-nms')}.yaml")
        exported = Path(model.export(format="onnx", imgsz=SIDE, simplify=False, **{"nms": False, **options}))
        exported = exported.rename(f"{name}.onnx")
        found: dict[str, np.ndarray] = {}
        for at, image in enumerate(images()):
            batch = [np.ascontiguousarray(image[..., ::-1])] * options.get("batch", 1)
            runner = RTDETR(exported) if family is RTDETR else YOLO(exported, task="detect")
            result = runner.predict(batch, imgsz=SIDE, conf=0.25, iou=0.7, rect=False, verbose=False)[0]
            found[f"picture{at}"] = image
            found[f"found{at}"] = result.boxes.data.numpy()
        np.savez(f"{name}.npz", **found)


if __name__ == "__main__":
    main()
