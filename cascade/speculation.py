"""Whether to ask questions before it is known that the tree needs the answers. Pure.

A call costs much, whatever its size, and a question more in it costs little. So where few items are
asked under one adapter (a single item, a GPU, a server that takes several questions in one request),
it can be faster to ask them all that this adapter might be asked later, and to drop what turns out not
to be needed.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from cascade.cost_model import CostModel
from cascade.costs import Work
from cascade.stage import SERVED, Question
from cascade.wave import Draft, Job, Setting


def questions_ahead(draft: Draft) -> dict[Job, float]:
    """What the items of a draft may be asked later under its adapter, with the probability that they are."""
    found: dict[Job, float] = {}
    # An item that is asked in several tiers has several jobs, and is asked ahead once.
    for walk, here in {job.walk: job.stage for job in draft.jobs}.items():
        likely = {entry.stage.name: entry.probability for entry in walk.expected.reach(here)}
        for stage, tier, question in walk.ahead(draft.adapter):
            found[Job(walk, stage, tier, question)] = likely[stage.name]
    return found


def is_worth(
    ahead: dict[Job, float],
    draft: Draft,
    setting: Setting,
    model: CostModel,
    question_tokens: Callable[[Question], int],
) -> bool:
    """Whether asking now takes less time than the calls that it is likely to save.

    Args:
        ahead: From ``questions_ahead``.
        draft: The wave they would be asked in.
        setting: Under what it is computed.
        model: How long work takes.
        question_tokens: How many tokens a question takes.
    """
    asked = sum(question_tokens(job.question) for job in ahead)
    extra = model.predict(draft.work(setting, more_asked=asked, more_jobs=len(ahead))) - model.predict(
        draft.work(setting)
    )
    cells = setting.cells + draft.tokens
    saved = 0.0
    for stage in dict.fromkeys(job.stage.name for job in ahead):
        own = {job: p for job, p in ahead.items() if job.stage.name == stage}
        any_is_asked = 1 - prod(1 - p for p in own.values())
        tokens = sum(p * question_tokens(job.question) for job, p in own.items())
        if setting.lineages[draft.adapter] == SERVED:
            call = Work(requests=sum(own.values()), questions=sum(own.values()))
        else:
            call = Work.of(tokens=tokens, cells=cells, most=setting.sizes.n_ask, outputs=sum(own.values()))
        call = call.plus(Work(waves=1.0))
        saved += any_is_asked * model.predict(call)
    return saved > extra
