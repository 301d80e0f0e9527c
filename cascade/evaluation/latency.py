"""Milliseconds that an item takes by what it is asked, as the engine's cost model has them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

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
    An item's text is counted where a question reads more of it than those before it. What does not depend on an item's
    way is left out: the task's own tokens, groups, and attaching adapters.

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
    of_text = {most: per_token * mean for most, mean in _mean_texts(cascade, tasks, builder).items()}
    questions: dict[Key, float] = {}
    texts: dict[str, float] = {}  # prefix adapter -> what it has cost by then to read an item's text
    for stage in cascade.stages:
        for tier, question in stage.questions.items():
            prefix_adapter = info.prefix_adapters[question.adapter]
            is_read_anew = prefix_adapter not in {*texts, BASE}
            before, text = texts.get(prefix_adapter, 0.0), of_text.get(question.max_text_tokens, 0.0)
            texts[prefix_adapter] = max(before, text)
            asked = per_asked_token * builder.question_tokens(question) + info.slowdown * info.costs.per_output_ms
            questions[stage.name, tier] = asked + (read if is_read_anew else 0.0) + texts[prefix_adapter] - before
    return Prices(item=read if BASE in texts else 0.0, questions=questions)


def _alone_ms(shape: BatchShape, info: BackendInfo) -> float:
    """Milliseconds of a batch's calls, without pauses before them and without the cells that tokens attend to."""
    prices = replace(info.costs, per_cell_ms=0.0).parts._replace(batches=0.0)
    return info.slowdown * work(shape, info.sizes).at(prices)


def _mean_texts(cascade: Cascade, tasks: Sequence[Labelled], builder: PromptBuilder) -> dict[int, float]:
    """Most tokens of the text that questions read -> the mean tokens that these are, of the first items."""
    limits = cascade.text_limits()
    items = list(islice((item for labelled in tasks for item in labelled.items), _N_ITEMS if limits else 0))
    if not items:
        return {}
    root = builder.task(cascade.instructions, cascade.questions(), tasks[0].task)
    ends = np.array([[node.end - root.end for node in builder.text(root, item, limits)] for item in items])
    return dict(zip(limits, ends.mean(axis=0).tolist(), strict=True))


def _mean_tokens(cascade: Cascade, tasks: Sequence[Labelled], builder: PromptBuilder) -> float:
    sizes: list[int] = []
    for labelled in tasks:
        root = builder.task(cascade.instructions, cascade.questions(), labelled.task)
        sizes += [len(builder.item(root, item).tokens) for item in islice(labelled.items, _N_ITEMS - len(sizes))]
        if len(sizes) >= _N_ITEMS:
            break
    return sum(sizes) / max(len(sizes), 1)
