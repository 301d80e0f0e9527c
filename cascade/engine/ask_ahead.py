"""Questions that are asked before the tree needs their answers, where that is likely to save time. Pure."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from cascade.engine.batch import BatchBuilder, BatchContext
from cascade.engine.cost_model import BatchShape
from cascade.engine.query import Query
from cascade.stages import SERVED, Question


def queries_ahead(builder: BatchBuilder) -> dict[Query, float]:
    """What the items of a batch may be asked later under its adapter, with the probability that they are.

    Questions that read more of an item's text than the batch does are left out: that is for survivors alone.
    """
    found: dict[Query, float] = {}
    # An item that is asked in several tiers has several queries, and is asked ahead once.
    for here in {query.item: query for query in builder.queries}.values():
        item = here.item
        likely = {entry.stage.name: entry.probability for entry in item.expected.reach(here.stage)}
        for stage, tier, question in item.ahead(builder.adapter):
            if item.is_read_for(question) and item.node_above(question) in here.above.path:
                found[Query(item, here.request, stage, tier, question)] = likely[stage.name]
    return found


def is_worth(
    ahead: dict[Query, float],
    builder: BatchBuilder,
    context: BatchContext,
    predict: Callable[[BatchShape], float],
    question_tokens: Callable[[Question], int],
) -> bool:
    """True if asking now takes less time than the batches that it is likely to save.

    Args:
        ahead: From ``queries_ahead``.
        builder: The batch they would be asked in.
        context: The state of the backend before it.
        predict: How long a batch takes, in milliseconds.
        question_tokens: How many tokens a question takes.
    """
    asked = sum(question_tokens(query.question) for query in ahead)
    extra = predict(builder.shape(context, more_asked=asked, more=len(ahead))) - predict(builder.shape(context))
    cells = context.cells + builder.tokens
    is_served = context.prefix_adapters[builder.adapter] == SERVED
    saved = 0.0
    for stage in dict.fromkeys(query.stage.name for query in ahead):
        own = {query: p for query, p in ahead.items() if query.stage.name == stage}
        any_is_asked = 1 - prod(1 - p for p in own.values())
        n = sum(own.values())
        tokens = sum(p * question_tokens(query.question) for query, p in own.items())
        later = BatchShape(asked=tokens, outputs=n, requests=n, cells=cells, cells_asked=cells, is_served=is_served)
        saved += any_is_asked * predict(later)
    return saved > extra
