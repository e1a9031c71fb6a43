"""Mutants of pictures and videos: files of the two corpora with bytes changed as damage and as malice change them."""

from __future__ import annotations

import os
import random
import tempfile
from functools import cache
from pathlib import Path

from tests.fuzz.driver import Mutant

EXTREME = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\0\0\0\x01")
LARGEST = 1 << 20
"""Bytes of a corpus's file above which it is left out: bombs are tests of their own."""


def mutated(content: bytes, others: list[bytes], chance: random.Random) -> tuple[bytes, str]:
    """Some changes of ``content``, one after another, and what they were."""
    data, done = bytearray(content), []
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        if not data:
            break
        # Most of what a reader branches on stands in the first bytes.
        end = chance.choice((64, 512, len(data), len(data)))
        at = chance.randrange(min(end, len(data)))
        size = chance.choice((1, 2, 4, 16, 256, 4096))
        what = chance.choice(("bit", "byte", "number", "noise", "cut", "remove", "repeat", "move", "splice"))
        if what == "bit":
            data[at] ^= 1 << chance.randrange(8)
        elif what == "byte":
            data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif what == "number":
            number = chance.choice(EXTREME)[: chance.choice((1, 2, 4))]
            data[at : at + len(number)] = number
        elif what == "noise":
            data[at : at + size] = chance.randbytes(len(data[at : at + size]))
        elif what == "cut":
            del data[at:]
        elif what == "remove":
            del data[at : at + size]
        elif what == "repeat":
            data[at:at] = data[at : at + size] * chance.choice((1, 3, 100))
        elif what == "move":
            part = data[at : at + size]
            del data[at : at + size]
            to = chance.randrange(len(data) + 1)
            data[to:to] = part
        else:
            other = chance.choice(others)
            begin = chance.randrange(len(other)) if other else 0
            data[at : at + size] = other[begin : begin + size]
        done.append(f"{what} at {at}")
    return bytes(data), ", ".join(done[:4])


class Media:
    """See :class:`tests.fuzz.driver.Mutator`."""

    name = ""
    targets: tuple[str, ...] = ()

    def corpus(self) -> dict[str, bytes]:
        """Files by name; the first is the honest one."""
        raise NotImplementedError

    def honest(self, folder: Path) -> Path:
        """The first of the corpus."""
        name, content = next(iter(self.corpus().items()))
        path = folder / name
        path.write_bytes(content)
        return path

    def make(self, number: int, folder: Path) -> Mutant:
        """Mutant ``number``."""
        chance = random.Random(f"{self.name} {number}")
        corpus = self.corpus()
        name = chance.choice(list(corpus))
        alike = [content for other, content in corpus.items() if other.rpartition(".")[2] == name.rpartition(".")[2]]
        content, label = mutated(corpus[name], alike, chance)
        path = folder / name
        path.write_bytes(content)
        return Mutant(path, f"{name}: {label}")


class Images(Media):
    """Every format of the corpus of odd pictures."""

    name = "pictures"
    targets = ("picture", "picture-cpp")

    def corpus(self) -> dict[str, bytes]:
        """See ``Media.corpus``."""
        return _images()


class Videos(Media):
    """Every container and codec of the corpus of odd videos."""

    name = "videos"
    targets = ("video",)

    def corpus(self) -> dict[str, bytes]:
        """See ``Media.corpus``."""
        return _videos()


@cache
def _images() -> dict[str, bytes]:
    from tests.runtime.images.corpus import cases

    good = [one for one in cases().values() if one.pixels is not None and len(one.content) <= LARGEST]
    return {one.name: one.content for one in sorted(good, key=lambda one: (not one.name.endswith(".png"), one.name))}


@cache
def _videos() -> dict[str, bytes]:
    """Made once for all processes of this user: encoding takes half a minute, and differs between versions alone."""
    from tests.runtime.video.corpus import CASES

    folder = Path(tempfile.gettempdir()) / f"clsclip-fuzz-videos-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = {}
    for case in CASES:
        path = folder / case.name
        if not path.exists():
            part = path.with_name(f"part-{os.getpid()}-{case.name}")
            case.make(part)
            part.replace(path)
        if case.error is None and path.stat().st_size <= LARGEST:
            found[case.name] = path.read_bytes()
    return found
