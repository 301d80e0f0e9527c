"""What the backend of one base model shares with those of others in its process."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from cascade.backends.base import Backend
from cascade.backends.worker import Worker


class EmbeddedBackend(Backend, Protocol):
    """A backend whose model is in this process."""

    @property
    def worker(self) -> Worker:
        """The thread that runs it, perhaps with others."""

    def abandon(self) -> None:
        """``close`` for a backend that never met an event loop; waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The other base models of an engine.

    Attributes:
        worker: The thread that runs them, which is to run this one as well; None for a thread of its own.
        adapters: What they answer for; cascades may ask it.
    """

    worker: Worker | None = None
    adapters: Collection[str] = ()


ALONE = Beside()
"""There are none."""
