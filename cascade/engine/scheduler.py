"""Open requests: which queries form the next batch, and what its answers do to them. Pure: is told the time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cascade.backends.base import Scores
from cascade.engine.at_once import AtOnce
from cascade.engine.batch import Batch, faults_of, walk_on
from cascade.engine.lanes import Lanes
from cascade.engine.request import Request
from cascade.engine.turns import Turns, last_moment
from cascade.errors import OverloadError

_NOVICE = 20  # until so many decodes were seen, a batch is tried although it is predicted to be late
_TRY_EVERY = 8


class Scheduler:
    """Chooses batches for open requests, and takes in their answers.

    Args:
        lanes: Of each base model what builds its prompts, and decides what fits into a batch and into its cache.
    """

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._turns = Turns(*(lane.planner for lane in lanes))
        self._requests: list[Request] = []
        self._most_urgent: Request | None = None
        self._n_hopeless = 0  # turns for which no batch would be in time
        self._n_refused = 0  # requests that would have been late

    @property
    def requests(self) -> Sequence[Request]:
        """The open requests."""
        return self._requests

    @property
    def n_cached(self) -> int:
        """Prompt nodes in the backends' caches."""
        return self._lanes.n_cached

    def check(self, request: Request, now: float) -> None:
        """Refuse a new request that will not be done in time beside those that are open.

        Where none is open, every eighth is taken all the same, so that the cost model can correct itself: an
        engine that refused all would never learn that it is fast enough.

        Raises:
            OverloadError: Says how long it would take.
        """
        try:
            self._turns.check(self._requests, request, now)
        except OverloadError:
            self._n_refused += 1
            if self._requests or self._n_refused % _TRY_EVERY:
                raise

    def add(self, request: Request) -> None:
        """Take a request in whose prompts are built."""
        self._lanes.admit(request.items)
        self._requests.append(request)

    def take_in(self, request: Request) -> None:
        """Take in what was built of an open request since; nothing happens if it is not open."""
        if request in self._requests:
            self._lanes.admit(request.open_items)

    def drop(self, request: Request) -> None:
        """Let a request go; nothing happens if it is not open. The caller releases the root of its prompts."""
        if request in self._requests:
            self._requests.remove(request)
        if request is self._most_urgent:
            self._most_urgent = None  # or it would be held as long as the engine is idle
        self._lanes.drop(request.items)

    def schedule(self, now: float) -> Batch | None:
        """The next batch for the open requests, of which there is at least one.

        Args:
            now: The time, in seconds.

        Returns:
            The batch; None where nothing fits into the time, or the cache, of ``most_urgent``.
        """
        turn = self._turns.next(self._requests, now)
        first = self._most_urgent = turn.request
        batch = self._lanes.next_batch(turn.offers, turn.left_ms)
        if batch is None and self._tries():
            batch = self._lanes.next_batch({first: turn.offers[first][:1]})
        return self._begun(batch, now) if batch is not None else None

    def schedule_beside(self, now: float, at_once: AtOnce) -> Batch | None:
        """A batch that runs beside those at hand, of a model that is free.

        Where somebody's time is short there is none: what shares the cores is done later, and at a deadline what is
        not done is lost.

        Args:
            now: The time, in seconds.
            at_once: The batches at hand.

        Returns:
            The batch; None where there is none that fits.
        """
        turn = self._turns.next(self._requests, now, at_once.busy_ms(now))
        if not turn.has_plenty:
            return None
        asked, models = at_once.items, at_once.models
        offers = {request: [item for item in items if item not in asked] for request, items in turn.offers.items()}
        room = {
            lane.name: at_once.room_ms(turn.left_ms, lane.n_threads, now)
            for lane in self._lanes
            if lane.name not in models
        }
        batch = self._lanes.beside(offers, room)
        return self._begun(batch, now) if batch is not None else None

    def most_urgent(self) -> Request:
        """The request whose turn it was when ``schedule`` was called last."""
        assert self._most_urgent is not None  # noqa: S101 - there is one after ``schedule``
        return self._most_urgent

    def postprocess(
        self, batch: Batch, scores: Scores, alone: float = 1.0
    ) -> Iterator[tuple[Request, BaseException | None]]:
        """Walk the items of a batch on, and learn from what it took.

        Args:
            batch: From ``schedule``.
            scores: The backend's answers; ``spoilt`` has all that are no finite number.
            alone: What it would have taken alone, over the time that it took beside others; in (0, 1].

        Yields:
            Requests that are over, each with what went wrong, or None. The caller drops them.
        """
        planner = self._lanes.of(batch.adapter).planner
        for work, ms in scores.cost.decodes:
            planner.model.learn(work, ms * alone)
        prefix_adapter = planner.prefix_adapter(batch.adapter)
        for key in (*scores.lost, *((node, prefix_adapter) for node in batch.uncomputed(scores.reused))):
            planner.prefix_index.forget(key)
        faults = faults_of(batch, scores.spoilt, is_served=planner.is_served(batch.adapter))
        walk_on(batch.queries, scores)
        owed = {id(batch.queries[place]) for place in scores.under_way}
        reused = {id(batch.queries[place]) for place in scores.reused}
        for request, own in batch.by_request.items():
            if request not in self._requests:
                continue
            request.forecast_at = -1.0  # it is over, and what was foretold while it ran is not
            n_owed = sum(id(query) in owed for query in own)
            request.charge(scores.cost, batch.predicted_ms, n_own=len(own), n_all=len(batch.queries), n_owed=n_owed)
            request.stats.calls_reused += sum(id(query) in reused for query in own)
            moved = list(dict.fromkeys(query.item for query in own))
            self._lanes.advance(moved)
            fault = request.tell([item for item in moved if item.is_done])
            fault = next((faults[item] for item in moved if item in faults), fault)
            if fault is not None or not request.open_items:
                yield request, fault

    def lose_cache(self, batch: Batch) -> None:
        """Release all that a batch's model has cached: the batch has failed, and nobody knows what it left behind."""
        self._lanes.of(batch.adapter).planner.prefix_index.clear()

    def _tries(self) -> bool:
        """True if a batch is run although it is predicted to be late.

        While the cost model is new, and then every eighth time, so that it can correct itself.
        """
        self._n_hopeless += 1
        is_novice = any(lane.planner.model.n_seen < _NOVICE for lane in self._lanes)
        return is_novice or self._n_hopeless % _TRY_EVERY == 0

    def _begun(self, batch: Batch, now: float) -> Batch:
        """A batch with the nodes of its questions, and the time that anybody waits for its answers."""
        prompts = self._lanes.of(batch.adapter).prompts
        for query in batch.queries:
            query.build(prompts)
        for request, own in batch.by_request.items():
            request.served = now
            request.stats.calls_ahead += sum(query.is_ahead for query in own)
        left_ms = 1_000 * max(last_moment(request) - now for request in batch.by_request)
        return replace(batch, left_ms=left_ms)
