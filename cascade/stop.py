"""A way to end a wave before it has scored everything. Thread-safe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock


class Stop:
    """Asks a running wave to end: after the decode at hand, or at once.

    The engine holds one end of it and a backend the other, each in a thread of its own.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._interrupt: Callable[[], None] | None = None
        self._is_asked = self._is_aborted = False

    @property
    def is_asked(self) -> bool:
        """Whether nothing more shall be begun."""
        return self._is_asked

    def ask(self) -> None:
        """End after the decode at hand."""
        self._is_asked = True

    def abort(self) -> None:
        """End at once; what the decode at hand has done is lost."""
        with self._lock:
            self._is_asked = self._is_aborted = True
            if self._interrupt is not None:
                self._interrupt()

    @contextmanager
    def interrupting(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Within it, ``abort`` calls a function, at once if it was called before; afterwards it never does."""
        with self._lock:
            self._interrupt = interrupt
            if self._is_aborted:
                interrupt()
        try:
            yield
        finally:
            with self._lock:
                self._interrupt = None
