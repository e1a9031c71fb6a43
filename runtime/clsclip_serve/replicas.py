"""The server as replicas of Ray Serve: the same application, its queue and its answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from ray import serve

from clsclip_runtime.errors import OptionError
from clsclip_runtime.segmenter import Segmenter
from clsclip_serve.app import create_app
from clsclip_serve.options import ServerOptions
from clsclip_serve.service import Service

SPARE = 8
"""Requests beside those that wait: health checks, metrics, and those that the queue refuses."""


class Front:
    """The ASGI program that Ray Serve knows: it is sent to the replica, where the model is, and asks there."""

    program: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Whatever comes. Ray's proxy names every request, and writes the name that ours has into the answer too."""

        async def send_once(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [one for one in message["headers"] if bytes(one[0]).lower() != b"x-request-id"]
                message = {**message, "headers": headers}
            await send(message)

        await Front.program(scope, receive, send_once)


class Replica:
    """One server."""

    def __init__(self, model: str | None, backend: str, threads: int | None, limits: dict[str, Any]) -> None:
        """Load the model."""
        segmenter = Segmenter.load(model, backend, threads=threads)
        segmenter(np.full((32, 32, 3), 127, np.uint8), "thing")  # whatever an engine prepares is done now
        self._service = Service(segmenter, ServerOptions(**limits))
        Front.program = create_app(self._service)

    def check_health(self) -> None:
        """Ray asks now and then. RuntimeError where the engine's thread is gone."""
        if not self._service.engine.alive:
            raise RuntimeError("the engine has ended")

    def __del__(self) -> None:
        """Let go of the model."""
        service = getattr(self, "_service", None)
        if service is not None:
            service.close()


def app(
    model: str | None = None,
    backend: str = "auto",
    *,
    min_replicas: int = 1,
    max_replicas: int = 8,
    target_requests: int = 4,
    max_queued_requests: int = 64,
    cpus: float = 1,
    gpus: float = 0,
    threads: int | None = 1,
    options: ServerOptions | None = None,
) -> Any:
    """A deployment for ``serve.run`` and for the ``import_path`` of a configuration file.

    Args:
        model: folder that every node has, ``hf:USER/NAME``, or None for the installed one.
        backend: engine.
        min_replicas, max_replicas: between which Ray scales.
        target_requests: in a replica at once, above which Ray adds replicas.
        max_queued_requests: that wait for a replica in each proxy; the next is answered 503.
        cpus, gpus: of a replica, as Ray counts them.
        threads: of a call of the engine.
        options: limits of each replica; its own ``queue`` is what waits in it for the engine.

    Raises:
        OptionError: numbers make no sense.
    """
    limits = options or ServerOptions()
    if not 0 < min_replicas <= max_replicas:
        raise OptionError(
            f"from {min_replicas} to {max_replicas} replicas cannot be. Give 1 or more, the smaller first"
        )
    made: Any = serve.deployment(
        serve.ingress(Front())(Replica),
        name="clsclip",
        max_ongoing_requests=limits.queue + limits.batch + SPARE,
        max_queued_requests=max_queued_requests,
        autoscaling_config={
            "min_replicas": min_replicas,
            "max_replicas": max_replicas,
            "target_ongoing_requests": target_requests,
        },
        ray_actor_options={"num_cpus": cpus, "num_gpus": gpus},
        graceful_shutdown_timeout_s=limits.timeout + 10,
    )
    return made.bind(model, backend, threads, asdict(limits))
