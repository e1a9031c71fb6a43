"""What Prometheus reads. No label ever holds a word or a path."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counters of one server."""

    def __init__(self, depth: Callable[[], float], kept: Callable[[], float]) -> None:
        """``depth`` gives the requests that wait, ``kept`` the bytes of pictures that are kept."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Counter("clsclip_requests", "Answers", ("route", "code"), registry=self._registry)
        self.seconds = Histogram(
            "clsclip_request_seconds", "Whole requests", ("route",), buckets=_SECONDS, registry=self._registry
        )
        self.queue = Histogram("clsclip_queue_seconds", "Waiting", buckets=_SECONDS, registry=self._registry)
        self.engine = Histogram(
            "clsclip_engine_seconds", "Steps of the engine", ("step",), buckets=_SECONDS, registry=self._registry
        )
        self.batch = Histogram(
            "clsclip_batch_images", "Pictures in a call", buckets=(1, 2, 4, 8, 16, 32), registry=self._registry
        )
        self.classes = Counter("clsclip_classes", "Classes, by how they ended", ("status",), registry=self._registry)
        self.rejected = Counter("clsclip_rejected", "Requests that were not run", ("reason",), registry=self._registry)
        Gauge("clsclip_queue_depth", "Requests that wait", registry=self._registry).set_function(depth)
        Gauge("clsclip_images_kept_bytes", "Pictures that are kept", registry=self._registry).set_function(kept)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self._registry)
