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
from pathlib import Path

from cascade.errors import CascadeError
from cascade.log.database import open_log_file
from cascade.machine import get_logger

log = get_logger("cascade.log")

Job = Callable[[sqlite3.Connection], None]
"""What is to be written; it is called within a transaction, and may be called again if that fails."""

_AT_ONCE = 64  # jobs of one transaction
_TRIES, _PAUSE_S = 3, 0.2
_PATIENCE_S = 30.0  # at the end


class LogWriter:
    """Writes jobs in the order in which they were handed over.

    What cannot be written, because the disk is full or the file locked, is lost and counted; the first time it is said
    in one line, and writing goes on once the file allows it.

    Args:
        path: The file.
        max_waiting: Jobs that may wait; more are lost.
    """

    def __init__(self, path: Path, max_waiting: int) -> None:
        self.path = path
        self._jobs: queue.Queue[Job | None] = queue.Queue(max_waiting)
        self._gate = threading.Lock()
        self._n_lost, self._is_closed, self._has_complained = 0, False, False
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
        if os.getpid() != self._process:
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
        """Wait until all that was handed over before is written, or lost."""
        done = threading.Event()
        with self._gate:
            is_open = not self._is_closed and os.getpid() == self._process
        if is_open:
            self._jobs.put(lambda _: done.set())
            done.wait(_PATIENCE_S)

    def close(self) -> None:
        """Write what waits, and end; a second call does nothing."""
        with self._gate:
            is_first, self._is_closed = not self._is_closed, True
        if is_first and os.getpid() == self._process:
            self._jobs.put(None)
            self._thread.join(_PATIENCE_S)
            if self._has_complained:
                log.warning("the log lacks entries", file=str(self.path), lost=self._n_lost)

    def _run(self) -> None:
        database: sqlite3.Connection | None = None
        for jobs in self._handed():
            try:
                database = self._written(jobs, database)
            except Exception as error:  # noqa: BLE001 - the log may fail in any way, and no answer with it
                self._lose(len(jobs), str(error))
                _close(database)
                database = None
        _close(database)

    def _handed(self) -> Iterator[list[Job]]:
        """What there is to write, many jobs at once where many wait."""
        is_open = True
        while is_open:
            jobs: list[Job] = []
            job = self._jobs.get()
            while job is not None:
                jobs.append(job)
                if len(jobs) >= _AT_ONCE or self._jobs.empty():
                    break
                job = self._jobs.get()
            is_open = job is not None
            if jobs:
                yield jobs

    def _written(self, jobs: Sequence[Job], database: sqlite3.Connection | None) -> sqlite3.Connection:
        for left in range(_TRIES - 1, -1, -1):
            try:
                database = database or open_log_file(self.path)
                _write(database, jobs)
            except (sqlite3.OperationalError, CascadeError):
                if not left:
                    raise
                _close(database)
                database = None
                time.sleep(_PAUSE_S)
            else:
                return database
        raise AssertionError  # the last try returns or raises

    def _lose(self, n: int, why: str) -> None:
        self._n_lost += n
        if not self._has_complained:
            self._has_complained = True
            log.warning("the log cannot be written; answers go on without it", file=str(self.path), reason=why)


def _write(database: sqlite3.Connection, jobs: Sequence[Job]) -> None:
    database.execute("BEGIN IMMEDIATE")
    try:
        for job in jobs:
            job(database)
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _close(database: sqlite3.Connection | None) -> None:
    if database is not None:
        database.close()


_writers: weakref.WeakSet[LogWriter] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """Write what waits before Python ends."""
    for writer in tuple(_writers):
        writer.close()
