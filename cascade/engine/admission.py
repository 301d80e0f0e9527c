"""Lets requests in: bounds their number, and builds their prompts in between other work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from cascade.arguments import refuse, whole
from cascade.engine.lanes import Lanes
from cascade.engine.request import Request
from cascade.engine.turns import last_moment
from cascade.errors import OverloadError, counted

_PAUSE_S = 1e-3  # how long prompts are built before others are heard


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How an engine treats many callers.

    Attributes:
        max_requests: Most requests that may be open at once.
        refuses: Whether a request is refused whose deadline cannot be met, instead of all getting shallower.
        asks_ahead: Whether questions may be asked before it is known that the tree needs the answers.
        weighs_models: Whether of several models' batches the one goes first that settles most in a millisecond;
            otherwise that of the model which the config names first.
        at_once: Whether batches of several models run at the same time, where there is more than one core.

    Raises:
        InputError: ``max_requests`` is no whole number from 1 on.
    """

    max_requests: int = 1_024
    refuses: bool = False
    asks_ahead: bool = True
    weighs_models: bool = True
    at_once: bool = True

    def __post_init__(self) -> None:
        if whole(self.max_requests) is None:
            refuse("max_requests", self.max_requests, "a whole number from 1 on is needed")


class Admission:
    """Requests that are on their way in. Everything runs in the event loop's own thread.

    Args:
        loop: The event loop.
        lanes: Build prompts.
        opened: Called with each request whose prompts are built, or that has no time left to build them.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        lanes: Lanes,
        opened: Callable[[Request], None],
    ) -> None:
        self._loop = loop
        self._lanes = lanes
        self._opened = opened
        self._growing: dict[Request, asyncio.Task[None]] = {}

    @property
    def growing(self) -> tuple[Request, ...]:
        """The requests whose prompts are being built."""
        return tuple(self._growing)

    def admit(self, request: Request, n_open: int, most: int) -> None:
        """Take a request in, unless ``most`` are open with those on their way."""
        if n_open + len(self._growing) >= most:
            msg = (
                f"{counted(most, 'request is', 'requests are')} open, the most that engine.max_requests allows. "
                "Wait for one to end, or raise it in the config."
            )
            request.complete(self._loop.time(), OverloadError(msg))
        elif not request.items:
            request.complete(self._loop.time())
        else:
            self._growing[request] = self._loop.create_task(self._grow(request))

    def stop(self) -> None:
        """Build no more prompts."""
        for growing in self._growing.values():
            growing.cancel()

    async def build(self, request: Request) -> None:
        """Build what a request's items need to be asked where they stand.

        It is done a few items at a time so that others' deadlines are heard.
        """
        pause = self._loop.time() + _PAUSE_S
        for _ in self._lanes.grow(request):
            if self._loop.time() >= min(pause, last_moment(request)):
                await asyncio.sleep(0)
                if request.done.done() or self._loop.time() >= last_moment(request):
                    break
                pause = self._loop.time() + _PAUSE_S

    async def _grow(self, request: Request) -> None:
        """Build a request's prompts and open it."""
        try:
            await self.build(request)
            self._opened(request)
        except BaseException as error:  # noqa: BLE001 - whatever is wrong with a request is its caller's to hear
            request.complete(self._loop.time(), error)
        finally:
            del self._growing[request]
