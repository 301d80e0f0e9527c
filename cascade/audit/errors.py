"""How often a question errs, overall and in slices of its rows. Pure numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cascade.audit.contrast import Contrast, contrast
from cascade.audit.question_rows import QuestionRows
from cascade.audit.rate import Bools, Rate, rate

TIER, KIND, REPOSITORY = "tier", "kind", "repository"

Slices = Mapping[tuple[str, str], Bools]
"""(dimension, value), such as ("kind", "method") -> whether each row of all tasks is of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """How often answers at the threshold are wrong.

    Attributes:
        error: Share of rows that are.
        false_yes: Share of those where no is true that were answered yes.
        false_no: Share of those where yes is true that were answered no.
        base_rate: Share of rows where yes is true; None without rows.
        balanced: Mean of ``false_yes`` and ``false_no``, which a lopsided base rate does not flatter; None without one
            of them.
    """

    error: Rate
    false_yes: Rate
    false_no: Rate
    base_rate: float | None
    balanced: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceErrors:
    """A slice of a question's rows.

    Attributes:
        stage: Name of the stage.
        tier: Of the question; empty where the slice is one of all of the stage's questions.
        dimension: ``tier``, ``kind`` or ``repository``.
        value: Which.
        errors: How often it is answered wrongly.
        contrast: Against the rest of the rows; None where there is too little to tell.
    """

    stage: str
    tier: str
    dimension: str
    value: str
    errors: Errors
    contrast: Contrast | None


def errors_of(rows: QuestionRows, chosen: Bools) -> Errors:
    """Of some of a question's rows."""
    wrong, truths, tasks = rows.wrong[chosen], rows.truths[chosen], rows.tasks[chosen]
    false_yes, false_no = rate(wrong[~truths], tasks[~truths]), rate(wrong[truths], tasks[truths])
    halves = [half.value for half in (false_yes, false_no) if half.value is not None]
    return Errors(
        error=rate(wrong, tasks),
        false_yes=false_yes,
        false_no=false_no,
        base_rate=float(truths.mean()) if truths.size else None,
        balanced=sum(halves) / 2 if len(halves) == len((false_yes, false_no)) else None,
    )


def slices_of(questions: list[QuestionRows], slices: Slices) -> list[SliceErrors]:
    """Every slice of every question, and of stages that ask by tier the tiers against each other."""
    found = []
    for rows in questions:
        for (dimension, value), mask in slices.items():
            inside = mask[rows.rows]
            if dimension == TIER and rows.tier:  # its tier is its own; the stage's are held against each other below
                continue
            if inside.any() and not inside.all():
                found.append(_slice(rows, inside, dimension, value))
    for stage in dict.fromkeys(rows.stage for rows in questions if rows.tier):
        found += _tiers([rows for rows in questions if rows.stage == stage])
    return found


def _slice(rows: QuestionRows, inside: Bools, dimension: str, value: str) -> SliceErrors:
    return SliceErrors(
        stage=rows.stage,
        tier=rows.tier,
        dimension=dimension,
        value=value,
        errors=errors_of(rows, inside),
        contrast=contrast(rows.wrong, rows.tasks, inside),
    )


def _tiers(siblings: list[QuestionRows]) -> list[SliceErrors]:
    wrong = np.concatenate([rows.wrong for rows in siblings])
    tasks = np.concatenate([rows.tasks for rows in siblings])
    owner = np.repeat(np.arange(len(siblings)), [rows.tasks.size for rows in siblings])
    return [
        SliceErrors(
            stage=rows.stage,
            tier="",
            dimension=TIER,
            value=rows.tier,
            errors=errors_of(rows, np.ones(rows.tasks.size, np.bool_)),
            contrast=contrast(wrong, tasks, owner == at),
        )
        for at, rows in enumerate(siblings)
    ]
