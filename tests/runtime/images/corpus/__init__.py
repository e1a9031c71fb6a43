"""Odd pictures: every format, depth, color space, chunk, orientation and number of frames that cameras, scanners,
phones, Photoshop and NumPy write, damage of each, and what is no picture.

Every case says what it must become: pixels that are known without reading the file (exactly, or nearly where the format
loses), a part of every note, or a part of its refusal.
"""

from __future__ import annotations

from functools import cache

from tests.runtime.images.corpus.case import Case
from tests.runtime.images.corpus.jpeg_files import jpegs
from tests.runtime.images.corpus.other_files import others
from tests.runtime.images.corpus.png_files import pngs
from tests.runtime.images.corpus.tiff_files import tiffs


@cache
def cases() -> dict[str, Case]:
    """All, by name."""
    made = [*jpegs(), *pngs(), *tiffs(), *others()]
    found = {one.name: one for one in made}
    assert len(found) == len(made)
    return found
