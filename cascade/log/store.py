"""Entries into the database and out of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from itertools import groupby
from typing import Any

from cascade.log.entries import Body, BodyKind, LoggedCall, LoggedDecision, LoggedRequest
from cascade.log.outcomes import LoggedOutcome, Outcome

_ANSWERS = {True: "true", False: "false", None: "null"}  # of yes/no, as JSON


def add_requests(database: sqlite3.Connection, requests: Iterable[LoggedRequest]) -> None:
    """Write requests; one whose id is there already is left as it is."""
    bodies: dict[str, Body] = {}
    rows: list[tuple[Any, ...]] = []
    decisions: list[tuple[Any, ...]] = []
    calls: list[tuple[Any, ...]] = []
    for one in requests:
        for body in (one.tree, one.task_body, one.provenance):
            bodies[body.hash] = body
        stats = json.dumps(one.stats)
        key = (one.id, one.at, one.cascade, one.tree.hash, one.task)
        rows.append((*key, one.provenance.hash, one.is_scoring, _storable(one.error), stats, one.task_body.hash))
        for decision in one.decisions:
            bodies[decision.body.hash] = decision.body
            told = (decision.label, decision.status, decision.p_label, _storable(decision.cause))
            decisions.append((one.id, decision.place, _storable(decision.item), decision.body.hash, *told))
            for n, call in enumerate(decision.calls):
                bodies[call.question.hash] = call.question
                calls.append((one.id, decision.place, n, *_call_row(call)))
    add_bodies(database, bodies.values())
    _insert(database, "requests", rows)
    _insert(database, "decisions", decisions)
    _insert(database, "calls", calls)


def add_bodies(database: sqlite3.Connection, bodies: Iterable[Body]) -> None:
    """Write bodies whose JSON is kept, and that are not there already."""
    kept = [(body.hash, str(body.kind), body.json) for body in bodies if body.json is not None]
    _insert(database, "bodies", kept)


def add_outcomes(database: sqlite3.Connection, outcomes: Iterable[LoggedOutcome]) -> None:
    """Write outcomes; earlier ones stay, and one whose id is there already is left as it is."""
    rows = [tuple(_storable(each) if isinstance(each, str) else each for each in astuple(one)) for one in outcomes]
    _insert(database, "outcomes", rows)


def add_loss(database: sqlite3.Connection, at: float, n: int) -> None:
    """Write that some entries could not be written."""
    database.execute("INSERT INTO losses VALUES (?, ?)", (at, n))


def add_answers(database: sqlite3.Connection, rows: Iterable[tuple[bytes, float, float, str | None]]) -> None:
    """Write answers: key, seconds since the epoch, logit, logits of values; one that is there is left."""
    database.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", rows)


def read_requests(database: sqlite3.Connection, *, task: str | None = None) -> Iterator[LoggedRequest]:
    """The requests of a log, the earliest first.

    Args:
        database: The log.
        task: Id of the task that they are about; None for all.
    """
    where, given = ("WHERE task = ?", (task,)) if task is not None else ("", ())
    return _requests(database, f"SELECT * FROM requests {where} ORDER BY at, id", given)  # noqa: S608 - fixed words


def last_requests(database: sqlite3.Connection, n: int) -> list[LoggedRequest]:
    """The last n requests of a log, the latest first."""
    return list(_requests(database, "SELECT * FROM requests ORDER BY at DESC, id DESC LIMIT ?", (n,)))


def tasks_like(database: sqlite3.Connection, beginning: str) -> list[str]:
    """Ids of tasks that begin so, of requests and of outcomes."""
    query = (
        "SELECT task FROM requests WHERE substr(task, 1, ?1) = ?2 UNION "
        "SELECT task FROM outcomes WHERE substr(task, 1, ?1) = ?2"
    )
    return [task for (task,) in database.execute(query, (len(beginning), beginning))]


def without_decision(database: sqlite3.Connection, outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Those outcomes about whose item the log has no decision."""
    query = "SELECT 1 FROM requests JOIN decisions ON request = id WHERE task = ? AND item = ?"
    return [one for one in outcomes if database.execute(query, (one.task, one.item)).fetchone() is None]


def _requests(database: sqlite3.Connection, query: str, given: Sequence[object]) -> Iterator[LoggedRequest]:
    bodies = Bodies(database)
    for row in database.execute(query, given):
        id_, at, cascade, tree, of, provenance, is_scoring, error, stats, task_body = row
        yield LoggedRequest(
            id=id_,
            at=at,
            cascade=cascade,
            tree=bodies.get(BodyKind.TREE, tree),
            task=of,
            task_body=bodies.get(BodyKind.TASK, task_body),
            provenance=bodies.get(BodyKind.PROVENANCE, provenance),
            is_scoring=bool(is_scoring),
            error=error,
            stats=json.loads(stats),
            decisions=tuple(_decisions(database, id_, bodies)),
        )


def read_outcomes_of(database: sqlite3.Connection, task: str | None = None) -> list[LoggedOutcome]:
    """The outcomes of a log, in the order in which they came."""
    where, given = ("WHERE task = ?", (task,)) if task is not None else ("", ())
    rows = database.execute(f"SELECT * FROM outcomes {where} ORDER BY at, id", given)  # noqa: S608 - fixed words
    return [LoggedOutcome(*row) for row in rows]


class Bodies:
    """Bodies by hash, read once each."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._known: dict[str, Body] = {}

    def get(self, kind: BodyKind, hash_: str) -> Body:
        """The body; without its JSON where the log does not have it."""
        if hash_ not in self._known:
            row = self._database.execute("SELECT body FROM bodies WHERE hash = ?", (hash_,)).fetchone()
            found = Body(kind, hash_, row[0] if row is not None else None)
            if kind in {BodyKind.ITEM, BodyKind.TASK}:
                return found  # of these there is no end
            self._known[hash_] = found
        return self._known[hash_]


def _decisions(database: sqlite3.Connection, request: str, bodies: Bodies) -> Iterator[LoggedDecision]:
    rows = database.execute("SELECT * FROM calls WHERE request = ? ORDER BY place, n", (request,)).fetchall()
    calls = {place: tuple(_call(row, bodies) for row in own) for place, own in groupby(rows, key=lambda row: row[1])}
    found = database.execute("SELECT * FROM decisions WHERE request = ? ORDER BY place", (request,)).fetchall()
    for _, place, item, body, label, status, p_label, cause in found:
        yield LoggedDecision(
            place=place,
            item=item,
            body=bodies.get(BodyKind.ITEM, body),
            label=label,
            status=status,
            p_label=p_label,
            cause=cause,
            calls=calls.get(place, ()),
        )


def _call_row(call: LoggedCall) -> tuple[Any, ...]:
    other = None if call.probabilities is None else json.dumps(dict(call.probabilities))
    asked = (call.stage, call.tier, call.question.hash, call.adapter, call.made_by, call.model)
    limits = (call.threshold, call.no_below, call.p_yes, call.p_calibrated)
    answer = json.dumps(call.answer) if isinstance(call.answer, str) else _ANSWERS[call.answer]
    return (*asked, *limits, other, answer, call.ms, call.tokens)


def _call(row: tuple[Any, ...], bodies: Bodies) -> LoggedCall:
    _, _, _, stage, tier, question, adapter, made_by, model, threshold, no_below, p_yes, p_calibrated, *rest = row
    other, answer, ms, tokens = rest
    return LoggedCall(
        stage=stage,
        tier=tier,
        question=bodies.get(BodyKind.QUESTION, question),
        adapter=adapter,
        made_by=made_by,
        model=model,
        threshold=threshold,
        no_below=no_below,
        p_yes=p_yes,
        p_calibrated=p_calibrated,
        probabilities=None if other is None else json.loads(other),
        answer=json.loads(answer),
        ms=ms,
        tokens=tokens,
    )


def _insert(database: sqlite3.Connection, table: str, rows: Sequence[Sequence[Any]]) -> None:
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        database.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", rows)  # noqa: S608 - a name of ours


def _storable(text: str) -> str:
    """A text from outside; lone surrogates, as names of files may have, stand as escapes, for SQLite takes none."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
