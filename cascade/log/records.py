"""A log as JSON lines in the field's form, ``.jevl`` version 1: one record for each item of a request.

A record has what was asked and answered as System One writes it, and the true answers as far as they are known.
What the form has no place for is in ``meta.cascade``, so that a log that is exported and imported is the same log.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

import numpy as np

from cascade.log.entries import Body, LoggedCall, LoggedDecision, LoggedRequest
from cascade.log.outcomes import LABEL, LoggedOutcome
from cascade.log.store import read_outcomes_of, read_requests
from cascade.log.truths import truths
from cascade.probability import Array, confidence_of_choice, confidence_of_score, expected_score

FORMAT = 1
"""Version of the form."""

OWN = "cascade"
"""Key of ``meta`` under which all is that the form has no place for."""

_SHOWN = 12  # hexadecimal digits of a hash in a model's name


def read_records(database: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    """All records of a log: those of items and of requests without any by time, then its outcomes by time."""
    outcomes = read_outcomes_of(database)
    labels = {(one.task, one.item): one.label for one in outcomes if one.what == LABEL and one.value > 1 / 2}
    told: set[str] = set()
    for request in read_requests(database):
        for decision in request.decisions:
            yield _of_decision(request, decision, labels.get((request.task, decision.item), ""), told)
        if not request.decisions:
            yield _of_request(request, told)
    for outcome in outcomes:
        yield _of_outcome(outcome)


def record_id(model: str, state: object, questions: object) -> str:
    """A record's id: SHA-256 of model, questions and state as JSON with sorted keys and without spaces."""
    return f"sha256:{digest({'model': model, 'questions': questions, 'state': state})}"


def digest(value: object) -> str:
    """SHA-256, in hex, of a value as canonical JSON (RFC 8785)."""
    told = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()


def key_of(call: LoggedCall) -> str:
    """What a call's question is called in a record: its stage, or its stage and its tier."""
    return f"{call.stage}/{call.tier}" if call.tier else call.stage


def _of_decision(request: LoggedRequest, decision: LoggedDecision, label: str, told: set[str]) -> dict[str, Any]:
    asked = [call for call in decision.calls if call.adapter]
    state = {"task": _shown(request.task_body), "item": _shown(decision.body)}
    own: dict[str, Any] = {"kind": "decision", "request": _request(request)}
    names = ("place", "item", "label", "status", "p_label", "cause")
    own |= {name: getattr(decision, name) for name in names}
    own["calls"] = [_call(call) for call in decision.calls]
    bodies = [request.tree, request.provenance, *(call.question for call in decision.calls)]
    return _record(
        _model(request),
        request.at,
        state,
        {key_of(call): _question(call) for call in asked},
        answers={key_of(call): _answer(call) for call in asked},
        label=_label(request, asked, label),
        tags=[request.cascade],
        own=own | _new_bodies(bodies, told),
    )


def _of_request(request: LoggedRequest, told: set[str]) -> dict[str, Any]:
    own = {"kind": "request", "request": _request(request)}
    own |= _new_bodies([request.tree, request.provenance], told)
    state = {"task": _shown(request.task_body)}
    return _record(_model(request), request.at, state, {}, tags=[request.cascade], own=own)


def _of_outcome(outcome: LoggedOutcome) -> dict[str, Any]:
    state = {"task": {"id": outcome.task}, "item": {"id": outcome.item}}
    return _record("outcome", outcome.at, state, {}, own={"kind": "outcome", **asdict(outcome)})


def _record(  # noqa: PLR0913 - the parts of a record
    model: str,
    at: float,
    state: object,
    questions: dict[str, Any],
    *,
    answers: dict[str, Any] | None = None,
    label: dict[str, Any] | None = None,
    tags: list[str] | None = None,
    own: dict[str, Any],
) -> dict[str, Any]:
    return {
        "v": FORMAT,
        "id": record_id(model, state, questions),
        "ts": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "model": model,
        "request": {"state": state, "questions": questions},
        "answers": answers or {},
        **({"label": label} if label else {}),
        **({"tags": tags} if tags else {}),
        "meta": {OWN: own},
    }


def _model(request: LoggedRequest) -> str:
    """The cascade, and the hash of what answered, so that versions are told apart."""
    return f"{request.cascade}@{request.provenance.hash[:_SHOWN]}"


def _request(request: LoggedRequest) -> dict[str, Any]:
    names = ("id", "at", "cascade", "task", "is_scoring", "error")
    found = {name: getattr(request, name) for name in names} | {"stats": dict(request.stats)}
    return found | {"tree": request.tree.hash, "provenance": request.provenance.hash}


def _call(call: LoggedCall) -> dict[str, Any]:
    found = {each.name: getattr(call, each.name) for each in fields(call)}
    return found | {"question": call.question.hash}


def _shown(body: Body) -> Any:
    """A task or an item; its hash where its text is not kept."""
    return {"sha256": body.hash} if body.json is None else body.value


def _new_bodies(bodies: list[Body], told: set[str]) -> dict[str, Any]:
    """What many records share, in the first of them that needs it."""
    found = {body.hash: {"kind": body.kind, "body": body.value} for body in bodies if body.json is not None}
    new = {hash_: value for hash_, value in found.items() if hash_ not in told}
    told |= new.keys()
    return {"bodies": new} if new else {}


def _question(call: LoggedCall) -> dict[str, Any]:
    """The question as it was asked; its hash in place of words where they are not kept."""
    value = call.question.value
    if isinstance(value, dict):
        return value
    words = {"instructions": f"sha256:{call.question.hash}"}
    if call.probabilities is None:
        return {"type": "noul", **words}
    return {"type": "choice", **words, "criteria": dict.fromkeys(call.probabilities)}


def _answer(call: LoggedCall) -> dict[str, Any]:
    """The answer as System One gives it."""
    if call.probabilities is None:
        return {"type": "noul", "noul": call.p_yes}
    p, names = np.array([list(call.probabilities.values())]), list(call.probabilities)
    if _question(call).get("type") == "score":
        numbered = {str(at): value for at, value in enumerate(call.probabilities.values())}
        found = {"type": "score", "score": float(expected_score(p)[0]), "legend": names, "probabilities": numbered}
        return found | {"confidence": _confidence(confidence_of_score, p)}
    found = {"type": "choice", "choice": names[int(p.argmax())], "probabilities": dict(call.probabilities)}
    return found | {"confidence": _confidence(confidence_of_choice, p)}


def _confidence(of: Callable[[Array], Array], p: Array) -> float:
    """The confidence of an answer; a record of another program may have one value alone, which is certain."""
    return float(of(p)[0]) if p.shape[-1] > 1 else 1.0


def _label(request: LoggedRequest, asked: list[LoggedCall], label: str) -> dict[str, Any]:
    """Question -> the answer that is true."""
    known: Mapping[str, bool | str] = {}
    if label:
        with suppress(AttributeError, KeyError, TypeError, RecursionError):  # a tree of a file may be anything
            known = truths(request.tree.value or {}, label)
    return {key_of(call): known[call.stage] for call in asked if call.stage in known}
