"""Rows as they go out: what an item got, or why it got nothing. Pure."""

from __future__ import annotations

from typing import Any

from cascade.batch.provenance import RunProvenance
from cascade.batch.rows import ErrorKind, Fault, Row
from cascade.report import Decision
from cascade.stages import Kind, Stage
from cascade.tree import Cascade

ERROR = "error"
"""The status of a row without an answer."""


def result_of(row: Row, found: Decision | Fault, made_by: RunProvenance) -> dict[str, Any]:
    """A row of results, as ``cascade run`` writes it in JSON lines.

    Args:
        row: What was asked.
        found: What it got. A decision that a server's failure cut short is an error: what an item could still have
            become is no answer where nobody was in a hurry.
        made_by: What answered.

    Returns:
        ``key``, ``task_id``, ``id``, ``label``, ``status``, then ``steps`` and where there is one ``p_label``, or
        ``error_kind`` and ``error``; and ``provenance``. A row with an error has no label, which is None, and the
        status "error".
    """
    head = {"key": row.key(made_by.digest), "task_id": row.task_id, "id": row.id}
    found = without_guess(found)
    if isinstance(found, Fault):
        told = {"label": None, "status": ERROR, "error_kind": str(found.kind), "error": found.message}
    else:
        told = {name: value for name, value in found.as_dict().items() if name != "id"}
    return head | told | {"provenance": made_by.as_dict()}


def without_guess(found: Decision | Fault) -> Decision | Fault:
    """What a row got, with a fault in place of a decision that a server's failure cut short."""
    if isinstance(found, Decision) and found.cause:
        return Fault(ErrorKind.SERVER, found.cause)
    return found


def result_columns(cascade: Cascade) -> dict[str, type]:
    """The columns that a table gets, in order, each with its type: str, float or int; any value may be None.

    Args:
        cascade: What its rows are asked.
    """
    return {
        "label": str,
        "status": str,
        "p_label": float,
        **{name: kind for stage in cascade.stages for name, kind in _stage_columns(stage).items()},
        "n_calls": int,
        "error_kind": str,
        "error": str,
    }


def column_values(found: Decision | Fault, cascade: Cascade) -> dict[str, Any]:
    """What one row of a table gets, by column; a stage that was not asked has None.

    ``p_STAGE`` is p(yes) of a stage, of its tiers together. A choice has ``choice_STAGE`` and ``confidence_STAGE`` in
    its place, and a score ``score_STAGE`` and ``confidence_STAGE``.

    Args:
        found: What the row got.
        cascade: What it was asked.
    """
    values: dict[str, Any] = dict.fromkeys(result_columns(cascade))
    found = without_guess(found)
    if isinstance(found, Fault):
        return values | {"status": ERROR, "n_calls": 0, "error_kind": str(found.kind), "error": found.message}
    values |= {"label": found.label, "status": str(found.status), "p_label": found.p_label}
    values["n_calls"] = sum(bool(step.adapter) for step in found.steps)
    p_yes: dict[str, dict[str, float]] = {}
    for step in found.steps:
        if step.probabilities:
            told = {"choice": step.choice, "score": step.score, "confidence": step.confidence}
            values |= {f"{name}_{step.stage}": value for name, value in told.items() if value is not None}
        elif step.adapter:
            p_yes.setdefault(step.stage, {})[step.tier] = step.p_yes
    return values | {f"p_{name}": _joined(cascade.stage(name), own) for name, own in p_yes.items()}


def _joined(stage: Stage, p_yes: dict[str, float]) -> float:
    return stage.joined_p(p_yes)[0] if stage.is_tiered else next(iter(p_yes.values()))


def _stage_columns(stage: Stage) -> dict[str, type]:
    name = stage.name
    if stage.kind is Kind.YES_NO:
        return {f"p_{name}": float}
    first = {f"choice_{name}": str} if stage.kind is Kind.CHOICE else {f"score_{name}": float}
    return {**first, f"confidence_{name}": float}
