"""Who watches an engine at work: requests as they come and go, batches as they are scored.

Metrics and traces are observers. What is watched does not know them: ``Watched`` stands between the
engine and its backend, and an engine that nobody watches has none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cascade.arguments import refuse
from cascade.backends.base import Backend, BackendInfo, Batch, BatchCost, Scores, Stop
from cascade.engine.request import Request
from cascade.machine import get_logger
from cascade.prompt import Node

log = get_logger("cascade.engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenBatch:
    """A batch that is over.

    Attributes:
        batch: What was asked.
        requests: The open requests that took part.
        began: When it began, in seconds since the epoch.
        elapsed_ms: How long it took.
        cost: What it cost; None if scoring failed.
    """

    batch: Batch
    requests: tuple[Request, ...]
    began: float
    elapsed_ms: float
    cost: BatchCost | None


class Observer(Protocol):
    """An object whose methods an engine calls as it works, for metrics and traces.

    The methods must return quickly, and are called from several threads. An exception from one is logged and changes no
    answer.

    Examples:
        >>> from cascade import Engine, Item
        >>> class Calls:
        ...     n = 0
        ...
        ...     def began(self, request): ...
        ...
        ...     def scored(self, seen):
        ...         self.n += seen.cost.decode_calls if seen.cost else 0
        ...
        ...     def ended(self, request): ...
        >>> calls = Calls()
        >>> with Engine.open(observers=[calls]) as engine:
        ...     report = engine.classify("fix the parser", [Item(id="1", name="parse")], budget=None)
        >>> calls.n == report.stats.decode_calls
        True
    """

    def began(self, request: Request) -> None:
        """Called before a request is handed to the engine, in its caller's thread and context."""

    def scored(self, seen: SeenBatch) -> None:
        """Called when a batch was scored or has failed, in the engine's thread."""

    def ended(self, request: Request) -> None:
        """Called when a request was answered, has failed or was cancelled (see ``request.done``), in any thread."""


def check_observer(value: object) -> None:
    """Refuse what lacks a method of an observer.

    Raises:
        InputError: It does.
    """
    for name in ("began", "scored", "ended"):
        if not callable(getattr(value, name, None)):
            refuse("An observer", value, f"it has no method {name!r}, and needs began, scored and ended")


class Watched:
    """A backend whose batches observers are told of; it also tells them of requests.

    Args:
        backend: What scores.
        observers: Whom to tell; one that raises is logged, and nothing else suffers.
    """

    def __init__(self, backend: Backend, observers: Sequence[Observer]) -> None:
        self._backend = backend
        self._observers = tuple(observers)
        self._open: dict[Request, None] = {}

    @property
    def info(self) -> BackendInfo:
        """See ``Backend.info``."""
        return self._backend.info

    def watch(self, request: Request) -> None:
        """Tell of a request, now and when it is over."""
        self._open[request] = None
        self._tell(lambda observer: observer.began(request))
        request.done.add_done_callback(lambda _: self._end(request))

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``."""
        began, started = time.time(), time.perf_counter()
        cost: BatchCost | None = None
        try:
            scores = await self._backend.score(batch, stop)
            cost = scores.cost
        finally:
            roots = {query.node.path[0] for query in batch.queries}
            seen = SeenBatch(
                batch=batch,
                requests=tuple(request for request in tuple(self._open) if request.root in roots),
                began=began,
                elapsed_ms=1_000 * (time.perf_counter() - started),
                cost=cost,
            )
            self._tell(lambda observer: observer.scored(seen))
        return scores

    def release(self, nodes: Iterable[Node], prefix_adapter: str | None = None) -> None:
        """See ``Backend.release``."""
        self._backend.release(nodes, prefix_adapter)

    async def close(self) -> None:
        """See ``Backend.close``."""
        await self._backend.close()

    def _end(self, request: Request) -> None:
        self._open.pop(request, None)
        self._tell(lambda observer: observer.ended(request))

    def _tell(self, what: Callable[[Observer], None]) -> None:
        for observer in self._observers:
            try:
                what(observer)
            except BaseException:
                log.exception("an observer failed", observer=type(observer).__name__)
