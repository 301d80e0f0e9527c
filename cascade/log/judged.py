"""What a log has of the items of one cascade, task by task, without what was asked of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from sys import intern
from typing import Any

from cascade.log.entries import Body, BodyKind


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedTask:
    """A task that a cascade was asked about.

    Attributes:
        id: Its id.
        first: When the first request about it ended, in seconds since the epoch.
        last: When the last one did.
        requests: How many requests there were.
        body: The task.
    """

    id: str
    first: float
    last: float
    requests: int
    body: Body


@dataclass(frozen=True, slots=True)
class JudgedItem:
    """An item as one request had it.

    Attributes:
        item: Its id.
        at: When the request ended.
        label: The label that it got; empty where stages were put to all items.
        hash: SHA-256 of its body.
    """

    item: str
    at: float
    label: str
    hash: str


@dataclass(frozen=True, slots=True)
class JudgedTree:
    """A tree of which requests were made.

    Attributes:
        body: The tree, as ``Cascade.as_dict``.
        requests: How many.
        first: When the first of them ended.
        last: When the last one did.
    """

    body: Body
    requests: int
    first: float
    last: float


def judged_tasks(database: sqlite3.Connection, cascade: str, since: float = 0.0) -> list[JudgedTask]:
    """The tasks that a cascade was asked about since a time, by the first request about each."""
    rows = database.execute(
        "SELECT task, min(at), max(at), count(*), min(task_body), (SELECT body FROM requests AS own JOIN bodies "
        "ON hash = task_body WHERE own.task = requests.task ORDER BY own.at DESC LIMIT 1) "
        "FROM requests WHERE cascade = ? AND at >= ? AND error = '' GROUP BY task ORDER BY min(at), task",
        (cascade, since),
    )
    return [
        JudgedTask(id=task, first=first, last=last, requests=n, body=Body(BodyKind.TASK, hash_, told))
        for task, first, last, n, hash_, told in rows
    ]


def judged_items(database: sqlite3.Connection, task: str, cascade: str, since: float = 0.0) -> list[JudgedItem]:
    """Every item of every request of a cascade about a task since a time, in the order of the requests."""
    rows = database.execute(
        "SELECT item, at, label, body FROM requests JOIN decisions ON request = requests.id "
        "WHERE task = ? AND cascade = ? AND at >= ? AND error = '' ORDER BY at, requests.id, place",
        (task, cascade, since),
    )
    return [JudgedItem(*row) for row in rows]


def judged_trees(database: sqlite3.Connection, cascade: str, since: float = 0.0) -> Iterator[JudgedTree]:
    """The trees under which a cascade was asked, the earliest first."""
    rows = database.execute(
        "SELECT tree, count(*), min(at), max(at), (SELECT body FROM bodies WHERE hash = tree) FROM requests "
        "WHERE cascade = ? AND at >= ? AND error = '' GROUP BY tree ORDER BY min(at), tree",
        (cascade, since),
    )
    for hash_, n, first, last, told in rows:
        yield JudgedTree(Body(BodyKind.TREE, hash_, told), n, first, last)


def judged_cascades(database: sqlite3.Connection) -> list[str]:
    """Names of the cascades that were asked, the busiest first."""
    rows = database.execute("SELECT cascade FROM requests GROUP BY cascade ORDER BY count(*) DESC, cascade")
    return [name for (name,) in rows]


def body_of(database: sqlite3.Connection, hash_: str) -> str | None:
    """The JSON of a task or an item by its hash; None where its text is not kept."""
    row = database.execute("SELECT body FROM bodies WHERE hash = ?", (hash_,)).fetchone()
    return row[0] if row is not None else None


def n_outcomes_elsewhere(database: sqlite3.Connection, cascade: str, since: float = 0.0) -> int:
    """How many (task, item) with an outcome a cascade has no decision on."""
    query = (
        "SELECT count(*) FROM (SELECT DISTINCT task, item FROM outcomes) AS known WHERE NOT EXISTS "
        "(SELECT 1 FROM requests JOIN decisions ON request = requests.id WHERE requests.task = known.task "
        "AND decisions.item = known.item AND cascade = ? AND at >= ? AND error = '')"
    )
    return int(database.execute(query, (cascade, since)).fetchone()[0])


@dataclass(frozen=True, slots=True)
class JudgedCall:
    """What one question said of an item; see ``LoggedCall``."""

    stage: str
    tier: str
    adapter: str
    threshold: float
    no_below: float | None
    p_yes: float | None
    probabilities: Mapping[str, float] | None
    answer: bool | str | None


@dataclass(frozen=True, slots=True)
class JudgedDecision:
    """What a request said of an item.

    Attributes:
        request: Id of the request.
        at: When it ended.
        task: Id of the task.
        task_hash: SHA-256 of the task's body.
        item: Id of the item.
        hash: SHA-256 of its body.
        label: The label that it got.
        status: How it got it.
        p_label: As ``Decision.p_label``.
        calls: What it was asked, in order.
    """

    request: str
    at: float
    task: str
    task_hash: str
    item: str
    hash: str
    label: str
    status: str
    p_label: float | None
    calls: tuple[JudgedCall, ...]


def judged_decisions(database: sqlite3.Connection, cascade: str, since: float = 0.0) -> Iterator[JudgedDecision]:
    """What a cascade said of items since a time, by the time of the requests; stages put to all items are left out."""
    rows = database.execute(
        "SELECT requests.id, at, task, task_body, decisions.place, item, body, label, status, p_label, stage, tier, "
        "adapter, threshold, no_below, p_yes, other, answer FROM requests "
        "JOIN decisions ON decisions.request = requests.id "
        "LEFT JOIN calls ON calls.request = requests.id AND calls.place = decisions.place "
        "WHERE cascade = ? AND at >= ? AND error = '' AND label <> '' ORDER BY at, requests.id, decisions.place, n",
        (cascade, since),
    )
    for _, own in groupby(rows, key=lambda row: (row[0], row[4])):
        told = list(own)
        request, at, task, task_hash, _, item, hash_, label, status, p_label, *_ = told[0]
        request, task, task_hash, label, status = map(intern, (request, task, task_hash, label, status))
        calls = tuple(_call(row[10:]) for row in told if row[10] is not None)
        yield JudgedDecision(request, at, task, task_hash, item, hash_, label, status, p_label, calls)


def _call(row: tuple[Any, ...]) -> JudgedCall:
    stage, tier, adapter, threshold, no_below, p_yes, other, answer = row
    told = None if other is None else json.loads(other)
    stage, tier, adapter = map(intern, (stage, tier, adapter))  # a log has few of them, and many calls
    return JudgedCall(stage, tier, adapter, threshold, no_below, p_yes, told, json.loads(answer))
