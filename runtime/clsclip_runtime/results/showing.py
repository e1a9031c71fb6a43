"""Show a drawn result to who is there: in a notebook, or in the system's viewer."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def png(image: Image.Image) -> bytes:
    """An image as the bytes of a PNG."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def show(image: Image.Image) -> None:
    """Show an image below the cell of a notebook that runs, else open the viewer that Pillow knows."""
    # Only a program that runs in IPython has loaded it; elsewhere it is not looked for.
    ipython = sys.modules.get("IPython")
    if ipython is not None and ipython.get_ipython() is not None:
        ipython.display.display(image)
    else:
        image.show()
