"""Predicted milliseconds of reading an item and of each question, from a backend's costs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from cascade.backends.base import BackendInfo
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
    costs, sizes = info.costs, info.sizes
    builder = PromptBuilder(info.form, info.tokenizer, limits)
    per_token = info.slowdown * (costs.per_token_ms + costs.per_call_ms / sizes.n_batch)
    per_asked_token = info.slowdown * (costs.per_token_ms + costs.per_call_ms / sizes.n_batch_questions)
    read = per_token * _mean_tokens(cascade, tasks, builder)
    questions: dict[Key, float] = {}
    prefix_adapters: set[str] = set()
    for stage in cascade.stages:
        for tier, question in stage.questions.items():
            prefix_adapter = info.prefix_adapters[question.adapter]
            is_read_anew = prefix_adapter not in {*prefix_adapters, BASE}
            prefix_adapters.add(prefix_adapter)
            asked = per_asked_token * len(builder.marker_tokens(question.marker)) + info.slowdown * costs.per_output_ms
            questions[stage.name, tier] = asked + (read if is_read_anew else 0.0)
    return Prices(item=read if BASE in prefix_adapters else 0.0, questions=questions)


def _mean_tokens(cascade: Cascade, tasks: Sequence[Labelled], builder: PromptBuilder) -> float:
    sizes: list[int] = []
    for labelled in tasks:
        root = builder.task(cascade.instructions, cascade.questions(), labelled.task)
        sizes += [len(builder.item(root, item).tokens) for item in islice(labelled.items, _N_ITEMS - len(sizes))]
        if len(sizes) >= _N_ITEMS:
            break
    return sum(sizes) / max(len(sizes), 1)
