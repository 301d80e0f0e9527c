"""Entries into the database and out of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from cascade.log.entries import Body, BodyKind, LoggedCall, LoggedDecision, LoggedRequest
from cascade.log.outcomes import Outcome


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
        rows.append((*key, one.provenance.hash, one.is_scoring, one.error, stats, one.task_body.hash))
        for place, decision in enumerate(one.decisions):
            bodies[decision.body.hash] = decision.body
            told = (decision.label, decision.status, decision.p_label, decision.cause)
            decisions.append((one.id, place, decision.item, decision.body.hash, *told))
            for n, call in enumerate(decision.calls):
                bodies[call.question.hash] = call.question
                calls.append((one.id, place, n, *_call_row(call)))
    kept = ((body.hash, str(body.kind), body.json) for body in bodies.values() if body.json is not None)
    _insert(database, "bodies", list(kept))
    _insert(database, "requests", rows)
    _insert(database, "decisions", decisions)
    _insert(database, "calls", calls)


def add_outcomes(database: sqlite3.Connection, outcomes: Iterable[tuple[float, Outcome]]) -> None:
    """Write outcomes with their times; earlier ones stay."""
    database.executemany(
        "INSERT INTO outcomes (at, task, item, what, label, value, source) VALUES (?, ?, ?, ?, ?, ?, ?)",
        ((at, one.task, one.item, one.what, one.label, one.value, one.source) for at, one in outcomes),
    )


def add_answers(database: sqlite3.Connection, rows: Iterable[tuple[bytes, float, float, str | None]]) -> None:
    """Write answers: key, seconds since the epoch, logit, logits of values; one that is there is left."""
    database.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", rows)


def read_requests(
    database: sqlite3.Connection, *, task: str | None = None, since: float = 0.0
) -> Iterator[LoggedRequest]:
    """The requests of a log, the earliest first.

    Args:
        database: The log.
        task: Id of the task that they are about; None for all.
        since: Seconds since the epoch from which they are read.
    """
    where, given = ("AND task = ?", (since, task)) if task is not None else ("", (since,))
    bodies = _Bodies(database)
    rows = database.execute(f"SELECT * FROM requests WHERE at >= ? {where} ORDER BY at, id", given)  # noqa: S608 - fixed words
    for row in rows:
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


def read_outcomes_of(database: sqlite3.Connection, task: str | None = None) -> list[tuple[float, Outcome]]:
    """The outcomes of a log with their times, in the order in which they came."""
    where, given = ("WHERE task = ?", (task,)) if task is not None else ("", ())
    rows = database.execute(f"SELECT * FROM outcomes {where} ORDER BY id", given)  # noqa: S608 - fixed words
    return [
        (at, Outcome(task=of, item=item, what=what, label=label, value=value, source=source))
        for _, at, of, item, what, label, value, source in rows
    ]


class _Bodies:
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


def _decisions(database: sqlite3.Connection, request: str, bodies: _Bodies) -> Iterator[LoggedDecision]:
    rows = database.execute("SELECT * FROM calls WHERE request = ? ORDER BY place, n", (request,)).fetchall()
    calls = {place: tuple(_call(row, bodies) for row in own) for place, own in groupby(rows, key=lambda row: row[1])}
    found = database.execute("SELECT * FROM decisions WHERE request = ? ORDER BY place", (request,)).fetchall()
    for _, place, item, body, label, status, p_label, cause in found:
        yield LoggedDecision(
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
    return (*asked, *limits, other, json.dumps(call.answer), call.ms, call.tokens)


def _call(row: tuple[Any, ...], bodies: _Bodies) -> LoggedCall:
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
