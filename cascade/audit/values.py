"""Choices and scores: how often they are wrong, how often unsure, and what they take for what. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cascade.audit.rates import Rate, rate
from cascade.evaluation.replay import Replay
from cascade.stages import ANY_TIER, Kind, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A wrong answer.

    Attributes:
        truth: The true answer, in words.
        given: The answer that was given, in words.
        n: How many rows have it.
    """

    truth: str
    given: str
    n: int

    def __str__(self) -> str:
        """Such as ``'bug' taken for 'wish' (12)``."""
        return f"{self.truth!r} taken for {self.given!r} ({self.n:,})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueAudit:
    """One choice or score, on all items whose true answer to it is known, including those it would not reach.

    Attributes:
        stage: Name of its stage.
        kind: Whether it is a choice or a score.
        adapter: Name of the adapter that answers.
        least_confidence: Confidence below which it is uncertain; 0 for never.
        uncertain: Share of the rows of which it is uncertain.
        error: Of the rows that it is sure of, the share with a wrong answer.
        mistakes: The wrong answers, the commonest first.
    """

    stage: str
    kind: Kind
    adapter: str
    least_confidence: float
    uncertain: Rate
    error: Rate
    mistakes: tuple[Mistake, ...]


def value_audits(replay: Replay) -> list[ValueAudit]:
    """Every choice and score of a cascade, at its thresholds."""
    return [_audit(replay, stage) for stage in replay.cascade.stages if stage.has_values]


def _audit(replay: Replay, stage: Stage) -> ValueAudit:
    every = replay.scored.truths(replay.cascade, stage.name)
    rows = np.flatnonzero(every >= 0)
    question, truths, tasks = stage.question(ANY_TIER), every[rows], replay.scored.tasks[rows]
    answers = stage.answers(replay.p[stage.name][rows])
    given = np.full(rows.size, -1)
    for place, answer in enumerate(stage.sure_ways):
        given[answers.of(answer)] = place
    wrong, is_sure = given != truths, given >= 0
    words = [stage.in_words(answer) for answer in stage.sure_ways]
    pairs = np.stack((truths, given), axis=1)[wrong & is_sure]
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    return ValueAudit(
        stage=stage.name,
        kind=stage.kind,
        adapter=question.adapter,
        least_confidence=question.threshold,
        uncertain=rate(~is_sure, tasks),
        error=rate(wrong[is_sure], tasks[is_sure]),
        mistakes=tuple(
            Mistake(truth=words[found[at, 0]], given=words[found[at, 1]], n=int(counts[at]))
            for at in np.argsort(-counts, kind="stable")
        ),
    )
