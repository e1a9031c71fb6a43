"""Every kind of mutants, by the name that the command takes."""

from __future__ import annotations

from tests.fuzz.annotations import Annotations, Coco20i
from tests.fuzz.documents import Checkpoints, Manifests, Regions, StoredWords, Tokenizers
from tests.fuzz.driver import Mutator
from tests.fuzz.graphs import Graphs
from tests.fuzz.media import Images, Videos

MUTATORS: dict[str, type[Mutator]] = {
    "onnx": Graphs,
    "manifest": Manifests,
    "tokenizer": Tokenizers,
    "words": StoredWords,
    "checkpoint": Checkpoints,
    "regions": Regions,
    "pictures": Images,
    "videos": Videos,
    "coco-20i": Coco20i,
    "annotations": Annotations,
}
