"""A batch: how it is put together, what it has to do, and what its answers do to items. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite, isnan

from cascade.backends import base
from cascade.backends.base import Scores
from cascade.backends.costs import CallSizes
from cascade.engine.cost_model import BatchShape
from cascade.engine.item_state import ItemState
from cascade.engine.query import Query
from cascade.engine.request import Request
from cascade.errors import BackendError, ServerError, counted
from cascade.probability import p_yes, softmax
from cascade.prompt import Node
from cascade.stages import SERVED, is_base


@dataclass(frozen=True)
class Batch(base.Batch):
    """Queries that are scored together under one adapter, of one request or of several.

    Attributes:
        queries: Never empty.
        model: Name of the base model that answers; empty where there is one.
        new: Prompt nodes that it is to compute.
    """

    queries: tuple[Query, ...]
    model: str = ""
    new: tuple[Node, ...] = ()

    @property
    def name(self) -> str:
        """What cascades call the adapter that all queries share; ``adapter`` is its key."""
        return self.queries[0].question.adapter

    @cached_property
    def by_request(self) -> Mapping[Request, Sequence[Query]]:
        """The requests that take part, in the order of their first queries, each with its own queries."""
        found: dict[Request, list[Query]] = {}
        for query in self.queries:
            found.setdefault(query.request, []).append(query)
        return found

    def uncomputed(self, reused: Collection[int]) -> list[Node]:
        """The new nodes that nothing had to be computed of, because no query below them was computed.

        Args:
            reused: Indices of queries whose answers were there before.
        """
        if not reused:
            return []
        asked = [query for place, query in enumerate(self.queries) if place not in reused]
        computed = {node for query in asked for node in query.above.path}
        return [node for node in self.new if node not in computed]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchContext:
    """The state of the backend in which a batch is computed.

    Attributes:
        prefix_adapters: Maps each adapter to the adapter whose weights fill its prefix KV.
        sizes: How the backend cuts work into calls.
        active: The adapter of the batch before.
        cells: Cells of the KV cache that are in use before.
    """

    prefix_adapters: Mapping[str, str]
    sizes: CallSizes
    active: str
    cells: int


@dataclass(slots=True)
class BatchBuilder:
    """A batch in the making, and the prompt nodes that it adds to the cache.

    Attributes:
        adapter: The adapter that answers.
        queries: Its queries so far.
        new: The prompt nodes that it computes.
        tokens: Tokens of those nodes.
        asked: Tokens of its questions.
        is_whole: False if a query was left behind.
        is_hurried: True if one was left behind because the time is short.
    """

    adapter: str
    queries: list[Query] = field(default_factory=list)
    new: dict[Node, None] = field(default_factory=dict)
    tokens: int = 0
    asked: int = 0
    is_whole: bool = True
    is_hurried: bool = False

    def add(self, query: Query, new: Iterable[Node], asked: int) -> None:
        """Add a query.

        Args:
            query: The query.
            new: The prompt nodes that the batch has to compute for it.
            asked: Tokens of its question.
        """
        self.queries.append(query)
        self.asked += asked
        for node in new:
            self.new[node] = None
            self.tokens += len(node.tokens)

    def shape(self, context: BatchContext, more_tokens: int = 0, more_asked: int = 0, more: int = 0) -> BatchShape:
        """What the batch has to do.

        Args:
            context: The state of the backend before.
            more_tokens: Prompt tokens to count besides its own.
            more_asked: Question tokens to count besides its own.
            more: Queries to count besides its own.
        """
        prefix_adapter = context.prefix_adapters[self.adapter]
        tokens, asked, n = self.tokens + more_tokens, self.asked + more_asked, len(self.queries) + more
        if prefix_adapter == SERVED:
            is_together = self.adapter in context.sizes.together
            n_shared = context.sizes.shared.get(self.adapter, 1)
            n_requests = len({query.item for query in self.queries}) or 1 if is_together else -(-n // n_shared)
            return BatchShape(outputs=n, requests=n_requests, is_served=True)
        if prefix_adapter == self.adapter:
            swaps = int(context.active != self.adapter)
            return BatchShape(tokens=tokens, asked=asked, outputs=n, cells=context.cells, swaps=swaps)
        swaps = int(bool(tokens) and context.active != prefix_adapter)
        swaps += int(bool(tokens) or context.active != self.adapter)
        return BatchShape(
            tokens=tokens,
            asked=asked,
            outputs=n,
            cells=context.cells,
            cells_asked=context.cells + tokens,
            swaps=swaps,
        )


def spoilt_places(batch: Batch, scores: Scores, *, is_stopped: bool) -> Mapping[int, str]:
    """Indices of queries that were answered with no finite number, each with what came instead.

    Args:
        batch: A batch whose items have not walked on yet.
        scores: The backend's answers.
        is_stopped: True if the batch was stopped, so that some queries may have no answer yet.

    Raises:
        BackendError: There are not as many answers as queries.
    """
    queries = batch.queries
    if len(scores.logits) != len(queries):
        msg = (
            f"The backend gave {counted(len(scores.logits), 'answer')} to {counted(len(queries), 'question')} for the "
            f"adapter {batch.name!r}. That is a fault of the backend; it must give one for each."
        )
        raise BackendError(msg)
    # A batch without a time limit waits for owed answers; if it returned them still owed, it would be sent for ever.
    may_owe = isfinite(batch.left_ms) or any(
        place not in scores.under_way or (query.stage.name, query.tier) not in query.item.owed
        for place, query in enumerate(queries)
    )
    spoilt = dict(scores.spoilt)
    for place, logit in enumerate(scores.logits):
        is_known = place in scores.spoilt or place in scores.unanswered
        is_to_come = is_stopped or (may_owe and place in scores.under_way)
        if not (isfinite(logit) or is_known or (isnan(logit) and is_to_come)):
            spoilt[place] = f"its log odds are {logit}"
    return spoilt


def faults_of(batch: Batch, spoilt: Mapping[int, str], *, is_served: bool) -> dict[ItemState, BackendError]:
    """Items that were answered with no number, each with its error.

    An item whose question was asked ahead has none: it may never need the answer.

    Args:
        batch: A batch whose items have not walked on yet.
        spoilt: From ``spoilt_places``.
        is_served: True if a server answers.
    """
    asked = [(batch.queries[place], cause) for place, cause in spoilt.items()]
    return {query.item: _error(query, cause, is_served=is_served) for query, cause in asked if not query.is_ahead}


def walk_on(queries: Sequence[Query], scores: Scores) -> None:
    """Walk the items of a batch on, and let the online profile of their cascades learn from the answers.

    An item whose question nobody can answer ends where it stands, unless the question was asked ahead.

    Args:
        queries: The batch's.
        scores: The backend's answers, one per query.
    """
    before = {query.item: query.item.depth for query in queries}
    for item in before:
        item.is_owed = None
    for place, (query, p) in enumerate(zip(queries, p_yes(scores.logits).tolist(), strict=True)):
        if isfinite(scores.logits[place]):
            own = scores.values.get(place)
            query.item.take(query.stage, query.tier, p if own is None else softmax(own).tolist())
    for place, query in enumerate(queries):
        key = query.stage.name, query.tier
        if place in scores.under_way:
            query.item.is_owed = scores.under_way[place]
            query.item.owed.add(key)
        else:
            query.item.owed.discard(key)
    for place, cause in scores.unanswered.items():
        if not queries[place].is_ahead:
            queries[place].item.give_up(cause)
    for item, depth in before.items():
        for stage, answer in item.passed[depth:] if item.fixed is None else ():
            item.expected.learn(stage, answer=answer)


def _error(query: Query, cause: str, *, is_served: bool) -> BackendError:
    adapter, stage, cascade = query.question.adapter, query.stage.name, query.item.cascade.name
    who, where = f"Adapter {adapter!r}", f"the file of adapters.{adapter}"
    if is_base(adapter):
        model = query.item.model_of(query.question)
        who = f"The base model {model!r}" if model else "The base model"
        where = f"the file of [models.{model}]" if model else "the file of [model]"
    if is_served:
        where += " on its server"
    msg = (
        f"{who} gives no number for stage {stage!r} of cascade {cascade!r} and item {query.item.item.id!r}: {cause}. "
        f"Weights that hold NaN, or overflow, do so, as after a training that diverged; check {where}, or replace it."
    )
    return ServerError(msg) if is_served else BackendError(msg)
