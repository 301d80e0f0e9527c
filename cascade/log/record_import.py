"""Records of a file into a log: all of them or none, and twice the same as once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cascade.config.json_rows import parse_row, refuse_field
from cascade.files import read_objects
from cascade.log.database import transaction
from cascade.log.entries import Body, BodyKind, LoggedCall, LoggedDecision, LoggedRequest
from cascade.log.outcomes import LoggedOutcome
from cascade.log.record_foreign import of_foreign
from cascade.log.record_rows import DecisionMeta, OutcomeMeta, OwnRecord, Record, RequestMeta
from cascade.log.records import FORMAT, OWN
from cascade.log.store import add_bodies, add_outcomes, add_requests

Entry = LoggedRequest | LoggedOutcome | Body
"""What a record tells of: a request with one decision at most, an outcome, or what several share."""

_COUNTED = ("requests", "decisions", "calls", "outcomes")


def add_entries(database: sqlite3.Connection, entries: Iterable[Entry]) -> dict[str, int]:
    """Add to a log what it does not have yet, all at once.

    Returns:
        Name of a table -> how many rows were new.
    """
    given = list(entries)
    with transaction(database):
        before = _counts(database)
        add_bodies(database, [one for one in given if isinstance(one, Body)])
        add_requests(database, [one for one in given if isinstance(one, LoggedRequest)])
        add_outcomes(database, [one for one in given if isinstance(one, LoggedOutcome)])
        return {name: n - before[name] for name, n in _counts(database).items()}


def _counts(database: sqlite3.Connection) -> dict[str, int]:
    return {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in _COUNTED}  # noqa: S608 - fixed words


def read_entries(path: Path) -> Iterator[Entry]:
    """What the records of a file tell of.

    Args:
        path: JSON lines, plain or gzipped; ``-`` for stdin.

    Raises:
        InputError: The file cannot be read, or a line is no record; names file, line and field.
    """
    for where, value in read_objects(path):
        record = parse_row(Record, value, where)
        if record.v > FORMAT:
            refuse_field(where, "v", f"version {record.v} is given; this release reads up to {FORMAT}")
        if OWN in record.meta:
            yield from _own(parse_row(OwnRecord, value, where).meta.cascade, record, where)
        else:
            yield from of_foreign(record, value, where)


def _own(meta: RequestMeta | DecisionMeta | OutcomeMeta, record: Record, where: str) -> Iterator[Entry]:
    if isinstance(meta, OutcomeMeta):
        yield LoggedOutcome(**meta.model_dump(exclude={"kind"}))
        return
    for hash_, row in meta.bodies.items():
        body = Body.of(row.kind, row.body)
        if body.hash != hash_:
            refuse_field(where, f"meta.{OWN}.bodies.{hash_}", "what it holds has another SHA-256; export the log again")
        yield body
    questions = {} if isinstance(meta, RequestMeta) else _bodies_of_questions(meta, record)
    decisions = (_decision(meta, record, questions, where),) if isinstance(meta, DecisionMeta) else ()
    one = meta.request
    yield LoggedRequest(
        id=one.id,
        at=one.at,
        cascade=one.cascade,
        tree=Body(BodyKind.TREE, one.tree, None),
        task=one.task,
        task_body=_body(BodyKind.TASK, "task", record, where),
        provenance=Body(BodyKind.PROVENANCE, one.provenance, None),
        is_scoring=one.is_scoring,
        error=one.error,
        stats=one.stats,
        decisions=decisions,
    )


def _bodies_of_questions(meta: DecisionMeta, record: Record) -> dict[str, Body]:
    """Hash -> question, of those whose words the record has."""
    found = (Body.of(BodyKind.QUESTION, question) for question in record.request.questions.values())
    wanted = {call.question for call in meta.calls}
    return {body.hash: body for body in found if body.hash in wanted}


def _decision(meta: DecisionMeta, record: Record, questions: Mapping[str, Body], where: str) -> LoggedDecision:
    return LoggedDecision(
        place=meta.place,
        item=meta.item,
        body=_body(BodyKind.ITEM, "item", record, where),
        label=meta.label,
        status=meta.status,
        p_label=meta.p_label,
        cause=meta.cause,
        calls=tuple(
            LoggedCall(
                question=questions.get(call.question, Body(BodyKind.QUESTION, call.question, None)),
                **call.model_dump(exclude={"question"}),
            )
            for call in meta.calls
        ),
    )


def _body(kind: BodyKind, name: str, record: Record, where: str) -> Body:
    """A task or an item of a record's state, by itself or by its hash."""
    state = record.request.state
    value = state.get(name) if isinstance(state, dict) else None
    if not isinstance(value, dict):
        refuse_field(where, f"request.state.{name}", "an object is needed, as the log exports it")
    hash_ = value.get("sha256")
    if isinstance(hash_, str) and len(value) == 1:
        return Body(kind, hash_, None)
    return Body.of(kind, value)
