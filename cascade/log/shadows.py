"""What adapters in the shadow have answered, beside what the live ones did."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from json import dumps, loads
from math import isfinite
from typing import Any

from cascade.engine.request import Request
from cascade.log.entries import BodyKind
from cascade.log.outcomes import LABEL, latest
from cascade.log.store import Bodies, read_outcomes_of
from cascade.log.truths import truths
from cascade.stages import Answer

ShadowRow = tuple[str, int, str, str, str, str, float | None, str | None, float]
"""Request, place of the item, stage, tier, adapter, SHA-256 of its file, p(yes), p of values as JSON, and when."""

Scores = Mapping[str, float]
"""Column -> its probability; see ``Stage.columns``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowPair:
    """A question that two adapters have answered about one item.

    Attributes:
        cascade: Name of the cascade.
        task: Id of the task.
        item: Id of the item.
        stage: Name of the stage.
        tier: Its tier; empty for a stage without tiers.
        before: What the live adapter said: p(yes) by tier, or p by value of a choice or score.
        after: The same of the one in the shadow.
        threshold: From which on the live answer was yes; of a choice or score the least confidence.
        truth: What became of the item says the answer is; None where it says nothing, as of a score.
    """

    cascade: str
    task: str
    item: str
    stage: str
    tier: str
    before: Scores
    after: Scores
    threshold: float
    truth: Answer


def shadow_rows(id_: str, live: Request, beside: Request, at: float) -> list[ShadowRow]:
    """The rows of a request that was asked beside a live one.

    Args:
        id_: What the log knows the live one by.
        live: The live one.
        beside: The other; it has some of the items, and some of their questions.
        at: When it was answered, in seconds since the epoch.
    """
    places = {state.item.id: place for place, state in enumerate(live.items)}
    known = beside.provenance
    asked = {(state.item.id, step.stage, step.tier) for state in live.items for step in state.steps}
    rows = []
    for state in beside.items:
        for step in state.steps:
            own = known.models.get(step.model, known)
            made_by = own.adapters.get(step.adapter)
            p_yes = step.p_yes if isfinite(step.p_yes) else None
            # without the values' names, which may be outside text
            values = dumps([*step.probabilities.values()]) if step.probabilities else None
            if made_by and (p_yes, values) != (None, None) and (state.item.id, step.stage, step.tier) in asked:
                place = places[state.item.id]
                rows.append((id_, place, step.stage, step.tier, step.adapter, made_by, p_yes, values, at))
    return rows


def add_shadows(database: sqlite3.Connection, rows: Iterable[ShadowRow]) -> None:
    """Write them; one that is there is left."""
    database.executemany("INSERT OR IGNORE INTO shadows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


_PAIRS = """
SELECT requests.cascade, requests.tree, requests.task, decisions.item, shadows.stage, shadows.tier,
    calls.p_yes, calls.other, shadows.p_yes, shadows.other, calls.threshold
FROM shadows JOIN requests ON requests.id = shadows.request
JOIN decisions ON decisions.request = shadows.request AND decisions.place = shadows.place
JOIN calls ON calls.request = shadows.request AND calls.place = shadows.place
    AND calls.stage = shadows.stage AND calls.tier = shadows.tier
WHERE shadows.adapter = ? AND shadows.made_by = ? AND calls.made_by <> shadows.made_by
    AND (calls.p_yes IS NULL) = (shadows.p_yes IS NULL) AND (calls.other IS NULL) = (shadows.other IS NULL)
ORDER BY shadows.at, shadows.request, shadows.place
"""


def read_shadows(database: sqlite3.Connection, adapter: str, sha256: str) -> Iterator[ShadowPair]:
    """The answers of an adapter's file in the shadow, each beside that of the live one.

    Args:
        database: The log.
        adapter: What cascades call the adapter.
        sha256: SHA-256 of the file.
    """
    labels = {
        (one.task, one.item): one.label for one in latest(read_outcomes_of(database)) if one.what == LABEL and one.value
    }
    bodies = Bodies(database)

    @cache
    def true_answers(tree: str, label: str) -> dict[str, Any]:
        body = bodies.get(BodyKind.TREE, tree)
        return truths(body.value or {}, label)

    for row in database.execute(_PAIRS, (adapter, sha256)):
        cascade, tree, task, item, stage, tier, p_before, values_before, p_after, values_after, threshold = row
        label = labels.get((task, item))
        before = {tier: p_before} if values_before is None else loads(values_before)
        yield ShadowPair(
            cascade=cascade,
            task=task,
            item=item,
            stage=stage,
            tier=tier,
            before=before,
            after={tier: p_after} if values_after is None else dict(zip(before, loads(values_after), strict=False)),
            threshold=threshold,
            truth=true_answers(tree, label).get(stage) if label is not None else None,
        )
