"""What the log has of one request: pure values, the same whether they come from an engine, a file or the database."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


def new_id(at: float, place: int = 0) -> str:
    """An id of a row: the milliseconds of its time, its place among rows of one call, and chance, in hex.

    Ids sort by time, and of one call by place.
    """
    return dated_id(at, f"{place:06x}{secrets.token_hex(7)}")


def dated_id(at: float, rest: str) -> str:
    """An id that sorts by time: its milliseconds in hex, and then the rest."""
    return f"{int(1_000 * at):012x}{rest}"


class BodyKind(StrEnum):
    """What a body is of."""

    TREE = "tree"
    PROVENANCE = "provenance"
    QUESTION = "question"
    TASK = "task"
    ITEM = "item"


@dataclass(frozen=True, slots=True)
class Body:
    """A JSON value that many rows share.

    Attributes:
        kind: What it is of.
        hash: SHA-256 of its JSON in ASCII, without spaces and with sorted keys, in hex.
        json: That JSON; None where it is not kept.
    """

    kind: BodyKind
    hash: str
    json: str | None

    @classmethod
    def of(cls, kind: BodyKind, value: object, *, is_kept: bool = True) -> Body:
        """The body of a value."""
        told = json.dumps(value, sort_keys=True, separators=(",", ":"))
        found = hashlib.sha256(told.encode("ascii")).hexdigest()
        return cls(kind, found, told if is_kept else None)

    @property
    def value(self) -> Any:
        """The value; None where it is not kept."""
        return None if self.json is None else json.loads(self.json)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedCall:
    """One question that an item was asked, or what its prior stage said.

    Attributes:
        stage: Name of the stage.
        tier: Tier under which it was asked; empty if the stage does not ask by tier.
        question: What was asked; its value is empty for a prior stage.
        adapter: Name of the adapter; empty for a prior stage.
        made_by: SHA-256 of the adapter's file, or what the server has; of the base model where no adapter answers.
        model: Name of the base model; empty where the engine has one alone.
        threshold: As ``Step.threshold``.
        no_below: As ``Step.no_below``.
        p_yes: Probability of yes, in [0, 1]; None for a choice or score.
        p_calibrated: As ``Step.p_calibrated``.
        probabilities: As ``Step.probabilities``; None for yes/no.
        answer: As ``Step.answer``.
        ms: Its share of the time of its batch, in milliseconds; None where nothing was computed for it.
        tokens: Its share of the tokens that its batch computed; None likewise.
    """

    stage: str
    tier: str
    question: Body
    adapter: str
    made_by: str
    model: str
    threshold: float
    no_below: float | None
    p_yes: float | None
    p_calibrated: float | None
    probabilities: Mapping[str, float] | None
    answer: bool | str | None
    ms: float | None
    tokens: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedDecision:
    """What one item got.

    Attributes:
        place: Its place among the items of the request, from 0 on.
        item: The item's id.
        body: The item.
        label: Its label; empty where stages were put to all items, so that there is none.
        status: How it got the label, as ``Status``; empty likewise.
        p_label: As ``Decision.p_label``.
        cause: As ``Decision.cause``.
        calls: What it was asked, in order.
    """

    place: int
    item: str
    body: Body
    label: str
    status: str
    p_label: float | None
    cause: str
    calls: tuple[LoggedCall, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRequest:
    """One call of the engine.

    Attributes:
        id: Unique; ids sort by time.
        at: When it ended, in seconds since the epoch.
        cascade: Name of the cascade.
        tree: The cascade.
        task: Id of the task; see ``Task.id``.
        task_body: The task.
        provenance: What produced the answers.
        is_scoring: Whether stages were put to all items, whatever the tree would skip.
        error: Why it failed; empty where it was answered.
        stats: What it cost, as ``Statistics.as_dict``.
        decisions: What each item got, in the order of the items; none where it failed.
    """

    id: str
    at: float
    cascade: str
    tree: Body
    task: str
    task_body: Body
    provenance: Body
    is_scoring: bool
    error: str
    stats: Mapping[str, Any]
    decisions: tuple[LoggedDecision, ...]
