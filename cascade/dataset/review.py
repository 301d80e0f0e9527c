"""Items that are worth a look as they are shown, and what somebody says of them as outcomes."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cascade.dataset.examples import storable
from cascade.dataset.known import SAMPLED
from cascade.dataset.picking import Pick, Picked
from cascade.log.database import transaction
from cascade.log.judged import body_of
from cascade.log.outcomes import LoggedOutcome, Outcome
from cascade.log.store import add_outcomes


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An item as it is shown to somebody who looks at it.

    Attributes:
        pick: The item, and why it is shown.
        task: The task's text; empty where the log does not keep it.
        item: The item's row; empty likewise.
        seeds: The files that the task starts from.
    """

    pick: Pick
    task: str
    item: Mapping[str, Any]
    seeds: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the item is called."""
        return str(self.item.get("name") or self.pick.candidate.decision.item)

    @property
    def place(self) -> str:
        """The group that it is in; empty without one."""
        group = self.item.get("group")
        return str(group["name"]) if isinstance(group, Mapping) else ""

    @property
    def evidence(self) -> tuple[str, ...]:
        """What ties it to the task, its group's first."""
        group = self.item.get("group")
        shared = group.get("evidence", ()) if isinstance(group, Mapping) else ()
        return (*shared, *self.item.get("evidence", ()))

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        one = self.pick.candidate
        decision = one.decision
        found: dict[str, Any] = {"why": str(self.pick.why), "task": decision.task, "task_text": self.task}
        found |= {"item": decision.item, "details": dict(self.item), "given": decision.label, "status": decision.status}
        found |= {"label": one.label, "source": one.source, "sureness": round(one.sureness, 4)}
        return found | {"calls": [asdict(call) for call in decision.calls]}


def shown(database: sqlite3.Connection, picks: Iterable[Pick]) -> list[Shown]:
    """Items with what the log has of their texts."""
    return [_shown(database, one) for one in picks]


def _shown(database: sqlite3.Connection, one: Pick) -> Shown:
    decision = one.candidate.decision
    task = _value(database, decision.task_hash)
    return Shown(
        pick=one,
        task=str(task.get("text", "")),
        item=_value(database, decision.hash),
        seeds=tuple(task.get("seeds", ())),
    )


def sampled(picked: Picked, source: str) -> list[Outcome]:
    """Outcomes that say which items were drawn at random, and with which probability."""
    names = sorted(picked.drawn)
    return [Outcome(task=task, item=item, what=SAMPLED, value=picked.p, source=source) for task, item in names]


def record(database: sqlite3.Connection, outcomes: Iterable[Outcome]) -> None:
    """Put outcomes into a log, all of them or none."""
    now = time.time()
    with transaction(database):
        add_outcomes(database, [LoggedOutcome.of(one, now, place) for place, one in enumerate(outcomes)])


def _value(database: sqlite3.Connection, hash_: str) -> Mapping[str, Any]:
    told = body_of(database, hash_)
    found = storable(json.loads(told)) if told is not None else None
    return found if isinstance(found, Mapping) else {}
