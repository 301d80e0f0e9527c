"""Which queries form the next batch, and which prompt nodes stay in the cache. Pure: no clock, no model.

A token costs far more than a change of the adapter, so what an item has computed is kept until no
stage ahead of it wants it. Within what fits, batches go breadth first: all items of a stage under one
adapter, then the survivors under the next. Only when the room left is too small for a batch that is
worth its swaps, or survivors lie in the way of too much that is still to come, do they go ahead.

A batch has a best length. Every batch pays for its calls and swaps, which speaks for few and long ones;
but every token looks at every cell in use, which speaks for short ones whose items leave early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, sqrt

from cascade.backends.costs import CallSizes, Costs
from cascade.engine.ask_ahead import is_worth, queries_ahead
from cascade.engine.batch import Batch, BatchBuilder, BatchContext
from cascade.engine.cost_model import BatchShape, CostModel, work
from cascade.engine.item_state import ItemState
from cascade.engine.prefix_index import CachedNode, PrefixIndex
from cascade.engine.query import Query, open_queries
from cascade.engine.request import Request
from cascade.prompt import Node, Segment
from cascade.stages import SERVED, Question

_OWN = (Segment.ITEM, Segment.TEXT)  # the nodes that no two items share

_LEAST_MS = 1e-6  # no batch takes no time

WORTH = 0.5
"""A batch that leaves items of its stage behind must have this share of the best length, or the next one waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """How much a backend can keep in its KV cache at once.

    Attributes:
        nodes: Prompt nodes; a node counts once for each prefix adapter that computed it.
        tokens: Tokens of those nodes and of the questions that are being answered.
    """

    nodes: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendLimits:
    """What the planner must know of a backend.

    Attributes:
        capacity: How much it can keep at once.
        prefix_adapters: Maps each adapter to the adapter whose weights fill its prefix KV: itself for plain LoRA,
            ``base`` for activated LoRA, ``SERVED`` for one on a server.
        costs: What the parts of a batch cost; plans go by the proportions between them.
        sizes: How the backend cuts work into calls.
        keeps: Whether prompt nodes are kept; an encoder reads the whole prompt for each question.
    """

    capacity: Capacity
    prefix_adapters: Mapping[str, str]
    costs: Costs = field(default_factory=Costs)
    sizes: CallSizes = field(default_factory=CallSizes)
    keeps: bool = True


class Planner:
    """Plans batches over all open requests, and keeps the book of the backend's cache.

    Args:
        limits: What the backend offers.
        question_tokens: How many tokens a question takes behind an item.
        model: Predicts how long batches take; None for one that has not learned anything yet.
        asks_ahead: Whether questions may be asked before it is known that the tree needs the answers.
        release: Called with cached nodes that the backend shall free; None for nobody.
        name: Name of the base model whose batches these are; empty where there is one.

    Attributes:
        name: Name of the base model.
        limits: What the backend offers.
        question_tokens: How many tokens a question takes behind an item.
        model: Predicts how long batches take.
        prefix_index: What is in the backend's cache.
    """

    def __init__(
        self,
        limits: BackendLimits,
        question_tokens: Callable[[Question], int],
        *,
        model: CostModel | None = None,
        asks_ahead: bool = False,
        release: Callable[[Sequence[CachedNode]], None] | None = None,
        name: str = "",
    ) -> None:
        self.name = name
        self.limits = limits
        self.question_tokens = question_tokens
        self.model = model or CostModel(limits.costs)
        self.prefix_index = PrefixIndex(limits.prefix_adapters, release or _nothing, name)
        self._asks_ahead = asks_ahead and limits.keeps  # it saves nothing where a later question costs as much
        self._active = ""

    @property
    def n_cells(self) -> int:
        """Cells of the backend's cache that prompt nodes fill."""
        return self.prefix_index.tokens

    def has(self, adapter: str) -> bool:
        """Whether an adapter belongs to its model."""
        return adapter in self.limits.prefix_adapters

    def prefix_adapter(self, adapter: str) -> str:
        """The adapter whose weights fill the prefix KV of an adapter's questions."""
        return self.limits.prefix_adapters[adapter]

    def is_served(self, adapter: str) -> bool:
        """True if an adapter is on a server."""
        return self.prefix_adapter(adapter) == SERVED

    def refit(self, prefix_adapters: Mapping[str, str]) -> None:
        """Go by the adapters that the backend has now; what was computed under others is forgotten."""
        self.limits = replace(self.limits, prefix_adapters=prefix_adapters)
        self.prefix_index.refit(prefix_adapters)

    def missing(self, node: Node, prefix_adapter: str) -> list[Node]:
        """See ``PrefixIndex.missing``."""
        return self.prefix_index.missing(node, prefix_adapter)

    def predict(self, shape: BatchShape) -> float:
        """Milliseconds that a batch will take."""
        return self.model.predict(work(shape, self.limits.sizes))

    def best_length(self, adapter: str) -> float:
        """New tokens of a batch at which a token costs least.

        Of R tokens in batches of T each, R / T batches pay ``fixed`` each, and R tokens look at T / 2 cells
        of their own batch on average: R * fixed / T + R * per_cell * T / 2 is least where the two are equal.
        """
        if self.is_served(adapter) or not self.limits.costs.per_cell_ms:
            return inf
        n_turns = 1 if self.prefix_adapter(adapter) == adapter else 2  # an activated adapter takes turns with the base
        fixed = n_turns * self.limits.costs.per_call_ms + (n_turns > 1) * n_turns * self.limits.costs.per_swap_ms
        return sqrt(2 * fixed / self.limits.costs.per_cell_ms)

    def next_batch(self, offers: Mapping[Request, Iterable[ItemState]], left_ms: float = inf) -> Batch | None:
        """The next batch; the prompt nodes that it computes count as cached from now on.

        Args:
            offers: The items of each request that may be asked. The first request leads: the batch is its own,
                filled up with the queries of others under the same adapter, unless some items must go deeper first
                to make room.
            left_ms: How long the batch may take, in milliseconds.

        Returns:
            The batch; None where nothing is open, or not even one query fits into the time or the cache.
        """
        builder = self.propose(offers, left_ms)
        if builder is None and self.make_room(offers):
            builder = self.propose(offers, left_ms)
        return self.begin(builder, left_ms) if builder is not None else None

    def propose(self, offers: Mapping[Request, Iterable[ItemState]], left_ms: float = inf) -> BatchBuilder | None:
        """What ``next_batch`` would run as things are; nothing is booked or evicted."""
        leader, every = self._queries(offers)
        return self._builder(leader, every, left_ms) if leader else None

    def make_room(self, offers: Mapping[Request, Iterable[ItemState]]) -> bool:
        """Evict where not even one query of the leader fits beside what is cached; returns whether that was so."""
        leader, every = self._queries(offers)
        if not leader or self._has_room(leader):
            return False
        self._evict_parked(leader[0], every)
        if not self._has_room(leader):
            self._evict(leader[0])
        return True

    def begin(self, builder: BatchBuilder, left_ms: float = inf) -> Batch:
        """The batch of a proposal; the prompt nodes that it computes count as cached from now on."""
        if self._asks_ahead and builder.is_whole:
            self._ask_ahead(builder, left_ms)
        predicted_ms = self.predict(builder.shape(self._context))
        if self.limits.keeps:
            self.prefix_index.add(builder.new, self.prefix_adapter(builder.adapter))
        self._active = self._active if self.is_served(builder.adapter) else builder.adapter
        return Batch(tuple(builder.queries), predicted_ms, new=tuple(builder.new))

    def settled_per_ms(self, builder: BatchBuilder) -> float:
        """How many items a proposal is expected to bring to their labels for each millisecond that it takes."""
        settled = sum(query.settles for query in builder.queries)
        return settled / max(self.predict(builder.shape(self._context)), _LEAST_MS)

    def _queries(self, offers: Mapping[Request, Iterable[ItemState]]) -> tuple[Sequence[Query], Sequence[Query]]:
        """The queries of the first request that asks this model anything, and those of all."""
        by_request = [
            own
            for request, items in offers.items()
            if (own := [query for query in open_queries(request, items) if self.has(query.adapter)])
        ]
        return (by_request[0] if by_request else []), [query for own in by_request for query in own]

    @property
    def _context(self) -> BatchContext:
        return BatchContext(
            prefix_adapters=self.limits.prefix_adapters,
            sizes=self.limits.sizes,
            active=self._active,
            cells=self.n_cells,
        )

    def _ask_ahead(self, builder: BatchBuilder, left_ms: float) -> None:
        """Add questions that the batch's items may be asked later, where that is likely to save time."""
        ahead = queries_ahead(builder)
        asked = sum(self.question_tokens(query.question) for query in ahead)
        n_forks = len(builder.queries) + len(ahead)  # a question takes a sequence of its own where an item has several
        if (
            ahead
            and len(self.prefix_index) + len(builder.new) + n_forks <= self.limits.capacity.nodes
            and self.n_cells + builder.tokens + builder.asked + asked <= self.limits.capacity.tokens
            and self.predict(builder.shape(self._context, 0, asked, len(ahead))) <= left_ms
            and is_worth(ahead, builder, self._context, self.predict, self.question_tokens)
        ):
            for query in ahead:
                builder.add(query, (), self.question_tokens(query.question))

    def _builder(self, leader: Sequence[Query], every: Sequence[Query], left_ms: float) -> BatchBuilder | None:
        return (
            (self._deepest(every, left_ms) if self._depth_pays(every) else None)
            or self._worthwhile(leader, every, left_ms)
            or self._deepest(every, left_ms)
            or self._any(leader, every, left_ms)
        )

    def _worthwhile(self, leader: Sequence[Query], every: Sequence[Query], left_ms: float) -> BatchBuilder | None:
        """The leader's shallowest batch that finishes its stage, or is long enough to be worth its swaps."""
        for adapter in self._options(leader):
            builder = self._shared(leader, every, adapter, left_ms)
            is_long = builder.is_hurried or builder.tokens >= WORTH * self.best_length(adapter)
            if builder.queries and (builder.is_whole or is_long):
                return builder
        return None

    def _shared(self, leader: Sequence[Query], every: Sequence[Query], adapter: str, left_ms: float) -> BatchBuilder:
        """The leader's batch, filled up with the queries of others unless it is long enough alone."""
        own = self._fill(leader, adapter, left_ms)
        is_alone = len(leader) == len(every)
        is_long = own.tokens >= WORTH * self.best_length(adapter)
        return own if is_alone or is_long else self._fill(every, adapter, left_ms)

    def _has_room(self, leader: Sequence[Query]) -> bool:
        """True if some query of the leader fits beside what is cached, were there time."""
        return any(self._fill(leader, adapter, inf).queries for adapter in self._options(leader))

    def _depth_pays(self, every: Sequence[Query]) -> bool:
        """True if scoring surviving items now is cheaper than keeping their cells, which every later token attends to.

        Scoring them now takes calls and swaps that they could have shared with survivors to come.
        """
        every = [query for query in every if not self.is_served(query.adapter)]
        survivors = [query for query in every if query.item.depth and self._is_cached(query)]
        cached = sum(_own_tokens(query) for query in survivors)
        to_come = sum(self._tokens_to_come(query) for query in every if not self._is_cached(query))
        turns = {query.item.cascade.name: len(query.item.cascade.stages) - query.item.depth for query in survivors}
        price = sum(turns.values()) * (self.limits.costs.per_call_ms + self.limits.costs.per_swap_ms)
        return self.limits.costs.per_cell_ms * cached * to_come > price

    def _deepest(self, every: Sequence[Query], left_ms: float) -> BatchBuilder | None:
        """The deepest batch of items that are cached: it computes only their questions, and it frees room."""
        deepest = sorted(filter(self._is_cached, every), key=_depth, reverse=True)
        for adapter in dict.fromkeys(query.adapter for query in deepest):
            builder = self._fill(deepest, adapter, left_ms)
            if builder.queries:
                return builder
        return None

    def _any(self, leader: Sequence[Query], every: Sequence[Query], left_ms: float) -> BatchBuilder | None:
        """The leader's deepest batch, however short."""
        for adapter in reversed(self._options(leader)):
            builder = self._shared(leader, every, adapter, left_ms)
            if builder.queries:
                return builder
        return None

    def _options(self, leader: Sequence[Query]) -> list[str]:
        """The adapters that the leader waits for, of shallow stages first, the active one first among equals."""
        ranked = sorted(leader, key=lambda query: (query.item.depth, query.adapter != self._active))
        return list(dict.fromkeys(query.adapter for query in ranked))

    def _fill(self, every: Iterable[Query], adapter: str, left_ms: float) -> BatchBuilder:
        """Queries of an adapter, in order, that fit beside what is cached and into the time, up to the best length."""
        prefix_adapter = self.prefix_adapter(adapter)
        own = [query for query in every if query.adapter == adapter]
        longest = self._length(own, prefix_adapter, self.best_length(adapter))
        context, is_served = self._context, self.is_served(adapter)
        builder = BatchBuilder(adapter)
        for query in own[: self.limits.sizes.n_served] if is_served else own:
            new = self._new(query, prefix_adapter, builder)
            tokens = sum(len(node.tokens) for node in new)
            asked = self.question_tokens(query.question)
            is_late = left_ms < inf and self.predict(builder.shape(context, tokens, asked, 1)) > left_ms
            is_full = not is_served and (
                (builder.queries and tokens and builder.tokens + tokens > longest)
                or len(self.prefix_index) + len(builder.new) + len(new) > self.limits.capacity.nodes
                or self.n_cells + builder.tokens + tokens + builder.asked + asked > self.limits.capacity.tokens
            )
            if is_late or is_full:
                builder.is_whole, builder.is_hurried = False, is_late
                break
            builder.add(query, new, asked)
        return builder

    def _new(self, query: Query, prefix_adapter: str, builder: BatchBuilder) -> list[Node]:
        """The nodes that a query adds to those that a batch computes; all of its prompt where nothing is shared."""
        missing = self.prefix_index.missing(query.above, prefix_adapter)
        return [node for node in missing if node not in builder.new] if self.limits.keeps else missing

    def _length(self, own: Sequence[Query], prefix_adapter: str, best: float) -> float:
        """New tokens of a batch when all that these queries miss is cut into equal batches, near the best length."""
        missing = [node for query in own for node in self.prefix_index.missing(query.above, prefix_adapter)]
        total = sum(len(node.tokens) for node in (dict.fromkeys(missing) if self.limits.keeps else missing))
        return total / max(1, round(total / best)) if best else 0.0

    def _is_cached(self, query: Query) -> bool:
        return self.prefix_index.has(query.above, query.adapter)

    def _tokens_to_come(self, query: Query) -> int:
        """Of a query that is not cached, the tokens that are still to be computed of its item and its text."""
        node = query.item_node
        has_item = query.above is not node and self.prefix_index.has(node, query.adapter)
        return query.above.end - (node.end if has_item else node.start)

    def _evict_parked(self, query: Query, every: Sequence[Query]) -> None:
        """Evict items that nobody asks for now, as far as a batch of the best length needs their room."""
        wanted = {node for other in every for node in other.above.path}
        parked = [key for key in self.prefix_index.nodes if key[0].segment in _OWN and key[0] not in wanted]
        capacity, index = self.limits.capacity, self.prefix_index
        length = min(self.best_length(query.adapter), capacity.tokens)
        n_nodes = min(len(every), capacity.nodes // 2)
        index.evict_while(
            lambda: capacity.tokens - index.tokens < length or capacity.nodes - len(index) < n_nodes, parked
        )

    def _evict(self, query: Query) -> None:
        """Evict until one query fits, lower nodes first: the last resort, when nothing fits beside what is cached."""
        own = {(node, self.prefix_adapter(query.adapter)) for node in query.above.path}
        others = [key for key in self.prefix_index.nodes if key not in own]
        others.sort(key=lambda key: -len(key[0].path))
        self.prefix_index.evict_while(lambda: not self._fill([query], query.adapter, inf).queries, others)


def _nothing(nodes: Sequence[CachedNode]) -> None:
    """Release nothing."""


def _own_tokens(query: Query) -> int:
    """Tokens of its prompt that are its item's alone, the question's aside."""
    return query.above.end - query.item_node.start


def _depth(query: Query) -> int:
    return query.item.depth
