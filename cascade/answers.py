"""What a wave's answers do to its items: each goes a step, or ends where nobody can answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan

from cascade.scoring import p_yes
from cascade.wave import Job


def walk_on(jobs: Sequence[Job], logits: Sequence[float], unanswered: Mapping[int, str]) -> None:
    """Walk the items of a wave on, and let what is expected of a cascade learn from their answers.

    Args:
        jobs: The wave's.
        logits: One for each; NaN for a probe that was not scored.
        unanswered: Place of a job that nobody can answer -> why; its item ends where it stands, unless the
            question was asked ahead and its turn has not come.
    """
    before = {job.walk: job.walk.depth for job in jobs}
    for job, p in zip(jobs, p_yes(logits).tolist(), strict=True):
        if not isnan(p):
            job.walk.take(job.stage, job.tier, p)
    for place, cause in unanswered.items():
        job = jobs[place]
        if not job.is_ahead:
            job.walk.give_up(cause)
    for walk, depth in before.items():
        for stage, answer in walk.passed[depth:] if walk.fixed is None else ():
            walk.expected.learn(stage, answer=answer)
