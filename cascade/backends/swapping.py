"""What a backend has besides that can take other versions of adapters in while it works."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from cascade.backends.base import Backend
from cascade.errors import ConfigError
from cascade.tree import Cascade


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An adapter's file that was checked and can be loaded.

    Attributes:
        sha256: SHA-256 of the file, in hex.
        scale: Factor on its alpha / rank.
        load: Loads it under a key, beside all that is loaded. It is awaited between two batches.
    """

    sha256: str
    scale: float
    load: Callable[[str], Awaitable[None]]


@runtime_checkable
class SwappingBackend(Backend, Protocol):
    """A backend that can hold several versions of an adapter, each under a key of its own.

    ``info`` has all that is loaded, by key. What is not loaded changes no answer of what is.
    """

    def check_markers(self, cascade: Cascade, keys: Mapping[str, str]) -> None:
        """Refuse markers that this backend would not ask, in any thread, and warn of those that are odd.

        Args:
            cascade: The cascade.
            keys: Adapter -> the key under which it is loaded; those of other backends are not looked at.

        Raises:
            ConfigError: Names the marker.
        """

    def prepare(self, name: str, path: Path, scale: float) -> Prepared:
        """Check an adapter's file, in any thread.

        Args:
            name: What cascades call the adapter.
            path: Its file.
            scale: Factor on its alpha / rank.

        Raises:
            ConfigError: The adapter is on a server, which loads adapters itself.
            ModelFileError: The file is missing, damaged or does not fit the base model.
        """

    async def unload(self, key: str) -> None:
        """Forget all that was computed under a key, and free its adapter. It is awaited between two batches."""


def swapping(backend: Backend) -> SwappingBackend:
    """A backend as one that can take adapters in.

    Raises:
        ConfigError: It cannot.
    """
    if isinstance(backend, SwappingBackend):
        return backend
    msg = f"{type(backend).__name__} cannot load adapters while it works. Open a new engine with the new adapter."
    raise ConfigError(msg)
