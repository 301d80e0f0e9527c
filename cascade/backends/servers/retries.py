"""How a server is asked: not too often, not too much at once, again where that is safe, not at all when it is down.

What is asked changes nothing on a server, so every question may be asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import floor, inf
from typing import TypeVar

from asyncio_throttle.throttler import Throttler
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from cascade.config.servers import ServerConfig

TRIPS_AT = 12.0
"""Weight of failures in a row from which on a server counts as down."""

UNREACHABLE = 3.0
"""Weight of a failure that says more: nothing listens there, or nothing came back in time."""

_REST_S = 1.0  # how long a server is left alone at first
_LONGEST_REST_S = 30.0


class TransientError(Exception):
    """A request failed in a way that may pass; it is safe to ask again.

    Attributes:
        cause: Why, in words.
        wait_s: How long the server wants to be left alone; None where it does not say.
        weight: How much it says for the server's being down; 0 for a busy one.
    """

    def __init__(self, cause: str, *, wait_s: float | None = None, weight: float = 1.0) -> None:
        super().__init__(cause)
        self.cause = cause
        self.wait_s = wait_s
        self.weight = weight


class SpoiltError(TransientError):
    """A server has answered, with no number in a probability's place; if it does again, that is an error."""


class ServerDownError(Exception):
    """A server is not asked because it counts as down."""


class CircuitBreaker:
    """Leaves a server alone after too many failures in a row, and tries it with one request after a rest."""

    def __init__(self) -> None:
        self._weight, self._rest_s = 0.0, _REST_S
        self._until, self._cause = -inf, ""
        self._succeeded = -inf
        self._is_trying = False

    def check(self, now: float) -> None:
        """Whether a request may begin.

        Raises:
            ServerDownError: The server counts as down; has the last cause.
        """
        if self._weight >= TRIPS_AT and (now < self._until or self._is_trying):
            raise ServerDownError(self._cause)

    def begin(self, now: float) -> None:
        """Let a request through, after a rest a single one; see ``check``."""
        self.check(now)
        self._is_trying = self._weight >= TRIPS_AT

    def succeed(self, now: float) -> None:
        """The server has answered."""
        self._weight, self._rest_s, self._is_trying, self._succeeded = 0.0, _REST_S, False, now

    def fail(self, now: float, cause: str, weight: float, began: float) -> None:
        """A request has failed; one that began before the last success says nothing new of the server."""
        if began < self._succeeded:
            weight = 0.0
        was_down = self._weight >= TRIPS_AT
        self._weight += weight
        if self._weight >= TRIPS_AT and (self._is_trying or not was_down):
            self._until, self._cause = now + self._rest_s, cause
            self._rest_s = min(2 * self._rest_s, _LONGEST_REST_S)
        self._is_trying = False

    def leave(self) -> None:
        """A request was given up before anything came of it."""
        self._is_trying = False


_T = TypeVar("_T")

_SLACK = 1.1  # network jitter can squeeze requests sent over 1 s into less than 1 s at the server
_LINGER_S = 0.25  # how long a server may take to notice that a request was cancelled
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0

_backoff = wait_random_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S)


@dataclass(slots=True)
class _Slot:
    """A place among the requests in flight; whether one was sent."""

    is_used: bool = False


class RetryPolicy:
    """Asks one server. Everything runs in one event loop.

    Args:
        config: The limits.
    """

    def __init__(self, config: ServerConfig) -> None:
        whole = max(1, floor(config.starts_per_second))
        self._throttler = Throttler(rate_limit=whole, period=_SLACK * whole / config.starts_per_second)
        self._slots = asyncio.Semaphore(config.in_flight)
        self._breaker = CircuitBreaker()
        self._turn = asyncio.Lock()
        self._config = config
        self._quiet_until = -inf  # a server that is busy says when it wants to hear of us again

    async def ask(self, send: Callable[[], Awaitable[_T]], ends: float) -> _T:
        """Send a request, again where it fails in a way that may pass.

        Args:
            send: Sends it and returns what came of it.
            ends: When nobody waits for it any more, by the event loop's clock; infinity for never.

        Raises:
            TransientError: It failed too often, or there is no time left to ask again.
            ServerDownError: The server counts as down.
        """
        clock = asyncio.get_running_loop().time
        longest_s = max(_LONGEST_WAIT_S, self._config.timeout_s)
        retrying = AsyncRetrying(
            stop=lambda state: _is_last(state, self._config.attempts, min(longest_s, ends - clock())),
            wait=_wait,
            retry=retry_if_exception_type(TransientError),
            sleep=asyncio.sleep,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                return await self._once(send, ends)
        raise AssertionError  # tenacity returns or raises

    async def _once(self, send: Callable[[], Awaitable[_T]], ends: float) -> _T:
        clock = asyncio.get_running_loop().time
        async with self._slot() as slot:
            await self._start(ends)
            async with self._turn:  # one at a time: to send one takes a while, in which no deadline is heard
                await asyncio.sleep(0)
            began = clock()
            self._breaker.begin(began)
            slot.is_used = True
            try:
                found = await self._timed(send, ends - clock())
            except SpoiltError:
                self._breaker.succeed(clock())  # it is up and answers
                raise
            except TransientError as error:
                self._breaker.fail(clock(), error.cause, error.weight, began)
                if error.wait_s is not None:
                    self._quiet_until = max(self._quiet_until, clock() + error.wait_s)
                raise
            except BaseException:
                self._breaker.leave()
                raise
            self._breaker.succeed(clock())
            return found

    async def _timed(self, send: Callable[[], Awaitable[_T]], left_s: float) -> _T:
        timeout_s = min(self._config.timeout_s, left_s)
        try:
            async with asyncio.timeout(timeout_s):
                return await send()
        except TimeoutError as error:
            msg = f"no answer within {timeout_s:.3g} s"
            raise TransientError(msg, weight=UNREACHABLE if timeout_s < left_s else 0.0) from error

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[_Slot]:
        """One of the requests that may be in flight; a while longer where it was broken off."""
        await self._slots.acquire()
        slot, linger_s = _Slot(), 0.0
        try:
            yield slot
        except asyncio.CancelledError:
            linger_s = _LINGER_S if slot.is_used else 0.0
            raise
        except TransientError as error:
            linger_s = _LINGER_S if isinstance(error.__cause__, TimeoutError) else 0.0
            raise
        finally:
            asyncio.get_running_loop().call_later(linger_s, self._slots.release)

    async def _start(self, ends: float) -> None:
        """Wait until a request may begin.

        Raises:
            ServerDownError: The server counts as down.
            TransientError: It wants to be left alone for longer than anybody waits.
        """
        clock = asyncio.get_running_loop().time
        while True:
            self._breaker.check(clock())  # before the line for a start, or a batch would stand in it for nothing
            quiet_s = self._quiet_until - clock()
            if quiet_s >= min(ends - clock(), max(_LONGEST_WAIT_S, self._config.timeout_s)):
                msg = f"it is busy and asks to be left alone for {quiet_s:.3g} s"
                raise TransientError(msg, wait_s=quiet_s, weight=0.0)
            await asyncio.sleep(max(0.0, quiet_s))
            await self._throttler.acquire()
            if self._quiet_until <= clock():
                return


def _wait(state: RetryCallState) -> float:
    """How long to wait before the next attempt: what the server asks for, or a backoff with jitter."""
    error = state.outcome.exception() if state.outcome else None
    asked_s = error.wait_s if isinstance(error, TransientError) else None
    backoff_s = float(_backoff(state))
    return backoff_s if asked_s is None else asked_s + min(backoff_s, _FIRST_WAIT_S)


def _is_last(state: RetryCallState, attempts: int, most_s: float) -> bool:
    """Whether nothing is left to try: attempts, or time for the wait before the next."""
    return stop_after_attempt(attempts)(state) or state.upcoming_sleep >= most_s
