"""Graphs of the supported detectors: exported by ultralytics and transformers, and heads as other families export them.

Run as a program it writes them into the current folder, so that what the exporters set and print stays there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from tests.graph_rules.heads import HEADS

ULTRALYTICS: tuple[tuple[str, dict[str, object]], ...] = (
    ("yolov8n", {"opset": 11}),
    ("yolov8n", {"opset": 13, "simplify": True}),
    ("yolov8n", {"opset": 17, "dynamic": True}),
    ("yolov8n", {"opset": 20, "simplify": True}),
    ("yolov8n", {"nms": True}),
    ("yolov8n", {"nms": True, "simplify": True}),
    ("yolov8n-p2", {}),
    ("yolov3-tinyu", {}),
    ("yolov5n", {"dynamic": True, "simplify": True}),
    ("yolov6n", {}),
    ("yolov9t", {"dynamic": True}),
    ("yolov10n", {}),
    ("yolov10n", {"dynamic": True, "simplify": True}),
    ("yolo11n", {"dynamic": True}),
    ("yolo11n", {"nms": True, "dynamic": True}),
    ("yolo12n", {}),
    ("yolo12n", {"dynamic": True}),
    ("yolo26n", {"batch": 2}),
    ("yolo26n", {"dynamic": True, "simplify": True}),
    ("rtdetr-l", {"opset": 16}),
    ("rtdetr-l", {"dynamic": True}),
    ("rtdetr-resnet50", {"simplify": True}),
)
"""Models and options."""

QUIET = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false", "OMP_NUM_THREADS": "1"}


def exports(folders: Sequence[Path] = ()) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Every graph, with what it is of."""
    with tempfile.TemporaryDirectory(prefix="clsclip-detectors-") as scratch:
        command = [sys.executable, "-m", "tests.graph_rules.detectors"]
        paths = [str(Path(__file__).parents[2]), *sys.path]
        environment = {**os.environ, **QUIET, "YOLO_CONFIG_DIR": scratch, "PYTHONPATH": os.pathsep.join(paths)}
        subprocess.run(command, cwd=scratch, env=environment, check=True, stdout=subprocess.DEVNULL)
        for folder in (Path(scratch), *folders):
            for path in sorted(folder.glob("*.onnx")):
                yield path.name, onnx.load(path, load_external_data=False)


def by_ultralytics() -> None:
    """Random weights of every head that ultralytics exports."""
    from ultralytics import RTDETR, YOLO

    for number, (name, options) in enumerate(ULTRALYTICS):
        model = (RTDETR if "detr" in name else YOLO)(f"{name}.yaml")
        chosen = {"simplify": False, "nms": False, **options}
        written = Path(model.export(format="onnx", imgsz=160, **chosen))
        written.rename(f"ultralytics-{number}-{name}.onnx")


class Answers(nn.Module):
    """A detector of transformers, as its users export it: logits and boxes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found = self.model(pixel_values=images)
        return found.logits, found.pred_boxes


def by_transformers() -> None:
    """Small RT-DETR models of random weights."""
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrV2Config, RTDetrV2ForObjectDetection

    small = {"encoder_layers": 1, "decoder_layers": 2, "num_queries": 30, "num_denoising": 0, "anchor_image_size": None}
    for name, config, kind in (
        ("rtdetr", RTDetrConfig, RTDetrForObjectDetection),
        ("rtdetrv2", RTDetrV2Config, RTDetrV2ForObjectDetection),
    ):
        model = Answers(kind(config(**small)).eval())
        for opset in (16, 17):
            save(
                model, torch.zeros(1, 3, 128, 128), f"transformers-{name}-{opset}.onnx", opset, ["logits", "pred_boxes"]
            )


def save(
    model: nn.Module, example: Tensor, path: str, opset: int, outputs: Sequence[str], *, open_batch: bool = True
) -> None:
    """Export by TorchScript, as these families do."""
    axes = {name: {0: "batch"} for name in ("images", *outputs)} if open_batch else None
    torch.onnx.export(
        model,
        (example,),
        path,
        input_names=["images"],
        output_names=list(outputs),
        opset_version=opset,
        dynamic_axes=axes,
        dynamo=False,
    )


def by_hand() -> None:
    """Heads of the families whose packages are not here."""
    for name, make in HEADS.items():
        for opset in (11, 17):
            model, outputs = make()
            for open_batch in (False, True):
                path = f"{name}-{opset}-{'open' if open_batch else 'fixed'}.onnx"
                save(model.eval(), torch.zeros(1, 3, 64, 64), path, opset, outputs, open_batch=open_batch)
        if name != "yolov7-nms":
            by_dynamo(model, f"{name}-18-dynamo.onnx", outputs)


def by_dynamo(model: nn.Module, path: str, outputs: Sequence[str]) -> None:
    """Export by PyTorch's newer exporter."""
    batch = torch.export.Dim("batch")
    torch.onnx.export(
        model.eval(),
        (torch.zeros(2, 3, 64, 64),),
        path,
        input_names=["images"],
        output_names=list(outputs),
        opset_version=18,
        dynamic_shapes=({0: batch},),
        dynamo=True,
        external_data=False,
    )


if __name__ == "__main__":
    by_hand()
    by_transformers()
    by_ultralytics()
