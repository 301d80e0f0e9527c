"""Which queries go together next, and which prompt nodes are kept for later. Pure: no clock, no model.

A token costs far more than a change of the adapter, so what an item has computed is kept until no
stage ahead of it wants it. Within what fits, batches go breadth first: all items of a stage under one
adapter, then the survivors under the next. Only when the room left is too small for a batch that is
worth its swaps, or survivors lie in the way of too much that is still to come, do they go ahead.

A batch has a best length. Every batch pays for its calls and swaps, which speaks for few and long ones;
but every token looks at every cell in use, which speaks for short ones whose items leave early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, prod, sqrt

from cascade.backends.costs import CallSizes, Costs, Work
from cascade.engine.batch import BatchBuilder, BatchContext, Job, Plan, jobs
from cascade.engine.cost_model import CostModel
from cascade.engine.item_state import ItemState
from cascade.engine.prefix_index import CachedNode, PrefixIndex
from cascade.prompt import Segment
from cascade.stages import SERVED, Question


def questions_ahead(builder: BatchBuilder) -> dict[Job, float]:
    """What the items of a draft may be asked later under its adapter, with the probability that they are."""
    found: dict[Job, float] = {}
    # An item that is asked in several tiers has several jobs, and is asked ahead once.
    for state, here in {job.state: job.stage for job in builder.jobs}.items():
        likely = {entry.stage.name: entry.probability for entry in state.expected.reach(here)}
        for stage, tier, question in state.ahead(builder.adapter):
            found[Job(state, stage, tier, question)] = likely[stage.name]
    return found


def is_worth(
    ahead: dict[Job, float],
    builder: BatchBuilder,
    context: BatchContext,
    model: CostModel,
    question_tokens: Callable[[Question], int],
) -> bool:
    """Whether asking now takes less time than the calls that it is likely to save.

    Args:
        ahead: From ``questions_ahead``.
        builder: The batch they would be asked in.
        context: Under what it is computed.
        model: How long work takes.
        question_tokens: How many tokens a question takes.
    """
    asked = sum(question_tokens(job.question) for job in ahead)
    extra = model.predict(builder.work(context, more_asked=asked, more_jobs=len(ahead))) - model.predict(
        builder.work(context)
    )
    cells = context.cells + builder.tokens
    saved = 0.0
    for stage in dict.fromkeys(job.stage.name for job in ahead):
        own = {job: p for job, p in ahead.items() if job.stage.name == stage}
        any_is_asked = 1 - prod(1 - p for p in own.values())
        tokens = sum(p * question_tokens(job.question) for job, p in own.items())
        if context.prefix_adapters[builder.adapter] == SERVED:
            call = Work(requests=sum(own.values()), questions=sum(own.values()))
        else:
            call = Work.of(tokens=tokens, cells=cells, most=context.sizes.n_batch_questions, outputs=sum(own.values()))
        call = call.plus(Work(batches=1.0))
        saved += any_is_asked * model.predict(call)
    return saved > extra


WORTH = 0.5
"""A batch that leaves items of its stage behind must have this share of the best length, or the next one waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a backend can keep at once.

    Attributes:
        nodes: Prompt nodes, each in each of its prefix adapters.
        tokens: Tokens of those, with the questions that are being answered.
    """

    nodes: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendLimits:
    """What a backend offers.

    Attributes:
        capacity: What may be kept at once.
        prefix_adapters: Adapter -> adapter whose weights fill its prefix KV: itself, or ``base`` for activated LoRA.
        costs: What the parts of a batch cost; plans go by the proportions between them.
        sizes: How it cuts work into calls.
    """

    capacity: Capacity
    prefix_adapters: Mapping[str, str]
    costs: Costs = field(default_factory=Costs)
    sizes: CallSizes = field(default_factory=CallSizes)


class Planner:
    """Plans batches over all open requests, and keeps book of what the backend keeps.

    Args:
        limits: What the backend offers.
        question_tokens: How many tokens a question takes behind an item.
        model: How long batches take; one that has not learned anything if None.
        asks_ahead: Whether questions may be asked before it is known that the tree needs the answers.

    Attributes:
        limits: What the backend offers.
        model: How long batches take.
        kept: What the backend keeps.
    """

    def __init__(
        self,
        limits: BackendLimits,
        question_tokens: Callable[[Question], int],
        *,
        model: CostModel | None = None,
        asks_ahead: bool = False,
    ) -> None:
        self.limits = limits
        self.question_tokens = question_tokens
        self.model = model or CostModel(limits.costs)
        self.prefix_index = PrefixIndex(limits.prefix_adapters)
        self._asks_ahead = asks_ahead
        self._active = ""

    def best_length(self, adapter: str) -> float:
        """New tokens of a batch at which a token costs least.

        Of R tokens in batches of T each, R / T batches pay ``fixed`` each, and R tokens look at T / 2 cells
        of their own batch on average: R * fixed / T + R * per_cell * T / 2 is least where the two are equal.
        """
        if self._is_served(adapter) or not self.limits.costs.per_cell_ms:
            return inf
        n_turns = (
            1 if self.limits.prefix_adapters[adapter] == adapter else 2
        )  # an activated adapter takes turns with the base
        fixed = n_turns * self.limits.costs.per_call_ms + (n_turns > 1) * n_turns * self.limits.costs.per_swap_ms
        return sqrt(2 * fixed / self.limits.costs.per_cell_ms)

    def next_batch(self, requests: Sequence[Iterable[ItemState]], left_ms: float = inf) -> Plan:
        """The next batch; what it computes counts as kept from now on.

        Args:
            requests: The open items of each request, that whose turn it is first. It leads: the
                batch is its own, filled up with the jobs of others under the same adapter, unless first
                some items must go ahead to make room.
            left_ms: How long the batch may take; where a single query takes longer, there is none.
        """
        by_request = [found for items in requests if (found := list(jobs(items)))]
        if not by_request:
            return Plan(())
        leader, every = by_request[0], [job for found in by_request for job in found]
        evicted: tuple[CachedNode, ...] = ()
        builder = self._builder(leader, every, left_ms)
        if builder is None and not self._has_room(leader):
            evicted = self._evict_parked(leader[0], every)
            if not self._has_room(leader):
                evicted += self._evict(leader[0])
            builder = self._builder(leader, every, left_ms)
        if builder is None:
            return Plan((), evicted)  # it is time that is short
        if self._asks_ahead and builder.is_whole:
            self._ask_ahead(builder, left_ms)
        predicted_ms = self.model.predict(builder.work(self._context))
        prefix_adapter = self.limits.prefix_adapters[builder.adapter]
        self.prefix_index.add(builder.new, prefix_adapter)
        self._active = self._active if self._is_served(builder.adapter) else builder.adapter
        return Plan(tuple(builder.jobs), evicted, predicted_ms)

    @property
    def _context(self) -> BatchContext:
        return BatchContext(
            prefix_adapters=self.limits.prefix_adapters,
            sizes=self.limits.sizes,
            active=self._active,
            cells=self.prefix_index.tokens,
        )

    def _ask_ahead(self, builder: BatchBuilder, left_ms: float) -> None:
        """Add questions that the draft's items may be asked later, where that is likely to save time."""
        ahead = questions_ahead(builder)
        asked = sum(self.question_tokens(job.question) for job in ahead)
        n_forks = len(builder.jobs) + len(ahead)  # a question takes a sequence of its own where an item has several
        if (
            ahead
            and len(self.prefix_index) + len(builder.new) + n_forks <= self.limits.capacity.nodes
            and self.prefix_index.tokens + builder.tokens + builder.asked + asked <= self.limits.capacity.tokens
            and self.model.predict(builder.work(self._context, 0, asked, len(ahead))) <= left_ms
            and is_worth(ahead, builder, self._context, self.model, self.question_tokens)
        ):
            for job in ahead:
                builder.add(job, (), self.question_tokens(job.question))

    def _builder(self, leader: Sequence[Job], every: Sequence[Job], left_ms: float) -> BatchBuilder | None:
        return (
            (self._ahead(every, left_ms) if self._ahead_pays(every) else None)
            or self._worthwhile(leader, every, left_ms)
            or self._ahead(every, left_ms)
            or self._any(leader, every, left_ms)
        )

    def _worthwhile(self, leader: Sequence[Job], every: Sequence[Job], left_ms: float) -> BatchBuilder | None:
        """The leader's shallowest batch that finishes its stage, or is long enough to be worth its swaps."""
        for adapter in self._options(leader):
            builder = self._shared(leader, every, adapter, left_ms)
            is_long = builder.is_hurried or builder.tokens >= WORTH * self.best_length(adapter)
            if builder.jobs and (builder.is_whole or is_long):
                return builder
        return None

    def _shared(self, leader: Sequence[Job], every: Sequence[Job], adapter: str, left_ms: float) -> BatchBuilder:
        """The leader's batch, filled up with the jobs of others unless it is long: their items would lie in its way."""
        own = self._fill(leader, adapter, left_ms)
        is_alone = len(leader) == len(every)
        return (
            own if is_alone or own.tokens >= WORTH * self.best_length(adapter) else self._fill(every, adapter, left_ms)
        )

    def _has_room(self, leader: Sequence[Job]) -> bool:
        """Whether something of the leader fits beside what is kept, were there time."""
        return any(self._fill(leader, adapter, inf).jobs for adapter in self._options(leader))

    def _ahead_pays(self, every: Sequence[Job]) -> bool:
        """Whether it is cheaper to ask surviving items now than to keep their KV cells.

        Every token computed later must attend to those cells; asking now takes calls and swaps that later survivors
        could have shared.
        """
        every = [job for job in every if not self._is_served(job.question.adapter)]
        survivors = [job for job in every if job.state.depth and self._is_kept(job)]
        prefix_index = sum(len(job.state.path[-1].tokens) for job in survivors)
        to_come = sum(len(job.state.path[-1].tokens) for job in every if not self._is_kept(job))
        turns = {job.state.cascade.name: len(job.state.cascade.stages) - job.state.depth for job in survivors}
        price = sum(turns.values()) * (self.limits.costs.per_call_ms + self.limits.costs.per_swap_ms)
        return self.limits.costs.per_cell_ms * prefix_index * to_come > price

    def _ahead(self, every: Sequence[Job], left_ms: float) -> BatchBuilder | None:
        """The deepest batch of items that are kept already: all it takes is their questions, and it frees room."""
        deepest = sorted(filter(self._is_kept, every), key=_depth, reverse=True)
        for adapter in dict.fromkeys(job.question.adapter for job in deepest):
            builder = self._fill(deepest, adapter, left_ms)
            if builder.jobs:
                return builder
        return None

    def _any(self, leader: Sequence[Job], every: Sequence[Job], left_ms: float) -> BatchBuilder | None:
        """The leader's deepest batch, however short."""
        for adapter in reversed(self._options(leader)):
            builder = self._shared(leader, every, adapter, left_ms)
            if builder.jobs:
                return builder
        return None

    def _options(self, leader: Sequence[Job]) -> list[str]:
        """The adapters that the leader waits for, of shallow stages first, the active one first among equals."""
        ranked = sorted(leader, key=lambda job: (job.state.depth, job.question.adapter != self._active))
        return list(dict.fromkeys(job.question.adapter for job in ranked))

    def _fill(self, every: Iterable[Job], adapter: str, left_ms: float) -> BatchBuilder:
        """Jobs under an adapter, in order, as fit beside what is kept and into the time, up to the best length."""
        prefix_adapter = self.limits.prefix_adapters[adapter]
        own = [job for job in every if job.question.adapter == adapter]
        longest = self._length(own, prefix_adapter, self.best_length(adapter))
        context, is_served = self._context, self._is_served(adapter)
        builder = BatchBuilder(adapter)
        for job in own[: self.limits.sizes.n_served] if is_served else own:
            new = [node for node in self.prefix_index.missing(job.state, prefix_adapter) if node not in builder.new]
            tokens = sum(len(node.tokens) for node in new)
            asked = self.question_tokens(job.question)
            is_late = left_ms < inf and self.model.predict(builder.work(context, tokens, asked, 1)) > left_ms
            is_full = not is_served and (
                (builder.jobs and tokens and builder.tokens + tokens > longest)
                or len(self.prefix_index) + len(builder.new) + len(new) > self.limits.capacity.nodes
                or self.prefix_index.tokens + builder.tokens + tokens + builder.asked + asked
                > self.limits.capacity.tokens
            )
            if is_late or is_full:
                builder.is_whole, builder.is_hurried = False, is_late
                break
            builder.add(job, new, asked)
        return builder

    def _length(self, own: Sequence[Job], prefix_adapter: str, best: float) -> float:
        """New tokens of a batch when all that these jobs miss is cut into batches of equal length, near the best."""
        missing = {node for job in own for node in self.prefix_index.missing(job.state, prefix_adapter)}
        total = sum(len(node.tokens) for node in missing)
        return total / max(1, round(total / best)) if best else 0.0

    def _is_served(self, adapter: str) -> bool:
        return self.limits.prefix_adapters[adapter] == SERVED

    def _is_kept(self, job: Job) -> bool:
        return self.prefix_index.has_item(job.state, job.question.adapter)

    def _evict_parked(self, job: Job, every: Sequence[Job]) -> tuple[CachedNode, ...]:
        """Forget items that nobody asks for now, as far as a batch of the best length needs their room."""
        wanted = {node for other in every for node in other.state.path}
        parked = [key for key in self.prefix_index.nodes if key[0].segment is Segment.ITEM and key[0] not in wanted]
        capacity = self.limits.capacity
        length = min(self.best_length(job.question.adapter), capacity.tokens)
        n_nodes = min(len(every), capacity.nodes // 2)
        gone: list[CachedNode] = []
        for key in parked:
            if (
                capacity.tokens - self.prefix_index.tokens >= length
                and capacity.nodes - len(self.prefix_index) >= n_nodes
            ):
                break
            self.prefix_index.forget(key)
            gone.append(key)
        return tuple(gone)

    def _evict(self, job: Job) -> tuple[CachedNode, ...]:
        """Forget until one job fits, lower nodes first: the last resort, when nothing fits beside what is kept."""
        adapter = job.question.adapter
        own = {(node, self.limits.prefix_adapters[adapter]) for node in job.state.path}
        gone: list[CachedNode] = []
        others = [key for key in self.prefix_index.nodes if key not in own]
        for key in sorted(others, key=lambda prefix_index: -len(prefix_index[0].path)):
            if self._fill([job], adapter, inf).jobs:
                break
            self.prefix_index.forget(key)
            gone.append(key)
        return tuple(gone)


def _depth(job: Job) -> int:
    return job.state.depth
