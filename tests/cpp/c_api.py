"""The C API through ctypes, as another language would use it."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = "CLSCLIP_CPP_LIBRARY"
"""Environment variable with the shared library; else the one that ``make cpp`` builds."""

FORMATS = {"rgb": 0, "bgr": 1, "rgba": 2, "bgra": 3, "gray": 4}
STATUS = ("found", "empty", "filtered", "absent")
PLACES = {1: "regions", 2: "whole-image", 4: "tiles"}


class Options(ctypes.Structure):
    """clsclip_options."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("backend", ctypes.c_char_p),
        ("threads", ctypes.c_int32),
        ("memory_mb", ctypes.c_uint64),
        ("pairs_per_call", ctypes.c_uint64),
        ("result_mb", ctypes.c_uint64),
        ("max_pixels", ctypes.c_int64),
        ("presence_filter", ctypes.c_int32),
        ("max_classes", ctypes.c_int32),
        ("detector_confidence", ctypes.c_double),
        ("detector_iou", ctypes.c_double),
        ("max_detections", ctypes.c_int32),
        ("engines", ctypes.c_char_p),
        ("trust_engines", ctypes.c_int32),
    ]


class Image(ctypes.Structure):
    """clsclip_image."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("stride", ctypes.c_ssize_t),
        ("format", ctypes.c_int32),
    ]


class Box(ctypes.Structure):
    """clsclip_box."""

    _fields_ = [
        *((name, ctypes.c_float) for name in ("left", "top", "right", "bottom")),
        ("name", ctypes.c_char_p),
        ("score", ctypes.c_float),
    ]


class Prompts(ctypes.Structure):
    """clsclip_prompts."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("words", ctypes.POINTER(ctypes.c_char_p)),
        ("word_count", ctypes.c_size_t),
    ]


class Request(ctypes.Structure):
    """clsclip_request."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("presence_threshold", ctypes.c_double),
        *((name, ctypes.c_int32) for name in ("presence_filter", "max_classes", "zoom_in")),
        ("boxes", ctypes.POINTER(Box)),
        ("box_count", ctypes.c_size_t),
        ("crop_margin", ctypes.c_double),
        *((name, ctypes.c_int32) for name in ("min_crop_size", "fallback", "boxes_as_masks", "class_agnostic")),
        ("mask_threshold", ctypes.c_double),
        ("mask_margin", ctypes.c_double),
        ("prompts", ctypes.POINTER(Prompts)),
        ("prompts_count", ctypes.c_size_t),
        ("pixel_threshold", ctypes.c_double),
        ("min_area", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("largest", "fill_holes")),
        ("tiles", ctypes.c_int32),
        ("refine", ctypes.c_int32),
    ]


class CInstance(ctypes.Structure):
    """clsclip_instance."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("class_index", ctypes.c_size_t),
        *((name, ctypes.c_float) for name in ("left", "top", "right", "bottom")),
        *((f"window_{name}", ctypes.c_int32) for name in ("left", "top", "right", "bottom")),
        ("score", ctypes.c_float),
        ("presence", ctypes.c_float),
        ("whole_image", ctypes.c_int32),
        ("name", ctypes.c_char_p),
    ]


@dataclass(frozen=True)
class Found:
    """An instance, named as in Python."""

    class_name: str
    window: tuple[int, int, int, int]
    score: float
    region_name: str | None
    whole_image: bool


@dataclass(frozen=True)
class CResult:
    """All of a result of K classes: ``masks`` (K, H, W) bool, ``presence`` (K,), NaN where none, COCO counts."""

    classes: list[str]
    masks: npt.NDArray[np.bool_]
    presence: npt.NDArray[np.float32]
    status: list[str]
    reason: list[str]
    counts: list[bytes]
    searched: list[tuple[str, ...]]
    instances: list[Found]
    notes: list[str]

    @property
    def regions(self) -> list[Found]:
        """The instances that are no whole image."""
        return [one for one in self.instances if not one.whole_image]


class CError(Exception):
    """A call failed: its status and sentence."""

    def __init__(self, status: int, message: str) -> None:
        """Keep both."""
        super().__init__(message)
        self.status = status


class CSegmenter:
    """A bundle in the C++ runtime."""

    def __init__(self, bundle: Path, backend: str = "auto", threads: int = 1, **members: float) -> None:
        """Load it; ``members`` are further ones of clsclip_options. CError when that fails."""
        self._library = library()
        options = Options()
        self._library.clsclip_options_init(ctypes.byref(options), ctypes.sizeof(options))
        options.backend, options.threads = backend.encode(), threads
        for name, value in members.items():
            setattr(options, name, value)
        self._handle = ctypes.c_void_p()
        self._check(self._library.clsclip_load(os.fsencode(bundle), ctypes.byref(options), ctypes.byref(self._handle)))
        self._free = weakref.finalize(self, self._library.clsclip_segmenter_free, self._handle)

    @property
    def backend(self) -> str:
        """Name of the engine."""
        return str(self._library.clsclip_segmenter_backend(self._handle).decode())

    def __call__(
        self,
        pixels: npt.NDArray[np.uint8],
        classes: Sequence[str],
        *,
        form: str = "rgb",
        boxes: Sequence[Sequence[float]] | None = None,
        names: Sequence[str | None] | None = None,
        prompts: Mapping[str, Sequence[str]] | None = None,
        **asked: float,
    ) -> CResult:
        """Segment ``classes``; ``boxes`` (N, 4) xyxy with their names, and further members of clsclip_request."""
        image = Image(pixels.ctypes.data, pixels.shape[1], pixels.shape[0], pixels.strides[0], FORMATS[form])
        request = Request()
        self._library.clsclip_request_init(ctypes.byref(request), ctypes.sizeof(request))
        if boxes is not None:
            called = [None] * len(boxes) if names is None else names
            own = [
                Box(*box, None if name is None else name.encode(), 1.0) for box, name in zip(boxes, called, strict=True)
            ]
            request.boxes, request.box_count = (Box * max(1, len(own)))(*own), len(own)
        given = [
            Prompts(name.encode(), (ctypes.c_char_p * len(words))(*(one.encode() for one in words)), len(words))
            for name, words in (prompts or {}).items()
        ]
        request.prompts, request.prompts_count = (Prompts * max(1, len(given)))(*given), len(given)
        for name, value in asked.items():
            setattr(request, name, value)
        texts = (ctypes.c_char_p * len(classes))(*(one.encode() for one in classes))
        result = ctypes.c_void_p()
        self._check(
            self._library.clsclip_segment(
                self._handle, ctypes.byref(image), texts, len(classes), ctypes.byref(request), ctypes.byref(result)
            )
        )
        try:
            return self._read(result)
        finally:
            self._library.clsclip_result_free(result)

    def close(self) -> None:
        """Free it."""
        self._free()
        self._handle = ctypes.c_void_p()

    def _read(self, result: ctypes.c_void_p) -> CResult:
        library = self._library
        width, height = library.clsclip_result_width(result), library.clsclip_result_height(result)
        count = library.clsclip_result_class_count(result)
        masks = np.zeros((count, height, width), np.uint8)
        for at in range(count):
            self._check(library.clsclip_result_mask(result, at, masks[at].ctypes.data, width))
        names = [library.clsclip_result_class_name(result, at).decode() for at in range(count)]
        places = [library.clsclip_result_searched(result, at) for at in range(count)]
        instances = range(library.clsclip_result_instance_count(result))
        return CResult(
            classes=names,
            masks=masks.astype(np.bool_),
            presence=np.array([library.clsclip_result_presence(result, at) for at in range(count)], np.float32),
            status=[STATUS[library.clsclip_result_status(result, at)] for at in range(count)],
            reason=[library.clsclip_result_reason(result, at).decode() for at in range(count)],
            counts=[self._counts(result, at) for at in range(count)],
            searched=[tuple(name for bit, name in PLACES.items() if bits & bit) for bits in places],
            instances=[self._instance(result, at, names) for at in instances],
            notes=[
                library.clsclip_result_note(result, at).decode()
                for at in range(library.clsclip_result_note_count(result))
            ],
        )

    def _counts(self, result: ctypes.c_void_p, word: int) -> bytes:
        needed = ctypes.c_size_t()
        self._library.clsclip_result_rle(result, word, None, 0, ctypes.byref(needed))
        counts = ctypes.create_string_buffer(needed.value)
        self._check(self._library.clsclip_result_rle(result, word, counts, needed.value, None))
        return counts.value

    def _instance(self, result: ctypes.c_void_p, at: int, names: list[str]) -> Found:
        own = CInstance(size=ctypes.sizeof(CInstance))
        self._check(self._library.clsclip_result_instance(result, at, ctypes.byref(own)))
        window = (own.window_left, own.window_top, own.window_right, own.window_bottom)
        name = None if own.name is None else own.name.decode()
        return Found(names[own.class_index], window, own.score, name, bool(own.whole_image))

    def _check(self, status: int) -> None:
        if status:
            raise CError(status, self._library.clsclip_last_error().decode())


def library() -> Any:
    """The shared library, its functions declared; skips where it was not built."""
    path = Path(os.environ.get(LIBRARY, ROOT / "build" / "cpp" / "libclsclip.so"))
    if not path.is_file():
        pytest.skip(f"the C++ runtime is not built: {path} (make cpp, or set {LIBRARY})")
    loaded = ctypes.CDLL(str(path))
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    for name, result, arguments in (
        ("last_error", text, []),
        ("backend_count", size, []),
        ("backend_name", text, [size]),
        ("options_init", None, [pointer, size]),
        ("request_init", None, [pointer, size]),
        ("load", ctypes.c_int, [text, pointer, pointer]),
        ("segmenter_free", None, [pointer]),
        ("segmenter_backend", text, [pointer]),
        ("segment", ctypes.c_int, [pointer, pointer, pointer, size, pointer, pointer]),
        ("result_free", None, [pointer]),
        ("result_width", ctypes.c_int32, [pointer]),
        ("result_height", ctypes.c_int32, [pointer]),
        ("result_class_count", size, [pointer]),
        ("result_class_name", text, [pointer, size]),
        ("result_status", ctypes.c_int32, [pointer, size]),
        ("result_reason", text, [pointer, size]),
        ("result_presence", ctypes.c_float, [pointer, size]),
        ("result_searched", ctypes.c_int32, [pointer, size]),
        ("result_mask", ctypes.c_int, [pointer, size, pointer, ctypes.c_ssize_t]),
        ("result_rle", ctypes.c_int, [pointer, size, text, size, pointer]),
        ("result_instance_count", size, [pointer]),
        ("result_instance", ctypes.c_int, [pointer, size, pointer]),
        ("result_note_count", size, [pointer]),
        ("result_note", text, [pointer, size]),
    ):
        function = getattr(loaded, f"clsclip_{name}")
        function.restype, function.argtypes = result, arguments
    return loaded


def backends() -> list[str]:
    """Engines of the built library."""
    loaded = library()
    return [loaded.clsclip_backend_name(at).decode() for at in range(loaded.clsclip_backend_count())]
