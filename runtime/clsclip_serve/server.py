"""The server's process: it listens, ends by signals, and loses nothing that it accepted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator

import uvicorn

from clsclip_runtime.cli.output import echo
from clsclip_serve.app import create_app
from clsclip_serve.keys import ApiKeys
from clsclip_serve.labelstudio.images import LabelStudio
from clsclip_serve.service import Service


async def serve(
    service: Service,
    keys: ApiKeys | None,
    host: str,
    port: int,
    *,
    page: bool = True,
    studio: LabelStudio | None = None,
) -> int:
    """Serve until SIGINT or SIGTERM; the exit code.

    The first signal lets what was accepted be answered, and nothing new be taken; the second ends at once.
    """
    config = uvicorn.Config(
        create_app(service, keys, page=page, studio=studio),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
    )
    server = _Server(config)
    asked: list[int] = []

    def stop(number: int) -> None:
        if asked:  # the second time it is meant at once
            os._exit(128 + number)
        asked.append(number)
        service.stop()
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    await server.serve()
    service.close()
    return 0 if server.started else 1


class _Server(uvicorn.Server):
    """Without handlers of its own: they would end the process by the signal when all is done."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for one in self.servers:
            for listening in one.sockets:
                host, port = listening.getsockname()[:2]
                echo(f"serving on http://{host}:{port}", err=True)
