"""Sends each batch to where its adapter is: to the model in this process, or to a server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cascade.backends.base import BackendInfo, Batch, Scores, Stop
from cascade.backends.beside import EmbeddedBackend
from cascade.backends.servers.backend import ServerBackend
from cascade.prompt import Node


class Router:
    """Several backends behind the ``Backend`` protocol.

    Args:
        info: Of all of them together.
        servers: Adapter -> the server that answers for it.
        embedded: What answers for the other adapters; None if there are none.

    Attributes:
        embedded: As above.
    """

    def __init__(
        self, info: BackendInfo, servers: Mapping[str, ServerBackend], embedded: EmbeddedBackend | None
    ) -> None:
        self._info, self._servers, self.embedded = info, servers, embedded

    @property
    def info(self) -> BackendInfo:
        """See ``Backend.info``."""
        return self._info

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``."""
        server = self._servers.get(batch.adapter)
        if server is not None:
            return await server.score(batch, stop)
        assert self.embedded is not None  # noqa: S101 - the facts name no adapter that nobody has
        return await self.embedded.score(batch, stop)

    def release(self, nodes: Iterable[Node], prefix_adapter: str | None = None) -> None:
        """See ``Backend.release``; servers keep what they like, but owe no answers any more."""
        nodes = tuple(nodes)
        for server in set(self._servers.values()) if prefix_adapter is None else ():
            server.release(nodes)
        if self.embedded is not None:
            self.embedded.release(nodes, prefix_adapter)

    async def close(self) -> None:
        """See ``Backend.close``."""
        for server in set(self._servers.values()):
            await server.close()
        if self.embedded is not None:
            await self.embedded.close()
