"""The rows of one question: what it said, and what is true. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cascade.audit.rate import Array, Bools, Ints
from cascade.stage import Question, Stage
from cascade.tree import Cascade
from cascade.tuning.scored import Key, ScoredTasks


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionRows:
    """What one question says of items whose true answer to it is known, whatever stands before it.

    Attributes:
        stage: Name of its stage.
        tier: Its tier; ``ANY_TIER`` where the stage does not ask by tier.
        question: The question, with its adapter and its threshold.
        rows: Where its rows are among all; (n,), and so are the rest.
        tasks: Number of the task.
        p: Raw p(yes).
        truths: Whether yes is true.
    """

    stage: str
    tier: str
    question: Question
    rows: Ints
    tasks: Ints
    p: Array
    truths: Bools

    @property
    def key(self) -> Key:
        """Stage and tier."""
        return self.stage, self.tier

    @property
    def answers(self) -> Bools:
        """What it says at its threshold."""
        return np.asarray(self.p >= self.question.threshold)

    @property
    def wrong(self) -> Bools:
        """Where it errs."""
        return np.asarray(self.answers != self.truths)


def question_name(key: Key) -> str:
    """The stage, and the tier where it asks by tier."""
    return " ".join(key).strip()


def question_rows(cascade: Cascade, scored: ScoredTasks) -> list[QuestionRows]:
    """Every question's rows, in order of stages and tiers."""
    return [_rows(cascade, scored, stage, tier) for stage in cascade.stages for tier in stage.questions]


def _rows(cascade: Cascade, scored: ScoredTasks, stage: Stage, tier: str) -> QuestionRows:
    truths, p = scored.truths(cascade, stage.name), scored.p[stage.name, tier]
    rows = np.flatnonzero((truths >= 0) & ~np.isnan(p))
    return QuestionRows(
        stage=stage.name,
        tier=tier,
        question=stage.question(tier),
        rows=rows,
        tasks=scored.tasks[rows],
        p=p[rows],
        truths=truths[rows] == 1,
    )
