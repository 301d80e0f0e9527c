"""Rows through an engine: several requests are open at once, and one that fails takes no other with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Protocol

from cascade.arguments import refuse, whole
from cascade.batch.portions import Portion, portions, ready, together
from cascade.batch.provenance import RunProvenance
from cascade.batch.rows import Fault, Row
from cascade.budget import Budget, BudgetLike
from cascade.errors import CascadeError, ClosedError, OverloadError
from cascade.items import Item, Task
from cascade.report import Decision, Report
from cascade.tree import Cascade

CONCURRENCY = 8
"""Requests that are open at once, so that there is something to ask while answers of others are taken in."""

ITEMS_EACH = 32
"""Items that are open at once for each of these requests: large requests fill waves by themselves, and the more items
are open, the longer it takes to choose among them."""

_PAUSE_S = 0.02  # before a full engine is asked again


class Answering(Protocol):
    """What rows are put to: an engine, or the engines of a cluster."""

    def cascade(self, name: str) -> Cascade:
        """The cascade of that name; see ``Engine.cascade``."""

    def submit(
        self, task: Task | str, items: Sequence[Item], cascade: str = "precision", *, budget: BudgetLike = "config"
    ) -> Future[Report]:
        """Ask without waiting; see ``Engine.submit``."""


class Elsewhere(Answering, Protocol):
    """What answers one cascade from other processes."""

    made_by: RunProvenance


Answered = list[tuple[Row, Decision | Fault]]
"""Rows, each with what it got."""


def answered(
    engine: Answering,
    lines: Iterable[Sequence[Row]],
    cascade: str,
    *,
    depth: int | None = None,
    concurrency: int = CONCURRENCY,
    is_done: Callable[[Row], bool] | None = None,
) -> Iterator[Answered]:
    """Ask all rows of many tasks; some come back with each step, in the order in which they are done.

    Every row that is not done already comes back once: with its decision, or with the fault that it had or that kept it
    from being answered. Lines are read only as they are needed. No time limit holds, for nobody waits for one row.

    Args:
        engine: The engine. It may answer other callers meanwhile.
        lines: The rows of each line, as ``rows_of`` gives them.
        cascade: Name of the cascade.
        depth: Most stages that an item passes; None for no limit.
        concurrency: Most requests that are open at once, at least 1; fewer where they have more than ``ITEMS_EACH``
            items each.
        is_done: Says of each row, once and in order, whether it has its result already; None where none has.

    Raises:
        InputError: There is no such cascade, or an argument is not allowed.
        ClosedError: The engine was closed, or has failed for good; what came back until then stands.
        Exception: Whatever ``lines`` raises.

    Examples:
        >>> from cascade import Engine
        >>> from cascade.batch.answers import answered
        >>> from cascade.batch.rows import rows_of
        >>> line = {"task": "fix the parser", "items": [{"id": "1", "name": "parse"}, {"id": "2"}]}
        >>> with Engine.open() as engine:
        ...     found = [pair for some in answered(engine, [rows_of(line, "line 1")], "precision") for pair in some]
        >>> sorted((row.id, type(got).__name__) for row, got in found)
        [('1', 'Decision'), ('2', 'Fault')]
    """
    tree = engine.cascade(cascade)
    if whole(concurrency) is None:
        refuse("concurrency", concurrency, "a whole number from 1 on is needed")
    rows = (row for found in together(lines) for row in ready(found, tree, is_done))
    return _asked(engine, portions(rows), cascade, Budget(depth=depth), concurrency)


def _asked(
    engine: Answering, source: Iterator[Portion], cascade: str, budget: Budget, concurrency: int
) -> Iterator[Answered]:
    open_: dict[Future[Report], Portion] = {}
    again: list[Portion] = []  # asked one at a time: a failure spoils what is asked in the same wave as well
    try:
        while True:
            while not again and _has_room(open_, concurrency) and (portion := next(source, None)) is not None:
                if portion.task is None:
                    yield [(row, row.fault) for row in portion.rows if row.fault is not None]
                else:
                    open_[_submitted(engine, portion, cascade, budget)] = portion
            if again and not open_:
                portion = again.pop()
                open_[_submitted(engine, portion, cascade, budget)] = portion
            if not open_:
                return
            for done in wait(open_, return_when=FIRST_COMPLETED).done:
                portion = open_.pop(done)
                found = _found(done, portion, again)
                if found:
                    yield found
    finally:
        for future in open_:
            future.cancel()


def _has_room(open_: Mapping[Future[Report], Portion], concurrency: int) -> bool:
    n_items = sum(len(portion.rows) for portion in open_.values())
    return len(open_) < concurrency and n_items < ITEMS_EACH * concurrency


def _submitted(engine: Answering, portion: Portion, cascade: str, budget: Budget) -> Future[Report]:
    try:
        return engine.submit(portion.task or "", portion.items, cascade, budget=budget)
    except CascadeError as error:
        refused: Future[Report] = Future()
        refused.set_exception(error)
        return refused


def _found(done: Future[Report], portion: Portion, again: list[Portion]) -> Answered:
    """What a portion got; nothing where it is to be asked again, whole or in halves.

    Raises:
        ClosedError: There is nobody left to ask.
    """
    try:
        return list(zip(portion.rows, done.result().decisions, strict=True))
    except ClosedError:
        raise
    except OverloadError:  # others have filled the engine; in time they leave
        time.sleep(_PAUSE_S)
        again.append(portion)
    except CascadeError as error:
        if len(portion.rows) == 1:
            return [(portion.rows[0], Fault.of(error))]
        again += portion.halves()  # one item that spoils a request is found, and the others are answered
    return []
