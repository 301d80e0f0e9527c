"""What the backend of one base model knows of those of others in its process."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from cascade.backends.base import Backend


class EmbeddedBackend(Backend, Protocol):
    """A backend whose model is in this process."""

    def abandon(self) -> None:
        """``close`` for a backend that never met an event loop; waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The other base models of an engine.

    Attributes:
        adapters: What they answer for; cascades may ask it.
    """

    adapters: Collection[str] = ()


ALONE = Beside()
"""There are none."""
