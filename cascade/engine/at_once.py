"""Batches of several models that run at once, and how they share the machine's cores. Pure: is told the time.

Each model computes with all its threads, and the system shares the cores out among those that need them: a batch that
is alone has all of them, and two slow each other. Prices and forecasts are of batches that are alone. A millisecond of
a batch that has others beside it therefore counts in part: as what it would have got done alone in that time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cascade.backends.base import Stop
from cascade.engine.batch import Batch
from cascade.engine.item_state import ItemState

_PATIENCE, _PATIENCE_S = 2.0, 0.1  # while others wait, a batch may take its prediction, twice that again, and 0.1 s


@dataclass(slots=True, eq=False)
class Running:
    """A batch at work.

    Attributes:
        batch: The batch.
        n_threads: Threads that compute it here.
        left_ms: What it still takes, were it alone, in milliseconds.
        overdue: When it has taken so long that others no longer wait for it, by the engine's clock, in seconds.
        stop: Ends it early.
        alone_ms: What it would have taken alone to come as far as it is.
        wall_ms: How long it has run.
    """

    batch: Batch
    n_threads: int
    left_ms: float
    overdue: float
    stop: Stop = field(default_factory=Stop)
    alone_ms: float = 0.0
    wall_ms: float = 0.0


class AtOnce:
    """The batches at hand, of each model one at most.

    Args:
        n_cores: Cores that they share.
    """

    def __init__(self, n_cores: int) -> None:
        self._n_cores = n_cores
        self._running: dict[Running, None] = {}
        self._told = 0.0

    def __iter__(self) -> Iterator[Running]:
        return iter(tuple(self._running))

    def __len__(self) -> int:
        return len(self._running)

    @property
    def models(self) -> set[str]:
        """The models that are at work."""
        return {running.batch.model for running in self}

    @property
    def items(self) -> set[ItemState]:
        """The items that are being asked."""
        return {query.item for running in self for query in running.batch.queries}

    def begin(self, batch: Batch, n_threads: int, now: float, slowest: float = 1.0) -> Running:
        """Take in a batch that begins now.

        Args:
            batch: The batch.
            n_threads: Threads that compute it here; 0 if others do.
            now: The time, in seconds.
            slowest: How many times as long as alone it may take beside others.
        """
        self._pass(now)
        patience_s = (1 + _PATIENCE) * slowest * batch.predicted_ms / 1_000 + _PATIENCE_S
        running = Running(batch, n_threads, batch.predicted_ms, now + patience_s)
        self._running[running] = None
        return running

    def end(self, running: Running, now: float) -> float:
        """Let a batch go that ends now.

        Returns:
            What it would have taken alone, over the time that it took; in (0, 1].
        """
        self._pass(now)
        del self._running[running]
        return running.alone_ms / running.wall_ms if running.wall_ms else 1.0

    def ends(self, running: Running, now: float) -> float:
        """When a batch should be done at the latest, in seconds."""
        self._pass(now)
        return now + running.left_ms * self._slowdown(running.n_threads) / 1_000

    def busy_ms(self, now: float) -> float:
        """How long it takes until all of them are done, in milliseconds."""
        self._pass(now)
        return sum(running.left_ms for running in self)

    def room_ms(self, left_ms: float, n_threads: int, now: float) -> float:
        """How long a batch may take alone so that it is in time beside these, in milliseconds.

        Args:
            left_ms: When it must be done, in milliseconds from now on.
            n_threads: Threads that compute it here.
            now: The time, in seconds.
        """
        self._pass(now)
        return left_ms / self._slowdown(n_threads, n_threads)

    def _slowdown(self, n_threads: int, more: int = 0) -> float:
        """How many times as long as alone a batch takes beside these, and beside so many threads more."""
        wanted = sum(running.n_threads for running in self) + more
        return max(1.0, wanted / self._n_cores) if n_threads else 1.0

    def _pass(self, now: float) -> None:
        """Count the time since the last call."""
        ms, self._told = 1_000 * max(0.0, now - self._told), now
        for running in self if ms else ():
            alone_ms = ms / self._slowdown(running.n_threads)
            running.wall_ms += ms
            running.alone_ms += alone_ms
            running.left_ms = max(0.0, running.left_ms - alone_ms)
