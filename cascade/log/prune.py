"""What is old is taken out of a log, and its room given back, in steps that no writer waits long for."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from cascade.log.database import transaction

_AT_ONCE = 200  # requests of one transaction
_PAGES = 2_000  # given back at once

_NEEDED = """
SELECT tree FROM requests UNION SELECT task_body FROM requests UNION SELECT provenance FROM requests
UNION SELECT body FROM decisions UNION SELECT question FROM calls
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was taken out, in rows.

    Attributes:
        requests: Requests, with their decisions and calls.
        decisions: The decisions.
        answers: Answers that were kept for reuse.
        outcomes: Outcomes.
        bodies: Texts, questions and trees that nothing needs any more.
    """

    requests: int
    decisions: int
    answers: int
    outcomes: int
    bodies: int


def count(database: sqlite3.Connection, before: float, *, outcomes: bool) -> Pruned:
    """What ``prune`` would take out; see there."""

    def n(query: str, *given: float) -> int:
        return int(database.execute(query, given).fetchone()[0])

    kept = _NEEDED.replace("FROM requests", "FROM requests WHERE at >= :at")
    for table in ("decisions", "calls"):
        kept = kept.replace(f"FROM {table}", f"FROM {table} JOIN requests ON requests.id = request WHERE at >= :at")
    bodies = database.execute(f"SELECT count(*) FROM bodies WHERE hash NOT IN ({kept})", {"at": before}).fetchone()[0]  # noqa: S608 - fixed words
    return Pruned(
        requests=n("SELECT count(*) FROM requests WHERE at < ?", before),
        decisions=n("SELECT count(*) FROM decisions JOIN requests ON requests.id = request WHERE at < ?", before),
        answers=n("SELECT count(*) FROM answers WHERE at < ?", before),
        outcomes=n("SELECT count(*) FROM outcomes WHERE at < ?", before) if outcomes else 0,
        bodies=int(bodies),
    )


def prune(database: sqlite3.Connection, before: float, *, outcomes: bool, step: Callable[[int], object]) -> Pruned:
    """Take out what is older than a time, and give the room back to the system.

    Killed at any point, it leaves a log from which less was taken.

    Args:
        database: The log.
        before: Seconds since the epoch; what ended earlier is taken out.
        outcomes: Whether outcomes go as well.
        step: Told how many requests have been taken out, as they are.
    """
    found = count(database, before, outcomes=outcomes)
    database.execute("PRAGMA secure_delete = ON")  # no text that was taken out is left in the file
    while ids := database.execute("SELECT id FROM requests WHERE at < ? LIMIT ?", (before, _AT_ONCE)).fetchall():
        with transaction(database):
            database.executemany("DELETE FROM requests WHERE id = ?", ids)
        step(len(ids))
    for table in ("answers", "losses", *(["outcomes"] if outcomes else [])):
        with transaction(database):
            database.execute(f"DELETE FROM {table} WHERE at < ?", (before,))  # noqa: S608 - a name of ours
    with transaction(database):
        database.execute(f"DELETE FROM bodies WHERE hash NOT IN ({_NEEDED})")  # noqa: S608 - fixed words
    _give_back(database)
    return found


def _give_back(database: sqlite3.Connection) -> None:
    """Shorten the file by the pages that are free."""
    while (free := database.execute("PRAGMA freelist_count").fetchone()[0]) > 0:
        database.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
        if database.execute("PRAGMA freelist_count").fetchone()[0] >= free:
            break
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
