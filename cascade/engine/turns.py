"""Whose turn it is, and how deep its items may go, so that everyone's time suffices. Pure: is told the time.

Requests are served by deadline, earliest first (Liu and Layland 1973: if any order keeps all deadlines,
this one does). Before every batch each request's way to each depth is predicted; the cap of all is
raised level by level as long as every deadline can still be kept, so that all get shallower before
one gets nothing. If not even the first stage fits for all, each gets the same share of its items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil, inf

from cascade.engine.forecast import by_depth
from cascade.engine.item_state import ItemState
from cascade.engine.planner import Planner
from cascade.engine.request import Request
from cascade.errors import OverloadError

PATIENCE_S = 5.0
"""A request without a deadline is due this long after it last took part in a batch, so that nobody waits for ever."""

LONG_PATIENCE_S = 60.0
"""The same where none has a deadline: taking turns keeps the items of all in the cache, and slows all down."""

RESERVE_MS = 2.0
"""What is kept of a budget for what comes after the last batch: answering the caller."""

RESERVE_PER_ITEM_MS = 0.02
"""The same for each item of the request: its decision has to be made."""

MOST_REQUESTS = 32
"""Requests that are weighed against each other for a batch; others wait until some of these are done."""

_PLENTY = 2.0  # times the forecast, from which on nothing has to be weighed


@dataclass(frozen=True, slots=True)
class Turn:
    """Which request goes next, and what others may add to its batch.

    Attributes:
        offers: The items of each open request that may be asked now. The request whose turn it is comes first.
        left_ms: How long the batch may take, in milliseconds; infinity for no limit.
        has_plenty: Whether everyone's time suffices even if all models are at work all the time.
    """

    offers: Mapping[Request, list[ItemState]]
    left_ms: float
    has_plenty: bool = True

    @property
    def request(self) -> Request:
        """The request whose turn it is."""
        return next(iter(self.offers))


def last_moment(request: Request) -> float:
    """When the last batch of a request must have ended, in seconds; infinity for never."""
    return request.ends - (RESERVE_MS + RESERVE_PER_ITEM_MS * len(request.items)) / 1_000


class Turns:
    """Gives turns to open requests.

    Args:
        planners: Of each base model the one that knows what is in its cache, and how long its batches take.
    """

    def __init__(self, *planners: Planner) -> None:
        self._planners = planners
        self._was_owed = False  # whether the turn before went to a request without a deadline that had waited

    def next(self, requests: Sequence[Request], now: float, busy_ms: float | None = None) -> Turn:
        """The next turn among open requests.

        Args:
            requests: All of them, at least one.
            now: The time, in seconds.
            busy_ms: How long the batches at hand still take, in milliseconds; None where there are none.
        """
        requests = [request for request in requests if not request.only_waits] or requests
        if all(request.ends == inf for request in requests):
            ordered = sorted(requests, key=lambda request: _rank(request, now))[:MOST_REQUESTS]
            return Turn({request: request.askable for request in ordered}, inf)
        requests = sorted(requests, key=_due)[:MOST_REQUESTS]
        hurried = sorted((request for request in requests if request.ends < inf), key=_ends)
        has_plenty = self._has_plenty(hurried, now, busy_ms or 0.0)
        caps, share = ({}, 1.0) if has_plenty else self._caps(hurried, now, busy_ms or 0.0)
        offers = {request: self._offer(request, caps.get(request), share) for request in requests}
        if share < 1:  # no deadline can be kept in full: whoever has the least of its items answered goes first
            ordered = sorted(requests, key=lambda request: (request.ends == inf, _answered(request), request.ends))
            if busy_ms is None:
                self._let_through(ordered, now)
        else:
            ordered = sorted(requests, key=_due)
        margin = max(planner.model.margin for planner in self._planners)
        left_ms = 1_000 * (last_moment(ordered[0]) - now) / margin
        return Turn({request: offers[request] for request in ordered}, left_ms, has_plenty)

    def check(self, requests: Sequence[Request], request: Request, now: float) -> None:
        """Refuse a new request that will not be done in time beside those that are open.

        Raises:
            OverloadError: Says how long it would take.
        """
        before = [other for other in requests if _due(other) <= _due(request)]
        predicted_ms = sum(self._by_depth(other)[-1] for other in (*before, request))
        left_ms = 1_000 * (last_moment(request) - now)
        if predicted_ms > left_ms:
            msg = (
                f"This request would take {predicted_ms:.0f} ms with what waits before it, and has {left_ms:.0f} ms. "
                'Give it more time or fewer items, or set engine.overload to "shallower" to go less deep.'
            )
            raise OverloadError(msg)

    def _let_through(self, ordered: list[Request], now: float) -> None:
        """Put the request without a deadline that has waited longest first, if its patience is out.

        Every other turn at most, so that under lasting overload neither kind of request starves.
        """
        waits = [request for request in ordered if request.ends == inf and now - request.served >= PATIENCE_S]
        self._was_owed = bool(waits) and not self._was_owed
        if self._was_owed:
            longest = min(waits, key=_served)
            ordered.remove(longest)
            ordered.insert(0, longest)

    def _has_plenty(self, hurried: Sequence[Request], now: float, busy_ms: float) -> bool:
        """Whether even the forecasts of long ago, twice, leave time: then there is nothing to weigh.

        With so much time a request also bears the batches of others beside its own, one on each other model.
        """
        total = busy_ms
        for request in hurried:
            request.forecast = request.forecast or self._by_depth(request)
            total += request.forecast[-1]
            if max(_PLENTY, len(self._planners)) * total > 1_000 * (last_moment(request) - now):
                return False
        return True

    def _caps(self, hurried: Sequence[Request], now: float, busy_ms: float) -> tuple[dict[Request, int], float]:
        """The depth that each may go to, and the share of items that may be asked where depth 1 is too much."""
        forecasts = [self._forecast(request) for request in hurried]
        left = [1_000 * (last_moment(request) - now) - busy_ms for request in hurried]
        caps = _deepest(forecasts, left)
        for request, cap, forecast in zip(hurried, caps, forecasts, strict=True):
            request.is_short |= cap < len(forecast)
        share = 1.0 if min(caps) else _share([forecast[0] for forecast in forecasts], left)
        return {
            request: max(cap, min(item.depth for item in request.open_items) + 1)
            for request, cap in zip(hurried, caps, strict=True)
            if request.open_items
        }, share

    def _forecast(self, request: Request) -> list[float]:
        """See ``by_depth``; computed anew after each batch that the request took part in."""
        if request.forecast is None or request.forecast_at != request.served:
            request.forecast, request.forecast_at = self._by_depth(request), request.served
        return request.forecast

    def _by_depth(self, request: Request) -> list[float]:
        """Milliseconds to each depth, on all base models together: batches that run at once share the same cores."""
        return [sum(ms) for ms in zip(*(by_depth(planner, request) for planner in self._planners), strict=True)]

    @staticmethod
    def _offer(request: Request, cap: int | None, share: float) -> list[ItemState]:
        items = request.askable
        if cap is None:
            return items
        shallow = [item for item in items if item.depth < cap]
        half_asked = [item for item in shallow if item.is_half_asked]
        if request.is_short and half_asked:
            return half_asked  # an answer of one tier is worth nothing without the others
        if share < 1 and cap == 1:
            return list(islice(shallow, max(1, ceil(share * len(shallow)))))
        return shallow


def _deepest(forecasts: Sequence[Sequence[float]], left: Sequence[float]) -> list[int]:
    """How deep each may go: raised by one for all that can bear it before one is raised by two.

    Args:
        forecasts: Of each request the milliseconds to depth 1, 2 and so on, the earliest deadline first.
        left: The milliseconds that each has.
    """
    given, caps = [0.0] * len(forecasts), [0] * len(forecasts)
    for depth in range(1, max(map(len, forecasts)) + 1):
        for at, forecast in enumerate(forecasts):
            before, given[at] = given[at], forecast[min(depth, len(forecast)) - 1]
            if caps[at] == depth - 1 and _is_feasible(given, left):
                caps[at] = depth
            else:
                given[at] = before
        if not min(caps):
            break
    return caps


def _is_feasible(given: Sequence[float], left: Sequence[float]) -> bool:
    """Whether each is done in time when all are served in order."""
    total = 0.0
    for ms, most in zip(given, left, strict=True):
        total += ms
        if ms and total > most:
            return False
    return True


def _share(forecasts: Sequence[float], left: Sequence[float]) -> float:
    """The largest share of each demand with which all are done in time."""
    total, share = 0.0, 1.0
    for ms, most in zip(forecasts, left, strict=True):
        total += ms
        if ms:
            share = min(share, max(most, 0.0) / total)
    return share


def _served(request: Request) -> float:
    return request.served


def _rank(request: Request, now: float) -> tuple[bool, float]:
    """Whose patience is out goes first, then who has the fewest items left: soon done, its cells are free."""
    is_waiting = now - request.served >= LONG_PATIENCE_S
    return not is_waiting, request.served if is_waiting else len(request.open_items)


def _ends(request: Request) -> float:
    return request.ends


def _due(request: Request) -> tuple[float, float]:
    return request.ends if request.ends < inf else request.served + PATIENCE_S, request.served


def _answered(request: Request) -> float:
    """Share of its items that have passed a stage."""
    return sum(item.depth > 0 for item in request.items) / len(request.items)
