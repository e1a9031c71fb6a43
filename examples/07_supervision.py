"""Detections for supervision, drawn by it: python examples/07_supervision.py PICTURE OUT.png CLASS..."""

import sys

import numpy as np
import supervision as sv
from PIL import Image

from clsclip import Segmenter

picture, out, *classes = sys.argv[1:]
with Segmenter.load() as segmenter:
    detections = segmenter(picture, classes).to_supervision(parts=True)
print(len(detections), "detections:", ", ".join(sorted(set(detections.data["class_name"]))))
scene = np.asarray(Image.open(picture).convert("RGB")).copy()
scene = sv.MaskAnnotator().annotate(scene, detections)
scene = sv.LabelAnnotator().annotate(scene, detections, labels=list(detections.data["class_name"]))
Image.fromarray(scene).save(out)
