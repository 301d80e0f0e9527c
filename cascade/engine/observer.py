"""Observers of an engine at work: they are told of requests as they come and go, and of batches as they are scored.

Metrics and traces are observers.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cascade.arguments import refuse
from cascade.backends import base
from cascade.backends.base import Backend, BatchCost, Scores
from cascade.engine.batch import Batch
from cascade.engine.request import Request
from cascade.machine import get_logger

log = get_logger("cascade.engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenBatch:
    """A batch that is over.

    Attributes:
        batch: Its queries.
        requests: The requests that took part and are still open.
        began: When it began, in seconds since the epoch.
        elapsed_ms: How long it took, in milliseconds of wall time.
        cost: What it cost; None if scoring failed.
        model: Name of the base model that answered; empty where the engine has one alone.
        adapter: What cascades call the adapter that answered; ``batch.adapter`` is the key of its version.
        reused: Indices of queries whose answers were there before, so that nothing was computed for them.
    """

    batch: base.Batch
    requests: tuple[Request, ...]
    began: float
    elapsed_ms: float
    cost: BatchCost | None
    model: str = ""
    adapter: str
    reused: Collection[int] = ()


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


class Log(Observer, Protocol):
    """An observer that keeps what it is told, such as ``cascade.DecisionLog``."""

    def remembering(self, backends: Mapping[str, Backend]) -> dict[str, Backend]:
        """The backends of an engine, or others in front of them that know answers already."""

    def shadowed(self, live: Request, beside: Request) -> None:
        """Keep what adapters in the shadow have answered beside a live request, which has ended before."""

    def record(self, outcomes: Any) -> None:
        """Keep what became of items."""

    def flush(self) -> None:
        """Wait until all that happened before is written."""

    def close(self) -> None:
        """Write what waits and close; a second call does nothing."""


def check_observer(value: object) -> None:
    """Refuse what lacks a method of an observer.

    Raises:
        InputError: It does.
    """
    for name in ("began", "scored", "ended"):
        if not callable(getattr(value, name, None)):
            refuse("An observer", value, f"it has no method {name!r}, and needs began, scored and ended")


class Observers:
    """The observers of one engine.

    Args:
        observers: Whom to tell; what one raises is logged, and nothing else suffers.
    """

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = tuple(observers)

    def watch(self, request: Request) -> None:
        """Tell of a request, now and when it is over."""
        if self._observers:
            self._tell(lambda observer: observer.began(request))
            request.done.add_done_callback(lambda _: self._tell(lambda observer: observer.ended(request)))

    async def scored(self, batch: Batch, scoring: Awaitable[Scores]) -> Scores:
        """Wait for the scores of a batch, and tell of it once it is over."""
        began, started = time.time(), time.perf_counter()
        cost: BatchCost | None = None
        reused: Collection[int] = ()
        try:
            scores = await scoring
            cost, reused = scores.cost, scores.reused
        finally:
            seen = SeenBatch(
                batch=batch,
                requests=tuple(request for request in batch.by_request if not request.done.done()),
                began=began,
                elapsed_ms=1_000 * (time.perf_counter() - started),
                cost=cost,
                model=batch.model,
                adapter=batch.name,
                reused=reused,
            )
            self._tell(lambda observer: observer.scored(seen))
        return scores

    def _tell(self, what: Callable[[Observer], None]) -> None:
        for observer in self._observers:
            try:
                what(observer)
            except BaseException:
                log.exception("an observer failed", observer=type(observer).__name__)
