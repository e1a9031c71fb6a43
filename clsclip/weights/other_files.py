"""What people give for weights and is something else: told by how it begins, with what to do about it."""

from __future__ import annotations

import codecs
import re

from clsclip_runtime.errors import printable

HEAD = 512
"""Bytes of a file that are looked at."""

_AGAIN = "the download went wrong. Fetch the file again"
_UNPACK = "Unpack it, and give the file of weights in it"

_BINARY: tuple[tuple[bytes, str], ...] = (
    (b"\x89HDF", "a file of Keras or TensorFlow, and weights of PyTorch are needed"),
    (b"GGUF", "a GGUF file, and weights of PyTorch are needed"),
    (b"\x93NUMPY", "an array of NumPy, and weights of PyTorch are needed"),
    (b"%PDF", f"a PDF, and no weights: {_AGAIN}"),
    (b"\x1f\x8b", f"a gzip file. {_UNPACK}"),
    (b"7z\xbc\xaf", f"a 7z archive. {_UNPACK}"),
    (b"\xfd7zXZ\0", f"an xz file. {_UNPACK}"),
    (b"BZh", f"a bzip2 file. {_UNPACK}"),
    (b"\x28\xb5\x2f\xfd", f"a Zstandard file. {_UNPACK}"),
    (b"Rar!\x1a\x07", f"a RAR archive. {_UNPACK}"),
)
_TEXTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile("version http"), "a pointer of Git LFS, and the weights themselves are not here. Run: git lfs pull"),
    (re.compile(r"<\?xml"), f"an XML document, and no weights: {_AGAIN}"),
    (re.compile("<[!a-z]"), f"a web page, and no weights: {_AGAIN}"),
    (re.compile(r'\[|"|\{\s*"(error|message|detail)'), f"the answer of a server in JSON, and no weights: {_AGAIN}"),
    (re.compile(r"\{"), "a JSON document, and no weights. Give the file that holds them, such as model.safetensors"),
)
"""Beginnings of texts, in lower case."""

_TAR_AT, _TAR = 257, b"ustar"
_ONNX = re.compile(rb"\x08[\x01-\x1f][\x12\x1a\x22\x3a\x42]")
"""A version of the format, and a field that models of ONNX have next."""

_OLD_TORCH = b"L119547037146038801333356L"
"""How files of before PyTorch 1.6 begin if they were pickled as text."""

_MOST_SHOWN = 60


def other_file(head: bytes, size: int) -> str | None:
    """What a file is that holds no weights, and what to do; None where it may hold some.

    Args:
        head: its first :data:`HEAD` bytes.
        size: of the whole file.
    """
    if not head:
        return "empty. Fetch the file again"
    if is_safetensors(head, size):
        return None
    for start, what in _BINARY:
        if head.startswith(start):
            return what
    if head[_TAR_AT:].startswith(_TAR):
        return f"a tar archive. {_UNPACK}"
    if _ONNX.match(head):
        return "an ONNX model, and weights of PyTorch are needed"
    if not head.strip(b"\0"):
        return f"zeros, and no weights: {_AGAIN}"
    text = _text(head)
    if text is None or head.startswith(_OLD_TORCH):
        return None
    begin = text.strip().lower()
    for pattern, what in _TEXTS:
        if pattern.match(begin):
            return what
    if not begin:
        return f"blank, and no weights: {_AGAIN}"
    return f"a text ({' '.join(text.split())[:_MOST_SHOWN]!a}), and no weights: {_AGAIN}"


def is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file begins as safetensors do: the length of a header that fits into it, and the header's brace."""
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= size - 8


def _text(head: bytes) -> str | None:
    """A beginning as a text; None where it holds bytes that texts do not have."""
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if head.startswith(mark):
            found = head[len(mark) :].decode(encoding, "ignore")
            break
    else:
        # The last character may be cut.
        found = codecs.getincrementaldecoder("utf-8")("replace").decode(head.removeprefix(codecs.BOM_UTF8))
    spaced = "".join(" " if one.isspace() else one for one in found)
    plain = printable(spaced) == spaced and "\N{REPLACEMENT CHARACTER}" not in found
    return found if plain else None
