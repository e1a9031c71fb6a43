"""The server's process: it listens, ends by signals, and loses nothing that it accepted."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import socket
from collections.abc import Iterator

import uvicorn

from clsclip_runtime.cli.output import echo
from clsclip_serve.app import create_app
from clsclip_serve.connections import WatchedProtocol
from clsclip_serve.keys import ApiKeys
from clsclip_serve.labelstudio.images import LabelStudio
from clsclip_serve.service import Service

LAME_DUCK_S = 1.0
"""Between a signal and the end of listening."""


async def serve(
    service: Service,
    keys: ApiKeys | None,
    host: str,
    port: int,
    *,
    page: bool = True,
    studio: LabelStudio | None = None,
) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP; the exit code.

    The first signal lets what was accepted be answered, and nothing new be taken; the second ends at once. For
    ``LAME_DUCK_S`` seconds it listens still, and answers 503: a connection that was made but not yet read from is reset
    when it is closed, and so are those that wait in the backlog of a listener. SIGHUP is left alone where it is
    ignored, as by ``nohup``.
    """
    config = uvicorn.Config(
        create_app(service, keys, page=page, studio=studio),
        host=host,
        port=port,
        log_level="warning",
        http=WatchedProtocol,
        timeout_graceful_shutdown=math.ceil(2 * service.options.timeout),
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
        loop.call_later(LAME_DUCK_S, setattr, server, "should_exit", True)

    loop = asyncio.get_running_loop()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            loop.add_signal_handler(number, stop, number)
    await server.serve()
    service.close()
    return 0 if server.started else 1


class _Server(uvicorn.Server):
    """Without handlers of its own: they would end the process by the signal when all is done."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._accept_the_last()
        await super().shutdown(sockets)

    async def _accept_the_last(self) -> None:
        """Listen no more, and accept all who are in the backlog: a listener that is closed resets them.

        The loop would accept them some time before it closes the listener, and reset those who come in between.
        """
        mine = [socket.socket(fileno=os.dup(one.fileno())) for server in self.servers for one in server.sockets]
        for server in self.servers:
            server.close()
        last = []
        for listening in mine:
            listening.setblocking(False)
            with listening, contextlib.suppress(BlockingIOError):  # until nobody is left
                while True:
                    last.append(listening.accept()[0])
        loop = asyncio.get_running_loop()
        for one in last:
            with contextlib.suppress(OSError):  # it has gone
                one.setblocking(False)
                await loop.connect_accepted_socket(self._protocol, one)

    def _protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for one in self.servers:
            for listening in one.sockets:
                host, port = listening.getsockname()[:2]
                echo(f"serving on http://{host}:{port}", err=True)
