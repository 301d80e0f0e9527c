"""The keys of rows that have their results: a set that lies on the disk where it grows large."""

from __future__ import annotations

import sqlite3
from types import TracebackType
from typing import Self

_CACHE_KIB = 32 * 1024  # of the keys that are kept in memory
_MOST_WAITING = 10_000


class Finished:
    """Counts keys; for one thread. What does not fit into 32 MiB lies in a temporary file that nobody else sees.

    Two rows of the same task, item and provenance have the same key, and each has results of its own.

    Examples:
        >>> from cascade.batch.finished import Finished
        >>> with Finished() as finished:
        ...     finished.add("0f" * 16)
        ...     [finished.take("0f" * 16), finished.take("0f" * 16), finished.n_left]
        [True, False, 0]
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._waiting: list[tuple[bytes]] = []
        for line in (
            f"PRAGMA cache_size = -{_CACHE_KIB}",
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "CREATE TABLE finished (key BLOB PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID",
            "BEGIN",
        ):
            self._database.execute(line)

    def add(self, key: str) -> None:
        """Count a key once more."""
        self._waiting.append((bytes.fromhex(key),))
        if len(self._waiting) >= _MOST_WAITING:
            self._write()

    def take(self, key: str) -> bool:
        """Whether a key is left; it then counts once less."""
        self._write()
        line = "UPDATE finished SET n = n - 1 WHERE key = ? AND n > 0"
        return self._database.execute(line, (bytes.fromhex(key),)).rowcount == 1

    @property
    def n_left(self) -> int:
        """How many keys were added and not taken."""
        self._write()
        ((n,),) = self._database.execute("SELECT coalesce(sum(n), 0) FROM finished")
        return int(n)

    def _write(self) -> None:
        if self._waiting:
            line = "INSERT INTO finished VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1"
            self._database.executemany(line, sorted(self._waiting))
            self._waiting.clear()

    def close(self) -> None:
        """Let go of it."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
