"""The file of a log: opened, checked, and brought to the version that is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from cascade.errors import InputError, MachineError
from cascade.files import is_folder, reason
from cascade.log.schema import MIGRATIONS, VERSION

_BUSY_S = 5.0
_RIGHTS = 0o600  # of a new file: tasks and items are nobody else's
_HEAD = b"SQLite format 3\0"
_APPLICATION = 0x63617363  # "casc"; SQLite's application_id, so that no other program's file is taken for a log


def open_log_file(path: Path, *, must_exist: bool = False) -> sqlite3.Connection:
    """A connection to a log, of the version that is written; for use in one thread.

    Args:
        path: The file; it is made if it is not there.
        must_exist: Refuse a file that is not there.

    Raises:
        InputError: It is no log, is of a later version, is damaged, or is not there.
        MachineError: It cannot be opened or written.
    """
    if must_exist and not path.is_file():
        msg = f"There is no log {str(path)!r}. Name the file that [log] path of the config has."
        raise InputError(msg)
    if is_folder(path):
        msg = f"The log {str(path)!r} is a folder. Name a file in it, such as {str(path / 'decisions.sqlite3')!r}."
        raise InputError(msg)
    try:
        path.touch(mode=_RIGHTS)
        database = sqlite3.connect(path.absolute(), timeout=_BUSY_S, isolation_level=None)
    except (sqlite3.Error, OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise _unusable(path, error) from error
    try:
        _prepare(database, path)
    except sqlite3.DatabaseError as error:
        database.close()
        if isinstance(error, sqlite3.OperationalError):
            raise _unusable(path, error) from error
        raise _damaged(path, error) from error
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def opened_log(path: Path, *, must_exist: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection to a log while it lasts; see ``open_log_file``.

    Raises:
        InputError: See there.
        MachineError: See there; or SQLite fails later, as on a full disk or a file that another process holds.
    """
    with closing(open_log_file(path, must_exist=must_exist)) as database:
        try:
            yield database
        except sqlite3.OperationalError as error:
            raise _unusable(path, error) from error
        except sqlite3.DatabaseError as error:
            raise _damaged(path, error) from error


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    is_new = not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if not is_new and _pragma(database, "application_id") != _APPLICATION:
        raise _foreign(path)
    version = _pragma(database, "user_version")
    if version > VERSION:
        msg = f"{path} is a log of version {version}; this release reads up to {VERSION}. Install a later release."
        raise InputError(msg)
    if is_new:
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")  # what is pruned gives its room back in small steps
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA foreign_keys = ON")
    if version < VERSION:
        _migrate(database)


def _migrate(database: sqlite3.Connection) -> None:
    """Bring a file to the version that is written, all at once; another process may have done so meanwhile."""
    with transaction(database):
        for statements in MIGRATIONS[_pragma(database, "user_version") :]:
            for statement in filter(str.strip, statements.split(";")):
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute(f"PRAGMA application_id = {_APPLICATION}")


@contextmanager
def snapshot(database: sqlite3.Connection) -> Iterator[None]:
    """All that is read within it is as it was at one moment, whoever writes meanwhile."""
    database.execute("BEGIN")
    try:
        yield
    finally:
        database.execute("ROLLBACK")


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All that is written within it, or nothing."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if database.in_transaction:  # a full disk may have ended it already
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _pragma(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])


def _foreign(path: Path) -> InputError:
    return InputError(f"{path} is no log of this package. Name another file, or move this one away.")


def _damaged(path: Path, error: sqlite3.Error) -> InputError:
    """The error of a file that SQLite cannot read: another program's, or one whose end was lost."""
    with suppress(OSError), path.open("rb") as file:
        if file.read(len(_HEAD)) == _HEAD:
            msg = f"The log {str(path)!r} is damaged ({error}). Restore a copy, or move it away to start a new one."
            return InputError(msg)
    return _foreign(path)


def _unusable(path: Path, error: Exception) -> MachineError:
    told = f"The log {str(path)!r} cannot be used ({reason(error)}). Name a file in a folder that can be written."
    return MachineError(told)
