"""One server as what scores a batch: its queries as requests, many in flight, each with a fate of its own.

A batch does not wait for the last of them: once answers have come and then none for a while, those that are
still owed stay under way, and are waited for when they are asked again.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from cascade.backends.base import Batch, BatchCost, Query, Scores, Stop
from cascade.backends.costs import Work
from cascade.backends.servers.api import (
    Answer,
    HttpRequest,
    MalformedError,
    NoNumberError,
    ServerApi,
    ServerInfo,
    ServerSetup,
    only,
)
from cascade.backends.servers.http import ServerClient
from cascade.backends.servers.retries import RetryPolicy, ServerDownError, SpoiltError, TransientError
from cascade.errors import ClosedError
from cascade.prompt import Node

_LOOK_S = 0.02  # how often it is seen whether a batch shall end
_HAND_OVER_S = 0.004  # what the engine needs to take in the answers
_AT_ONCE = 8  # requests that are begun before the event loop looks at anything else
_PATIENCE, _LEAST_PATIENCE_S = 4.0, 0.03  # silence after which a batch ends: so many times what an answer takes
_FIRST_PATIENCE_S = 1.0  # the same while no answer has come
_NEWEST = 0.1  # how much of the newest answer's time goes into what one is believed to take

_QueryKey = tuple[Node | None, tuple[int, ...], str]
"""A query: its item, its question and its adapter."""

_Key = tuple[_QueryKey, ...]
"""What a request asks."""


@dataclass(slots=True, eq=False)
class _InFlight:
    """A request under way.

    Attributes:
        root: The task that its queries are about.
        ask: What was asked; its places are those of the batch that began it.
        task: Completed with its answer.
        is_sent: Whether it has been sent.
    """

    root: Node
    ask: HttpRequest
    task: asyncio.Future[Answer]
    is_sent: bool = False

    def is_owed(self) -> bool:
        """Whether its answer is still to come."""
        return not self.task.done()


@dataclass(slots=True)
class _Tally:
    """What came of a batch so far, and when it was last booked."""

    server: str
    batch: Batch
    n_booked: int
    began: float
    logits: list[float] = field(default_factory=list)
    values: dict[int, Sequence[float]] = field(default_factory=dict)
    unanswered: dict[int, str] = field(default_factory=dict)
    spoilt: dict[int, str] = field(default_factory=dict)
    under_way: dict[int, _InFlight] = field(default_factory=dict)
    decodes: list[tuple[Work, float]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    booked: float = 0.0
    n_requests: int = 0
    n_questions: int = 0

    def __post_init__(self) -> None:
        self.logits = [math.nan] * len(self.batch.queries)
        self.booked = self.began

    def take(self, ask: HttpRequest, answer: Answer, now: float) -> None:
        """Take in an answer."""
        for place, found in zip(ask.places, answer.logits, strict=True):
            self.logits[place] = found
        self.unanswered |= {ask.places[at]: f"Server {self.server!r} {why}" for at, why in answer.refused.items()}
        self.values |= {ask.places[at]: found for at, found in answer.values.items()}
        self.answers.append(answer)
        self.n_requests += 1
        self.n_questions += len(ask.places)
        if self.n_requests >= self.n_booked:
            self.book(now)

    def book(self, now: float) -> None:
        """Count what was answered since the last time, with all the time since then."""
        if self.n_requests:
            work = Work(batches=not self.decodes, requests=self.n_requests, questions=self.n_questions)
            self.decodes.append((work, 1_000 * (now - self.booked)))
            self.booked, self.n_requests, self.n_questions = now, 0, 0

    def scores(self, now: float) -> Scores:
        """All of it."""
        elapsed_ms = 1_000 * (now - self.began)
        cost = BatchCost(
            decode_calls=len(self.answers),
            adapter_swaps=0,
            tokens_decoded=sum(answer.computed for answer in self.answers),
            tokens_reused=sum(answer.reused for answer in self.answers),
            elapsed_ms=elapsed_ms,
            model_ms=elapsed_ms,
            decodes=tuple(self.decodes),
        )
        owed = {place: in_flight.is_owed for place, in_flight in self.under_way.items()}
        return Scores(
            self.logits, cost, values=self.values, unanswered=self.unanswered, spoilt=self.spoilt, under_way=owed
        )


class ServerBackend:
    """Scores batches on one server; the event loop that scores closes it.

    Args:
        setup: The server.
        api: How it speaks.
        client: What carries that.
    """

    def __init__(self, setup: ServerSetup, api: ServerApi, client: ServerClient) -> None:
        self.setup, self.api = setup, api
        self._client = client
        self._retry_policy = RetryPolicy(setup.config)
        self._in_flight: dict[_Key, _InFlight] = {}
        self._news = asyncio.Event()
        self._typical_s = 0.0  # what an answer takes; 0 while none has come
        self._is_closed = False

    def fetch_info(self) -> ServerInfo:
        """See ``ServerApi.fetch_info``.

        Raises:
            ServerError: The server cannot be used; says why.
        """
        try:
            found = self.api.fetch_info(self._client.call)
        except MalformedError as error:
            problem = f"{self._client.hidden(str(error))}. Check servers.{self.setup.name}.kind"
            raise self.setup.refusal(problem) from None  # its cause holds the answer
        if found.one_at_a_time:
            self._retry_policy = RetryPolicy(self.setup.config.model_copy(update={"in_flight": 1}))
        return found

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``; what the server cannot answer is unanswered, what it still owes is under way."""
        if self._is_closed:
            msg = "The backend is closed; open a new engine."
            raise ClosedError(msg)
        loop = asyncio.get_running_loop()
        tally = _Tally(self.setup.name, batch, self.setup.config.in_flight, loop.time())
        ends = tally.began + batch.left_ms / 1_000
        own: list[tuple[_Key, HttpRequest, _InFlight]] = []
        is_fresh = False
        with stop.interrupting(partial(_cancel_soon, loop, own)):
            own += self._under_way(batch.queries)
            known = {place for _, ask, _ in own for place in ask.places}
            for fresh in _asks(self.api, batch.queries, known):
                key, is_fresh = _key(fresh, batch.queries), True
                own.append((key, fresh, self._begin(key, fresh, batch, ends)))
                if len(own) % _AT_ONCE == 0:
                    await asyncio.sleep(0)  # others' deadlines are heard in between
                if stop.is_asked:
                    break
            await self._watch([in_flight for *_, in_flight in own], stop, ends - _HAND_OVER_S, is_fresh=is_fresh)
        await asyncio.sleep(0)  # what was cancelled hears of it
        for key, ask, in_flight in own:
            if not in_flight.is_owed():
                self._in_flight.pop(key, None)
            self._settle(ask, in_flight, tally, loop.time())
        if is_fresh:
            tally.book(loop.time())
        return tally.scores(loop.time())

    def release(self, nodes: Iterable[Node]) -> None:
        """Let go of what is under way for these tasks."""
        roots = set(nodes)
        for key in [key for key, in_flight in self._in_flight.items() if in_flight.root in roots]:
            self._in_flight.pop(key).task.cancel()

    async def close(self) -> None:
        """See ``Backend.close``."""
        self._is_closed = True
        for in_flight in self._in_flight.values():
            in_flight.task.cancel()
        await asyncio.gather(*(in_flight.task for in_flight in self._in_flight.values()), return_exceptions=True)
        await self._client.close()

    def _begin(self, key: _Key, ask: HttpRequest, batch: Batch, ends: float) -> _InFlight:
        """Set out to ask."""
        root = batch.queries[ask.places[0]].node.path[0]
        in_flight = _InFlight(root, ask, asyncio.get_running_loop().create_future())
        in_flight.task = asyncio.ensure_future(self._ask(in_flight, ask, ends))
        in_flight.task.add_done_callback(self._hear)
        self._in_flight[key] = in_flight
        return in_flight

    def _under_way(self, queries: Sequence[Query]) -> list[tuple[_Key, HttpRequest, _InFlight]]:
        """The requests under way all of whose questions are in a batch, with where they are in it."""
        places: dict[_QueryKey, list[int]] = {}
        for place, query in enumerate(queries) if self._in_flight else ():
            places.setdefault(_key_of(query), []).append(place)
        found = []
        for key, in_flight in self._in_flight.items():
            if all(len(places.get(each, ())) >= n for each, n in Counter(key).items()):
                ask = replace(in_flight.ask, places=tuple(places[each].pop(0) for each in key))
                found.append((key, ask, in_flight))
        return found

    async def _ask(self, in_flight: _InFlight, ask: HttpRequest, ends: float) -> Answer:
        """Ask, and ask again what an answer leaves out, as long as each answer brings something."""
        found = await self._retry_policy.ask(partial(self._send, in_flight, ask), ends)
        while found.missing:
            try:
                rest = only(ask, found.missing)
                found = found.completed(await self._retry_policy.ask(partial(self._send, in_flight, rest), ends))
            except SpoiltError:
                raise
            except (TransientError, ServerDownError) as error:
                return found.given_up(f"leaves out an answer: {error}")
        return found

    def _hear(self, task: asyncio.Future[Answer]) -> None:
        """Take note that a request has ended, even if nobody asks how any more."""
        self._news.set()
        if not task.cancelled():
            task.exception()

    async def _send(self, in_flight: _InFlight, ask: HttpRequest) -> Answer:
        """Ask once."""
        clock = asyncio.get_running_loop().time
        in_flight.is_sent, began = True, clock()
        found = await self._client.post(ask.path, ask.body)
        try:
            answer = self.api.read(ask, found)
        except MalformedError as error:
            kind = SpoiltError if isinstance(error, NoNumberError) else TransientError
            raise kind(self._client.hidden(str(error))) from None  # its cause holds the answer
        took_s = clock() - began
        self._typical_s += (took_s - self._typical_s) * (_NEWEST if self._typical_s else 1.0)
        return answer

    async def _watch(self, in_flight_requests: Sequence[_InFlight], stop: Stop, ends: float, *, is_fresh: bool) -> None:
        """Wait until all is answered, the batch shall end, or what is still owed is not worth the wait.

        Without anything fresh, the first answer ends it.
        """
        clock = asyncio.get_running_loop().time
        n_open, spoke = len(in_flight_requests), clock()
        while n_open and not stop.is_asked and (left_s := ends - clock()) > 0:
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_LOOK_S, left_s)):
                    await self._news.wait()
            if any(_is_refused(in_flight) for in_flight in in_flight_requests):
                return
            before, n_open = n_open, sum(in_flight.is_owed() for in_flight in in_flight_requests)
            spoke = clock() if n_open < before else spoke
            is_silent = clock() - spoke > self._patience_s and not any(
                _is_waiting(in_flight) for in_flight in in_flight_requests
            )
            if is_silent if is_fresh else n_open < len(in_flight_requests):
                return
        waiting = [in_flight for in_flight in in_flight_requests if _is_waiting(in_flight)]
        if waiting:  # the time is up, and they are not asked any more
            stop.ask()
        _cancel(waiting)

    @property
    def _patience_s(self) -> float:
        return max(_LEAST_PATIENCE_S, _PATIENCE * self._typical_s) if self._typical_s else _FIRST_PATIENCE_S

    def _settle(self, ask: HttpRequest, in_flight: _InFlight, tally: _Tally, now: float) -> None:
        """Enter what became of a request; what is no number is spoilt.

        Raises:
            ServerError: The server refused it.
        """
        if in_flight.is_owed():
            tally.under_way |= dict.fromkeys(ask.places, in_flight)
            return
        if in_flight.task.cancelled():
            return
        error = in_flight.task.exception()
        if error is None:
            tally.take(ask, in_flight.task.result(), now)
        elif isinstance(error, SpoiltError):
            tally.spoilt |= dict.fromkeys(ask.places, f"server {self.setup.name!r} {error.cause}")
        elif isinstance(error, TransientError | ServerDownError):
            problem = f"does not answer: {error.cause}" if isinstance(error, TransientError) else f"is down: {error}"
            tally.unanswered |= dict.fromkeys(ask.places, f"Server {self.setup.name!r} {problem}")
        else:
            raise error


def _key(ask: HttpRequest, queries: Sequence[Query]) -> _Key:
    return tuple(_key_of(queries[place]) for place in ask.places)


def _key_of(query: Query) -> _QueryKey:
    return query.node.parent, query.node.tokens, query.adapter


def _asks(api: ServerApi, queries: Sequence[Query], known: Collection[int]) -> Iterator[HttpRequest]:
    """The requests for the queries whose places are not known."""
    places = [place for place in range(len(queries)) if place not in known]
    for ask in api.asks([queries[place] for place in places]):
        yield replace(ask, places=tuple(places[at] for at in ask.places))


def _is_waiting(in_flight: _InFlight) -> bool:
    """Whether a request has yet to be sent."""
    return in_flight.is_owed() and not in_flight.is_sent


def _is_refused(in_flight: _InFlight) -> bool:
    """Whether a request has failed in a way that fails all of the batch."""
    if in_flight.is_owed() or in_flight.task.cancelled():
        return False
    error = in_flight.task.exception()
    return error is not None and not isinstance(error, TransientError | ServerDownError)


def _cancel_soon(loop: asyncio.AbstractEventLoop, own: Sequence[tuple[_Key, HttpRequest, _InFlight]]) -> None:
    """Give up what a batch has begun, from any thread."""
    loop.call_soon_threadsafe(lambda: _cancel([in_flight for *_, in_flight in own]))


def _cancel(in_flight_requests: Sequence[_InFlight]) -> None:
    for in_flight in in_flight_requests:
        in_flight.task.cancel()
