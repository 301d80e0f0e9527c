"""llama.cpp's own log: debug lines to structlog, the last errors kept for messages."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType

from cascade.backends.llama.library import llama_cpp
from cascade.errors import MachineError
from cascade.machine import get_logger

log = get_logger("cascade.llama")

_SAYS_ONLY_THAT = "failed to load model"  # the line after the one that says why
_ERROR_LEVEL = 4  # GGML_LOG_LEVEL_ERROR; 3 is a warning


class NativeLog:
    """llama.cpp's log: debug lines to structlog, the last errors kept for messages."""

    def __init__(self) -> None:
        self._errors: deque[str] = deque(maxlen=8)
        self._is_verbose = log.isEnabledFor(logging.DEBUG)  # asked once: llama.cpp logs in its hot path
        self._callback = llama_cpp.llama_log_callback(self._take)
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))

    def _take(self, level: int, text: bytes, _data: object) -> None:
        if level != _ERROR_LEVEL and not self._is_verbose:
            return
        line = text.decode("utf-8", "replace").strip()
        if level == _ERROR_LEVEL:
            self._errors.append(line)
        if line:
            log.debug("llama.cpp", message=line)

    def last_error(self) -> str:
        """The latest error line that says why; all are then forgotten. Empty if there is none."""
        found = next((line for line in reversed(self._errors) if not line.endswith(_SAYS_ONLY_THAT)), "")
        self._errors.clear()
        return found.removesuffix(".")


def native_log() -> NativeLog:
    """The process's one log hook, installed on first use; llama.cpp has a single slot for it.

    Raises:
        MachineError: This process was forked from one that has used llama.cpp.
    """
    process, found = _hooked()
    if process != os.getpid():
        msg = (
            f"llama.cpp was used in process {process} before this one was forked from it, and would hang here without "
            'its threads. Start processes with multiprocessing\'s "spawn" method, or fork before llama.cpp is used.'
        )
        raise MachineError(msg)
    return found


@cache
def _hooked() -> tuple[int, NativeLog]:
    """The hook, and the process that installed it."""
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    llama_cpp.llama_backend_init()
    return os.getpid(), NativeLog()


@contextmanager
def signals_held() -> Iterator[list[int]]:
    """Hold signals back while llama.cpp may log: what a handler raises within its call of Python would be lost.

    Handlers run in the main thread alone; elsewhere this does nothing. Those that came run at the end.

    Yields:
        The signals that came so far.
    """
    held: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    is_main = threading.current_thread() is threading.main_thread()
    held_back = {number: handler for number, handler in handlers.items() if is_main and callable(handler)}

    def hold(number: int, _frame: FrameType | None) -> None:
        held.append(number)

    for number in held_back:
        signal.signal(number, hold)
    try:
        yield held
    finally:
        for number, handler in held_back.items():
            signal.signal(number, handler)
        for came in held:
            signal.raise_signal(came)
