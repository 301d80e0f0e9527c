"""Rows in the order in which they share most: those of one task together, and among them those of one group. Pure.

Only so many rows are looked at together, so that memory is bounded whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from cascade.batch.rows import ErrorKind, Fault, Row
from cascade.engine.request import with_evidence
from cascade.errors import ItemError
from cascade.items import Item, Task
from cascade.tree import Cascade

MOST_TOGETHER = 10_000
"""Most rows that follow one another and count as one task: evidence is made from all of them together."""

MOST_WAITING = 10_000
"""Most items that wait for others of their task before they are asked."""

MOST_CHARACTERS = 2**25
"""Most characters that the texts of these items have together."""

MOST_ASKED = 128
"""Most items of one request: as many as a wave of the default size has; a request beside it has the next."""


@dataclass(frozen=True, slots=True)
class Portion:
    """What is asked in one request.

    Attributes:
        task: The task of all its rows; None for rows with faults, which are not asked.
        rows: The rows, no item's id twice.
    """

    task: Task | None
    rows: tuple[Row, ...]

    @property
    def items(self) -> list[Item]:
        """What is asked."""
        return [row.item for row in self.rows if row.item is not None]

    def halves(self) -> list[Portion]:
        """The same rows in two portions."""
        middle = len(self.rows) // 2
        return [Portion(self.task, part) for part in (self.rows[:middle], self.rows[middle:])]


def together(lines: Iterable[Sequence[Row]]) -> Iterator[list[Row]]:
    """Rows by task: those of one line, or rows of one item each that follow one another and have the same task.

    Args:
        lines: The rows of each line, as ``rows_of`` gives them. A row with a fault goes with those before it.
    """
    open_: list[Row] = []
    for rows in lines:
        is_more = len(rows) == 1 and (rows[0].is_flat or rows[0].fault is not None)
        if open_ and not (is_more and _may_follow(rows[0], open_)):
            yield open_
            open_ = []
        if is_more:
            open_.append(rows[0])
        elif rows:
            yield list(rows)
    if open_:
        yield open_


def _may_follow(row: Row, others: Sequence[Row]) -> bool:
    """Whether a row is of the same task as those before it, which are not too many."""
    task = next(((other.task, other.task_id) for other in others if other.task is not None), None)
    return len(others) < MOST_TOGETHER and (row.task is None or task in {None, (row.task, row.task_id)})


def ready(rows: Sequence[Row], cascade: Cascade, is_done: Callable[[Row], bool] | None = None) -> list[Row]:
    """The rows of one task that are still to be asked, their items with the evidence that the cascade makes.

    Evidence comes from all of them, so that what a row gets does not depend on which are done.

    Args:
        rows: Rows of one task, as ``together`` gives them.
        cascade: What they are asked.
        is_done: Says of each row, once and in order, whether it has its result already; None where none has.

    Returns:
        The rows, with a fault where an item cannot be asked.
    """
    left = [is_done is None or not is_done(row) for row in rows]
    if not any(left):
        return []
    rows = [_checked(row, cascade) for row in rows]
    items = {at: row.item for at, row in enumerate(rows) if row.item is not None}
    task = next((row.task for row in rows if row.task is not None), None)
    if task is not None:
        items = dict(zip(items, with_evidence(cascade, task, list(items.values())), strict=True))
    return [replace(row, item=items.get(at)) for at, row in enumerate(rows) if left[at]]


def _checked(row: Row, cascade: Cascade) -> Row:
    """The row, with a fault where a stage cannot ask its item."""
    if row.item is None:
        return row
    try:
        for stage in cascade.stages:
            stage.tiers_of(row.item)
    except ItemError as error:
        return row.refused(Fault(ErrorKind.ITEM, str(error)))
    return row


def portions(rows: Iterable[Row]) -> Iterator[Portion]:
    """Rows in requests, those of one task together as far as they lie within ``MOST_WAITING`` of one another."""
    waiting: dict[Task | None, list[Row]] = {}
    n_rows = n_characters = 0
    for row in rows:
        waiting.setdefault(row.task, []).append(row)
        n_rows, n_characters = n_rows + 1, n_characters + _size(row)
        if n_rows >= MOST_WAITING or n_characters >= MOST_CHARACTERS:
            last = waiting.pop(row.task)  # may go on
            for task, found in waiting.items():
                yield from _cut(task, found)
            whole = len(last) - len(last) % MOST_ASKED if n_characters < MOST_CHARACTERS else len(last)
            yield from _cut(row.task, last[:whole])
            waiting = {row.task: last[whole:]}
            n_rows, n_characters = len(last) - whole, sum(map(_size, last[whole:]))
    for task, found in waiting.items():
        yield from _cut(task, found)


def _cut(task: Task | None, rows: Sequence[Row]) -> Iterator[Portion]:
    """Rows of one task in portions, those of one group beside one another; an id that comes again goes into the next.

    An id may come again where the task does: two lines may have the same task, and name their items alike.
    """
    places: dict[object, int] = {}
    for row in rows:
        places.setdefault(row.item and row.item.group, len(places))
    left = sorted(rows, key=lambda row: places[row.item and row.item.group])
    while left:
        taken, later, seen = list[Row](), list[Row](), set[str]()
        for row in left:
            is_taken = len(taken) < MOST_ASKED and (row.id not in seen or task is None)
            (taken if is_taken else later).append(row)
            seen.add(row.id)
        yield Portion(task, tuple(taken))
        left = later


def _size(row: Row) -> int:
    """Characters of the texts that a row brings."""
    item = row.item
    return 0 if item is None else len(item.text) + len(item.doc) + len(item.signature) + len(item.name)
