"""The engine's own thread with its event loop: others hand it functions, and no fault in it goes unheard."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from cascade.backends.worker import Worker
from cascade.errors import ClosedError, InputError, MachineError


class EngineThread:
    """Runs one coroutine until it ends, and what others hand over meanwhile.

    Args:
        work: The coroutine function.
        fault: Called in the thread with whatever anything in it raises; must let the work come to its end.
        ended: Called in the thread after the work; nothing is taken any more.
        end: Called when Python ends; must let the work come to its end.
        new_event_loop: Makes the event loop.

    Raises:
        MachineError: The system starts no more threads, or opens no more files.
    """

    def __init__(
        self,
        work: Callable[[], Coroutine[Any, Any, None]],
        *,
        fault: Callable[[BaseException], None],
        ended: Callable[[], None],
        end: Callable[[], None],
        new_event_loop: Callable[[], asyncio.AbstractEventLoop],
    ) -> None:
        self._work, self._fault, self._on_end = work, fault, ended
        self._gate = threading.Lock()  # nothing may be handed over between the last look and the end
        self._is_ended = False
        _check_room()
        self.loop = new_event_loop()
        self._worker = Worker("cascade-engine", end)

    def start(self) -> None:
        """Begin to work; what was handed over before comes first."""
        self._done: Future[None] = self._worker.submit(self._main)
        self._worker.close()  # it does nothing else

    @property
    def is_open(self) -> bool:
        """Whether functions may be handed over."""
        return self._worker.is_here and not self._is_ended

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Let the thread call a function soon.

        Raises:
            ClosedError: It has ended, or belongs to the process from which this one was forked.
        """
        self._worker.check()  # the gate may have been shut when this process was forked
        with self._gate:
            if self._is_ended:
                msg = "The engine is closed; open a new one."
                raise ClosedError(msg)
            self.loop.call_soon_threadsafe(self._guarded, function, *arguments)

    def post(self, function: Callable[..., object], *arguments: Any) -> None:
        """``call``, if anybody is left to hear it."""
        with suppress(ClosedError):
            self.call(function, *arguments)

    def call_at(self, when: float, function: Callable[..., object], *arguments: Any) -> asyncio.TimerHandle:
        """Let the thread call a function at a time of the event loop; from the thread itself."""
        return self.loop.call_at(when, self._guarded, function, *arguments)

    def check_may_wait(self) -> None:
        """Refuse to wait for the thread within it.

        Raises:
            InputError: This is the thread.
        """
        if self._worker.is_own_thread:
            msg = (
                "An on_decision function or an observer runs in the engine's own thread, which would wait for itself "
                "for ever. Let another thread call classify, score or close; aclassify and settle do not wait."
            )
            raise InputError(msg)

    def join(self) -> None:
        """Wait for the end of the work."""
        self._worker.join()

    async def joined(self) -> None:
        """``join`` for async callers."""
        if self._worker.is_here:
            await asyncio.shield(asyncio.wrap_future(self._done))

    def _main(self) -> None:
        work = self.loop.create_task(self._work())
        try:
            while not work.done() and not self.loop.is_closed():
                self._guarded(self.loop.run_until_complete, work)  # raises what ends programs, wherever it comes from
        finally:
            with self._gate:
                self._is_ended = True
            self._on_end()
            self.loop.close()

    def _guarded(self, function: Callable[..., object], *arguments: Any) -> None:
        try:
            function(*arguments)
        except BaseException as error:  # noqa: BLE001 - not even what ends a program may end this thread unheard
            self._fault(error)


def _check_room() -> None:
    """See that an event loop can open what it needs; one that cannot leaves a traceback behind.

    Raises:
        MachineError: It cannot.
    """
    found: list[int] = []
    try:
        for _ in range(2):
            found += os.pipe()
    except OSError as error:
        msg = f"The engine cannot open the pipes that it needs ({error.strerror}). Close files, or raise `ulimit -n`."
        raise MachineError(msg) from error
    finally:
        for each in found:
            os.close(each)
