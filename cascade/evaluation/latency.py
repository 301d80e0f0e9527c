"""Milliseconds that an item takes by what it is asked, as the engine's cost model has them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from cascade.backends.base import BackendInfo
from cascade.engine.cost_model import BatchShape, work
from cascade.engine.info import EngineInfo
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.replay import Prices
from cascade.evaluation.scored import Key
from cascade.prompt import Limits, PromptBuilder
from cascade.stages import BASE, Question, is_base
from cascade.tree import Cascade

_N_ITEMS = 500  # whose tokens are counted


def prices_of(cascade: Cascade, tasks: Sequence[Labelled], info: EngineInfo) -> Prices:
    """The marginal cost of reading an item and of asking it each question, in milliseconds.

    A token costs its own time and its share of a full call; a question also has a row of logits. The base model reads
    an item once for all questions of its prefix adapter; an adapter that computes items by itself reads them once more,
    and so does a further base model. An item's text is counted where a question reads more of it than those before it.
    What does not depend on an item's way is left out: the task's own tokens, groups, and attaching adapters.

    Args:
        cascade: Its questions.
        tasks: Labelled tasks; the mean tokens of their first items count.
        info: Of each model the costs, call sizes, prefix adapters, tokenizer and limits.
    """
    readers = {name: _Reader(cascade, tasks, info.backends[name], info.limits[name]) for name in info.asked(cascade)}
    first = info.of(next(iter(cascade.first.questions.values())).adapter)
    base = next((name for name in first.prefix_adapters if is_base(name)), BASE)
    questions: dict[Key, float] = {}
    texts: dict[str, float] = {}  # prefix adapter -> what it has cost by then to read an item's text
    read = 0.0
    for stage in cascade.stages:
        for tier, question in stage.questions.items():
            reader, prefix_adapter = readers[info.model_of(question.adapter)], info.prefix_adapters[question.adapter]
            is_read_anew = prefix_adapter not in {*texts, base}
            read = reader.item if prefix_adapter == base else read
            before, text = texts.get(prefix_adapter, 0.0), reader.texts.get(question.max_text_tokens, 0.0)
            texts[prefix_adapter] = max(before, text)
            own = (reader.item if is_read_anew else 0.0) + texts[prefix_adapter] - before
            questions[stage.name, tier] = reader.asked(question) + own
    return Prices(item=read, questions=questions)


class _Reader:
    """What one base model takes for the items of a cascade.

    Args:
        cascade: Its questions.
        tasks: Labelled tasks.
        info: The model's backend.
        limits: How long outside texts may be.

    Attributes:
        item: Milliseconds to read an item.
        texts: Tokens of an item's text -> milliseconds to read so many.
    """

    def __init__(self, cascade: Cascade, tasks: Sequence[Labelled], info: BackendInfo, limits: Limits) -> None:
        n_batch, n_asked = info.sizes.n_batch, info.sizes.n_batch_questions
        self._builder = PromptBuilder(info.form, info.tokenizer, limits)
        self._per_output = info.slowdown * info.costs.per_output_ms
        self._per_asked_token = _alone_ms(BatchShape(asked=n_asked, cells_asked=0.0), info) / n_asked
        per_token = _alone_ms(BatchShape(tokens=n_batch), info) / n_batch
        self.item = per_token * _mean_tokens(cascade, tasks, self._builder)
        self.texts = {most: per_token * mean for most, mean in _mean_texts(cascade, tasks, self._builder).items()}

    def asked(self, question: Question) -> float:
        """Milliseconds of a question behind what it is put to."""
        return self._per_asked_token * self._builder.question_tokens(question) + self._per_output


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
