"""Tasks to import into Label Studio: python examples/08_label_studio.py OUT.json PICTURE... -- CLASS...

Pictures are addressed as /data/local-files/?d=NAME: set LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT to their folder.
"""

import json
import sys
import tempfile
from pathlib import Path

from clsclip import Segmenter

at = sys.argv.index("--")
out, *pictures = sys.argv[1:at]
classes = sys.argv[at + 1 :]
tasks = []
with Segmenter.load() as segmenter, tempfile.TemporaryDirectory() as folder:
    for picture in pictures:
        (path,) = segmenter(picture, classes).save(folder, formats=["labelstudio"])
        tasks += json.loads(path.read_text("utf-8"))
Path(out).write_text(json.dumps(tasks), "utf-8")
print(len(tasks), "tasks with", sum(len(task["predictions"][0]["result"]) for task in tasks), "shapes")
