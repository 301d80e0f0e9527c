"""What is in a log, counted."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCount:
    """The calls of one stage.

    Attributes:
        cascade: Name of the cascade.
        stage: Name of the stage.
        tier: Tier under which it asked; empty without tiers.
        adapter: Who answered.
        calls: How many calls.
        mean_p: Mean p(yes); None for a choice or score.
    """

    cascade: str
    stage: str
    tier: str
    adapter: str
    calls: int
    mean_p: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A log in figures.

    Attributes:
        bytes: Size of the file, its journal included.
        requests: How many requests.
        failed: Those of them that failed.
        tasks: How many different tasks they were about.
        first: When the first of them ended, in seconds since the epoch; None without any.
        last: When the last of them ended.
        decisions: How many items were decided.
        labels: (cascade, label) -> how many items got it.
        statuses: Status -> how many items got their label so.
        calls: How many questions were asked.
        reused: Those of them that the log answered.
        stages: The calls by stage.
        outcomes: Kind -> how many outcomes, corrected ones included.
        judged: How many decisions have an outcome.
        answers: How many answers are kept for reuse.
        lost: How many entries could not be written.
    """

    bytes: int
    requests: int
    failed: int
    tasks: int
    first: float | None
    last: float | None
    decisions: int
    labels: Mapping[tuple[str, str], int]
    statuses: Mapping[str, int]
    calls: int
    reused: int
    stages: tuple[StageCount, ...]
    outcomes: Mapping[str, int]
    judged: int
    answers: int
    lost: int

    @property
    def reuse_rate(self) -> float:
        """Share of the calls that the log answered; 0 without calls."""
        return self.reused / self.calls if self.calls else 0.0

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        by_cascade: dict[str, dict[str, int]] = {}
        for (cascade, label), n in self.labels.items():
            by_cascade.setdefault(cascade, {})[label] = n
        return asdict(self) | {"labels": by_cascade, "reuse_rate": self.reuse_rate}


def summary(database: sqlite3.Connection, path: Path) -> Summary:
    """The figures of a log.

    Args:
        database: The log.
        path: Its file.
    """

    def rows(query: str) -> list[Any]:
        return database.execute(query).fetchall()

    ((requests, failed, tasks, first, last),) = rows(
        "SELECT count(*), count(nullif(error, '')), count(DISTINCT task), min(at), max(at) FROM requests"
    )
    stats = [json.loads(told) for (told,) in rows("SELECT stats FROM requests")]
    labels = rows(
        "SELECT cascade, label, count(*) FROM decisions JOIN requests ON requests.id = request WHERE label <> '' "
        "GROUP BY cascade, label ORDER BY cascade, count(*) DESC, label"
    )
    statuses = rows("SELECT status, count(*) FROM decisions WHERE status <> '' GROUP BY status ORDER BY count(*) DESC")
    stages = rows(
        "SELECT cascade, stage, tier, adapter, count(*), avg(p_yes) FROM calls JOIN requests ON requests.id = request "
        "WHERE adapter <> '' GROUP BY cascade, stage, tier, adapter ORDER BY cascade, count(*) DESC, stage, tier"
    )
    outcomes = rows("SELECT what, count(*) FROM outcomes GROUP BY what ORDER BY count(*) DESC, what")
    ((judged,),) = rows(
        "SELECT count(*) FROM decisions JOIN requests ON requests.id = request WHERE EXISTS "
        "(SELECT 1 FROM outcomes WHERE outcomes.task = requests.task AND outcomes.item = decisions.item)"
    )
    ((decisions,), (answers,), (lost,)) = rows(
        "SELECT count(*) FROM decisions UNION ALL SELECT count(*) FROM answers "
        "UNION ALL SELECT coalesce(sum(n), 0) FROM losses"
    )
    return Summary(
        bytes=size(path),
        requests=requests,
        failed=failed,
        tasks=tasks,
        first=first,
        last=last,
        decisions=decisions,
        labels={(cascade, label): n for cascade, label, n in labels},
        statuses=dict(statuses),
        calls=sum(one.get("calls", 0) for one in stats),
        reused=sum(one.get("calls_reused", 0) for one in stats),
        stages=tuple(
            StageCount(cascade=cascade, stage=stage, tier=tier, adapter=adapter, calls=calls, mean_p=mean_p)
            for cascade, stage, tier, adapter, calls, mean_p in stages
        ),
        outcomes=dict(outcomes),
        judged=judged,
        answers=answers,
        lost=lost,
    )


def size(path: Path) -> int:
    """Bytes of a log's file and of its journal."""
    files = (path, path.with_name(f"{path.name}-wal"))
    return sum(file.stat().st_size for file in files if file.is_file())
