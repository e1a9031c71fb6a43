"""All pictures of a folder, a few at a time: python examples/01_folder.py FOLDER OUT CLASS..."""

import json
import sys
from pathlib import Path

from clsclip import ClsclipRuntimeError, Segmenter

folder, out, *classes = sys.argv[1:]
paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
document: dict = {}
with Segmenter.load() as segmenter:
    for begin in range(0, len(paths), 16):  # so that few results are in memory at once
        chunk = paths[begin : begin + 16]
        for path, result in zip(chunk, segmenter.batch(chunk, classes, return_errors=True)):
            if isinstance(result, ClsclipRuntimeError):
                print(f"{path}: {result}")
                continue
            result.save(out, formats=["overlay"])
            one = result.to_coco(image_id=len(document.get("images", ())) + 1)
            if not document:
                document = one | {"annotations": []}
            else:
                document["images"] += one["images"]
            for annotation in one["annotations"]:
                document["annotations"].append(annotation | {"id": len(document["annotations"]) + 1})
            print(f"{path}: {', '.join(found.name for found in result if found.area) or 'nothing'}")
Path(out, "coco.json").write_text(json.dumps(document), "utf-8")
