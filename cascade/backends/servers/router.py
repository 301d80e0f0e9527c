"""Sends each batch to where its adapter is: to the model in this process, or to a server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from cascade.backends.base import BackendInfo, Batch, Scores, Stop
from cascade.backends.beside import EmbeddedBackend
from cascade.backends.servers.backend import ServerBackend
from cascade.backends.swapping import Prepared, swapping
from cascade.errors import ConfigError
from cascade.prompt import Node
from cascade.stages import SERVED
from cascade.tree import Cascade


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
        self._own = embedded.info if embedded is not None else None

    @property
    def info(self) -> BackendInfo:
        """See ``Backend.info``."""
        if self.embedded is not None and self.embedded.info is not self._own:  # it has other adapters since
            self._own = self.embedded.info
            self._info = _joined(self._info, self._own)
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

    def check_markers(self, cascade: Cascade, keys: Mapping[str, str]) -> None:
        """See ``SwappingBackend.check_markers``; a server takes any."""
        if self.embedded is not None:
            swapping(self.embedded).check_markers(cascade, keys)

    def prepare(self, name: str, path: Path, scale: float) -> Prepared:
        """See ``SwappingBackend.prepare``."""
        if name in self._servers or self.embedded is None:
            where = f"server {self._servers[name].setup.name!r}" if name in self._servers else "a server"
            msg = (
                f"adapters.{name}: {where} answers for it, and loads adapters itself. Load {path} there under a name "
                "of its own, give that name in the entry, and open the engine again."
            )
            raise ConfigError(msg)
        return swapping(self.embedded).prepare(name, path, scale)

    async def unload(self, key: str) -> None:
        """See ``SwappingBackend.unload``."""
        if self.embedded is not None:
            await swapping(self.embedded).unload(key)

    async def close(self) -> None:
        """See ``Backend.close``."""
        for server in set(self._servers.values()):
            await server.close()
        if self.embedded is not None:
            await self.embedded.close()


def _joined(info: BackendInfo, own: BackendInfo) -> BackendInfo:
    """What is known of all, with what the model in this process says of its adapters now."""
    served = {name for name, prefix_adapter in info.prefix_adapters.items() if prefix_adapter == SERVED}
    known = {name: each for name, each in info.provenance.adapters.items() if name in served}
    invocations = {name: tokens for name, tokens in info.invocations.items() if name in served}
    return replace(
        info,
        provenance=replace(info.provenance, adapters={**own.provenance.adapters, **known}),
        invocations={**own.invocations, **invocations},
        scales=own.scales,
        prefix_adapters={**own.prefix_adapters, **dict.fromkeys(served, SERVED)},
    )
