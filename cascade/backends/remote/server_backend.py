"""One server as what scores a wave: its probes as requests, many in flight, each with a fate of its own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cascade.backends.base import Scores, Wave, WaveCost
from cascade.backends.remote.client import ServerClient
from cascade.backends.remote.faults import DownError, FaultError
from cascade.backends.remote.manners import Manners
from cascade.backends.remote.wire import Answer, Ask, MalformedError, Peer, Served, Wire
from cascade.costs import Work
from cascade.errors import ClosedError
from cascade.stop import Stop

_LOOK_S = 0.02  # how often it is seen whether a wave shall end
_GRACE_S = 0.5  # how long requests that a server works on may still take once it shall
_HAND_OVER_S = 0.004  # what the engine needs to take in the answers


@dataclass(slots=True)
class _Tally:
    """What came of a wave so far, and when it was last booked."""

    wave: Wave
    n_booked: int
    began: float
    logits: list[float] = field(default_factory=list)
    unanswered: dict[int, str] = field(default_factory=dict)
    sent: set[int] = field(default_factory=set)  # requests that have begun, by the first of their places
    decodes: list[tuple[Work, float]] = field(default_factory=list)
    answers: list[tuple[Ask, Answer]] = field(default_factory=list)
    booked: float = 0.0
    is_ending: bool = False
    n_requests: int = 0
    n_questions: int = 0

    def __post_init__(self) -> None:
        self.logits = [math.nan] * len(self.wave.probes)
        self.booked = self.began

    def take(self, ask: Ask, answer: Answer, now: float) -> None:
        """Take in an answer."""
        for place, found in zip(ask.places, answer.logits, strict=True):
            self.logits[place] = found
        self.answers.append((ask, answer))
        self.n_requests += 1
        self.n_questions += len(ask.places)
        if self.n_requests >= self.n_booked:
            self.book(now)

    def book(self, now: float) -> None:
        """Count what was answered since the last time, with all the time since then."""
        if self.n_requests:
            work = Work(waves=not self.decodes, requests=self.n_requests, questions=self.n_questions)
            self.decodes.append((work, 1_000 * (now - self.booked)))
            self.booked, self.n_requests, self.n_questions = now, 0, 0

    def scores(self, now: float) -> Scores:
        """All of it."""
        elapsed_ms = 1_000 * (now - self.began)
        cost = WaveCost(
            decode_calls=len(self.answers),
            adapter_swaps=0,
            tokens_decoded=sum(answer.computed for _, answer in self.answers),
            tokens_reused=sum(answer.reused for _, answer in self.answers),
            elapsed_ms=elapsed_ms,
            model_ms=elapsed_ms,
            decodes=tuple(self.decodes),
        )
        return Scores(self.logits, cost, unanswered=self.unanswered)


class ServerBackend:
    """Scores waves on one server; the event loop that scores closes it.

    Args:
        peer: The server.
        wire: How it speaks.
        client: What carries that.
    """

    def __init__(self, peer: Peer, wire: Wire, client: ServerClient) -> None:
        self.peer, self.wire = peer, wire
        self._client = client
        self._manners = Manners(peer.config)
        self._is_closed = False

    def look(self) -> Served:
        """See ``Wire.look``.

        Raises:
            ServerError: The server cannot be used; says why.
        """
        try:
            return self.wire.look(self._client.call)
        except MalformedError as error:
            problem = f"{error}. Check servers.{self.peer.name}.kind"
            raise self.peer.refusal(problem) from error

    async def score(self, wave: Wave, stop: Stop) -> Scores:
        """See ``Backend.score``; what the server cannot answer is unanswered."""
        if self._is_closed:
            msg = "The backend is closed; open a new engine."
            raise ClosedError(msg)
        loop = asyncio.get_running_loop()
        began = loop.time()
        tally = _Tally(wave, self.peer.config.in_flight, began)
        asks = self.wire.asks(wave.probes)
        ends = began + wave.left_ms / 1_000
        tasks = [asyncio.ensure_future(self._answer(ask, tally, ends)) for ask in asks]
        try:
            with stop.interrupting(partial(_cancel_soon, loop, tasks)):
                await self._watch(tasks, asks, tally, stop, ends)
        finally:
            _cancel(tasks)
            results = await asyncio.gather(*tasks, return_exceptions=True)
        errors = [found for found in results if isinstance(found, Exception)]
        if errors:
            raise errors[0]
        tally.book(loop.time())
        return tally.scores(loop.time())

    async def close(self) -> None:
        """See ``Backend.close``."""
        self._is_closed = True
        await self._client.close()

    @staticmethod
    async def _watch(
        tasks: Sequence[asyncio.Future[None]], asks: Sequence[Ask], tally: _Tally, stop: Stop, ends: float
    ) -> None:
        """Wait until all is answered, one request was refused, or the wave shall end.

        It ends a little before nobody waits any more, so that what was answered still counts.
        """
        clock = asyncio.get_running_loop().time
        pending: set[asyncio.Future[None]] = set(tasks)
        ends -= _HAND_OVER_S
        while pending and (left_s := ends - clock()) > 0:
            done, pending = await asyncio.wait(
                pending, timeout=min(_LOOK_S, left_s), return_when=asyncio.FIRST_EXCEPTION
            )
            if any(not task.cancelled() and task.exception() for task in done):
                return
            if stop.is_asked and not tally.is_ending:
                tally.is_ending, ends = True, min(ends, clock() + _GRACE_S)
                _cancel([task for task, ask in zip(tasks, asks, strict=True) if ask.places[0] not in tally.sent])

    async def _answer(self, ask: Ask, tally: _Tally, ends: float) -> None:
        """See one request to its end."""

        async def send() -> Answer:
            tally.sent.add(ask.places[0])
            found: Any = await self._client.post(ask.path, ask.body)
            try:
                return self.wire.read(ask, found)
            except MalformedError as error:
                raise FaultError(str(error)) from error

        loop = asyncio.get_running_loop()
        try:
            answer = await self._manners.ask(send, ends)
        except FaultError as error:
            cause = f"Server {self.peer.name!r} does not answer: {error.cause}"
        except DownError as error:
            cause = f"Server {self.peer.name!r} is down: {error}"
        else:
            tally.take(ask, answer, loop.time())
            return
        tally.unanswered |= dict.fromkeys(ask.places, cause)


def _cancel_soon(loop: asyncio.AbstractEventLoop, tasks: Sequence[asyncio.Future[None]]) -> None:
    """``_cancel`` from any thread."""
    loop.call_soon_threadsafe(_cancel, tasks)


def _cancel(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
