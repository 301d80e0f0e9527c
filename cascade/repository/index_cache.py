"""What was read of files and histories, kept from run to run in one SQLite file in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cascade.files import reason
from cascade.repository.messages import Messages

if TYPE_CHECKING:
    import sqlite3

_T = TypeVar("_T")
_SCHEMA = 7  # raise it whenever a file or a history is read differently
INDEX_FILE = f"index-{_SCHEMA}.sqlite3"
_MOST_BYTES = 400_000_000
_MOST_HISTORIES = 100
_CREATE = (
    "CREATE TABLE IF NOT EXISTS files (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, data BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS histories (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, data BLOB NOT NULL)",
)


def file_key(suffix: str, source: bytes) -> bytes:
    """Key of what is read of a file: its contents, its language and what reads it. Pure."""
    reader = f"{_SCHEMA} {sys.version_info[0]}.{sys.version_info[1]} {suffix}\n"
    return hashlib.blake2b(source, digest_size=20, key=reader.encode()).digest()


class IndexCache:
    """Bytes by key. Anything wrong with the file ends its use with a message, never with an error.

    Several processes may share one file: every call is one short transaction on its own connection. The files of a
    repository are kept by their contents, so that all its checkouts share them; the oldest leave when the cache holds
    more than 400 MB.

    Args:
        folder: Where the file lies or shall lie; None keeps nothing.
        messages: Told once when the cache cannot be used.
        busy_s: Seconds to wait for another process that writes.
    """

    def __init__(self, folder: Path | None, messages: Messages, busy_s: float = 2.0) -> None:
        self._busy_s = busy_s
        self._file = folder / INDEX_FILE if folder else None
        self._messages = messages

    def files(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """What is kept of files, under some of the keys."""

        def find(database: sqlite3.Connection) -> dict[bytes, bytes]:
            rows = ((key, database.execute("SELECT data FROM files WHERE key = ?", (key,)).fetchone()) for key in keys)
            return {key: _bytes(row[0]) for key, row in rows if row}

        return self._do(find) or {}

    def keep_files(self, found: Mapping[bytes, bytes]) -> None:
        """Keeps what was read of files."""

        def keep(database: sqlite3.Connection) -> None:
            database.executemany("INSERT OR IGNORE INTO files (key, data) VALUES (?, ?)", found.items())
            pages, free, size = (
                database.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
            if (pages - free) * size > _MOST_BYTES:
                database.execute("DELETE FROM files WHERE id <= (SELECT (min(id) + max(id)) / 2 FROM files)")

        if found:
            self._do(keep, creates=True)

    def history(self, key: str) -> bytes | None:
        """What is kept of a history."""

        def find(database: sqlite3.Connection) -> bytes | None:
            row = database.execute("SELECT data FROM histories WHERE key = ?", (key,)).fetchone()
            return _bytes(row[0]) if row else None

        return self._do(find)

    def keep_history(self, key: str, data: bytes) -> None:
        """Keeps a history in place of what was kept of it before."""

        def keep(database: sqlite3.Connection) -> None:
            database.execute("INSERT OR REPLACE INTO histories (key, data) VALUES (?, ?)", (key, data))
            database.execute(
                "DELETE FROM histories WHERE id NOT IN (SELECT id FROM histories ORDER BY id DESC LIMIT ?)",
                (_MOST_HISTORIES,),
            )

        self._do(keep, creates=True)

    def give_up(self, error: Exception) -> None:
        """Uses the cache no longer, and tells why; a damaged one is deleted, so that the next call makes it anew."""
        if self._file is not None:
            remedy = "Let XDG_CACHE_HOME name a folder that can be written."
            if _is_damage(error) and _delete(self._file):
                remedy = "It was damaged and is deleted; the next call makes it anew."
            self._messages.add(f"Without the cache {self._file} ({reason(error)}), which costs time only. {remedy}")
        self._file = None

    def _do(self, action: Callable[[sqlite3.Connection], _T], *, creates: bool = False) -> _T | None:
        """What an action on the database answers, in one transaction; None where there is none to act on.

        Args:
            action: What to do.
            creates: Whether a file is made where there is none; otherwise keeping finds out why none can be.
        """
        if self._file is None:
            return None
        try:
            if creates:
                self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            elif not os.path.lexists(self._file):  # sqlite3 would make it
                return None
            with closing(self._connect(self._file)) as database, database:
                return action(database)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a cache, it never stops the work
            self.give_up(error)
            return None

    def _connect(self, file: Path) -> sqlite3.Connection:
        import sqlite3  # noqa: PLC0415 - some Pythons are built without it

        database = sqlite3.connect(file, timeout=self._busy_s)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            for statement in _CREATE:
                database.execute(statement)
        except sqlite3.Error:
            database.close()
            raise
        return database


def _is_damage(error: Exception) -> bool:
    """Whether an error says that the file holds what this program did not write, and not that it cannot be used now."""
    if isinstance(error, ValueError | TypeError):
        return not isinstance(error, UnicodeError)  # that is about what was to be kept
    kind = type(error)  # sqlite3.OperationalError is one of the more special kinds: locked, read-only, a full disk
    return kind.__module__ == "sqlite3" and kind.__name__ == "DatabaseError"


def _delete(file: Path) -> bool:
    """Deletes a database with its log; False where that is not allowed."""
    try:
        for path in (file, file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")):
            path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _bytes(value: object) -> bytes:
    """A value of a row, which another program may have written.

    Raises:
        TypeError: It is none of this program's.
    """
    if isinstance(value, bytes):
        return value
    msg = "a row that this program did not write"
    raise TypeError(msg)
