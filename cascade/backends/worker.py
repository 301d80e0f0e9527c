"""A thread that does what it is given, in order, and ends before Python does."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from cascade.errors import ClosedError, MachineError

_T = TypeVar("_T")

_PATIENCE_S = 5.0  # how long Python's end waits for one that does not come to its own

_workers: dict[Worker, None] = {}  # in the order of their start, until they end


class Worker:
    """One thread.

    Python's own executors take nothing any more once the main thread has ended, though other threads and ``atexit``
    functions may still work; this one ends after them.

    Args:
        name: Of the thread.
        end: Called when Python ends: ends the work at hand, and closes the worker; need not wait.

    Raises:
        MachineError: The system starts no more threads.
    """

    def __init__(self, name: str, end: Callable[[], object]) -> None:
        self._end = end
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._gate = threading.Lock()  # nothing may be handed over after the end
        self._is_closed = False
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            msg = f"The system cannot start a thread ({error}). Close other engines and programs, or raise its limit."
            raise MachineError(msg) from error
        _workers[self] = None

    @property
    def is_here(self) -> bool:
        """Whether the thread belongs to this process; a process that was forked has only the thread that forked it."""
        return os.getpid() == self._process

    @property
    def is_own_thread(self) -> bool:
        """Whether this is the thread."""
        return threading.current_thread() is self._thread

    def submit(self, function: Callable[..., _T], *arguments: Any) -> Future[_T]:
        """Let the thread call a function, after what it was given before.

        Raises:
            ClosedError: It is closed, or was started before this process was forked.
        """
        done: Future[_T] = Future()

        def job() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                done.set_result(function(*arguments))
            except BaseException as error:  # noqa: BLE001 - who waits for it hears it, and the thread goes on
                done.set_exception(error)

        self.check()
        with self._gate:
            self._check_open()
            self._jobs.put(job)
        return done

    def _check_open(self) -> None:
        if self._is_closed:
            msg = "The backend is closed; open a new engine."
            raise ClosedError(msg)

    def check(self) -> None:
        """Refuse to be used in a process that was forked.

        Raises:
            ClosedError: It was started before this process was forked.
        """
        if not self.is_here:
            msg = (
                f"The engine belongs to process {self._process}, from which this one was forked without its threads. "
                'Open an engine in this process, which multiprocessing\'s "spawn" method has to start where the parent '
                "has used llama.cpp."
            )
            raise ClosedError(msg)

    def close(self) -> None:
        """Take nothing any more; what was given before is still done. Does not wait."""
        if not self.is_here:
            return
        with self._gate:
            if not self._is_closed:
                self._is_closed = True
                self._jobs.put(None)

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, or for some seconds."""
        if self.is_here:
            self._thread.join(timeout)

    def end(self) -> None:
        """End before Python does."""
        if self.is_here:
            self._end()
            self.join(_PATIENCE_S)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # or it would hold what it worked on until the next one comes
        _workers.pop(self, None)


@atexit.register
def _end_all() -> None:
    """End what is still open, the latest first, as engines are opened after their backends."""
    for worker in reversed(tuple(_workers)):
        with suppress(ClosedError):
            worker.end()
