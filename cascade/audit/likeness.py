"""Finds pairs of questions that answer alike, so that one adapter may serve both. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from cascade.audit.questions import QuestionRows
from cascade.audit.rates import MIN_TASKS, Mean, Rate, mean, rate
from cascade.evaluation.metrics import ranks
from cascade.evaluation.scored import Key
from cascade.probability import Bools, Ints
from cascade.stages import Answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """Two questions of different adapters, on items that both were asked and whose true answers to both are known.

    Attributes:
        first: Stage and tier of the one question.
        second: Of the other.
        adapters: Their adapters.
        agree: Share of rows with the same answer.
        correlation: Of the ranks of their p(yes), in [-1, 1].
        difference: Error rate of the first less that of the second, in [-1, 1].
    """

    first: Key
    second: Key
    adapters: tuple[str, str]
    agree: Rate
    correlation: float
    difference: Mean


def likenesses(questions: list[QuestionRows]) -> list[Likeness]:
    """The likeness of every two questions that have different adapters and share rows of enough tasks."""
    pairs = combinations(questions, 2)
    found = (_likeness(one, other) for one, other in pairs if one.question.adapter != other.question.adapter)
    return [likeness for likeness in found if likeness]


def _alike(one: Answers, other: Answers, at_one: Ints, at_other: Ints) -> Bools:
    """Whether two questions give the same of the three answers."""
    pairs = ((here[at_one], there[at_other]) for here, there in zip(one, other, strict=True))
    return np.asarray(np.all([here == there for here, there in pairs], axis=0), np.bool_)


def _likeness(one: QuestionRows, other: QuestionRows) -> Likeness | None:
    _, at_one, at_other = np.intersect1d(one.rows, other.rows, assume_unique=True, return_indices=True)
    tasks = one.tasks[at_one]
    if (
        np.unique(tasks).size < MIN_TASKS
        or np.unique(one.p[at_one]).size == 1
        or np.unique(other.p[at_other]).size == 1
    ):
        return None
    differences = one.wrong[at_one].astype(float) - other.wrong[at_other]
    return Likeness(
        first=one.key,
        second=other.key,
        adapters=(one.question.adapter, other.question.adapter),
        agree=rate(_alike(one.answers, other.answers, at_one, at_other), tasks),
        correlation=float(np.corrcoef(ranks(one.p[at_one]), ranks(other.p[at_other]))[0, 1]),
        difference=mean(differences, tasks),
    )
