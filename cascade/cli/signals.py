"""Ctrl-C and SIGTERM: the command ends with one line and 128 plus the signal's number, at whichever moment they come.

While the program is loaded, and once its result stands, nothing has to be cleaned up, and a signal ends the process at
once. In between the first one unwinds the command, and a second one ends the process at once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_WORDS: dict[int, str] = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_PYTHONS_OWN = (signal.default_int_handler, signal.SIG_DFL)
_STDERR = 2
_SHOW_CURSOR = b"\r\x1b[K\x1b[?25h"  # a progress bar hides it


class Signals:
    """What SIGINT and SIGTERM do to the command; one that is ignored or has somebody else's handler is left alone."""

    def __init__(self) -> None:
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def install(self) -> None:
        """Let them end the process at once."""
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            found = {number: signal.getsignal(number) for number in _WORDS}
            self._before = {number: handler for number, handler in found.items() if handler in _PYTHONS_OWN}
        self._handle(end_at_once)

    def put_back(self) -> None:
        """Leave everything as it was before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def unwinding(self) -> Iterator[None]:
        """While this lasts, the first SIGINT raises KeyboardInterrupt, the first SIGTERM SystemExit."""
        try:
            self._handle(self._unwind)
            yield
        finally:
            self._handle(end_at_once)

    def _unwind(self, number: int, _frame: FrameType | None) -> None:
        self._handle(end_at_once)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    def _handle(self, handler: Callable[[int, FrameType | None], object]) -> None:
        for number in self._before:
            signal.signal(number, handler)


def end_at_once(number: int, _frame: FrameType | None) -> None:
    """End the process with one line; nothing else runs, not even what Python does at its end."""
    start = _SHOW_CURSOR if os.isatty(_STDERR) and os.environ.get("TERM") != "dumb" else b""
    try:
        os.write(_STDERR, start + f"error: {_WORDS[number]}\n".encode())
    finally:
        os._exit(128 + number)
