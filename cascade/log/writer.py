"""The one thread that writes a log: what it is handed waits in a bounded queue, and nobody waits for it."""

from __future__ import annotations

import atexit
import os
import queue
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from cascade.errors import CascadeError
from cascade.log.database import open_log_file, transaction
from cascade.log.store import add_loss
from cascade.machine import get_logger

log = get_logger("cascade.log")

Job = Callable[[sqlite3.Connection], None]
"""What is to be written; it is called within a transaction, and may be called again if that fails."""

_AT_ONCE = 256  # jobs of one transaction
_PAUSE_S = 0.2
_PATIENCE_S = 30.0  # at the end
_OF_THE_FILE = (sqlite3.OperationalError, CascadeError, OSError)  # what fails for all jobs alike


class LogWriter:
    """Writes jobs in the order in which they were handed over.

    What cannot be written, because the disk is full or the file locked, is lost and counted; the first time it is said
    in one line, and writing goes on once the file allows it.

    Args:
        path: The file.
        max_waiting: Jobs that may wait; more are lost.

    Attributes:
        path: The file.
        cpu_s: Seconds of a processor that the thread has taken.
    """

    def __init__(self, path: Path, max_waiting: int) -> None:
        self.path, self.cpu_s = path, 0.0
        self._jobs: queue.Queue[Job | threading.Event | None] = queue.Queue(max_waiting)
        self._gate = threading.Lock()
        self._is_closed, self._has_complained, self._has_failed = False, False, False
        self._n_lost, self._n_told = 0, 0  # told: written into the file that they were lost
        self._counting = threading.Lock()
        self._database: sqlite3.Connection | None = None  # of the thread alone
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="cascade-log", daemon=True)
        self._thread.start()
        _writers.add(self)

    @property
    def n_lost(self) -> int:
        """Jobs that were not written."""
        return self._n_lost

    def put(self, job: Job) -> bool:
        """Hand a job over; returns at once. False if it is lost."""
        if os.getpid() != self._process:  # the thread is the parent's
            return False
        with self._gate:
            if self._is_closed:
                return False
            try:
                self._jobs.put_nowait(job)
            except queue.Full:
                self._lose(1, f"{self._jobs.maxsize} entries wait for the disk already")
                return False
        return True

    def flush(self) -> None:
        """Wait until all that was handed over before is written, or lost; half a minute at most."""
        if os.getpid() != self._process or self._is_closed:
            return
        done, ends = threading.Event(), time.monotonic() + _PATIENCE_S
        with suppress(queue.Full):
            self._jobs.put(done, timeout=_PATIENCE_S)
            while not done.wait(_PAUSE_S) and self._thread.is_alive() and time.monotonic() < ends:
                pass

    def close(self) -> None:
        """Write what waits, for half a minute at most, and end; a second call does nothing."""
        if os.getpid() != self._process:
            return
        with self._gate:
            is_first, self._is_closed = not self._is_closed, True
        if is_first:
            with suppress(queue.Full):
                self._jobs.put(None, timeout=_PATIENCE_S)
            self._thread.join(_PATIENCE_S)
            if self._thread.is_alive():
                self._lose(self._jobs.qsize(), "the file cannot be written, and Python ends")
            if self._n_lost:
                log.warning("the log lacks entries", file=str(self.path), lost=self._n_lost)

    def _run(self) -> None:
        for jobs, flushed in self._handed():
            self._write(jobs)
            self.cpu_s = time.thread_time()
            jobs.clear()  # or an idle thread would hold the last requests
            for event in flushed:
                event.set()
        self._write([])
        self._disconnect()

    def _handed(self) -> Iterator[tuple[list[Job], list[threading.Event]]]:
        """What there is to write, many jobs at once where many wait, and who waits for it."""
        is_open = True
        while is_open:
            jobs: list[Job] = []
            flushed: list[threading.Event] = []
            handed = self._jobs.get()
            while handed is not None:
                if isinstance(handed, threading.Event):
                    flushed.append(handed)
                else:
                    jobs.append(handed)
                if len(jobs) >= _AT_ONCE or self._jobs.empty():
                    break
                handed = self._jobs.get()
            is_open, handed = handed is not None, None
            yield jobs, flushed

    def _write(self, jobs: Sequence[Job]) -> None:
        """Write jobs in one transaction; where one of them is at fault, each in its own."""
        try:
            self._try(jobs)
        except Exception as error:  # noqa: BLE001 - the log may fail in any way, and no answer with it
            self._disconnect()
            if isinstance(error, _OF_THE_FILE) or len(jobs) <= 1:
                self._has_failed = True
                self._lose(len(jobs), str(error))
                return
            for job in jobs:
                self._write([job])

    def _try(self, jobs: Sequence[Job]) -> None:
        """Write jobs, with a second try where the first one is the first to fail: the file may be another by now."""
        if not jobs and self._n_told == self._n_lost:
            return
        try:
            self._transact(jobs)
        except _OF_THE_FILE:
            if self._has_failed:
                raise
            self._disconnect()
            time.sleep(_PAUSE_S)
            self._transact(jobs)
        self._has_failed = False

    def _transact(self, jobs: Sequence[Job]) -> None:
        self._database = database = self._database or open_log_file(self.path)
        n_lost = self._n_lost
        with transaction(database):
            for job in jobs:
                job(database)
            if n_lost > self._n_told:
                add_loss(database, time.time(), n_lost - self._n_told)
        self._n_told = n_lost

    def _disconnect(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _lose(self, n: int, why: str) -> None:
        with self._counting:
            self._n_lost += n
        if n and not self._has_complained:
            self._has_complained = True
            log.warning("the log cannot be written; answers go on without it", file=str(self.path), reason=why)


_writers: weakref.WeakSet[LogWriter] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """Write what waits before Python ends."""
    for writer in tuple(_writers):
        writer.close()
