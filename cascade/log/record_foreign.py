"""Records of other programs: a state that questions were put to, without a cascade."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from cascade.config.json_rows import refuse_field
from cascade.items import Task
from cascade.log.entries import Body, BodyKind, LoggedCall, LoggedDecision, LoggedRequest, dated_id
from cascade.log.outcomes import LoggedOutcome
from cascade.log.record_rows import LAST, AnswerRow, Record
from cascade.log.records import digest

_YES_FROM = 0.5  # of an answer that nothing is known of but its probability
_ITEM = "record"


def of_foreign(record: Record, value: Mapping[str, Any], where: str) -> Iterator[LoggedRequest | LoggedOutcome]:
    """A record of another program as a request whose questions were put to one item; its labels as outcomes.

    Args:
        record: The record.
        value: The same as JSON.
        where: File and line, in words.

    Raises:
        InputError: A time or a label is none; names file, line and field.
    """
    at, name = _seconds(record, where), digest(value)
    state = record.request.state
    text = state if isinstance(state, str) else json.dumps(state, ensure_ascii=False)
    task = Task(text=text)
    id_ = dated_id(at, name[:20])
    calls = tuple(call for key, answer in record.answers.items() for call in _calls(record, key, answer))
    decision = LoggedDecision(
        place=0,
        item=_ITEM,
        body=Body.of(BodyKind.ITEM, {"id": _ITEM, "name": _ITEM}),
        label="",
        status="",
        p_label=None,
        cause="",
        calls=calls,
    )
    yield LoggedRequest(
        id=id_,
        at=at,
        cascade=record.model,
        tree=Body.of(BodyKind.TREE, {}),
        task=task.id,
        task_body=Body.of(BodyKind.TASK, {"text": text}),
        provenance=Body.of(BodyKind.PROVENANCE, {"model": record.model}),
        is_scoring=True,
        error="",
        stats={},
        decisions=(decision,),
    )
    for place, (key, label) in enumerate((record.label or {}).items()):
        what, truth = (f"{key}={label}", 1.0) if isinstance(label, str) else (key, float(label))
        if not 0 <= truth <= 1:
            refuse_field(where, f"label.{key}", "true, false, a number in [0, 1] or a value in words is needed")
        yield LoggedOutcome(f"{id_}{place:04x}", at, task.id, _ITEM, what, "", truth, "label")


def _seconds(record: Record, where: str) -> float:
    try:
        given = datetime.fromisoformat(record.ts)
        at = (given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        at = -1.0
    if not 0 <= at <= LAST:
        refuse_field(where, "ts", 'a time from 1970 on, such as "2026-11-29T08:00:00Z", is needed')
    return at


def _calls(record: Record, key: str, answer: AnswerRow) -> Iterator[LoggedCall]:
    """An answer as a call; nothing for one without a probability, such as a refusal."""
    p = answer.probabilities
    if answer.noul is None and not p:
        return
    yield LoggedCall(
        stage=key,
        tier="",
        question=Body.of(BodyKind.QUESTION, record.request.questions.get(key, {})),
        adapter=record.model,
        made_by=record.model,
        model="",
        threshold=_YES_FROM if answer.noul is not None else 0.0,
        no_below=None,
        p_yes=answer.noul,
        p_calibrated=None,
        probabilities=p if answer.noul is None else None,
        answer=answer.noul >= _YES_FROM if answer.noul is not None else max(p or {}, key=(p or {}).__getitem__),
        ms=None,
        tokens=None,
    )
