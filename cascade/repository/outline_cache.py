"""Outlines kept by the hash of their file's contents, in one SQLite file in the user's cache folder."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from cascade.files import reason
from cascade.repository.messages import Messages
from cascade.repository.outline import Outline

if TYPE_CHECKING:
    import sqlite3

_SCHEMA = 2  # raise it whenever an outline is read differently
_FILE = "outlines.sqlite3"
_MAX_ROWS = 200_000
_CREATE = """
    CREATE TABLE IF NOT EXISTS outlines (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, outline TEXT NOT NULL)
"""


def outline_key(suffix: str, source: bytes) -> bytes:
    """Key of a file's outline: its contents, its language and what reads it. Pure."""
    reader = f"{_SCHEMA} {sys.version_info[0]}.{sys.version_info[1]} {suffix}\n"
    return hashlib.blake2b(source, digest_size=20, key=reader.encode()).digest()


class OutlineCache:
    """Outlines by key. Anything wrong with the file ends its use with a message, never with an error.

    Several processes may share one file: every call is one short transaction on its own connection.

    Args:
        folder: Where the file lies or shall lie; None keeps nothing.
        messages: Told once when the cache cannot be used.
        busy_s: Seconds to wait for another process that writes.
    """

    def __init__(self, folder: Path | None, messages: Messages, busy_s: float = 2.0) -> None:
        self._busy_s = busy_s
        self._file = folder / _FILE if folder else None
        self._messages = messages

    def load(self, keys: Iterable[bytes]) -> dict[bytes, Outline]:
        """The outlines that are kept under some of the keys."""
        if self._file is None:
            return {}
        find = "SELECT key, outline FROM outlines WHERE key = ?"
        try:
            self._file.stat()  # sqlite3 would make it
            with closing(self._connect(self._file)) as database:
                rows = [row for key in keys for row in database.execute(find, (key,))]
            return {key: Outline.load(text) for key, text in rows}
        except (FileNotFoundError, NotADirectoryError):  # nothing was kept yet; keeping finds out why nothing can be
            return {}
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a cache, it never stops the work
            self._give_up(error)
            return {}

    def keep(self, outlines: Mapping[bytes, Outline]) -> None:
        """Keeps outlines; the oldest leave when the file holds very many."""
        if self._file is None or not outlines:
            return
        rows = [(key, outline.dump()) for key, outline in outlines.items()]
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with closing(self._connect(self._file)) as database, database:
                database.executemany("INSERT OR IGNORE INTO outlines (key, outline) VALUES (?, ?)", rows)
                database.execute("DELETE FROM outlines WHERE id <= (SELECT max(id) FROM outlines) - ?", (_MAX_ROWS,))
        except Exception as error:  # noqa: BLE001 - as above
            self._give_up(error)

    def _connect(self, file: Path) -> sqlite3.Connection:
        import sqlite3  # noqa: PLC0415 - some Pythons are built without it

        database = sqlite3.connect(file, timeout=self._busy_s)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(_CREATE)
        except sqlite3.Error:
            database.close()
            raise
        return database

    def _give_up(self, error: Exception) -> None:
        self._messages.add(
            f"Without the cache {self._file} ({reason(error)}), which costs time only. Delete it if it is damaged, or "
            "let XDG_CACHE_HOME name a folder that can be written."
        )
        self._file = None
