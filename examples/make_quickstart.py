"""Write ``quickstart.ipynb`` and run it, so that it shows what comes out: ``python examples/make_quickstart.py``."""

from __future__ import annotations

import base64
import io
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent

CELLS = (
    """# Quick start

Needs `pip install '.[bench]' ipykernel` (matplotlib, and a kernel to run this with). The embedded model knows stickers,
not photographs: see [Photographs](../docs/guides/photographs.md).""",
    """from clsclip import Segmenter

segmenter = Segmenter.load()  # the embedded model; or Segmenter.load("model.clsclip")
result = segmenter("cluttered.png", ["bottle", "boat", "dog", "fish", "pizza"])
result""",
    """## Masks

`result["fish"].mask` is (H, W) bool at the image's size.""",
    """import matplotlib.pyplot as plt
from PIL import Image

image = Image.open("cluttered.png").convert("RGB")
figure, axes = plt.subplots(1, 3, figsize=(9, 3))
for axis, name in zip(axes, ["bottle", "dog", "fish"]):
    axis.imshow(image)
    axis.imshow(result[name].mask, alpha=0.7 * result[name].mask, cmap="cool")
    axis.set_title(f"{name}: {result[name].area_percent:.1f} %")
    axis.axis("off")
plt.show()""",
    """## Words, with how likely each is in the image at all""",
    """for found in result:
    bar = "#" * round(20 * found.presence)
    print(f"{found.name:8} {found.presence:.2f} {bar:20} {found.status}")""",
    """## Other words for the same image

The image is encoded once.""",
    """segmenter.set_image("cluttered.png")
print([found.name for found in segmenter.predict(["crown", "snake"]) if found.status == "found"])
print([found.name for found in segmenter.predict(["shark", "ship"]) if found.status == "found"])""",
    """## Small things: look into regions

Boxes are left, top, right, bottom in pixels; a detector, a file, or `regions="tiles"` gives them too.""",
    """from clsclip import RegionFile

boxes = RegionFile("tiny.json").of("tiny.png")
whole = segmenter("tiny.png", ["snake", "caterpillar", "top hat"])
closer = segmenter("tiny.png", ["snake", "caterpillar", "top hat"], regions=boxes)
for name in whole.classes:
    print(f"{name:12} whole image: {whole[name].area:5} pixels; in its box: {closer[name].area:5}")
closer.show(legend=False)""",
    """## COCO""",
    """document = result.to_coco()
for annotation in document["annotations"]:
    print(annotation["category_id"], annotation["bbox"], annotation["area"])""",
)
"""Text and code by turns."""


def smaller(png: str) -> str:
    """A picture of a cell in base64, with fewer colors and pixels: a notebook in a repository should be small."""
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        image.thumbnail((520, 520))
        file = io.BytesIO()
        image.convert("RGB").quantize(200).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode() + "\n"


def main(path: str) -> None:
    """Write the notebook with what its cells give."""
    import nbformat
    from nbclient import NotebookClient

    make = (nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell)
    cells = [make[at % 2](text, id=f"cell-{at}") for at, text in enumerate(CELLS)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    os.environ.setdefault("CLSCLIP_CACHE", "off")
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(HERE)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times, which differ each time
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = smaller(data["image/png"])
    notebook.metadata.pop("language_info", None)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(HERE / "quickstart.ipynb"))
