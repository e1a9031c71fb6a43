"""Screenshots of the page for the guide to serving: three widths, light and dark.

python -m tests.serve.screenshots docs/pictures
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from tests.serve.chromium import chromium
from tests.serve.test_page import ready
from tests.serve.test_process import start

PICTURE = Path(__file__).parents[2] / "examples" / "judge" / "judge_0005.png"
WORDS = "roller skate, stop sign, bubble tea, rhinoceros, rose"
SHOTS = {360: 800, 1280: 800, 2560: 1440}
"""Width and height of the windows."""

MOST_WIDE = 1280
COLORS = 120


def small(png: bytes, picture: tuple[int, int, int, int]) -> Image.Image:
    """A screenshot as the guide keeps it: at most so wide, in few colors, of which the picture may have half."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    around = image.copy()
    around.paste(image.getpixel((0, 0)), picture)  # type: ignore[arg-type]
    palette = Image.new("P", (1, 1))
    parts = [image.crop(picture).quantize(COLORS), around.quantize(COLORS)]
    palette.putpalette([value for part in parts for value in part.getpalette()[: 3 * COLORS]])  # type: ignore[index]
    if image.width > MOST_WIDE:
        image = image.resize((MOST_WIDE, round(image.height * MOST_WIDE / image.width)), Image.Resampling.LANCZOS)
    return image.quantize(palette=palette, dither=Image.Dither.NONE)


def main(folder: Path) -> None:
    process, address = start(None, "--backend", "onnxruntime-cpu")
    try:
        with chromium() as browser:
            for width, height in SHOTS.items():
                for scheme in ("light", "dark"):
                    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                    page.goto(address)
                    page.fill("#word", WORDS)
                    page.press("#word", "Enter")
                    page.set_input_files("#file", PICTURE)
                    ready(page)
                    page.evaluate("document.activeElement.blur()")
                    place: Any = page.locator("#view").bounding_box() or {}
                    left, top, wide, high = (round(place[key]) for key in ("x", "y", "width", "height"))
                    picture = (left, top, left + wide, top + high)
                    path = folder / f"page-{width}-{scheme}.png"
                    small(page.screenshot(full_page=True), picture).save(path, optimize=True)
                    print(path, path.stat().st_size)
                    page.close()
    finally:
        process.terminate()
        process.communicate(timeout=30)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
