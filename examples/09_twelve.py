"""Twelve pictures that nobody chose, worst first: python examples/09_twelve.py OUT.png

They are those of seeds 0 to 11 of a maker that the model was not trained on (examples/judge). Each is asked the words
that it shows and two that it does not. Its figure is the mean IoU of the words shown; what absent
words mark is told too.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from clsclip import Segmenter

FOLDER, SIDE, COLUMNS, TITLE = Path(__file__).parent / "judge", 240, 4, 20

cells = []
with Segmenter.load() as segmenter:
    for entry in json.loads((FOLDER / "words.json").read_text("utf-8")):
        path = FOLDER / entry["file"]
        labels = np.asarray(Image.open(path.with_name(f"{path.stem}_masks.png")))
        result = segmenter(path, entry["shown"] + entry["absent"])
        masks = [result[word].mask for word in entry["shown"]]
        truths = [labels == number for number in range(1, len(masks) + 1)]
        ious = [(mask & truth).sum() / (mask | truth).sum() for mask, truth in zip(masks, truths)]
        wrong = [word for word in entry["absent"] if result[word].area]
        cells.append((float(np.mean(ious)), path.name, result.overlay(legend=False), wrong))
cells.sort(key=lambda cell: cell[0])

rows = -(-len(cells) // COLUMNS)
sheet = Image.new("RGB", (COLUMNS * (SIDE + 8), rows * (SIDE + TITLE + 8)), "white")
draw = ImageDraw.Draw(sheet)
for at, (iou, name, image, wrong) in enumerate(cells):
    left, top = at % COLUMNS * (SIDE + 8) + 4, at // COLUMNS * (SIDE + TITLE + 8) + 4
    told = f"{name[6:10]}: IoU {iou:.2f}" + (f", marks absent {', '.join(wrong)}" if wrong else "")
    draw.text((left, top + 3), told, "black")
    image.thumbnail((SIDE, SIDE))
    sheet.paste(image, (left, top + TITLE))
    print(f"{name}: mean IoU {iou:.2f}" + (f"; marks {', '.join(wrong)}, which it does not show" if wrong else ""))
sheet.save(sys.argv[1])
print(f"Mean {np.mean([cell[0] for cell in cells]):.2f}. Look at {sys.argv[1]}")
