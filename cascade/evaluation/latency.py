"""Milliseconds that an item takes by what it is asked, as the engine's cost model has them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from cascade.backends.base import BackendInfo
from cascade.engine.cost_model import BatchShape, work
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.replay import Prices
from cascade.evaluation.scored import Key
from cascade.prompt import Limits, PromptBuilder
from cascade.stages import BASE
from cascade.tree import Cascade

_N_ITEMS = 500  # whose tokens are counted


def prices_of(cascade: Cascade, tasks: Sequence[Labelled], info: BackendInfo, limits: Limits) -> Prices:
    """The marginal cost of reading an item and of asking it each question, in milliseconds.

    A token costs its own time and its share of a full call; a question also has a row of logits. The base model reads
    an item once for all questions of its prefix adapter; an adapter that computes items by itself reads them once more.
    What does not depend on an item's way is left out: the task's own tokens, groups, and attaching adapters.

    Args:
        cascade: Its questions.
        tasks: Labelled tasks; the mean tokens of their first items count.
        info: The backend's costs, call sizes, prefix adapters and tokenizer.
        limits: How long outside texts may be.
    """
    n_batch, n_asked = info.sizes.n_batch, info.sizes.n_batch_questions
    builder = PromptBuilder(info.form, info.tokenizer, limits)
    per_token = _alone_ms(BatchShape(tokens=n_batch), info) / n_batch
    per_asked_token = _alone_ms(BatchShape(asked=n_asked, cells_asked=0.0), info) / n_asked
    read = per_token * _mean_tokens(cascade, tasks, builder)
    questions: dict[Key, float] = {}
    prefix_adapters: set[str] = set()
    for stage in cascade.stages:
        for tier, question in stage.questions.items():
            prefix_adapter = info.prefix_adapters[question.adapter]
            is_read_anew = prefix_adapter not in {*prefix_adapters, BASE}
            prefix_adapters.add(prefix_adapter)
            asked = (
                per_asked_token * len(builder.marker_tokens(question.marker)) + info.slowdown * info.costs.per_output_ms
            )
            questions[stage.name, tier] = asked + (read if is_read_anew else 0.0)
    return Prices(item=read if BASE in prefix_adapters else 0.0, questions=questions)


def _alone_ms(shape: BatchShape, info: BackendInfo) -> float:
    """Milliseconds of a batch's calls, without pauses before them and without the cells that tokens attend to."""
    prices = replace(info.costs, per_cell_ms=0.0).parts._replace(batches=0.0)
    return info.slowdown * work(shape, info.sizes).at(prices)


def _mean_tokens(cascade: Cascade, tasks: Sequence[Labelled], builder: PromptBuilder) -> float:
    sizes: list[int] = []
    for labelled in tasks:
        root = builder.task(cascade.instructions, cascade.questions(), labelled.task)
        sizes += [len(builder.item(root, item).tokens) for item in islice(labelled.items, _N_ITEMS - len(sizes))]
        if len(sizes) >= _N_ITEMS:
            break
    return sum(sizes) / max(len(sizes), 1)
