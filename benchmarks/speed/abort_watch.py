"""How long a batch runs on after it was told to end at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from cascade.backends.base import Backend, BackendInfo, Batch, Scores, Stop
from cascade.prompt import Node


class _WatchedStop(Stop):
    """The engine's stop, which notes when it reached the backend.

    Args:
        stop: The engine's.

    Attributes:
        aborted_at: When the batch was aborted, in seconds; None if it was not.
    """

    def __init__(self, stop: Stop) -> None:
        super().__init__()
        self._stop = stop
        self.aborted_at: float | None = None

    @property
    def is_asked(self) -> bool:
        """Whether the engine has asked."""
        return self._stop.is_asked

    def ask(self) -> None:
        """See ``Stop.ask``."""
        self._stop.ask()

    def abort(self) -> None:
        """See ``Stop.abort``."""
        self._stop.abort()

    @contextmanager
    def interrupting(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """See ``Stop.interrupting``."""

        def noted() -> None:
            self.aborted_at = self.aborted_at or time.perf_counter()
            interrupt()

        with self._stop.interrupting(noted):
            yield


class AbortWatch:
    """A backend that notes how long aborted batches ran on; all else is the inner backend's.

    Args:
        inner: What computes.

    Attributes:
        latencies_ms: From each abort of a running batch until the engine had that batch back.
    """

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.latencies_ms: list[float] = []

    @property
    def info(self) -> BackendInfo:
        """See ``Backend.info``."""
        return self._inner.info

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``."""
        watched = _WatchedStop(stop)
        scores = await self._inner.score(batch, watched)
        if watched.aborted_at is not None:
            self.latencies_ms.append(1_000 * (time.perf_counter() - watched.aborted_at))
        return scores

    def release(self, nodes: Iterable[Node], prefix_adapter: str | None = None) -> None:
        """See ``Backend.release``."""
        self._inner.release(nodes, prefix_adapter)

    async def close(self) -> None:
        """See ``Backend.close``."""
        await self._inner.close()
