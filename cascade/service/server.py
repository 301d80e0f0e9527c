"""The service on a socket: listens, and ends in good order when it is told to."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from cascade.engine.engine import Engine
from cascade.errors import MachineError
from cascade.service.protocol import MAX_HEAD, Protocol

_CLEAR_S = 5.0  # how long answers that were settled at the end of the grace may take to leave


class Server(uvicorn.Server):
    """A server that, told to end, lets open requests finish for a while and then answers them with what they have.

    Args:
        app: The service.
        engine: What it asks.
        grace_s: How long requests may go on, in seconds.
        at_once: What a second signal calls; None to wait for the end that the first one asked for.
    """

    def __init__(
        self,
        app: FastAPI,
        engine: Engine,
        grace_s: float = 10.0,
        at_once: Callable[[int, FrameType | None], object] | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                ws="none",
                http=Protocol,
                h11_max_incomplete_event_size=MAX_HEAD,
                lifespan="off",
                timeout_graceful_shutdown=round(grace_s + _CLEAR_S),
            )
        )
        self._engine = engine
        self._grace_s = grace_s
        self._at_once = at_once

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal: the first one ends the service in good order, a second one at once.

        uvicorn raises those that it notes once more at its end; after a SIGTERM the end is as it was asked for, so that
        one is not noted.
        """
        if self.should_exit and self._at_once is not None:
            self._at_once(sig, frame)
        elif sig == signal.SIGTERM:
            self.should_exit = True
        else:
            super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: take no more calls, wait for those that are open, settle what is left."""
        settling = asyncio.get_running_loop().call_later(self._grace_s, self._engine.settle)
        try:
            await super().shutdown(sockets)
        finally:
            settling.cancel()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: Name or address of an interface.
        port: 0 for any that is free.

    Raises:
        MachineError: It cannot listen there.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=1_024)
    except OSError as error:
        msg = f"Cannot listen on {host} port {port} ({error.strerror or error}). Choose another --host or --port."
        raise MachineError(msg) from error


def url_of(listening: socket.socket) -> str:
    """The URL of the service on a socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
