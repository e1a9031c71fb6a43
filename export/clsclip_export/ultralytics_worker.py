"""Run as a program: ultralytics weights to ONNX, in a process whose settings, warnings and pickles stay in it.

    python -m clsclip_export.ultralytics_worker WEIGHTS.pt SIDE

The ONNX file is written beside the weights and its path is the last line printed. It takes any number of pictures,
and drops no boxes itself unless the model cannot do otherwise.
"""

from __future__ import annotations

import sys


def main(weights: str, side: int) -> None:
    """Export; exits with a message where that cannot be done."""
    from ultralytics import YOLO

    model = YOLO(weights)
    if model.task != "detect":
        sys.exit(f"it is a model for the task {model.task!r}, not a detector")
    print(model.export(format="onnx", imgsz=side, dynamic=True, simplify=False, nms=False, device="cpu"))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
