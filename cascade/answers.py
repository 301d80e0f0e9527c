"""What a wave's answers do to its items: each goes a step, or ends where nobody can answer. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from cascade.backends.base import Scores
from cascade.scoring import p_yes
from cascade.wave import Job


def walk_on(jobs: Sequence[Job], scores: Scores) -> None:
    """Walk the items of a wave on, and let what is expected of a cascade learn from their answers.

    An item whose question nobody can answer ends where it stands, unless the question was asked ahead and its
    turn has not come.

    Args:
        jobs: The wave's.
        scores: What came of them.
    """
    before = {job.walk: job.walk.depth for job in jobs}
    for walk in before:
        walk.is_owed = None
    for job, p in zip(jobs, p_yes(scores.logits).tolist(), strict=True):
        if not isnan(p):
            job.walk.take(job.stage, job.tier, p)
    for place, is_owed in scores.under_way.items():
        jobs[place].walk.is_owed = is_owed
    for place, cause in scores.unanswered.items():
        job = jobs[place]
        if not job.is_ahead:
            job.walk.give_up(cause)
    for walk, depth in before.items():
        for stage, answer in walk.passed[depth:] if walk.fixed is None else ():
            walk.expected.learn(stage, answer=answer)
