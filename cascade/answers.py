"""What a wave's answers do to its items: each goes a step, or ends where nobody can answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, isnan

from cascade.backends.base import Scores
from cascade.errors import BackendError, ServerError
from cascade.metrics import counted
from cascade.scoring import p_yes
from cascade.stage import BASE
from cascade.walk import Walk
from cascade.wave import Job


def spoilt_places(jobs: Sequence[Job], scores: Scores, *, is_stopped: bool, is_limited: bool) -> Mapping[int, str]:
    """Places of a wave whose answer is no finite number -> what came instead.

    Args:
        jobs: The wave's, which have not walked on yet.
        scores: What came of them.
        is_stopped: Whether the wave was stopped, so that some may have no answer yet.
        is_limited: Whether it had a limit of time, so that all may still be owed.

    Raises:
        BackendError: There are not as many answers as questions.
    """
    if len(scores.logits) != len(jobs):
        msg = (
            f"The backend gave {counted(len(scores.logits), 'answer')} to {counted(len(jobs), 'question')} for the "
            f"adapter {jobs[0].question.adapter!r}. That is a fault of the backend; it must give one for each."
        )
        raise BackendError(msg)
    # Asked again, what is owed is waited for: a wave of which nothing comes would be asked for ever.
    may_owe = is_limited or any(
        place not in scores.under_way or (job.stage.name, job.tier) not in job.walk.owed
        for place, job in enumerate(jobs)
    )
    spoilt = dict(scores.spoilt)
    for place, logit in enumerate(scores.logits):
        is_known = place in scores.spoilt or place in scores.unanswered
        is_to_come = is_stopped or (may_owe and place in scores.under_way)
        if not (isfinite(logit) or is_known or (isnan(logit) and is_to_come)):
            spoilt[place] = f"its log odds are {logit}"
    return spoilt


def faults_of(jobs: Sequence[Job], spoilt: Mapping[int, str], *, is_served: bool) -> dict[Walk, BackendError]:
    """Items that were answered with no number, each with its error; one that was asked ahead may not need the answer.

    Args:
        jobs: The wave's, which have not walked on yet.
        spoilt: From ``spoilt_places``.
        is_served: Whether a server answers.
    """
    asked = [(jobs[place], cause) for place, cause in spoilt.items()]
    return {job.walk: _error(job, cause, is_served=is_served) for job, cause in asked if not job.is_ahead}


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
    for job, logit, p in zip(jobs, scores.logits, p_yes(scores.logits).tolist(), strict=True):
        if isfinite(logit):
            job.walk.take(job.stage, job.tier, p)
    for place, job in enumerate(jobs):
        key = job.stage.name, job.tier
        if place in scores.under_way:
            job.walk.is_owed = scores.under_way[place]
            job.walk.owed.add(key)
        else:
            job.walk.owed.discard(key)
    for place, cause in scores.unanswered.items():
        job = jobs[place]
        if not job.is_ahead:
            job.walk.give_up(cause)
    for walk, depth in before.items():
        for stage, answer in walk.passed[depth:] if walk.fixed is None else ():
            walk.expected.learn(stage, answer=answer)


def _error(job: Job, cause: str, *, is_served: bool) -> BackendError:
    adapter, stage, cascade = job.question.adapter, job.stage.name, job.walk.cascade.name
    who, where = f"Adapter {adapter!r}", f"the file of adapters.{adapter}"
    if adapter == BASE:
        who, where = "The base model", "the file of [model]"
    if is_served:
        where += " on its server"
    msg = (
        f"{who} gives no number for stage {stage!r} of cascade {cascade!r} and item {job.walk.item.id!r}: {cause}. "
        f"Weights that hold NaN, or overflow, do so, as after a training that diverged; check {where}, or replace it."
    )
    return ServerError(msg) if is_served else BackendError(msg)
