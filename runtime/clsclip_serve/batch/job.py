"""What is asked of every image: model, words, options; as values that other processes and machines can be sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clsclip_runtime.bundle import Bundle
from clsclip_runtime.documents import parse_json
from clsclip_runtime.errors import BundleError
from clsclip_runtime.limits import Limits
from clsclip_runtime.paths import file_sha256
from clsclip_runtime.segmenter import Segmenter
from clsclip_runtime.text.words import Asked
from clsclip_runtime.version import __version__


@dataclass(frozen=True)
class Job:
    """One table's question.

    Attributes:
        fingerprint: of the bundle that every process must find.
        entries: classes and their prompts.
        model: folder, ``hf:USER/NAME``, or None for the installed one.
        backend: engine, as ``Segmenter.load`` takes it.
        backend_options: of it.
        detector: ONNX file for ``zoom_in``.
        threads: of a call of the engine.
        batch: images that share a call; on a CPU sharing gains nothing.
        memory_mb, max_pixels: bounds of a call and of an image.
        options: keywords of a call of the segmenter.
    """

    fingerprint: str
    entries: tuple[tuple[str, tuple[str, ...]], ...]
    model: str | None = None
    backend: str = "auto"
    backend_options: Mapping[str, str] = field(default_factory=dict)
    detector: str | None = None
    threads: int | None = None
    batch: int = 1
    memory_mb: int = Limits.memory_mb
    max_pixels: int = Limits.max_pixels
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_model(cls, model: str | None, asked: Asked, **more: Any) -> Job:
        """Open the bundle to learn its fingerprint. BundleError if it is none."""
        return cls(Bundle.open(model).fingerprint, tuple(asked.mapping.items()), model, **more)

    @classmethod
    def from_json(cls, text: str | bytes) -> Job:
        """What ``to_json`` wrote, in another process of the same program."""
        values = parse_json(text)
        entries = tuple((name, tuple(prompts)) for name, prompts in values.pop("entries"))
        return cls(entries=entries, **values)

    def to_json(self) -> str:
        """As text."""
        return json.dumps(vars(self))

    @property
    def asked(self) -> Asked:
        """The classes."""
        return Asked(tuple(name for name, _ in self.entries), tuple(prompts for _, prompts in self.entries))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(name for name, _ in self.entries)

    def made_of(self, source: str) -> dict[str, Any]:
        """Everything that rows depend on, besides the images: what a table is known by."""
        return {
            "version": __version__,
            "source": source,
            "bundle": self.fingerprint,
            "classes": [[name, list(prompts)] for name, prompts in self.entries],
            "backend": [self.backend, sorted(self.backend_options.items())],
            "detector": None if self.detector is None else file_sha256(Path(self.detector)),
            "max_pixels": self.max_pixels,
            "options": dict(self.options),
        }

    def load(self) -> Segmenter:
        """Load the model. BundleError if it is another one here; else as ``Segmenter.load``."""
        segmenter = Segmenter.load(
            self.model,
            self.backend,
            backend_options=dict(self.backend_options),
            detector=self.detector,
            threads=self.threads,
            limits=Limits(memory_mb=self.memory_mb, max_pixels=self.max_pixels),
        )
        if segmenter.bundle.fingerprint != self.fingerprint:
            segmenter.close()
            raise BundleError(
                f"{self.model or 'the installed model'} is another model here than where the work began. Give every "
                "machine the same one, and the same version of clsclip"
            )
        return segmenter


def digest(made_of: Mapping[str, Any]) -> str:
    """The key of a table: SHA-256 of what it is made of."""
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
