"""Words for the same class: VOC and COCO, the two vocabularies of detectors, name six of them differently."""

from __future__ import annotations

_SAME = (
    ("aeroplane", "airplane"),
    ("motorbike", "motorcycle"),
    ("sofa", "couch"),
    ("tvmonitor", "tv monitor", "tv"),
    ("diningtable", "dining table"),
    ("pottedplant", "potted plant"),
)

_FIRST = {word: words[0] for words in _SAME for word in words}


def same_class(one: str, other: str) -> bool:
    """Whether two words name one class: equal but for case and white space, or VOC's and COCO's word for it."""
    return _plain(one) == _plain(other)


def _plain(word: str) -> str:
    clean = " ".join(word.casefold().split())
    return _FIRST.get(clean, clean)
